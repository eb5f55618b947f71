package agent

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/watcher"
)

func TestWhatWasMissedIsRecordedAndNotPassedOn(t *testing.T) {
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var told []audit.Record
	p := &Agent{log: log, kernelLog: watcher.KernelLog{Inbox: watcher.NewInbox()}, logger: slog.New(slog.DiscardHandler), onRecord: func(r audit.Record) { told = append(told, r) }}
	first := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	missed := watcher.Missed{Count: 3, First: first, Last: first.Add(time.Hour), Boot: "b00t", Lost: 40}
	p.missed(watcher.SourceKmsg, missed)
	missed.Lost = 0
	p.missed(watcher.SourceJournald, missed)
	if len(told) != 2 || told[0].Kind != record.KindMissed || told[1].Kind != record.KindMissed {
		t.Fatalf("told %+v", told)
	}
	for i, want := range []record.Missed{
		{Source: "kmsg", Count: 3, First: first, Last: first.Add(time.Hour), Boot: "b00t", Lost: 40},
		{Source: "journald", Count: 3, First: first, Last: first.Add(time.Hour), Boot: "b00t"},
	} {
		payload, err := told[i].Payload()
		if err != nil {
			t.Fatal(err)
		}
		got := *payload.(*record.Missed)
		text := got.Text
		got.Text = ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		if !strings.Contains(text, "3 times") || !strings.Contains(text, "2026-03-01T03:00:00Z") || strings.Contains(text, "40 lines") != (i == 0) {
			t.Errorf("it says %q", text)
		}
	}
	if signals := p.kernelLog.Inbox.Drain(); len(signals) != 0 {
		t.Errorf("the loop receives %v", signals)
	}
}
