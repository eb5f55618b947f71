package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

// exampleLog makes the records that docs/audit-log.md shows.
func exampleLog(t *testing.T) string {
	t.Helper()
	now := time.Date(2026, 11, 20, 19, 0, 0, 123456789, time.UTC)
	l := newLog(t, audit.Options{Now: func() time.Time { now = now.Add(50 * time.Millisecond); return now }})
	for _, r := range []struct {
		kind    record.Kind
		payload string
	}{
		{record.KindStart, `{"version":"0.1.0"}`},
		{record.KindSignal, `{"text":"nf_conntrack: table full, dropping packet","host":"gr\u00fcn"}`},
		{record.KindOutcome, `{"action":{"type":"raise_max","netns":0,"from":262144,"to":327680,"reason":"dropping"},"ok":true,"before":262144,"after":327680}`},
	} {
		if _, err := l.Append(raw(r.kind, json.RawMessage(r.payload))); err != nil {
			t.Fatal(err)
		}
	}
	return l.path
}

// TestDocumentShowsTheTruth pins the format: a change to any byte of these
// records breaks every verifier that others wrote.
func TestDocumentShowsTheTruth(t *testing.T) {
	doc, err := os.ReadFile("../../docs/audit-log.md")
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat("../../go.mod"); errors.Is(err, os.ErrNotExist) {
			t.Skip("needs the source tree, which holds docs/audit-log.md")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(read(t, exampleLog(t)))) {
		if !bytes.Contains(doc, []byte("\n"+line)) {
			t.Errorf("docs/audit-log.md does not show\n%s", line)
		}
	}
	for _, k := range record.Kinds() {
		if !bytes.Contains(doc, []byte("| `"+string(k)+"` | `"+k.MessageID()+"` |")) {
			t.Errorf("docs/audit-log.md does not list %s with message ID %s", k, k.MessageID())
		}
	}
}
