package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"net/netip"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/nfct"
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

// run runs the command line and wants it to end well.
func run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := Main(t.Context(), args, strings.NewReader(stdin), &out, &errs); code != exitOK {
		t.Fatalf("%q: code %d: %s", args, code, errs.String())
	}
	return out.String()
}

func diagnoseJSON(t *testing.T, stdin string, args ...string) diagnosis {
	t.Helper()
	var d diagnosis
	out := run(t, stdin, append([]string{"diagnose", "--json"}, args...)...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return d
}

func TestDiagnoseNamesChurn(t *testing.T) {
	d := diagnoseJSON(t, webServer(), "--from", "-")
	if d.Cause != policy.Churn || !strings.Contains(d.Sentence, "97 % in TIME_WAIT") {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	text := run(t, webServer(), "diagnose", "--from", "-")
	for _, want := range []string{"churn", "97 % in TIME_WAIT", "tcp/6379", "tcp_timeout_time_wait 120 s -> 60 s", "pools", "only 3 % are established"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// Idle for 60 s and more: 120 s less 60 s or less left.
	var shorten, age *foreseen
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
	if age == nil || age.Frees != long || age.Fates[policy.FateWrongClass] != 30 {
		t.Errorf("age %+v, want %d freed", age, long)
	}
}

func TestDiagnoseNamesHalfOpen(t *testing.T) {
	d := diagnoseJSON(t, flood(), "--from", "-")
	if d.Cause != policy.HalfOpen {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	last := d.Acts[len(d.Acts)-1]
	if last.Type != policy.DeleteEntries || last.Frees == 0 || last.Fates[policy.FateTooYoung] == 0 ||
		last.Frees+last.Fates[policy.FateTooYoung] != 1000 {
		t.Errorf("delete %+v", last)
	}
	if len(d.Advice) == 0 || !strings.Contains(d.Advice[0].Text, "10.0.0.0/24") {
		t.Errorf("advice %+v", d.Advice)
	}
}

func TestDiagnoseNamesStaleLoadAndLoopback(t *testing.T) {
	stale := strings.Repeat(line("ESTABLISHED", 432000-90000, 1, 5432), 3) + line("ESTABLISHED", 431990, 2, 5432)
	if d := diagnoseJSON(t, stale, "--from", "-"); d.Cause != policy.Stale {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	if d := diagnoseJSON(t, line("ESTABLISHED", 431990, 2, 5432), "--from", "-"); d.Cause != policy.Load {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
	redis := strings.NewReplacer("10.0.1.1", "127.0.0.1", "192.0.2.1", "127.0.0.1").Replace(line("TIME_WAIT", 100, 1, 6379))
	text := run(t, redis, "diagnose", "--from", "-")
	if !strings.Contains(text, "oif lo notrack") || !strings.Contains(text, "loopback") {
		t.Errorf("no word about loopback in\n%s", text)
	}
}

func TestDiagnoseOffersNoNoTrackForWhatIsTranslated(t *testing.T) {
	nat := strings.ReplaceAll(line("TIME_WAIT", 100, 1, 443), "dst=10.0.1.1 sport=443", "dst=198.51.100.1 sport=443")
	text := run(t, nat, "diagnose", "--from", "-")
	if strings.Contains(text, "tcp dport") || !strings.Contains(text, "translated") {
		t.Errorf("NOTRACK for a translated port:\n%s", text)
	}
}

func TestDiagnoseOfHostileText(t *testing.T) {
	hostile := "\x1b[2J\x1b]0;owned\a\n" + strings.Repeat(" ", lineBytes+100) + line("CLOSE", 1, 1, 1) + webServer() +
		"tcp 6 1 \x1b[31m src=1.2.3.4 dst=\x1b[2J\nconntrack v1.4.7 (conntrack-tools): 1000 flow entries have been shown.\n\n"
	d := diagnoseJSON(t, hostile, "--from", "-")
	if d.Census.Seen != 1000 || d.Look.Unread != 3 {
		t.Errorf("%d entries, %d lines not understood, want 1000 and 3", d.Census.Seen, d.Look.Unread)
	}
	text := run(t, hostile, "diagnose", "--from", "-")
	if strings.ContainsAny(text, "\x1b\a") {
		t.Errorf("control characters in %q", text)
	}
}

func TestDiagnoseFitsNarrowTerminals(t *testing.T) {
	d := diagnoseJSON(t, webServer(), "--from", "-")
	for width := leastWidth; width <= 200; width += 8 {
		var out bytes.Buffer
		if err := d.print(&out, width); err != nil {
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

func TestDiagnoseRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a text and a namespace": {[]string{"--from", "-", "--netns", "x"}, exitUsage, "goes with neither"},
		"a text and exact":       {[]string{"--from", "-", "--exact"}, exitUsage, "goes with neither"},
		"no such file":           {[]string{"--from", "/no/such/file"}, exitError, "no such file"},
		"an empty text":          {[]string{"--from", empty}, exitError, "no entry of a table"},
		"no such namespace":      {[]string{"--netns", "no-such"}, exitError, "no network namespace is named"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Main(t.Context(), append([]string{"diagnose"}, test.args...), strings.NewReader(""), &out, &errs)
			if code != test.code || !strings.Contains(errs.String(), test.want) || !strings.Contains(errs.String(), "hint:") && test.want != "no such file" || out.Len() > 0 {
				t.Errorf("code %d, stdout %q, stderr\n%s", code, out.String(), errs.String())
			}
		})
	}
}

// TestDiagnoseAgreesWithTheText compares the look into a table with that into
// the kernel's text of the same table.
func TestDiagnoseAgreesWithTheText(t *testing.T) {
	ns := cttest.NewNS(t)
	var entries []nfct.Entry
	for state := range nfct.NumTCPStates {
		e := cttest.TCP(state)
		e.Timeout = 100
		for i := range 3 + int(state) {
			entries = append(entries, cttest.Like(e, i))
		}
	}
	for i := range 40 {
		udp, six := cttest.Unreplied(), cttest.Assured()
		udp.Timeout, udp.Zone, udp.Mark = 25, uint16(i%3), uint32(i)
		six.Timeout = 100
		six.Orig.Src, six.Orig.Dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		nat := cttest.Replied()
		nat.Timeout = 25
		nat = cttest.Like(nat, i)
		nat.Reply = cttest.Reversed(nat.Orig)
		entries = append(entries, cttest.Like(udp, i), cttest.Like(six, i), nat)
	}
	cttest.Create(t, ns, entries...)
	var text []byte
	err := ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/nf_conntrack")
		return err
	})
	if os.IsNotExist(err) {
		t.Skip("needs a kernel with CONFIG_NF_CONNTRACK_PROCFS: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	live := diagnoseJSON(t, "", "--exact", "--netns", fmt.Sprintf("/proc/self/task/%d/ns/net", ns.TID()))
	read := diagnoseJSON(t, string(text), "--from", "-")
	if live.Census.Seen != uint64(len(entries)) || live.Table.NetNS != ns.Inode() || live.From != "kernel" {
		t.Errorf("%d entries in netns %d, want %d in %d", live.Census.Seen, live.Table.NetNS, len(entries), ns.Inode())
	}
	if diff := cmp.Diff(live.Census, read.Census); diff != "" {
		t.Errorf("census: -kernel +text\n%s", diff)
	}
	if diff := cmp.Diff(live.Make, read.Make, cmp.AllowUnexported(census.Histogram{})); diff != "" {
		t.Errorf("make: -kernel +text\n%s", diff)
	}
	less := func(a, b string) bool { return a < b }
	if diff := cmp.Diff(talkersText(live.Top), talkersText(read.Top), cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("top: -kernel +text\n%s", diff)
	}
	if live.Cause != read.Cause || live.Sentence != read.Sentence {
		t.Errorf("cause: kernel %s, text %s", live.Sentence, read.Sentence)
	}
	for i := range read.Acts { // a text does not tell of max and hash
		want := &read.Acts[i]
		if diff := cmp.Diff(act(&live, want.Type), want, cmpopts.IgnoreFields(foreseen{}, "Cost")); diff != "" {
			t.Errorf("act %d: -kernel +text\n%s", i, diff)
		}
	}
}

// talkersText lists those that can't share their place with another.
func talkersText(top census.Talkers) []string {
	var list []string
	for _, p := range top.Ports {
		list = append(list, fmt.Sprint(p))
	}
	for _, z := range top.Zones {
		list = append(list, fmt.Sprint(z))
	}
	for _, s := range top.Networks {
		list = append(list, fmt.Sprint(s))
	}
	return list
}

func TestDiagnoseByPidAndInode(t *testing.T) {
	ns := cttest.NewNS(t)
	cttest.Fill(t, ns, 50, cttest.Replied())
	for _, name := range []string{fmt.Sprint(ns.Inode()), ns.String()} {
		if d := diagnoseJSON(t, "", "--netns", name); d.Census.Seen != 50 {
			t.Errorf("--netns %s: %d entries", name, d.Census.Seen)
		}
	}
	own, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if d := diagnoseJSON(t, "", "--netns", fmt.Sprint(os.Getpid())); d.Table.NetNS != 0 {
		t.Errorf("our own namespace is told as %d", d.Table.NetNS)
	}
}
