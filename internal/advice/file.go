package advice

import (
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// A File is one to put below /etc.
type File struct {
	// Path is relative to /etc.
	Path string `json:"path"`
	// About is what the file does, in a sentence.
	About string `json:"about"`
	Text  string `json:"text"`
}

// Setting is the line of a file in sysctl.d that sets a sysctl of connection
// tracking, such as nf_conntrack_max.
func Setting(sysctl string, value uint64) string {
	return fmt.Sprintf("net.netfilter.%s = %d", sysctl, value)
}

// SetNow is the command that sets a sysctl of connection tracking until the
// next boot.
func SetNow(sysctl string, value uint64) string {
	return fmt.Sprintf("sysctl -w net.netfilter.%s=%d", sysctl, value)
}

// HashOption is the line of a file in modprobe.d that makes the hash of a size,
// in buckets, when the module is loaded.
func HashOption(buckets uint64) string {
	return fmt.Sprintf("options nf_conntrack hashsize=%d", buckets)
}

func (fix *Fix) sysctlFile(f *Facts) File {
	var b strings.Builder
	fmt.Fprintf(&b, "# Sized by ctwarden from %s.\n", f.Source)
	for _, why := range fix.Why {
		fmt.Fprintf(&b, "# %s\n", why)
	}
	b.WriteString(Setting(conntrack.SysctlMax, fix.Max) + "\n" + Setting(conntrack.SysctlBuckets, fix.Buckets) + "\n")
	for t := conntrack.TCPSynSent; t < conntrack.NumTimeouts; t++ {
		if fix.Timeouts[t] > 0 {
			b.WriteString(Setting(t.Sysctl(), uint64(fix.Timeouts[t])) + "\n")
		}
	}
	return File{
		Path: "sysctl.d/90-conntrack.conf", Text: b.String(),
		About: "The limit, the hash and the timeouts. Load it now with: sysctl -p /etc/sysctl.d/90-conntrack.conf",
	}
}

func (fix *Fix) modprobeFile(f *Facts) File {
	fix.warn("hashsize also sets nf_conntrack_max to 8 times its value (%d) when the module is loaded, until sysctl.d sets it to %d: keep the two files together.",
		fix.Buckets*8, fix.Max)
	text := fmt.Sprintf("# Sized by ctwarden from %s.\n", f.Source) +
		"# The hash is made in its full size when the module is loaded: enlarging it later stops\n" +
		"# tracked packets for a moment.\n" +
		fmt.Sprintf("# Caution: this also sets nf_conntrack_max to 8 x %d = %d\n# until sysctl.d is applied.\n", fix.Buckets, fix.Buckets*8) +
		HashOption(fix.Buckets) + "\n"
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
