package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// An Advice is something to change for good, for a person to judge.
type Advice struct {
	Text string `json:"text"`
	// Commands are what to paste, or to put into a file.
	Commands []string `json:"commands,omitempty"`
	// Breaks says what it breaks.
	Breaks string `json:"breaks,omitempty"`
}

const (
	// worthAdvice is the share from which a port, a source or loopback is
	// worth a word.
	worthAdvice = conntrack.Permyriad(1000)
	// worthNoTrack is the one from which not to track a port is.
	worthNoTrack = conntrack.Permyriad(2000)
)

// advise lists what an engineer should do, the cure before the larger table.
func (l *Look) advise(found *Diagnosis, a *policy.Assessment) []Advice {
	list := []Advice{}
	s := &found.Census
	if s.Share(s.Loopback) >= worthAdvice {
		list = append(list, adviseLoopback(s))
	}
	switch found.Cause {
	case policy.Churn:
		list = append(list, advisePools(found))
		list = append(list, adviseNoTrack(found)...)
	case policy.HalfOpen:
		list = append(list, adviseSources(found))
	case policy.Stale:
		list = append(list, Advice{
			Text: fmt.Sprintf("Shorten the timeout of established connections from %d s to a day, and turn on TCP keepalive in the applications.",
				found.Timeouts[conntrack.TCPEstablished]),
			Commands: []string{"net.netfilter.nf_conntrack_tcp_timeout_established = 86400"},
			Breaks:   "connections that are silent for longer and have no keepalive; never go below 7440 s (TCP keepalive asks after 7200 s)",
		})
	case policy.Load:
		list = append(list, adviseNoTrack(found)...)
	}
	if l.from == fromKernel {
		list = append(list, l.adviseSize(a)...)
	}
	return list
}

func adviseLoopback(s *census.Summary) Advice {
	return Advice{
		Text: fmt.Sprintf("%s of the entries are loopback connections of this host. Do not track them.", percent(s.Share(s.Loopback))),
		Commands: []string{
			"nft add table inet untracked",
			"nft 'add chain inet untracked out { type filter hook output priority raw; }'",
			"nft 'add chain inet untracked in { type filter hook prerouting priority raw; }'",
			"nft add rule inet untracked out oif lo notrack",
			"nft add rule inet untracked in iif lo notrack",
		},
		Breaks: "rules that let loopback in by its state (accept lo before them), and NAT of loopback connections (published container ports)",
	}
}

// advisePools names who opens and closes connections all the time.
func advisePools(found *Diagnosis) Advice {
	text := "Connections are opened and closed all the time. Keep them open where they are made: connection pools, HTTP keep-alive towards upstreams."
	if who := named(found, conntrack.ProtoTCP); who != "" {
		text += " Begin with " + who + "."
	}
	ad := Advice{Text: text}
	if now := found.Timeouts[conntrack.TCPTimeWait]; now > 60 {
		ad.Text += fmt.Sprintf(" Until then remember closed ones for 60 s instead of %d s. To shorten tcp_timeout_established would not help: only %s are established.",
			now, percent(found.Census.Share(found.Census.Established)))
		ad.Commands = []string{"net.netfilter.nf_conntrack_tcp_timeout_time_wait = 60"}
		ad.Breaks = "nothing known; packets of an old connection that come later than a minute are not recognised"
	}
	return ad
}

// named lists up to three ports with the most entries, of some protocols or
// (none) of all.
func named(found *Diagnosis, protos ...uint8) string {
	var ports []string
	for _, p := range found.Top.Ports {
		of := len(protos) == 0 || slices.Contains(protos, p.Key.Proto)
		if share := found.Census.Share(p.Count); of && len(ports) < 3 && share >= worthAdvice {
			ports = append(ports, fmt.Sprintf("%s (%s)", p.Key, percent(share)))
		}
	}
	return strings.Join(ports, ", ")
}

// adviseNoTrack proposes not to track the ports that have most of the table.
func adviseNoTrack(found *Diagnosis) []Advice {
	s := &found.Census
	var ports, sets []string
	for _, p := range found.Top.Ports {
		if s.Share(p.Count) < worthNoTrack || p.Key.Proto != conntrack.ProtoTCP {
			continue
		}
		ports = append(ports, fmt.Sprintf("%s (%s)", p.Key, percent(s.Share(p.Count))))
		sets = append(sets, strconv.Itoa(int(p.Key.Number)))
	}
	if len(ports) == 0 {
		return nil
	}
	if s.HasNAT() {
		return []Advice{{
			Text: fmt.Sprintf("Most entries are about %s. They can't be left untracked as long as they are translated: %d entries are.",
				strings.Join(ports, ", "), s.Translated),
		}}
	}
	set := "{ " + strings.Join(sets, ", ") + " }"
	return []Advice{{
		Text: fmt.Sprintf("Most entries are about %s. If no rule needs their state, do not track them, in both directions.", strings.Join(ports, ", ")),
		Commands: []string{
			"nft add table inet untracked",
			"nft 'add chain inet untracked in { type filter hook prerouting priority raw; }'",
			"nft 'add chain inet untracked out { type filter hook output priority raw; }'",
			"nft 'add rule inet untracked in tcp dport " + set + " notrack'",
			"nft 'add rule inet untracked in tcp sport " + set + " notrack'",
			"nft 'add rule inet untracked out tcp dport " + set + " notrack'",
			"nft 'add rule inet untracked out tcp sport " + set + " notrack'",
		},
		Breaks: "rules that match their state (established, related) and any NAT for these ports: accept both directions by port first",
	}}
}

// adviseSources names who does not get, or does not give, an answer.
func adviseSources(found *Diagnosis) Advice {
	s := &found.Census
	var who []string
	for _, n := range found.Top.Networks {
		if s.Share(n.Count) >= worthAdvice && len(who) < 3 {
			who = append(who, fmt.Sprintf("%s (%s)", n.Key, percent(s.Share(n.Count))))
		}
	}
	ports := named(found)
	if ports == "" {
		ports = "many ports"
	}
	if len(who) == 0 {
		return Advice{
			Text:     "Nobody answers, and no source network has a tenth of the entries: the sources are many or forged. Towards " + ports + ". Drop what is not served before it is tracked; let syncookies or synproxy answer for what is.",
			Commands: []string{"sysctl net.ipv4.tcp_syncookies", "nft 'add rule inet untracked in tcp dport PORT tcp flags syn notrack'   # with synproxy behind it"},
		}
	}
	return Advice{
		Text:     "Nobody answers " + strings.Join(who, ", ") + " towards " + ports + ". Find out what it is: a scan or flood is dropped before it is tracked, one-way traffic (syslog, flow records, VXLAN) is not tracked at all.",
		Commands: []string{"nft add table inet untracked", "nft 'add chain inet untracked in { type filter hook prerouting priority raw; }'", "nft add rule inet untracked in " + familyOf(found.Top.Networks[0].Key.Addr()) + " saddr " + found.Top.Networks[0].Key.String() + " drop"},
		Breaks:   "everything else from that network",
	}
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}

// adviseSize compares max, hash and memory.
func (l *Look) adviseSize(a *policy.Assessment) []Advice {
	var list []Advice
	t := &l.Observation.Table
	if t.Buckets > 0 && t.Max > conntrack.EntriesPerBucket*t.Buckets {
		buckets := conntrack.Buckets(t.Max, conntrack.EntriesPerBucket)
		list = append(list, Advice{
			Text: fmt.Sprintf("max is %d times the buckets: when it fills, each chain has %d entries on average. Make the hash larger, best at boot.",
				t.Max/t.Buckets, 2*t.Max/t.Buckets),
			Commands: []string{
				fmt.Sprintf("net.netfilter.nf_conntrack_buckets = %d", buckets),
				fmt.Sprintf("options nf_conntrack hashsize=%d   # modprobe.d; sets max to 8 times as much until sysctl.d is read", buckets),
			},
			Breaks: "resizing a full hash at run time stops tracked packets for a moment",
		})
	}
	if a.Level == policy.Calm || a.Budget.Max <= t.Max {
		return list
	}
	want := min(max(2*t.Max, t.Entries*10/6), a.Budget.Max)
	return append(list, Advice{
		Text: fmt.Sprintf("The table is %s full. Raise max for good; what is set by hand is lost at the next boot. It is one number for all network namespaces, each of which may fill it: %d MiB each.",
			percent(a.Fullness), want*a.Budget.PerEntry>>20),
		Commands: []string{fmt.Sprintf("net.netfilter.nf_conntrack_max = %d   # sysctl.d, and load nf_conntrack before it is read", want)},
	})
}
