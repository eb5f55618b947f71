package advice

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

// An Item is one thing to change for good, for a person to judge. Its JSON is a
// contract.
type Item struct {
	Text string `json:"text"`
	// Commands are what to paste, or to put into a file.
	Commands []string `json:"commands,omitempty"`
	// Breaks is what it breaks.
	Breaks string `json:"breaks,omitempty"`
}

// Items lists what to change for good, the cure of the cause before the larger
// table.
func (f *Facts) Items() []Item {
	items := []Item{}
	if f.Census.Share(f.Census.Loopback) >= adviceShare {
		items = append(items, f.loopbackItem())
	}
	switch f.Cause {
	case policy.Churn:
		items = append(items, f.poolsItem())
		items = append(items, f.portItems()...)
	case policy.HalfOpen:
		items = append(items, f.sourcesItem())
	case policy.Stale:
		items = append(items, Item{
			Text: fmt.Sprintf("Shorten the timeout of established connections from %d s to a day, and turn on TCP keepalive in the applications.",
				f.Timeouts[conntrack.TCPEstablished]),
			Commands: []string{Setting(conntrack.TCPEstablished.Sysctl(), established)},
			Breaks:   "connections that are silent for longer and have no keepalive; never go below 7440 s (TCP keepalive asks after 7200 s)",
		})
	case policy.Load:
		items = append(items, f.portItems()...)
	}
	return append(items, f.sizeItems()...)
}

// nftCommands are the commands that add rules to a table that tracks nothing,
// each with its chain: in or out.
func nftCommands(rules ...string) []string {
	commands := []string{"nft add table inet untracked"}
	for _, chain := range [...]struct{ name, hook string }{{"in", "prerouting"}, {"out", "output"}} {
		if slices.ContainsFunc(rules, func(rule string) bool { return strings.HasPrefix(rule, chain.name+" ") }) {
			commands = append(commands, fmt.Sprintf("nft 'add chain inet untracked %s { type filter hook %s priority raw; }'", chain.name, chain.hook))
		}
	}
	for _, rule := range rules {
		command := "add rule inet untracked " + rule
		if strings.ContainsAny(rule, "{}") { // the shell's
			command = "'" + command + "'"
		}
		commands = append(commands, "nft "+command)
	}
	return commands
}

func (f *Facts) loopbackItem() Item {
	return Item{
		Text:     fmt.Sprintf("%s of the entries are loopback connections of this host. Do not track them.", f.Census.Share(f.Census.Loopback).Percent()),
		Commands: nftCommands("out oif lo notrack", "in iif lo notrack"),
		Breaks:   "rules that let loopback in by its state (accept lo before them), and NAT of loopback connections (published container ports)",
	}
}

// poolsItem names the ports whose connections open and close all the time.
func (f *Facts) poolsItem() Item {
	text := "Connections are opened and closed all the time. Keep them open where they are made: connection pools, HTTP keep-alive towards upstreams."
	if ports := f.ports(conntrack.ProtoTCP); ports != "" {
		text += " Begin with " + ports + "."
	}
	item := Item{Text: text}
	if now := f.Timeouts[conntrack.TCPTimeWait]; now > timeWait {
		item.Text += fmt.Sprintf(" Until then remember closed ones for %d s instead of %d s. To shorten tcp_timeout_established would not help: only %s are established.",
			timeWait, now, f.Census.Share(f.Census.Established).Percent())
		item.Commands = []string{Setting(conntrack.TCPTimeWait.Sysctl(), timeWait)}
		item.Breaks = "nothing known; packets of an old connection that come later than a minute are not recognised"
	}
	return item
}

// ports lists up to three ports with the most entries, of some protocols or
// (none) of all.
func (f *Facts) ports(protos ...uint8) string {
	top := slices.DeleteFunc(slices.Clone(f.Top.Ports), func(p census.Counted[census.Port]) bool {
		return len(protos) > 0 && !slices.Contains(protos, p.Key.Proto)
	})
	return strings.Join(topShares(f, top, adviceShare), ", ")
}

// topShares lists up to three of the top with their shares, from a least one on.
func topShares[K fmt.Stringer](f *Facts, top []census.Counted[K], least conntrack.Permyriad) []string {
	const most = 3
	var list []string
	for _, c := range top {
		if share := f.Census.Share(c.Count); share >= least && len(list) < most {
			list = append(list, fmt.Sprintf("%s (%s)", c.Key, share.Percent()))
		}
	}
	return list
}

// portItems propose not to track the ports that have most of the table.
func (f *Facts) portItems() []Item {
	dominant := f.dominantPorts()
	switch {
	case len(dominant) == 0:
		return nil
	case f.Census.HasNAT():
		return []Item{{Text: f.translatedWarning(dominant)}}
	}
	var numbers []string
	for _, p := range dominant {
		numbers = append(numbers, strconv.Itoa(int(p.Key.Number)))
	}
	set := "{ " + strings.Join(numbers, ", ") + " } notrack"
	return []Item{{
		Text:     fmt.Sprintf("Most entries are about %s. If no rule needs their state, do not track them, in both directions.", f.portShares(dominant)),
		Commands: nftCommands("in tcp dport "+set, "in tcp sport "+set, "out tcp dport "+set, "out tcp sport "+set),
		Breaks:   "rules that match their state (established, related) and any NAT for these ports: accept both directions by port first",
	}}
}

func (f *Facts) portShares(ports []census.Counted[census.Port]) string {
	var names []string
	for _, p := range ports {
		names = append(names, fmt.Sprintf("%s (%s)", p.Key, f.Census.Share(p.Count).Percent()))
	}
	return strings.Join(names, ", ")
}

// translatedWarning describes why the dominant ports stay tracked.
func (f *Facts) translatedWarning(dominant []census.Counted[census.Port]) string {
	return fmt.Sprintf("Most entries are about %s. They can't be left untracked as long as they are translated: %d entries are.",
		f.portShares(dominant), f.Census.Translated)
}

// sourcesItem names the sources that do not get, or do not send, a reply.
func (f *Facts) sourcesItem() Item {
	networks := topShares(f, f.Top.Networks, adviceShare)
	ports := f.ports()
	if ports == "" {
		ports = "many ports"
	}
	if len(networks) == 0 {
		return Item{
			Text:     "Nobody answers, and no source network has a tenth of the entries: the sources are many or forged. Towards " + ports + ". Drop what is not served before it is tracked; let syncookies or synproxy answer for what is.",
			Commands: []string{"sysctl net.ipv4.tcp_syncookies", "nft 'add rule inet untracked in tcp dport PORT tcp flags syn notrack'   # with synproxy behind it"},
		}
	}
	first := f.Top.Networks[0].Key
	return Item{
		Text:     "Nobody answers " + strings.Join(networks, ", ") + " towards " + ports + ". Find out what it is: a scan or flood is dropped before it is tracked, one-way traffic (syslog, flow records, VXLAN) is not tracked at all.",
		Commands: nftCommands("in " + familyOf(first.Addr()) + " saddr " + first.String() + " drop"),
		Breaks:   "everything else from that network",
	}
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}

// sizeItems compare max, hash and memory.
func (f *Facts) sizeItems() []Item {
	var items []Item
	if f.Buckets > 0 && f.Max > conntrack.EntriesPerBucket*f.Buckets {
		buckets := f.sizedBuckets(f.Max)
		items = append(items, Item{
			Text: fmt.Sprintf("max is %d times the buckets: when it fills, each chain has %d entries on average. Make the hash larger, best at boot.",
				f.Max/f.Buckets, 2*f.Max/f.Buckets),
			Commands: []string{
				Setting(conntrack.SysctlBuckets, buckets),
				HashOption(buckets) + "   # modprobe.d; sets max to 8 times as much until sysctl.d is read",
			},
			Breaks: "resizing a full hash at run time stops tracked packets for a moment",
		})
	}
	limit, _ := f.sizedMax()
	if f.Level == policy.Calm || limit <= f.Max {
		return items
	}
	return append(items, Item{
		Text: fmt.Sprintf("The table is %s full. Raise max for good; what is set by hand is lost at the next boot. It is one number for all network namespaces, each of which may fill it: %d MiB each.",
			conntrack.Share(f.Peak, f.Max).Percent(), limit*f.Budget.PerEntry>>20),
		Commands: []string{Setting(conntrack.SysctlMax, limit) + "   # sysctl.d, and load nf_conntrack before it is read"},
	})
}
