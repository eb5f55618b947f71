package incident

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// A Need is what a permanent fix is sized from.
type Need struct {
	// Of says in a few words where the numbers come from.
	Of string
	// Peak is the most entries seen, Refused how many more wanted in.
	Peak, Refused uint64
	// Max and Buckets are in force without ctwarden.
	Max, Buckets uint64
	Budget       policy.Budget
	Timeouts     conntrack.Timeouts
	Cause        policy.Cause
	Census       census.Summary
	// Ports are those to leave untracked.
	Ports []Port
}

// A Port is a TCP or UDP port that many entries are about.
type Port struct {
	Proto  string              `json:"proto"` // tcp or udp
	Number uint16              `json:"port"`
	Share  conntrack.Permyriad `json:"share,omitempty"`
}

// An Advice is a permanent fix: files, and what to know about them.
type Advice struct {
	Max     uint64 `json:"max"`
	Buckets uint64 `json:"buckets"`
	// Timeouts are those to shorten for good.
	Timeouts conntrack.Timeouts `json:"timeouts,omitzero"`
	// Why says how the numbers came about, Warnings what they cost.
	Why      []string `json:"why"`
	Warnings []string `json:"warnings,omitempty"`
	Files    []File   `json:"files"`
}

// A File is one to put below /etc.
type File struct {
	// Path is relative to /etc.
	Path string `json:"path"`
	// About says what the file does, in a sentence.
	About string `json:"about"`
	Text  string `json:"text"`
}

// Need returns what a permanent fix has to be sized from after an incident.
func (i *Incident) Need() Need {
	n := Need{
		Of:   fmt.Sprintf("incident %s of %s", named(i.ID), i.Start.UTC().Format("2006-01-02 15:04 UTC")),
		Peak: i.Peak.Entries, Max: i.limit(), Buckets: i.First.Buckets, Budget: i.Scene.Budget,
		Timeouts: i.Scene.Timeouts, Cause: i.Cause,
	}
	// Of the packets that were lost, those of one lifetime would have been in
	// the table together.
	if i.Losses.Packets > 0 {
		share := 1.0
		m := i.likely()
		if leaving := m.leaving(&i.Scene.Timeouts); leaving > 0 && i.Duration > 0 {
			share = min(1/leaving/i.Duration.Seconds(), 1)
		}
		n.Refused = uint64(float64(i.Losses.Packets) * share)
	}
	if look := i.lastLook(); look != nil {
		n.Census = look.Summary
		n.Ports = look.ports()
	}
	return n
}

func (i *Incident) lastLook() *Look {
	if i.After != nil {
		return i.After
	}
	return i.Before
}

// ports returns the ports that a fifth of the table is about, if they were
// recorded. Those of UDP are left out: DNS and the like need their state.
func (l *Look) ports() []Port {
	if l.Top == nil {
		return nil
	}
	return Dominant(l.Top.Ports, l.Summary)
}

// Dominant returns the TCP ports that are worth not to be tracked; none of a
// table with NAT.
func Dominant(top []census.Counted[census.Port], s census.Summary) []Port {
	if s.HasNAT() {
		return nil
	}
	var found []Port
	for _, p := range top {
		if share := s.Share(p.Count); p.Key.Proto == conntrack.ProtoTCP && share >= worthNoTrack && len(found) < 4 {
			found = append(found, Port{Proto: "tcp", Number: p.Key.Number, Share: share})
		}
	}
	return found
}

// named returns the name of an incident as a word for a comment: a log from
// elsewhere could hold one that ends the line.
func named(id string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return '_'
	}, id[:min(len(id), 64)])
}

// What the sizes are made of.
const (
	// roomFor is the fullness that the observed peak is to have: below 60 %
	// an incident would end.
	roomFor = 6000
	// worthNoTrack is the share of loopback entries from which it is worth
	// not to track them.
	worthNoTrack = conntrack.Permyriad(2000)
	// mostEntries is the largest limit that every kernel takes (INT_MAX).
	mostEntries = 1<<31 - 1
)

// Advise sizes a permanent fix.
func Advise(n Need) Advice {
	var a Advice
	a.size(&n)
	a.shorten(&n)
	a.Files = append(a.Files, a.sysctlFile(&n), a.modprobeFile(&n), modulesFile(), udevFile())
	a.leaveUntracked(&n)
	return a
}

func (a *Advice) say(format string, args ...any) { a.Why = append(a.Why, fmt.Sprintf(format, args...)) }
func (a *Advice) warn(format string, args ...any) {
	a.Warnings = append(a.Warnings, fmt.Sprintf(format, args...))
}

func (a *Advice) size(n *Need) {
	wanted := min(n.Peak, mostEntries) + min(n.Refused, mostEntries)
	wanted = (wanted*10000/roomFor + 1023) / 1024 * 1024
	a.Max = min(max(wanted, n.Max), mostEntries)
	most := a.Max
	if n.Budget.Max > 0 {
		most = max(n.Budget.Max, n.Max)
	}
	switch {
	case wanted <= n.Max:
		a.say("nf_conntrack_max stays %d: the peak of %d entries fits with room to spare", n.Max, n.Peak)
	case a.Max > most:
		a.Max = most
		a.say("nf_conntrack_max %d: the peak of %d entries should fill 60 %% of %d, but that is beyond the bounds of ctwarden's configuration", most, n.Peak, wanted)
		a.warn("The bounds of ctwarden's configuration (its ceiling, and a memory budget of %d MiB) end at %d entries, less than the %d wanted. "+
			"Widen them, add memory, or track fewer connections.", n.Budget.Bytes>>20, n.Budget.Max, wanted)
	case n.Refused > 0:
		a.say("nf_conntrack_max %d: the peak was %d entries, and %d more packets were refused; together they are to fill 60 %%", a.Max, n.Peak, n.Refused)
	default:
		a.say("nf_conntrack_max %d: the peak of %d entries is to fill 60 %% of it", a.Max, n.Peak)
	}
	a.Buckets = max(conntrack.Buckets(a.Max, conntrack.EntriesPerBucket), n.Buckets)
	if n.Budget.PerEntry > 0 {
		a.say("a full table of that size takes about %d MiB (%d bytes an entry), and as much again in each other network namespace that fills",
			(a.Max*n.Budget.PerEntry+a.Buckets*conntrack.BucketBytes)>>20, n.Budget.PerEntry)
	}
	if a.Buckets == n.Buckets {
		a.say("nf_conntrack_buckets stays %d: enough for that many entries", a.Buckets)
		return
	}
	a.say("nf_conntrack_buckets %d: at most %d entries for each bucket, the ratio that ctwarden keeps; %d KiB", a.Buckets, conntrack.EntriesPerBucket, a.Buckets*conntrack.BucketBytes>>10)
}

// shorten chooses the timeouts of the cause.
func (a *Advice) shorten(n *Need) {
	set := func(t conntrack.Timeout, seconds uint32, why string) {
		if n.Timeouts[t] <= seconds {
			return
		}
		a.Timeouts[t] = seconds
		a.say("%s %d s -> %d s: %s", t.Sysctl(), n.Timeouts[t], seconds, why)
	}
	switch n.Cause {
	case policy.Churn:
		set(conntrack.TCPTimeWait, 60, "closed connections fill the table, and a minute is enough for late packets")
	case policy.HalfOpen:
		set(conntrack.TCPSynSent, 60, "connections that nobody answers need not be remembered for two minutes")
		set(conntrack.TCPSynRecv, 30, "a handshake that takes longer will be tried again")
	case policy.Stale:
		set(conntrack.TCPEstablished, 86400, "connections silent for longer than a day are mostly gone; TCP keepalive asks after 2 h 11 min")
		a.warn("A connection that is silent for longer than a day and has no keepalive loses its entry: behind NAT it breaks.")
	}
}

func (a *Advice) sysctlFile(n *Need) File {
	var b strings.Builder
	fmt.Fprintf(&b, "# Sized by ctwarden from %s.\n", n.Of)
	for _, why := range a.Why {
		fmt.Fprintf(&b, "# %s\n", why)
	}
	fmt.Fprintf(&b, "net.netfilter.nf_conntrack_max = %d\n", a.Max)
	fmt.Fprintf(&b, "net.netfilter.nf_conntrack_buckets = %d\n", a.Buckets)
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		if a.Timeouts[t] > 0 {
			fmt.Fprintf(&b, "net.netfilter.%s = %d\n", t.Sysctl(), a.Timeouts[t])
		}
	}
	return File{
		Path: "sysctl.d/90-conntrack.conf", Text: b.String(),
		About: "The limit, the hash and the timeouts. Load it now with: sysctl -p /etc/sysctl.d/90-conntrack.conf",
	}
}

func (a *Advice) modprobeFile(n *Need) File {
	a.warn("hashsize also sets nf_conntrack_max to 8 times its value (%d) when the module is loaded, until sysctl.d sets it to %d: keep the two files together.",
		a.Buckets*8, a.Max)
	text := fmt.Sprintf("# Sized by ctwarden from %s.\n", n.Of) +
		"# The hash is made in its full size when the module is loaded: enlarging it later stops\n" +
		"# tracked packets for a moment.\n" +
		fmt.Sprintf("# Caution: this also sets nf_conntrack_max to 8 x %d = %d\n# until sysctl.d is applied.\n", a.Buckets, a.Buckets*8) +
		fmt.Sprintf("options nf_conntrack hashsize=%d\n", a.Buckets)
	return File{
		Path: "modprobe.d/90-conntrack.conf", Text: text,
		About: "The size of the hash from the start. It counts at the next load of the module, so at the next boot.",
	}
}

func modulesFile() File {
	return File{
		Path: "modules-load.d/90-conntrack.conf",
		Text: "# systemd loads these before it applies sysctl.d. Without it, the settings of\n" +
			"# nf_conntrack are skipped at boot because the module is not there yet.\n" +
			"nf_conntrack\n",
		About: "Loads the module before sysctl.d is applied: otherwise its settings are skipped at boot without a word.",
	}
}

func udevFile() File {
	return File{
		Path: "udev/rules.d/90-conntrack.rules",
		Text: "# Applies sysctl.d again whenever the module is loaded, as sysctl.d(5) advises.\n" +
			`ACTION=="add", SUBSYSTEM=="module", KERNEL=="nf_conntrack", RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter"` + "\n",
		About: "The same for a module that is loaded later, or loaded again. Either this or modules-load.d is enough.",
	}
}

// leaveUntracked writes the rules that keep traffic out of the table for good.
func (a *Advice) leaveUntracked(n *Need) {
	loopback := n.Census.Seen > 0 && n.Census.Share(n.Census.Loopback) >= worthNoTrack
	ports := slices.DeleteFunc(slices.Clone(n.Ports), func(p Port) bool { return p.Proto != "tcp" && p.Proto != "udp" })
	if !loopback && len(ports) == 0 {
		return
	}
	if loopback {
		a.say("%s of the entries are of this host with itself (loopback): not tracking them would spare as much of the table", policy.Percent(n.Census.Share(n.Census.Loopback)))
		a.warn("Untracked loopback: redirects and NAT on lo stop working, such as Docker's published ports and Kubernetes' node ports as seen from the host itself.")
	}
	if len(ports) > 0 {
		a.warn("Untracked ports: no NAT and no port forwarding for them, and rules that accept by state (ct state established) no longer do; accept both directions by port.")
	}
	a.Files = append(a.Files, File{
		Path: "nftables.d/90-notrack.nft", Text: nftables(n, loopback, ports),
		About: "Traffic that is not tracked at all, for nftables. Try it with: nft -f FILE; undo it with: nft delete table inet conntrack_notrack. " +
			"At boot it counts if /etc/nftables.conf has the line: include \"/etc/nftables.d/*.nft\"",
	}, File{
		Path: "iptables/90-notrack.rules", Text: iptables(n, loopback, ports),
		About: "The same for iptables; use one of the two. Try it with: iptables-restore --noflush FILE (and ip6tables-restore). " +
			"At boot it counts if it stands in what restores your rules, such as /etc/iptables/rules.v4",
	})
}

const breaks = `# What is not tracked has no state: "ct state established,related accept" does not let it
# through, and there is no NAT for it (no masquerading, no port forwarding, no Docker or
# Kubernetes service on it). Accept it by address or port, in both directions.
`

func nftables(n *Need, loopback bool, ports []Port) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed by ctwarden from %s.\n%stable inet conntrack_notrack {\n", n.Of, breaks)
	for _, hook := range [...]struct{ name, side string }{{"prerouting", "iif"}, {"output", "oif"}} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %[1]s priority raw; policy accept;\n", hook.name)
		if loopback {
			fmt.Fprintf(&b, "\t\t%s \"lo\" notrack\n", hook.side)
		}
		for _, p := range ports {
			fmt.Fprintf(&b, "\t\t%s dport %d notrack\n\t\t%[1]s sport %[2]d notrack\n", p.Proto, p.Number)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func iptables(n *Need, loopback bool, ports []Port) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed by ctwarden from %s.\n%s*raw\n", n.Of, breaks)
	for _, chain := range [...]struct{ name, side string }{{"PREROUTING", "-i"}, {"OUTPUT", "-o"}} {
		if loopback {
			fmt.Fprintf(&b, "-A %s %s lo -j CT --notrack\n", chain.name, chain.side)
		}
		for _, p := range ports {
			fmt.Fprintf(&b, "-A %s -p %s --dport %d -j CT --notrack\n-A %[1]s -p %[2]s --sport %[3]d -j CT --notrack\n", chain.name, p.Proto, p.Number)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
