package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/watcher"
)

func TestStatusTellsOfEachSource(t *testing.T) {
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.Local)
	var got []string
	printSources(map[string]status.Source{
		"kmsg":     {Status: watcher.Status{Alive: true, At: at, Lines: 3, Lost: 4, Missed: 5}},
		"journald": {Error: "no journal"}, "a": {},
	}, map[string]string{"b": "watch.b is off"}, func(name, format string, args ...any) {
		got = append(got, name+": "+fmt.Sprintf(format, args...))
	})
	for i, text := range got {
		if _, rest, ok := strings.Cut(text, ", last record "); ok {
			got[i] = strings.Split(text, ",")[0] + ", last record …" + rest[strings.Index(rest, ","):]
		}
	}
	want := []string{
		"a: unreadable: not started, 0 lines about full tables, 0 records lost, 0 lines missed",
		"journald: unreadable: no journal, 0 lines about full tables, 0 records lost, 0 lines missed",
		"kmsg: read, last record …, 3 lines about full tables, 4 records lost, 5 lines missed",
		"b: not read: watch.b is off",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}
