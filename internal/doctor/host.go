package doctor

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/advice"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// checkFiles finds files that set another value than the kernel has.
func (p *checker) checkFiles() {
	const area = "files"
	last := map[string]watcher.Setting{}
	for _, s := range watcher.Settings(p.root) {
		last[s.Sysctl] = s // the last line counts
	}
	ledger, err := remediate.ReadLedger(remediate.Options{Dir: p.cfg.State.Dir})
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		p.add(Wrong, area, "ledger", "ctwarden revert --print", "can't be read: %v", err)
	}
	names := make([]string, 0, len(last))
	for name := range last {
		names = append(names, name)
	}
	slices.Sort(names)
	differ := 0
	for _, name := range names {
		s := last[name]
		running, err := p.number("proc/sys/" + conntrack.SysctlDir + "/" + name)
		if err != nil || strconv.FormatInt(running, 10) == s.Value {
			continue
		}
		differ++
		ours := slices.ContainsFunc(ledger.Entries, func(e remediate.Row) bool { return e.Sysctl == name })
		if ours {
			p.add(Note, area, name, "ctwarden recommend", "%s:%d says %s, and ctwarden has set it to %d", s.File, s.Line, s.Value, running)
			continue
		}
		p.add(Wrong, area, name, "sysctl --system   # and: echo nf_conntrack >/etc/modules-load.d/nf_conntrack.conf",
			"%s:%d says %s, but %d is in force: changed since, or the module was loaded after sysctl.d was applied, as happens at each boot",
			s.File, s.Line, s.Value, running)
	}
	for _, o := range watcher.ModuleOptions(p.root) {
		n, err := strconv.ParseUint(o.Value, 10, 32)
		buckets := p.table.Table.Buckets
		if o.Sysctl != "hashsize" || err == nil && conntrack.RoundBuckets(n) == buckets {
			continue
		}
		differ++
		fix := advice.SetNow(conntrack.SysctlBuckets, n)
		if err != nil {
			fix = advice.HashOption(buckets)
		}
		p.add(Wrong, area, "hashsize", fix, "%s:%d says hashsize=%s, but there are %d buckets", o.File, o.Line, o.Value, buckets)
	}
	if differ == 0 {
		p.add(Fine, area, "sysctl.d, modprobe.d", "", "no line contradicts what is in force")
	}
}

// checkCaller reports on whose behalf the rest is checked.
func (p *checker) checkCaller(uid int) {
	if uid != 0 {
		p.add(Note, "doctor", "asked by", "sudo ctwarden doctor",
			"uid %d, with whose rights it is checked: what is wrong below need not be wrong for the daemon", uid)
	}
}

// checkSandbox checks what a container or a unit may have taken away.
func (p *checker) checkSandbox() {
	const area = "sandbox"
	if _, err := os.Stat(p.path("proc/sys/net")); err != nil {
		p.add(Wrong, area, "/proc/sys", "in a unit: ProcSubset=all; in a container: --volume /proc/sys:/proc/sys",
			"is hidden, so that no table can be seen: %v", err)
	}
	own, err := p.ownsHostNetwork()
	p.foreign = err == nil && !own
	switch {
	case err != nil:
		fix := "sudo ctwarden doctor"
		if os.Geteuid() == 0 {
			fix = "ctwarden doctor   # outside of the container"
		}
		p.add(Note, area, "namespace", fix, "whether this is the host's own network namespace can't be seen: %v", err)
	case !own:
		p.add(Wrong, area, "namespace", "in a unit: PrivateNetwork=no; in a container: --network=host",
			"this is %s, not the host's own: only a small table of its own is seen, and max can't be written", p.own)
	default:
		p.add(Fine, area, "namespace", "", "the host's own")
	}
}

// ownsHostNetwork reports whether this is the host's own network namespace. Only there
// is max below net as well as below net/netfilter (nf_ct_netfilter_table in
// net/netfilter/nf_conntrack_standalone.c). Without a table, the first process
// is examined, which in a container is that of the container.
func (p *checker) ownsHostNetwork() (bool, error) {
	if _, err := os.Stat(p.path("proc/sys/" + conntrack.SysctlDir + "/" + conntrack.SysctlMax)); err == nil {
		_, err := os.Stat(p.path("proc/sys/net/" + conntrack.SysctlMax))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	first, err := os.Readlink(p.path("proc/1/ns/net"))
	return first == p.own.String(), err
}

// leastFree is the free space below which an incident may not be recorded.
const leastFree = 64 << 20

// checkStorage checks that there can be an audit log and a ledger: without
// them nothing is changed.
func (p *checker) checkStorage() {
	for _, place := range []struct{ check, dir string }{
		{"audit log", filepath.Dir(p.cfg.Audit.Path)}, {"ledger", p.cfg.State.Dir},
	} {
		p.checkDir(place.check, p.path(place.dir))
	}
}

func (p *checker) checkDir(check, dir string) {
	const area = "storage"
	f, err := os.CreateTemp(dir, ".doctor-*")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.add(Note, area, check, "mkdir -p "+dir, "%s is not there; the daemon makes it, where it may", dir)
		return
	case err != nil:
		p.add(Wrong, area, check, "sudo ctwarden doctor; chown ctwarden: "+dir,
			"%s can't be written, and without a record nothing is changed: %v", dir, err)
		return
	}
	_ = errors.Join(f.Close(), os.Remove(f.Name())) // what is left of it is empty
	var space unix.Statfs_t
	if err := unix.Statfs(dir, &space); err != nil {
		p.add(Wrong, area, check, "", "%s: free space: %v", dir, err)
		return
	}
	free := space.Bavail * uint64(space.Bsize)
	switch {
	case free < leastFree:
		p.add(Wrong, area, check, "df -h "+dir, "%s has %d MiB free: an incident may not be recorded, and then nothing is changed", dir, free>>20)
	case space.Type == unix.TMPFS_MAGIC:
		p.add(Note, area, check, "audit.path and state.dir on a disk", "%s is in memory: it is gone after a reboot", dir)
	default:
		p.add(Fine, area, check, "", "%s can be written, %d MiB free", dir, free>>20)
	}
}

// checkClock checks the clocks: decisions need one that runs evenly, records
// one that is right.
func (p *checker) checkClock() {
	const area = "clock"
	source, err := os.ReadFile(p.path("sys/devices/system/clocksource/clocksource0/current_clocksource"))
	switch name := string(bytes.TrimSpace(source)); {
	case err != nil:
	case name == "jiffies" || name == "refined-jiffies":
		p.add(Wrong, area, "source", "cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
			"the clock is %s: it stops while interrupts are off, as in a storm", name)
	default:
		p.add(Fine, area, "source", "", "%s", name)
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		p.add(Note, area, "time", "", "whether it is right can't be asked: %v", err)
	case time.Now().Year() < 2025:
		p.add(Wrong, area, "time", "timedatectl set-ntp true", "it is %s by this clock: the records will lie", time.Now().Format(time.DateOnly))
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		p.add(Note, area, "time", "timedatectl set-ntp true", "nobody keeps the clock right; decisions don't need it, records do")
	default:
		p.add(Fine, area, "time", "", "kept right")
	}
}

// checkWriters finds programs that set the same values.
func (p *checker) checkWriters() {
	const area = "writers"
	writers := watcher.CompetingWriters(p.root)
	for _, r := range writers {
		if r.Name != "kube-proxy" {
			p.add(Note, area, r.Name, "", "pid %d may write the same values; ctwarden yields to it for a while when it does", r.PID)
			continue
		}
		flags := kubeProxyFlags(p.path("proc/" + strconv.Itoa(r.PID) + "/cmdline"))
		if flags["conntrack-max-per-core"] == "0" { // then min counts for nothing
			p.add(Fine, area, r.Name, "", "pid %d leaves nf_conntrack_max alone", r.PID)
			continue
		}
		p.add(Note, area, r.Name, "kube-proxy --conntrack-max-per-core=0   # or conntrack.maxPerCore: 0 in its config",
			"pid %d sets nf_conntrack_max at its start: at least %s, and %s for each core", r.PID,
			orDefault(flags["conntrack-min"], "131072"), orDefault(flags["conntrack-max-per-core"], "32768"))
	}
	if len(writers) == 0 {
		p.add(Fine, area, "programs", "", "none is running that is known to write the same values")
	}
}

func orDefault(value, standard string) string {
	if value == "" {
		return standard + " (its default, or its config file's)"
	}
	return value
}

// kubeProxyFlags reads the flags of a command line about conntrack.
func kubeProxyFlags(path string) map[string]string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	flags := map[string]string{}
	words := strings.Split(string(text), "\x00")
	for i, word := range words {
		name, ok := strings.CutPrefix(word, "--")
		if !ok || !strings.HasPrefix(name, "conntrack-") {
			continue
		}
		name, value, given := strings.Cut(name, "=")
		if !given && i+1 < len(words) {
			value = words[i+1]
		}
		flags[name] = value
	}
	return flags
}

// crowded: another namespace that holds a tenth of max should be watched, as the
// daemon does with watch.netns: all.
const crowded = 10

// checkNamespaces counts the other namespaces, and those that hide.
func (p *checker) checkNamespaces() {
	const area = "netns"
	known := watcher.Known{Root: p.root, Own: p.own.Inode()}
	defer func() { _ = known.Close() }() // it only read
	if err := known.Search(); err != nil {
		p.add(Note, area, "others", "", "can't be found: %v", err)
		return
	}
	s := known.Sweep(max(1, p.table.Table.Max/crowded))
	level := Note
	if p.cfg.Watch.NetNS == config.All {
		level = Wrong
	}
	switch {
	case s.Unread > 0 || s.Hidden > 0:
		p.add(level, area, "others", "mkdir -p /etc/systemd/system/ctwarden.service.d && cp /usr/share/ctwarden/netns.conf $_/ && systemctl daemon-reload",
			"%d found with %d entries, %d can't be read, and %d processes can't be looked at: CAP_SYS_ADMIN and CAP_SYS_PTRACE are needed",
			s.Namespaces, s.Entries, s.Unread, s.Hidden)
	case p.cfg.Watch.NetNS != config.All && s.Filled > 0:
		p.add(Wrong, area, "others", "watch.netns: all", "%d of %d others hold more than a tenth of max, and nobody watches them: %s has %d entries",
			s.Filled, s.Namespaces, s.Full[0].Name(), s.Full[0].Entries)
	default:
		p.add(Fine, area, "others", "", "%d with %d entries, read in %s", s.Namespaces, s.Entries, s.Took.Round(time.Microsecond))
	}
}
