package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// Values are the sysctls of connection tracking, of the host and of the sandbox.
type Values struct{ Host, Sandbox map[string]uint64 }

// ReadValues reads every number of net.netfilter but the count of entries.
func ReadValues(host, sandbox *netns.NS) (v Values, err error) {
	if v.Host, err = readNetfilter(host); err != nil {
		return v, err
	}
	v.Sandbox, err = readNetfilter(sandbox)
	return v, err
}

// readNetfilter reads every number of net.netfilter but the count of entries.
func readNetfilter(ns *netns.NS) (map[string]uint64, error) {
	found := map[string]uint64{}
	err := ns.Do(func() error {
		paths, err := filepath.Glob("/proc/sys/net/netfilter/nf_conntrack_*")
		if err != nil {
			return err
		}
		for _, path := range paths {
			name := filepath.Base(path)
			text, err := os.ReadFile(path)
			if name == "nf_conntrack_count" || errors.Is(err, os.ErrPermission) {
				continue
			}
			if err != nil {
				return err
			}
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
				found[name] = n
			}
		}
		return nil
	})
	return found, err
}

// Differences lists the values that changed.
func (v Values) Differences(after Values) []string {
	var differ []string
	compare := func(where string, before, after map[string]uint64) {
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if now, ok := after[name]; !ok || now != before[name] {
				differ = append(differ, fmt.Sprintf("%s%s was %d and is now %d", where, name, before[name], now))
			}
		}
	}
	compare("", v.Host, after.Host)
	compare("in the drill's namespace: ", v.Sandbox, after.Sandbox)
	return differ
}
