package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Memory is a reading of the host's memory. The zero Memory is unknown.
type Memory struct {
	// Total and Available are MemTotal and MemAvailable in bytes. Entries are
	// allocated in interrupt context (GFP_ATOMIC), so less than Available can
	// be had at once.
	Total, Available uint64
	// Pressure is the share of time in which some task waited for memory,
	// over the last ten seconds (PSI "some avg10").
	Pressure conntrack.Permyriad
	// HasPressure is false for a kernel without PSI, or with psi=0.
	HasPressure bool
}

// ReadMemory reads meminfo and pressure/memory below root/proc; an empty root
// is "/". In a container these are the host's, as conntrack entries are: no
// cgroup is charged for them.
func ReadMemory(root string) (Memory, error) {
	text, err := os.ReadFile(filepath.Join("/", root, "proc/meminfo"))
	if err != nil {
		return Memory{}, fmt.Errorf("read memory: %w", err)
	}
	var m Memory
	if m.Total, err = meminfo(text, "MemTotal"); err != nil {
		return Memory{}, fmt.Errorf("read memory: %w", err)
	}
	if m.Available, err = meminfo(text, "MemAvailable"); err != nil {
		return Memory{}, fmt.Errorf("read memory: %w", err)
	}
	text, err = os.ReadFile(filepath.Join("/", root, "proc/pressure/memory"))
	if err != nil {
		// Absent without CONFIG_PSI; EOPNOTSUPP with psi=0.
		return m, nil
	}
	if m.Pressure, err = pressure(text); err != nil {
		return Memory{}, fmt.Errorf("read memory pressure: %w", err)
	}
	m.HasPressure = true
	return m, nil
}

// meminfo finds a line such as "MemTotal:  24576000 kB" and returns bytes.
func meminfo(text []byte, name string) (uint64, error) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		kib, unit, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
		n, err := strconv.ParseUint(kib, 10, 64)
		if err != nil || unit != "kB" || n > math.MaxUint64>>10 {
			return 0, fmt.Errorf("%s is %s", name, conntrack.Printable(string(bytes.TrimSpace(rest)), 40))
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("no %s", name)
}

// pressure finds avg10 in "some avg10=1.25 avg60=0.00 avg300=0.00 total=0".
func pressure(text []byte) (conntrack.Permyriad, error) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("some avg10="))
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(string(rest), " ")
		whole, hundredths, ok := strings.Cut(number, ".")
		w, err1 := strconv.ParseUint(whole, 10, 8)
		h, err2 := strconv.ParseUint(hundredths, 10, 8)
		if !ok || err1 != nil || err2 != nil || len(hundredths) != 2 || w > 100 {
			return 0, fmt.Errorf("some avg10 is %s", conntrack.Printable(number, 40))
		}
		return conntrack.Permyriad(w*100 + h), nil
	}
	return 0, errors.New("no line for some")
}

// EntrySize is the memory that one entry takes in its slab, without its
// extension area and its share of the hash.
type EntrySize struct {
	// Bytes includes what is left over in each slab.
	Bytes uint32
	// Assumed is set if Bytes was not read: it is then the largest known size
	// for kernels like this one.
	Assumed bool
	// From describes where Bytes was read.
	From string
}

// The sizes of an entry. Up to Linux 5.15 struct nf_conn has 256 bytes, and
// SLAB_TYPESAFE_BY_RCU puts the free pointer behind it: 320 when aligned, 25
// in 8 KiB, so 328 each. From 5.19 on it has 248, so 256.
const (
	entryBytesNew = 256
	entryBytesOld = 328
)

// ReadEntrySize reads the size of an entry from sys/kernel/slab/nf_conntrack
// or, where that is not readable or not there, from proc/slabinfo; both are
// for root only. Else it assumes the size by a property of the kernel: the
// sysctl nf_conntrack_helper is there up to Linux 5.19 (commit b118509076b3
// removed it), and kernels before 5.15 lack the counter chainlength.
// Where these do not prove a newer kernel, the larger size is assumed.
func ReadEntrySize(root string) EntrySize {
	dir := filepath.Join("/", root, "sys/kernel/slab/nf_conntrack")
	if n, ok := slabSize(dir, uint64(os.Getpagesize())); ok {
		return EntrySize{Bytes: n, From: "sys/kernel/slab/nf_conntrack"}
	}
	if text, err := os.ReadFile(filepath.Join("/", root, "proc/slabinfo")); err == nil {
		if n, ok := slabinfo(text, uint64(os.Getpagesize())); ok {
			return EntrySize{Bytes: n, From: "proc/slabinfo"}
		}
	}
	stat, err := os.ReadFile(filepath.Join("/", root, statFile))
	modern := err == nil && bytes.Contains(stat, []byte(" chainlength "))
	_, err = os.Stat(filepath.Join("/", root, "proc/sys/net/netfilter/nf_conntrack_helper"))
	if modern && errors.Is(err, fs.ErrNotExist) {
		return EntrySize{Bytes: entryBytesNew, Assumed: true, From: "no sysctl nf_conntrack_helper"}
	}
	return EntrySize{Bytes: entryBytesOld, Assumed: true, From: "the largest known"}
}

// slabSize reads a directory of SLUB: a slab of 2^order pages holds
// objs_per_slab objects.
func slabSize(dir string, page uint64) (uint32, bool) {
	objects, ok1 := slabNumber(dir, "objs_per_slab")
	order, ok2 := slabNumber(dir, "order")
	size, ok3 := slabNumber(dir, "slab_size")
	if !ok3 {
		return 0, false
	}
	if !ok1 || !ok2 || order > 20 {
		return plausible(size)
	}
	return plausible(perObject(size, objects, page<<order))
}

func slabNumber(dir, name string) (uint64, bool) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// slabinfo finds the row "nf_conntrack 120 128 256 16 1 : …": name, objects
// in use, objects, size, objects a slab, pages a slab.
func slabinfo(text []byte, page uint64) (uint32, bool) {
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		// RHEL 7 has a cache for each namespace, named nf_conntrack_ and an
		// address or number; nf_conntrack_expect is another thing.
		if len(fields) < 6 || !isEntrySlab(fields[0]) {
			continue
		}
		size, err1 := strconv.ParseUint(fields[3], 10, 64)
		objects, err2 := strconv.ParseUint(fields[4], 10, 64)
		pages, err3 := strconv.ParseUint(fields[5], 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil || pages > 1<<20 {
			return 0, false
		}
		return plausible(perObject(size, objects, pages*page))
	}
	return 0, false
}

func isEntrySlab(name string) bool {
	if name == "nf_conntrack" {
		return true
	}
	number, ok := strings.CutPrefix(name, "nf_conntrack_")
	_, err := strconv.ParseUint(number, 16, 64)
	return ok && err == nil
}

// perObject shares a slab among its objects, rounding up.
func perObject(size, objects, slab uint64) uint64 {
	if objects == 0 {
		return size
	}
	return max(size, (slab+objects-1)/objects)
}

// plausible refuses a size that cannot be that of an entry: less than its
// smallest known, or more than slab debugging makes of it.
func plausible(n uint64) (uint32, bool) {
	return uint32(n), n >= 240 && n <= 4096
}
