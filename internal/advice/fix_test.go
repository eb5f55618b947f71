package advice

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

func facts() Facts {
	return Facts{
		Source: "a test", Peak: 120_000, Max: 65_536, Buckets: 16_384, Cause: policy.Churn,
		Timeouts: conntrack.Timeouts{conntrack.TCPTimeWait: 120, conntrack.TCPSynSent: 120, conntrack.TCPSynRecv: 60, conntrack.TCPEstablished: 432000},
		Budget:   policy.Budget{Max: 2_000_000, Bytes: 800 << 20, PerEntry: 384},
	}
}

func TestAdviceIsSized(t *testing.T) {
	type sizes struct {
		Max, Buckets uint64
		Timeouts     conntrack.Timeouts
		Warnings     int
	}
	tests := map[string]struct {
		change func(*Facts)
		want   sizes
	}{
		"the peak fills 60 % of it, four entries a bucket": {
			func(*Facts) {}, sizes{200_704, 50_176, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"who was refused gets room as well": {
			func(n *Facts) { n.Refused = 60_000 }, sizes{300_032, 75_264, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"the memory budget is not left, and it says so": {
			func(n *Facts) { n.Budget.Max = 100_000 }, sizes{100_000, 25_088, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 2},
		},
		"a limit that is large enough stays": {
			func(n *Facts) { n.Max = 1 << 20 }, sizes{1 << 20, 1 << 18, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"a limit above the budget is the administrator's": {
			func(n *Facts) { n.Max, n.Budget.Max = 1<<20, 1000 }, sizes{1 << 20, 1 << 18, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"more buckets than entries stay": {
			func(n *Facts) { n.Buckets = 1 << 20 }, sizes{200_704, 1 << 20, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"live load keeps its timeouts": {
			func(n *Facts) { n.Cause = policy.Load }, sizes{200_704, 50_176, conntrack.Timeouts{}, 1},
		},
		"a timeout that is shorter already stays": {
			func(n *Facts) { n.Timeouts[conntrack.TCPTimeWait] = 30 }, sizes{200_704, 50_176, conntrack.Timeouts{}, 1},
		},
		"half-open connections are forgotten sooner": {
			func(n *Facts) { n.Cause = policy.HalfOpen },
			sizes{200_704, 50_176, conntrack.Timeouts{conntrack.TCPSynSent: 60, conntrack.TCPSynRecv: 30}, 1},
		},
		"stale ones after a day, with what that breaks": {
			func(n *Facts) { n.Cause = policy.Stale }, sizes{200_704, 50_176, conntrack.Timeouts{conntrack.TCPEstablished: 86400}, 2},
		},
		"no number is beyond what a kernel takes": {
			func(n *Facts) { n.Peak, n.Refused, n.Budget = 1<<63, 1<<63, policy.Budget{} },
			sizes{1<<31 - 1, conntrack.MostBuckets, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := facts()
			tt.change(&n)
			a := New(n)
			if diff := cmp.Diff(tt.want, sizes{a.Max, a.Buckets, a.Timeouts, len(a.Warnings)}); diff != "" {
				t.Errorf("advice (-want +got):\n%s\n%q", diff, a.Warnings)
			}
		})
	}
}

func TestAdviceThatIsBoundedSaysSoOnce(t *testing.T) {
	n := facts()
	n.Budget.Max = 100_000
	a := New(n)
	if got, want := a.Why[0], "nf_conntrack_max 100000: the peak of 120000 entries should fill 60 % of 200704, but that is beyond the bounds of ctwarden's configuration"; got != want {
		t.Errorf("why %q, want %q", got, want)
	}
}

// settings returns a file without its comments.
func settings(f File) []string {
	var lines []string
	for line := range strings.Lines(f.Text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestFilesOfTheAdvice(t *testing.T) {
	n := facts()
	n.Census = census.Summary{Seen: 100, Loopback: 40}
	n.NoTrackPorts = []census.Port{{Proto: conntrack.ProtoTCP, Number: 6379}, {Proto: conntrack.ProtoSCTP, Number: 1}}
	got := map[string][]string{}
	for _, f := range New(n).Files {
		got[f.Path] = settings(f)
		if f.About == "" || strings.HasPrefix(f.Path, "/") || strings.Contains(f.Path, "..") {
			t.Errorf("file %+v", f)
		}
	}
	want := map[string][]string{
		"sysctl.d/90-conntrack.conf": {
			"net.netfilter.nf_conntrack_max = 200704", "net.netfilter.nf_conntrack_buckets = 50176",
			"net.netfilter.nf_conntrack_tcp_timeout_time_wait = 60",
		},
		"modprobe.d/90-conntrack.conf":     {"options nf_conntrack hashsize=50176"},
		"modules-load.d/90-conntrack.conf": {"nf_conntrack"},
		"udev/rules.d/90-conntrack.rules": {
			`ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter"`,
		},
		"nftables.d/90-notrack.nft": {
			"table inet conntrack_notrack {",
			"chain prerouting {", "type filter hook prerouting priority raw; policy accept;", `iif "lo" notrack`, "tcp dport 6379 notrack", "tcp sport 6379 notrack", "}",
			"chain output {", "type filter hook output priority raw; policy accept;", `oif "lo" notrack`, "tcp dport 6379 notrack", "tcp sport 6379 notrack", "}",
			"}",
		},
		"iptables/90-notrack.rules": {
			"*raw",
			"-A PREROUTING -i lo -j CT --notrack", "-A PREROUTING -p tcp --dport 6379 -j CT --notrack", "-A PREROUTING -p tcp --sport 6379 -j CT --notrack",
			"-A OUTPUT -o lo -j CT --notrack", "-A OUTPUT -p tcp --dport 6379 -j CT --notrack", "-A OUTPUT -p tcp --sport 6379 -j CT --notrack",
			"COMMIT",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestLittleLoopbackIsTracked(t *testing.T) {
	n := facts()
	n.Census = census.Summary{Seen: 100, Loopback: 19}
	for _, f := range New(n).Files {
		if strings.Contains(f.Path, "notrack") {
			t.Errorf("%s for 19 %% of the entries", f.Path)
		}
	}
}

// TestTranslatedPortsAreTracked: NOTRACK takes the translation away, in the
// report as in diagnose.
func TestTranslatedPortsAreTracked(t *testing.T) {
	top := census.Talkers{Ports: []census.Counted[census.Port]{{Key: census.Port{Proto: conntrack.ProtoTCP, Number: 443}, Count: 900}}}
	for translated, want := range map[uint64]int{0: 1, 9: 1, 10: 0, 900: 0} {
		f := Facts{Cause: policy.Churn, Census: census.Summary{Seen: 1000, Translated: translated}, Top: top}
		fix, rules := New(f), 0
		for _, file := range fix.Files {
			rules += strings.Count(file.Text, "tcp dport 443 notrack")
		}
		commands := strings.Count(fmt.Sprint(f.Items()), "dport { 443 } notrack")
		if rules != 2*want || commands != 2*want {
			t.Errorf("%d of 1000 entries translated: %d rules in files, %d in commands, want %d", translated, rules, commands, 2*want)
		}
		const said = "Most entries are about tcp/443 (90 %). They can't be left untracked"
		if warned := strings.Contains(fmt.Sprint(fix.Warnings), said); warned != (want == 0) || strings.Contains(fmt.Sprint(f.Items()), said) != warned {
			t.Errorf("%d of 1000 entries translated: warnings %q", translated, fix.Warnings)
		}
	}
}

func TestOnlyDominantPortsOfTCPAreUntracked(t *testing.T) {
	port := func(proto uint8, number uint16, count uint64) census.Counted[census.Port] {
		return census.Counted[census.Port]{Key: census.Port{Proto: proto, Number: number}, Count: count}
	}
	f := Facts{
		Census: census.Summary{Seen: 100},
		Top: census.Talkers{Ports: []census.Counted[census.Port]{
			port(conntrack.ProtoUDP, 53, 41), port(conntrack.ProtoTCP, 6379, 40), port(conntrack.ProtoTCP, 80, 19),
		}},
		NoTrackPorts: []census.Port{{Proto: conntrack.ProtoUDP, Number: 4789}, {Proto: conntrack.ProtoTCP, Number: 6379}},
	}
	want := []census.Port{{Proto: conntrack.ProtoTCP, Number: 6379}, {Proto: conntrack.ProtoUDP, Number: 4789}}
	if diff := cmp.Diff(want, f.noTrackPorts()); diff != "" {
		t.Errorf("untracked ports (-want +got):\n%s", diff)
	}
}

// TestDiagnoseAndTheFixGiveTheSameNumbers: of the same facts.
func TestDiagnoseAndTheFixGiveTheSameNumbers(t *testing.T) {
	f := facts()
	f.Level = policy.High
	fix, items := New(f), fmt.Sprint(f.Items())
	want := []string{Setting(conntrack.SysctlMax, fix.Max), Setting(conntrack.TCPTimeWait.Sysctl(), uint64(fix.Timeouts[conntrack.TCPTimeWait]))}
	for _, line := range want {
		if !strings.Contains(items, line) {
			t.Errorf("no %q in %s", line, items)
		}
	}
	f.Max, f.Peak = 262_144, 1000 // which stays
	if fix := New(f); !strings.Contains(fmt.Sprint(f.Items()), Setting(conntrack.SysctlBuckets, fix.Buckets)) {
		t.Errorf("not %d buckets in %+v", fix.Buckets, f.Items())
	}
}
