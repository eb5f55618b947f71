package diagnosis

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/policy"
)

// line is one of /proc/net/nf_conntrack.
func line(state string, left, i, port int) string {
	return fmt.Sprintf("ipv4     2 tcp      6 %d %s src=10.0.%d.%d dst=192.0.2.1 sport=%d dport=%d src=192.0.2.1 dst=10.0.%d.%d sport=%d dport=%d [ASSURED] mark=0 zone=0 use=2\n",
		left, state, i%8, i%250, 1024+i, port, i%8, i%250, port, 1024+i)
}

// webServer is the table of a server with short connections: 97 % in
// TIME_WAIT.
func webServer() string {
	var b strings.Builder
	for i := range 1000 {
		if i%100 < 3 {
			b.WriteString(line("ESTABLISHED", 431999, i, 443))
		} else {
			b.WriteString(line("TIME_WAIT", i%121, i, []int{80, 443, 6379}[i%3]))
		}
	}
	return b.String()
}

// flood is a table that a SYN flood has filled.
func flood() string {
	var b strings.Builder
	for i := range 1000 {
		l := line("SYN_SENT", i%121, i, 22)
		b.WriteString(strings.Replace(strings.Replace(l, "[ASSURED] ", "", 1), " src=192.0.2.1 dst", " [UNREPLIED] src=192.0.2.1 dst", 1))
	}
	return b.String()
}

// diagnose draws the conclusions from a text, within the limits that ctwarden
// begins with.
func diagnose(t *testing.T, text string) *Diagnosis {
	t.Helper()
	cfg := config.Default()
	look, err := ReadText(strings.NewReader(text), &cfg.Limits, cfg.Protect)
	if err != nil {
		t.Fatal(err)
	}
	return look.Diagnose()
}

// printed is what a person reads of it.
func printed(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := diagnose(t, text).Print(&out, 80); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTheCauseIsChurn(t *testing.T) {
	d := diagnose(t, webServer())
	if d.Cause != policy.Churn || !strings.Contains(d.Sentence, "97 % in TIME_WAIT") {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	text := printed(t, webServer())
	for _, want := range []string{"churn", "97 % in TIME_WAIT", "tcp/6379", "tcp_timeout_time_wait 120 s -> 60 s", "pools", "only 3 % are established"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// Idle for 60 s and more: 120 s less 60 s or less left.
	var shorten, age *Act
	for i := range d.Acts {
		switch d.Acts[i].Type {
		case policy.ShortenTimeout:
			shorten = &d.Acts[i]
		case policy.AgeEntries:
			age = &d.Acts[i]
		}
	}
	var idle, long uint64
	for i := range 1000 {
		if i%100 >= 3 {
			if i%121 <= 60 {
				idle++
			}
			if i%121 > 30 {
				long++
			}
		}
	}
	if shorten == nil || shorten.Frees != idle || shorten.Margin != 0 {
		t.Errorf("shorten %+v, want %d freed", shorten, idle)
	}
	if age == nil || age.Frees != long || age.Eligibility[policy.SparedWrongClass] != 30 {
		t.Errorf("age %+v, want %d freed", age, long)
	}
}

func TestTheCauseIsHalfOpen(t *testing.T) {
	d := diagnose(t, flood())
	if d.Cause != policy.HalfOpen {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	last := d.Acts[len(d.Acts)-1]
	if last.Type != policy.DeleteEntries || last.Frees == 0 || last.Eligibility[policy.SparedTooYoung] == 0 ||
		last.Frees+last.Eligibility[policy.SparedTooYoung] != 1000 {
		t.Errorf("delete %+v", last)
	}
	if len(d.Advice) == 0 || !strings.Contains(d.Advice[0].Text, "10.0.0.0/24") {
		t.Errorf("advice %+v", d.Advice)
	}
}

func TestTheCauseIsStaleLoadAndLoopback(t *testing.T) {
	stale := strings.Repeat(line("ESTABLISHED", 432000-90000, 1, 5432), 3) + line("ESTABLISHED", 431990, 2, 5432)
	if d := diagnose(t, stale); d.Cause != policy.Stale {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	if d := diagnose(t, line("ESTABLISHED", 431990, 2, 5432)); d.Cause != policy.Load {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	redis := strings.NewReplacer("10.0.1.1", "127.0.0.1", "192.0.2.1", "127.0.0.1").Replace(line("TIME_WAIT", 100, 1, 6379))
	text := printed(t, redis)
	if !strings.Contains(text, "oif lo notrack") || !strings.Contains(text, "loopback") {
		t.Errorf("no word about loopback in\n%s", text)
	}
}

func TestAdviceOffersNoNoTrackForWhatIsTranslated(t *testing.T) {
	nat := strings.ReplaceAll(line("TIME_WAIT", 100, 1, 443), "dst=10.0.1.1 sport=443", "dst=198.51.100.1 sport=443")
	text := printed(t, nat)
	if strings.Contains(text, "tcp dport") || !strings.Contains(text, "translated") {
		t.Errorf("NOTRACK for a translated port:\n%s", text)
	}
}

func TestHostileTextIsReadAndMadeHarmless(t *testing.T) {
	hostile := "\x1b[2J\x1b]0;owned\a\n" + strings.Repeat(" ", lineBytes+100) + line("CLOSE", 1, 1, 1) + webServer() +
		"tcp 6 1 \x1b[31m src=1.2.3.4 dst=\x1b[2J\nconntrack v1.4.7 (conntrack-tools): 1000 flow entries have been shown.\n\n"
	d := diagnose(t, hostile)
	if d.Census.Seen != 1000 || d.Look.Unread != 3 {
		t.Errorf("%d entries, %d lines not understood, want 1000 and 3", d.Census.Seen, d.Look.Unread)
	}
	text := printed(t, hostile)
	if strings.ContainsAny(text, "\x1b\a") {
		t.Errorf("control characters in %q", text)
	}
}

func TestATextWithoutEntriesIsAnEmptyTable(t *testing.T) {
	d := diagnose(t, "nothing\n\nof the kind\n")
	if d.Census.Seen != 0 || d.Look.Unread != 2 || d.Sentence != "the table is empty" || d.Level != "" || len(d.Acts)+len(d.Advice) != 0 {
		t.Errorf("%+v", d)
	}
	text := printed(t, "nothing\n")
	if want := "table      0 entries read from a text\ncause      the table is empty\n"; !strings.HasPrefix(text, want) || strings.Contains(text, "for good") {
		t.Errorf("printed\n%s", text)
	}
}

func TestATextThatEndsInAnErrorIsNotRead(t *testing.T) {
	cfg := config.Default()
	in := io.MultiReader(strings.NewReader(webServer()), iotest.ErrReader(fs.ErrPermission))
	if look, err := ReadText(in, &cfg.Limits, cfg.Protect); look != nil || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("look %v, error %v", look, err)
	}
}

func TestAPageFitsNarrowTerminals(t *testing.T) {
	d := diagnose(t, webServer())
	for width := leastWidth; width <= 200; width += 8 {
		var out bytes.Buffer
		if err := d.Print(&out, width); err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(out.String()) {
			// A command must not be broken: it is there to be pasted.
			command := strings.HasPrefix(l, strings.Repeat(" ", labelWidth+2))
			if n := len([]rune(strings.TrimSuffix(l, "\n"))); n > width && !command && strings.Count(l, " ") > labelWidth {
				t.Errorf("width %d: line of %d: %q", width, n, l)
			}
		}
	}
}
