package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/advice"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/watcher"
)

// checkTable reports whether there is a table to check further.
func (p *checker) checkTable() bool {
	const area = "table"
	gauge := watcher.TableReader{Root: p.root}
	if p.root == "" {
		gauge.Stats = func() ([]conntrack.CPUStat, error) { return ctnetlink.ReadStats(context.Background(), p.own) }
	}
	sample, err := gauge.Read()
	_ = gauge.Close() // it was only read
	switch {
	case errors.Is(err, watcher.ErrNoTable):
		if _, err := os.Stat(p.path("sys/module/nf_conntrack")); err == nil {
			p.add(Wrong, area, "module", "in a container: --volume /proc/sys:/proc/sys; in a unit: no InaccessiblePaths= below /proc/sys",
				"nf_conntrack is loaded, but its sysctls are not to be seen: the table can't be watched")
			return false
		}
		p.add(Note, area, "module", "modprobe nf_conntrack",
			"nf_conntrack is not loaded: nothing is tracked, and ctwarden waits until it is")
		return false
	case err != nil:
		p.add(Wrong, area, "module", "run it as root: sudo ctwarden doctor", "the table can't be read: %v", err)
		return false
	}
	p.table = sample
	t := sample.Table
	p.add(Fine, area, "module", "", "nf_conntrack is loaded, on Linux %s", watcher.KernelRelease())
	switch full := t.Fullness(); {
	case t.Max == 0:
		p.add(Wrong, area, "max", advice.SetNow(conntrack.SysctlMax, 262144),
			"nf_conntrack_max is 0: no limit, so that a flood takes all memory; Linux 7.0 and later refuse it")
	case full >= p.cfg.Limits.Levels.ElevatedEnter:
		p.add(Wrong, area, "fill", "ctwarden diagnose", "%d of %d entries (%s)", t.Entries, t.Max, policy.Percent(full))
	default:
		p.add(Fine, area, "fill", "", "%d of %d entries (%s)", t.Entries, t.Max, policy.Percent(full))
	}
	if sample.CountersErr != nil {
		p.add(Wrong, area, "counters", "sudo ctwarden doctor   # ctnetlink needs CAP_NET_ADMIN",
			"drops can't be counted: %v", sample.CountersErr)
	} else {
		p.add(Fine, area, "counters", "", "read from %s", sample.CountersFrom)
	}
	return true
}

// checkSize checks the hash, the size of an entry and the memory of it all.
func (p *checker) checkSize() {
	const area = "table"
	t := p.table.Table
	limits := &p.cfg.Limits
	ratio := uint64(0)
	if t.Buckets > 0 {
		ratio = (t.Max + t.Buckets - 1) / t.Buckets
	}
	fix := advice.SetNow(conntrack.SysctlBuckets, conntrack.Buckets(t.Max, cmp.Or(limits.Hash.MaxRatio, conntrack.EntriesPerBucket)))
	stall := time.Duration(min(float64(t.Entries)*float64(limits.Hash.StallPerEntry), float64(time.Hour)))
	if stall > limits.Hash.MaxStall {
		fix += fmt.Sprintf("   # when it is quiet: now tracked packets would wait for some %s", stall.Round(time.Millisecond))
	}
	switch {
	case limits.Hash.StormRatio > 0 && ratio > limits.Hash.StormRatio:
		p.add(Wrong, area, "hash", fix, "%d entries may share a bucket (%d buckets): every packet walks long chains", ratio, t.Buckets)
	case limits.Hash.MaxRatio > 0 && ratio > limits.Hash.MaxRatio:
		p.add(Note, area, "hash", fix, "%d entries may share a bucket (%d buckets); ctwarden resizes the hash when it is calm", ratio, t.Buckets)
	default:
		p.add(Fine, area, "hash", "", "%d buckets, at most %d entries in each on average", t.Buckets, ratio)
	}
	size := watcher.ReadEntrySize(p.root)
	if size.Assumed {
		p.add(Note, area, "entry size", "sudo ctwarden doctor   # the slab can be read by root only",
			"assumed to be %d bytes (%s)", size.Bytes, size.From)
	} else {
		p.add(Fine, area, "entry size", "", "%d bytes, measured in %s", size.Bytes, size.From)
	}
	memory, err := watcher.ReadMemory(p.root)
	if err != nil {
		p.add(Wrong, area, "memory", "", "the host's memory can't be read, so that max is never raised: %v", err)
		return
	}
	o := policy.Observation{Table: t, Memory: policy.Memory{
		Total: memory.Total, Available: memory.Available, EntryBytes: size.Bytes, Assumed: size.Assumed,
	}, Kernel: policy.Kernel{MaxWritable: true}}
	var s policy.State
	b := limits.Assess(&s, &o).Budget
	if b.Max <= t.Max {
		p.add(Note, area, "budget", "ctwarden config reference   # budget.memory_total, raise.ceiling",
			"max is %d and may not be raised: the memory budget is %d MiB, at %d bytes an entry", t.Max, b.Bytes>>20, b.PerEntry)
		return
	}
	p.add(Fine, area, "budget", "", "max may go up to %d: %d MiB, at %d bytes an entry", b.Max, b.Bytes>>20, b.PerEntry)
}

// checkAccess reports which values the caller of doctor could write.
func (p *checker) checkAccess() {
	const area = "rights"
	gauge := watcher.TableReader{Root: p.root}
	access, err := gauge.Access()
	if err != nil {
		p.add(Wrong, area, "sysctls", "sudo ctwarden doctor", "can't be probed: %v", err)
		return
	}
	fix := "sudo ctwarden doctor   # or CAP_NET_ADMIN, as the unit gives it"
	why := ""
	if p.foreign {
		fix, why = "in a unit: PrivateNetwork=no; in a container: --network=host", ": this is not the host's own network namespace"
	}
	if access.ReadOnlyMount {
		fix = "mount -o remount,rw /proc/sys   # in a unit: ProtectKernelTunables=no"
		why = ": /proc/sys is mounted read-only"
	}
	for _, knob := range []struct {
		name string
		may  bool
		loss string
	}{
		{"max", access.Max, "max is never raised"},
		{"timeouts", access.Timeouts, "timeouts are never shortened"},
		{"buckets", access.Buckets, "the hash is never resized"},
	} {
		switch {
		case knob.may:
			p.add(Fine, area, knob.name, "", "can be written")
		case knob.name == "buckets" && access.Max:
			// To write the parameter of the running module frees a table that is
			// in use on kernels such as 4.4 and 3.10.0-514.
			p.add(Note, area, knob.name, "echo options nf_conntrack hashsize=N >/etc/modprobe.d/nf_conntrack.conf   # counts from the next boot on",
				"can't be written on this kernel (RHEL 7, Linux 4.4 and the like): %s", knob.loss)
		default:
			p.add(Wrong, area, knob.name, fix, "can't be written%s: %s", why, knob.loss)
		}
	}
}

// checkNetlink tries what the kernel's ctnetlink can do.
func (p *checker) checkNetlink(ctx context.Context) {
	const area = "ctnetlink"
	features, err := ctnetlink.Probe(ctx, p.own)
	switch {
	case errors.Is(err, fs.ErrPermission):
		p.add(Wrong, area, "answers", "sudo ctwarden doctor   # or CAP_NET_ADMIN",
			"not to this user: entries can't be listed, aged or deleted")
		return
	case err != nil:
		p.add(Wrong, area, "answers", "modprobe nf_conntrack_netlink", "no: entries can't be listed, aged or deleted: %v", err)
		return
	}
	p.add(Fine, area, "answers", "", "entries can be listed")
	for _, f := range []struct {
		name    string
		support ctnetlink.Support
		without Verdict
		loss    string
	}{
		{"delete by id", features.DeleteByID, Wrong, "nothing is deleted"},
		{"update timeout", features.UpdateTimeout, Note, "nothing is aged"},
		{"status filter", features.StatusFilter, Note, "the kernel sends every entry, and ctwarden chooses (Linux 5.15 can)"},
	} {
		switch f.support {
		case ctnetlink.Yes:
			p.add(Fine, area, f.name, "", "works, by trial")
		case ctnetlink.No:
			p.add(f.without, area, f.name, "", "does not work on this kernel: %s", f.loss)
		default:
			p.add(Note, area, f.name, "sudo ctwarden doctor   # the trial needs a namespace of its own",
				"not tried: making a namespace needs CAP_SYS_ADMIN; the daemon proves it with the first entry that it changes")
		}
	}
}

// checkSources checks what ctwarden listens to.
func (p *checker) checkSources() {
	const area = "sources"
	level := Note
	if p.cfg.Watch.KMsg == config.On {
		level = Wrong
	}
	if p.cfg.Watch.KMsg == config.Off {
		p.add(Note, area, "kmsg", "", "watch.kmsg is off")
	} else {
		f, err := os.OpenFile(p.path("dev/kmsg"), os.O_RDONLY|unix.O_NONBLOCK, 0)
		switch {
		case err == nil:
			_ = f.Close() // it was only opened
			p.add(Fine, area, "kmsg", "", "/dev/kmsg can be read")
		case errors.Is(err, fs.ErrNotExist):
			p.add(level, area, "kmsg", "in the unit: PrivateDevices=no and ProtectKernelLogs=no",
				"there is no /dev/kmsg: the kernel's lines come through the journal, or not at all; the counters still tell")
		default:
			fix := "sudo ctwarden doctor   # or CAP_SYSLOG, as the unit gives it"
			if os.Geteuid() == 0 {
				fix = "take printk.devkmsg=off from the kernel's command line   # or give CAP_SYSLOG, where root has not got it"
			}
			p.add(level, area, "kmsg", fix, "can't be read: %v; the counters still tell", err)
		}
	}
	switch err := watcher.CheckJournal(p.root); {
	case p.cfg.Watch.Journald == config.Off:
		p.add(Note, area, "journald", "", "watch.journald is off: of what the kernel says while ctwarden is down, only what its log still holds is recorded as missed")
	case err == nil:
		p.add(Fine, area, "journald", "", "can be listened to")
	case p.cfg.Watch.Journald == config.On:
		p.add(Wrong, area, "journald", "watch.journald: auto", "%v", err)
	default:
		p.add(Note, area, "journald", "", "%v; of what the kernel says while ctwarden is down, only what its log still holds is recorded as missed", err)
	}
	if n, err := p.number("proc/sys/net/core/message_burst"); err == nil && n == 0 {
		p.add(Wrong, area, "rate limit", "sysctl -w net.core.message_burst=10",
			"net.core.message_burst is 0: the kernel never says that a table is full; only the counters tell")
	} else if err == nil {
		p.add(Fine, area, "rate limit", "", "the kernel says up to %d lines at once", n)
	}
}

// number reads a file of one number.
func (p *checker) number(path string) (int64, error) {
	text, err := os.ReadFile(p.path(path))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
