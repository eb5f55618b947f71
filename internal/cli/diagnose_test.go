package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink/cttest"
	"github.com/ctwarden/ctwarden/internal/diagnosis"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
)

// run runs the command line and wants it to end well.
func run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := Main(t.Context(), "dev", args, strings.NewReader(stdin), &out, &errs); code != exitOK {
		t.Fatalf("%q: code %d: %s", args, code, errs.String())
	}
	return out.String()
}

func diagnoseJSON(t *testing.T, stdin string, args ...string) diagnosis.Diagnosis {
	t.Helper()
	var d diagnosis.Diagnosis
	out := run(t, stdin, append([]string{"diagnose", "--json"}, args...)...)
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return d
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
		"a text and a namespace": {[]string{"--from", "-", "--netns", "x"}, exitUsage, "combined with --netns or --exact"},
		"a text and exact":       {[]string{"--from", "-", "--exact"}, exitUsage, "combined with --netns or --exact"},
		"no such file":           {[]string{"--from", "/no/such/file"}, exitError, "no such file"},
		"an empty text":          {[]string{"--from", empty}, exitError, "no conntrack entry"},
		"no such namespace":      {[]string{"--netns", "no-such"}, exitError, "no network namespace is named"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Main(t.Context(), "dev", append([]string{"diagnose"}, test.args...), strings.NewReader(""), &out, &errs)
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
	var entries []conntrack.Entry
	for state := range conntrack.NumTCPStates {
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
		if diff := cmp.Diff(act(&live, want.Type), want, cmpopts.IgnoreFields(diagnosis.Act{}, "Cost")); diff != "" {
			t.Errorf("act %d: -kernel +text\n%s", i, diff)
		}
	}
}

// act finds one by its type.
func act(found *diagnosis.Diagnosis, kind policy.ActionType) *diagnosis.Act {
	for i := range found.Acts {
		if found.Acts[i].Type == kind {
			return &found.Acts[i]
		}
	}
	return nil
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
