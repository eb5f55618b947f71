package audit_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
)

func TestSanitise(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, äöü €":   "plain text, äöü €",
		"a\x1b[31mred\nnew\t": `a\x1b[31mred\x0anew\x09`,
		"\u202eback\u2028":    `\u202eback\u2028`,
		"bad \xff byte":       `bad \xff byte`,
		"\ufffd":              "\ufffd",
		"\u009b\u00a0":        `\u009b\u00a0`,
	} {
		if got := audit.Sanitise(in); got != want {
			t.Errorf("Sanitise(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	long := strings.Repeat("ä", 100)
	for _, limit := range []int{20, 21, 22, 199} {
		got := audit.Clip(long, limit)
		if len(got) > limit || !utf8.ValidString(got) || !strings.Contains(got, "bytes)") {
			t.Errorf("Clip to %d: %q", limit, got)
		}
	}
	if got := audit.Clip(long, 200); got != long {
		t.Errorf("Clip of what fits: %q", got)
	}
	if got := audit.Clip(long, 1); !utf8.ValidString(got) {
		t.Errorf("Clip to 1: %q", got)
	}
}

func sealed(t testing.TB, kind record.Kind, payload string) audit.Record {
	t.Helper()
	inner, err := audit.EncodePayload(raw(kind, json.RawMessage(payload)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Seal(audit.Checkpoint{}, epoch, kind, inner)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func priority(t *testing.T, r audit.Record) record.Priority {
	t.Helper()
	p, err := r.Payload()
	if err != nil {
		t.Fatal(err)
	}
	return p.Headline().Priority
}

func TestSentenceAndPriority(t *testing.T) {
	const (
		raise   = `{"type":"raise_max","netns":0,"from":1000,"to":2000,"reason":"full_soon"}`
		would   = `{"type":"shorten_timeout","netns":402,"knob":"tcp_timeout_time_wait","from":120,"to":30,"reason":"churn","would":true}`
		restore = `{"type":"restore_timeout","knob":"udp_timeout","from":20,"to":30,"reason":"calm"}`
	)
	tests := []struct {
		kind    record.Kind
		payload string
		want    string
		p       record.Priority
	}{
		{record.KindStart, `{"version":"1.0","mode":"enforce"}`, "version=1.0 mode=enforce", record.Info},
		{record.KindPlan, `{"level":"high","actions":[` + raise + `]}`, "level=high", record.Warning},
		{record.KindPlan, `{"level":"high","actions":[` + would + `]}`, "level=high", record.Notice},
		{record.KindPlan, `{"level":"calm","actions":[` + restore + `]}`, "level=calm", record.Notice},
		{record.KindPlan, `{"level":"high","held":"budget"}`, "level=high held=budget", record.Info},
		{record.KindOutcome, `{"action":` + raise + `,"ok":true,"before":1000,"after":2000}`, "ok=true before=1000 after=2000", record.Warning},
		{record.KindOutcome, `{"action":` + restore + `,"ok":true}`, "ok=true", record.Notice},
		{record.KindVerdict, `{"type":"raise_max","result":"worse","before":{"fill":1},"after":{"fill":2}}`, "type=raise_max result=worse", record.Warning},
		{record.KindVerdict, `{"type":"raise_max","result":"helped"}`, "type=raise_max result=helped", record.Info},
		{record.KindVerdict, `{"type":"raise_max","result":"no_effect"}`, "type=raise_max result=no_effect", record.Warning},
		{record.KindLevel, `{"from":"high","level":"exhausted"}`, "from=high level=exhausted", record.Error},
		{record.KindOutcome, `{"action":{"type":"raise_max"},"ok":false,"error":"permission denied"}`, `ok=false error="permission denied"`, record.Error},
		{record.KindHold, `{"held":"breaker"}`, "held=breaker", record.Warning},
		{record.KindLevel, `{"level":"elevated"}`, "level=elevated", record.Notice},
		{record.KindLevel, `{"level":"calm"}`, "level=calm", record.Info},
		{record.KindSignal, `{"text":"table full, \"dropping\" \u001b[2J","nested":{"a":1}}`, `table full, "dropping" \x1b[2J`, record.Warning},
		{record.KindBreaker, `{}`, "", record.Error},
		{record.KindGap, `{"reason":"not_durable","lost":2,"from":3,"to":4,"error":"disk"}`, "2 records were lost, records 3 to 4 are in the journal only: disk", record.Warning},
		{record.KindGap, `{"reason":"torn","bytes":9,"file":"x"}`, "9 bytes of the audit log were set aside in x (torn)", record.Warning},
		{record.KindGap, `{"reason":"retention"}`, "retention", record.Notice},
		{record.KindGap, `{"reason":"later"}`, "later", record.Warning},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind)+" "+tt.payload, func(t *testing.T) {
			r := sealed(t, tt.kind, tt.payload)
			if diff := cmp.Diff(tt.want, r.Sentence()); diff != "" {
				t.Errorf("sentence (-want +got):\n%s", diff)
			}
			if got := priority(t, r); got != tt.p {
				t.Errorf("priority %d, want %d", got, tt.p)
			}
		})
	}
	text := string(sealed(t, record.KindHold, `{"held":"budget"}`).AppendText(nil))
	if want := "2026-11-20 19:00:00.000Z  hold            held=budget\n"; text != want {
		t.Errorf("text %q, want %q", text, want)
	}
}

func TestReadingsAreToldInWords(t *testing.T) {
	for payload, want := range map[string]string{
		`{"at":"1s","before":true,"samples":[[0,10,100,1,0,0,0,0,0,-1,0],[1,90,100,1,0,0,0,0,0,-1,0],[2,80,200,1,0,0,0,0,0,-1,0]]}`: "3 readings: from 10 to 80 entries, at the most 90 of 100, before the incident",
		`{"at":"1s","samples":[[0,10,100,1,0,0,0,0,0,-1,0]]}`:                                                                       "1 readings: from 10 to 10 entries, at the most 10 of 100",
		`{"samples":[[0],["x"]],"wall":"then"}`:                                                                                     "wall=then",
		`{"at":"1s","samples":[]}`:                                                                                                  "at=1s",
	} {
		if got := sealed(t, record.KindSample, payload).Sentence(); got != want {
			t.Errorf("%s is %q, want %q", payload, got, want)
		}
	}
}

func TestTimeIsToldWithItsZone(t *testing.T) {
	r := sealed(t, record.KindHold, `{"text":"held"}`)
	for zone, want := range map[*time.Location]string{time.UTC: "19:00:00.123Z  hold", time.FixedZone("IST", 5*3600+1800): "00:30:00.123+05:30  hold"} {
		r.Time = time.Date(2026, 11, 20, 19, 0, 0, 123456789, time.UTC).In(zone)
		if got := string(r.AppendText(nil)); !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}
