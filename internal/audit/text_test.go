package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
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
		if got := Sanitise(in); got != want {
			t.Errorf("Sanitise(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	long := strings.Repeat("ä", 100)
	for _, limit := range []int{20, 21, 22, 199} {
		got := Clip(long, limit)
		if len(got) > limit || !utf8.ValidString(got) || !strings.Contains(got, "bytes)") {
			t.Errorf("Clip to %d: %q", limit, got)
		}
	}
	if got := Clip(long, 200); got != long {
		t.Errorf("Clip of what fits: %q", got)
	}
	if got := Clip(long, 1); !utf8.ValidString(got) {
		t.Errorf("Clip to 1: %q", got)
	}
}

func sealed(t testing.TB, kind Kind, payload string) Record {
	t.Helper()
	inner, err := encodePayload(json.RawMessage(payload))
	if err != nil {
		t.Fatal(err)
	}
	r, err := seal(Head{}, epoch, kind, inner)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSentenceAndPriority(t *testing.T) {
	const (
		raise   = `{"type":"raise_max","netns":0,"from":1000,"to":2000,"reason":"full_soon"}`
		would   = `{"type":"shorten_timeout","netns":402,"knob":"tcp_timeout_time_wait","from":120,"to":30,"reason":"churn","would":true}`
		restore = `{"type":"restore_timeout","knob":"udp_timeout","from":20,"to":30,"reason":"calm"}`
	)
	tests := []struct {
		kind    Kind
		payload string
		want    string
		p       journal.Priority
	}{
		{KindStart, `{"version":"1.0","mode":"enforce"}`, "version=1.0 mode=enforce", journal.PriInfo},
		{KindPlan, `{"level":"high","actions":[` + raise + `]}`, "level=high", journal.PriWarning},
		{KindPlan, `{"level":"high","actions":[` + would + `]}`, "level=high", journal.PriNotice},
		{KindPlan, `{"level":"calm","actions":[` + restore + `]}`, "level=calm", journal.PriNotice},
		{KindPlan, `{"level":"high","held":"budget"}`, "level=high held=budget", journal.PriInfo},
		{KindPlan, `{"level":"calm","held":"none"}`, "level=calm held=none", journal.PriInfo},
		{KindPlan, `{"level":7,"actions":{"a":1}}`, "level=7", journal.PriInfo},
		{KindOutcome, `{"action":` + raise + `,"ok":true,"before":1000,"after":2000}`, "ok=true before=1000 after=2000", journal.PriWarning},
		{KindOutcome, `{"action":` + restore + `,"ok":true}`, "ok=true", journal.PriNotice},
		{KindOutcome, `{"action":"raise_max","ok":false,"error":"permission denied"}`, `action=raise_max ok=false error="permission denied"`, journal.PriErr},
		{KindOutcome, `{"action":"raise_max"}`, "action=raise_max", journal.PriWarning},
		{KindVerdict, `{"action":"raise_max","verdict":"helped","before":9,"after":5}`, "action=raise_max verdict=helped before=9 after=5", journal.PriInfo},
		{KindVerdict, `{"action":"raise_max","verdict":"no_effect"}`, "action=raise_max verdict=no_effect", journal.PriWarning},
		{KindVerdict, `{"type":"raise_max","result":"worse","before":{"fill":1},"after":{"fill":2}}`, "type=raise_max result=worse", journal.PriWarning},
		{KindHold, `{"held":"breaker"}`, "held=breaker", journal.PriWarning},
		{KindHold, `{"held":{"reason":"budget"}}`, "", journal.PriWarning},
		{KindLevel, `{"level":"exhausted","from":"high"}`, "level=exhausted from=high", journal.PriErr},
		{KindLevel, `{"level":"elevated"}`, "level=elevated", journal.PriNotice},
		{KindLevel, `{"level":"calm"}`, "level=calm", journal.PriInfo},
		{KindSignal, `{"text":"table full, \"dropping\" \u001b[2J","nested":{"a":1}}`, `table full, "dropping" \x1b[2J`, journal.PriWarning},
		{KindSample, `{"entries":5}`, "entries=5", journal.PriDebug},
		{KindBreaker, `{}`, "", journal.PriErr},
		{KindGap, `{"reason":"not_durable","lost":2,"from":3,"to":4,"error":"disk"}`, "2 records were lost, records 3 to 4 are in the journal only: disk", journal.PriWarning},
		{KindGap, `{"reason":"torn","bytes":9,"file":"x"}`, "9 bytes of the audit log were set aside in x (torn)", journal.PriWarning},
		{KindGap, `{"reason":"retention"}`, "retention", journal.PriNotice},
		{KindGap, `{"reason":"later"}`, "later", journal.PriWarning},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind)+" "+tt.payload, func(t *testing.T) {
			r := sealed(t, tt.kind, tt.payload)
			if diff := cmp.Diff(tt.want, r.Sentence()); diff != "" {
				t.Errorf("sentence (-want +got):\n%s", diff)
			}
			if got := r.Priority(); got != tt.p {
				t.Errorf("priority %d, want %d", got, tt.p)
			}
		})
	}
	text := string(sealed(t, KindHold, `{"held":"budget"}`).AppendText(nil))
	if want := "2026-11-20 19:00:00.000Z  hold            held=budget\n"; text != want {
		t.Errorf("text %q, want %q", text, want)
	}
}

func TestReadingsAreToldInWords(t *testing.T) {
	for payload, want := range map[string]string{
		`{"before":true,"samples":[[0,10,100,1],[1,90,100,1],[2,80,200,1]]}`: "3 readings: from 10 to 80 entries, at the most 90 of 100, before the incident",
		`{"samples":[[0,10,100,1]]}`:                                         "1 readings: from 10 to 10 entries, at the most 10 of 100",
		`{"samples":[[0],["x"]],"wall":"then"}`:                              "wall=then",
		`{"samples":[[0],[1]]}`:                                              "2 readings: from 0 to 0 entries, at the most 0 of 0",
	} {
		if got := sealed(t, KindSample, payload).Sentence(); got != want {
			t.Errorf("%s is %q, want %q", payload, got, want)
		}
	}
}

func TestTimeIsToldWithItsZone(t *testing.T) {
	r := sealed(t, KindHold, `{"text":"held"}`)
	for zone, want := range map[*time.Location]string{time.UTC: "19:00:00.123Z  hold", time.FixedZone("IST", 5*3600+1800): "00:30:00.123+05:30  hold"} {
		r.Time = time.Date(2026, 11, 20, 19, 0, 0, 123456789, time.UTC).In(zone)
		if got := string(r.AppendText(nil)); !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}
