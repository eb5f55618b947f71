package advice

import (
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/internal/census"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// addNoTrack writes the rules that keep traffic out of the table for good.
func (fix *Fix) addNoTrack(f *Facts) {
	loopback, ports := f.noTrackLoopback(), f.noTrackPorts()
	if dominant := f.dominantPorts(); f.Census.HasNAT() && len(dominant) > 0 {
		fix.warn("%s", f.translatedWarning(dominant))
	}
	if !loopback && len(ports) == 0 {
		return
	}
	if loopback {
		fix.explain("%s of the entries are of this host with itself (loopback): not tracking them would spare as much of the table", policy.Percent(f.Census.Share(f.Census.Loopback)))
		fix.warn("Untracked loopback: redirects and NAT on lo stop working, such as Docker's published ports and Kubernetes' node ports as seen from the host itself.")
	}
	if len(ports) > 0 {
		fix.warn("Untracked ports: no NAT and no port forwarding for them, and rules that accept by state (ct state established) no longer do; accept both directions by port.")
	}
	fix.Files = append(fix.Files, File{
		Path: "nftables.d/90-notrack.nft", Text: nftables(f, loopback, ports),
		About: "Traffic that is not tracked at all, for nftables. Try it with: nft -f FILE; undo it with: nft delete table inet conntrack_notrack. " +
			"At boot it counts if /etc/nftables.conf has the line: include \"/etc/nftables.d/*.nft\"",
	}, File{
		Path: "iptables/90-notrack.rules", Text: iptables(f, loopback, ports),
		About: "The same for iptables; use one of the two. Try it with: iptables-restore --noflush FILE (and ip6tables-restore). " +
			"At boot it counts if it stands in what restores your rules, such as /etc/iptables/rules.v4",
	})
}

const noTrackCaution = `# What is not tracked has no state: "ct state established,related accept" does not let it
# through, and there is no NAT for it (no masquerading, no port forwarding, no Docker or
# Kubernetes service on it). Accept it by address or port, in both directions.
`

func nftables(f *Facts, loopback bool, ports []census.Port) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed by ctwarden from %s.\n%stable inet conntrack_notrack {\n", f.Source, noTrackCaution)
	for _, hook := range [...]struct{ name, side string }{{"prerouting", "iif"}, {"output", "oif"}} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %[1]s priority raw; policy accept;\n", hook.name)
		if loopback {
			fmt.Fprintf(&b, "\t\t%s \"lo\" notrack\n", hook.side)
		}
		for _, p := range ports {
			fmt.Fprintf(&b, "\t\t%s dport %d notrack\n\t\t%[1]s sport %[2]d notrack\n", conntrack.ProtoName(p.Proto), p.Number)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func iptables(f *Facts, loopback bool, ports []census.Port) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed by ctwarden from %s.\n%s*raw\n", f.Source, noTrackCaution)
	for _, chain := range [...]struct{ name, side string }{{"PREROUTING", "-i"}, {"OUTPUT", "-o"}} {
		if loopback {
			fmt.Fprintf(&b, "-A %s %s lo -j CT --notrack\n", chain.name, chain.side)
		}
		for _, p := range ports {
			fmt.Fprintf(&b, "-A %s -p %s --dport %d -j CT --notrack\n-A %[1]s -p %[2]s --sport %[3]d -j CT --notrack\n", chain.name, conntrack.ProtoName(p.Proto), p.Number)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
