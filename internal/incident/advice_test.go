package incident

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

func need() Need {
	return Need{
		Of: "a test", Peak: 120_000, Max: 65_536, Buckets: 16_384, Cause: policy.Churn,
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
		change func(*Need)
		want   sizes
	}{
		"the peak fills 60 % of it, four entries a bucket": {
			func(*Need) {}, sizes{200_704, 50_176, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"who was refused gets room as well": {
			func(n *Need) { n.Refused = 60_000 }, sizes{300_032, 75_264, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"the memory budget is not left, and it says so": {
			func(n *Need) { n.Budget.Max = 100_000 }, sizes{100_000, 25_088, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 2},
		},
		"a limit that is large enough stays": {
			func(n *Need) { n.Max = 1 << 20 }, sizes{1 << 20, 1 << 18, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"a limit above the budget is the administrator's": {
			func(n *Need) { n.Max, n.Budget.Max = 1<<20, 1000 }, sizes{1 << 20, 1 << 18, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"more buckets than entries stay": {
			func(n *Need) { n.Buckets = 1 << 20 }, sizes{200_704, 1 << 20, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
		"live load keeps its timeouts": {
			func(n *Need) { n.Cause = policy.Load }, sizes{200_704, 50_176, conntrack.Timeouts{}, 1},
		},
		"a timeout that is shorter already stays": {
			func(n *Need) { n.Timeouts[conntrack.TCPTimeWait] = 30 }, sizes{200_704, 50_176, conntrack.Timeouts{}, 1},
		},
		"half-open connections are forgotten sooner": {
			func(n *Need) { n.Cause = policy.HalfOpen },
			sizes{200_704, 50_176, conntrack.Timeouts{conntrack.TCPSynSent: 60, conntrack.TCPSynRecv: 30}, 1},
		},
		"stale ones after a day, with what that breaks": {
			func(n *Need) { n.Cause = policy.Stale }, sizes{200_704, 50_176, conntrack.Timeouts{conntrack.TCPEstablished: 86400}, 2},
		},
		"no number is beyond what a kernel takes": {
			func(n *Need) { n.Peak, n.Refused, n.Budget = 1<<63, 1<<63, policy.Budget{} },
			sizes{1<<31 - 1, conntrack.MostBuckets, conntrack.Timeouts{conntrack.TCPTimeWait: 60}, 1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := need()
			tt.change(&n)
			a := Advise(n)
			if diff := cmp.Diff(tt.want, sizes{a.Max, a.Buckets, a.Timeouts, len(a.Warnings)}); diff != "" {
				t.Errorf("advice (-want +got):\n%s\n%q", diff, a.Warnings)
			}
		})
	}
}

func TestAdviceThatIsBoundedSaysSoOnce(t *testing.T) {
	n := need()
	n.Budget.Max = 100_000
	a := Advise(n)
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
	n := need()
	n.Census = census.Summary{Seen: 100, Loopback: 40}
	n.Ports = []Port{{Proto: "tcp", Number: 6379}, {Proto: "no such", Number: 1}}
	got := map[string][]string{}
	for _, f := range Advise(n).Files {
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
	n := need()
	n.Census = census.Summary{Seen: 100, Loopback: 19}
	for _, f := range Advise(n).Files {
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
		i := Incident{ID: "X", After: &Look{Summary: census.Summary{Seen: 1000, Translated: translated}, Top: &top}}
		need := i.Need()
		rules := 0
		for _, f := range Advise(need).Files {
			rules += strings.Count(f.Text, "tcp dport 443 notrack")
		}
		if len(need.Ports) != want || (rules > 0) != (want > 0) {
			t.Errorf("%d of 1000 entries translated: ports %v and %d rules", translated, need.Ports, rules)
		}
	}
}

func TestNameOfAnIncidentCanNotEndAComment(t *testing.T) {
	i := Incident{ID: "X\nnet.ipv4.ip_forward = 1\r\u2028" + strings.Repeat("y", 1000), Start: time.Unix(0, 0)}
	for _, f := range Advise(i.Need()).Files {
		if got := strings.Join(settings(f), "\n"); strings.Contains(got, "ip_forward") {
			t.Errorf("%s: %s", f.Path, got)
		}
	}
}

func TestEstimateWithoutChangesIsWhatWasCounted(t *testing.T) {
	i := Incident{Losses: Losses{Packets: 7, Evicted: 3}}
	want := Estimate{Known: true, NoRoom: Range{10, 10, 10}, Refused: Range{7, 7, 7}}
	if diff := cmp.Diff(want, i.Estimate()); diff != "" {
		t.Errorf("estimate (-want +got):\n%s", diff)
	}
}

func TestEstimateOfASteadyClimb(t *testing.T) {
	// 100 live connections a second come for 100 seconds; the limit of 2,000
	// was raised in time. 8,000 would have found no room.
	i := Incident{
		Tally: Tally{Done: 1}, Before: &Look{Summary: census.Summary{Seen: 100, Assured: 100, Established: 100}},
		Decisions: []Decision{{
			Kind: Acted, Action: &policy.Action{Type: policy.RaiseMax},
			Outcome: &policy.Outcome{Action: policy.Action{Type: policy.RaiseMax}, OK: true, Before: 2000, After: 20_000},
		}},
	}
	for n := range 101 {
		i.Curve = append(i.Curve, Point{At: policy.Moment(time.Duration(n) * time.Second), Entries: uint64(n) * 100, Max: 20_000, Buckets: 2000})
	}
	i.First, i.Last = i.Curve[0], i.Curve[100]
	want := Estimate{Known: true, Max: 2000, NoRoom: Range{5600, 8000, 11200}, Refused: Range{5600, 8000, 11200}}
	if diff := cmp.Diff(want, i.Estimate()); diff != "" {
		t.Errorf("estimate (-want +got):\n%s", diff)
	}
	sum := 0.0
	arrivals := i.Arrivals(10)
	for _, a := range arrivals {
		sum += a.Number
	}
	if len(arrivals) > 10 || sum != 10_000 {
		t.Errorf("%v arrivals in %d stretches, want 10,000 in at most 10", sum, len(arrivals))
	}
	i.Curve = i.Curve[:4]
	if e := i.Estimate(); e.Known || e.Why == "" {
		t.Errorf("an estimate from 4 readings: %+v", e)
	}
}
