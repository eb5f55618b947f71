package watcher

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/policy"
)

// AddLine has a source read a line that names no namespace.
func (b *Inbox) AddLine(source Source, mono time.Duration) {
	b.enqueue(line{source: source, mono: mono})
}

func TestInboxWakesOnceAndCountsEqualLines(t *testing.T) {
	b := NewInbox()
	b.addLost(4)
	for i := range time.Duration(3) {
		b.AddLine(SourceKmsg, i*time.Second)
		b.AddLine(SourceJournald, i*time.Second) // the same line
		b.enqueue(line{lineKey{7, true}, SourceKmsg, i * time.Second})
	}
	select {
	case <-b.Wake():
	default:
		t.Fatal("lines do not wake")
	}
	want := []policy.Signal{
		{Count: 3, Source: "kmsg", Lost: 4},
		{NetNS: 7, Named: true, Count: 3, Source: "kmsg"},
	}
	if diff := cmp.Diff(want, b.Drain()); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
	if again := b.Drain(); len(again) != 0 {
		t.Errorf("a drained inbox holds %v", again)
	}
	b.AddLine(SourceKmsg, time.Minute)
	if got := b.Drain(); len(got) != 1 || got[0].Lost != 0 {
		t.Errorf("signals %v, want the one line: a loss is reported once", got)
	}
	select {
	case <-b.Wake():
		t.Error("woken for what was drained already")
	default:
	}
}

func TestInboxOfManyNamespacesIsBounded(t *testing.T) {
	b := NewInbox()
	const lines = 1000
	for i := range uint32(lines) {
		b.enqueue(line{lineKey{i + 1, true}, SourceKmsg, time.Minute})
	}
	got := b.Drain()
	total := uint64(0)
	for _, s := range got {
		total += s.Count
	}
	if last := got[len(got)-1]; len(got) != maxSignals+1 || total != lines || last.NetNS != 0 || !last.Named {
		t.Errorf("%d signals of %d lines, the last %+v, want %d of %d, the last of namespaces with a name", len(got), total, last, maxSignals+1, lines)
	}
}
