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

func TestMissedLinesAreOnlyRecorded(t *testing.T) {
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var records []audit.Record
	a := &Agent{log: log, kernelLog: watcher.KernelLog{Inbox: watcher.NewInbox()}, logger: slog.New(slog.DiscardHandler), onRecord: func(r audit.Record) { records = append(records, r) }}
	first := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	missed := watcher.Missed{Count: 3, First: first, Last: first.Add(time.Hour), Boot: "b00t", Lost: 40}
	a.recordMissed(watcher.SourceKmsg, missed)
	missed.Lost = 0
	a.recordMissed(watcher.SourceJournald, missed)
	if len(records) != 2 || records[0].Kind != record.KindMissed || records[1].Kind != record.KindMissed {
		t.Fatalf("records %+v", records)
	}
	for i, want := range []record.Missed{
		{Source: "kmsg", Count: 3, First: first, Last: first.Add(time.Hour), Boot: "b00t", Lost: 40},
		{Source: "journald", Count: 3, First: first, Last: first.Add(time.Hour), Boot: "b00t"},
	} {
		payload, err := records[i].Payload()
		if err != nil {
			t.Fatal(err)
		}
		got := *payload.(*record.Missed)
		text := got.Text
		got.Text = ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		if !strings.Contains(text, "3 times") || !strings.Contains(text, "2026-03-01T03:00:00Z") || strings.Contains(text, "40 earlier lines") != (i == 0) {
			t.Errorf("it says %q", text)
		}
	}
	if signals := a.kernelLog.Inbox.Drain(); len(signals) != 0 {
		t.Errorf("the loop receives %v", signals)
	}
}
