package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

const (
	maxFile    = "/proc/sys/net/netfilter/nf_conntrack_max"
	bucketFile = "/proc/sys/net/netfilter/nf_conntrack_buckets"
	// entryBytes is the most memory of an entry: 384 bytes of slab and 256 of
	// extensions.
	entryBytes = 640
)

// A host is the machine that was measured.
type host struct {
	kernel, cpu, load, conntrack string
	cpus                         int
	memory, available            uint64 // bytes
	max, buckets                 int
}

func readHost() (*host, error) {
	h := &host{cpus: runtime.NumCPU()}
	for name, to := range map[string]*string{
		"/proc/sys/kernel/osrelease": &h.kernel, "/proc/loadavg": &h.load,
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		*to = strings.TrimSpace(string(text))
	}
	var err error
	if h.max, err = readNumber(maxFile); err != nil {
		return nil, fmt.Errorf("is nf_conntrack loaded? %w", err)
	}
	if h.buckets, err = readNumber(bucketFile); err != nil {
		return nil, err
	}
	version, err := exec.Command("conntrack", "--version").Output()
	if err != nil {
		return nil, err
	}
	h.conntrack = strings.TrimSpace(string(version))
	h.cpu = field("/proc/cpuinfo", "model name")
	h.memory, h.available = kibibytes("MemTotal"), kibibytes("MemAvailable")
	return h, nil
}

func readNumber(name string) (int, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// field returns the text after "name:" in a file, or "".
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// kibibytes reads a line of /proc/meminfo, in bytes.
func kibibytes(name string) uint64 { return sizeIn("/proc/meminfo", name) }

// sizeIn reads "name: 1234 kB", in bytes; 0 if it is not there.
func sizeIn(file, name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSuffix(field(file, name), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

func (h *host) print() {
	fmt.Printf("host       Linux %s, %d CPUs (%s), %d MiB, %d MiB available, load %s\n",
		h.kernel, h.cpus, h.cpu, h.memory>>20, h.available>>20, h.load)
	fmt.Printf("table      nf_conntrack_max %d, %d buckets; %s\n", h.max, h.buckets, h.conntrack)
}

// raiseMax raises nf_conntrack_max for as long as the bench runs, if -host-wide
// permits it, and returns a function that restores it. Otherwise it reduces the
// number of entries to those that fit.
func (p *plan) raiseMax(h *host) (restore func() error, err error) {
	nothing := func() error { return nil }
	need := p.entries
	if p.wants("large") {
		need = max(need, p.large)
	}
	if uint64(need)*entryBytes > h.available/2 {
		if p.large > p.entries && uint64(p.entries)*entryBytes <= h.available/2 {
			fmt.Printf("note       %d entries would take half of the memory: left out\n", p.large)
			p.large, need = 0, p.entries
		} else {
			return nil, fmt.Errorf("%d entries take up to %d MiB, more than half of what is available", need, uint64(need)*entryBytes>>20)
		}
	}
	need += need / 10 // early drop begins below max
	if h.max == 0 || h.max >= need {
		return nothing, nil
	}
	if !p.hostWide {
		p.entries, p.large = min(p.entries, h.max*9/10), 0
		fmt.Printf("note       nf_conntrack_max is %d and may not be raised: %d entries are measured; -host-wide or CTWARDEN_TEST_HOST=1 permits it\n",
			h.max, p.entries)
		return nothing, nil
	}
	h.max = need
	return set(maxFile, need)
}

// set writes a sysctl and returns a function that restores it, unless another
// program has written it meanwhile.
func set(file string, value int) (restore func() error, err error) {
	before, err := readNumber(file)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(value)), 0); err != nil {
		return nil, err
	}
	written, err := readNumber(file) // the kernel rounds the buckets up
	if err != nil {
		return nil, err
	}
	return func() error {
		if now, err := readNumber(file); err != nil || now != written {
			fmt.Printf("note       %s is %d by now, not the %d written: left alone, it was %d\n", file, now, written, before)
			return err
		}
		return os.WriteFile(file, []byte(strconv.Itoa(before)), 0)
	}, nil
}
