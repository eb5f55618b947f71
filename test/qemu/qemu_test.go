package qemu

import "testing"

func TestBreakage(t *testing.T) {
	tests := map[string]struct {
		console string
		want    string
	}{
		"a quiet kernel": {"[    1.0] nf_conntrack: table full, dropping packet\n", ""},
		"a panic": {
			"[    9.1] Kernel panic - not syncing: sysrq triggered crash\r\n[ 9.2] CPU: 0\n",
			"Kernel panic - not syncing: sysrq triggered crash",
		},
		"an oops":                              {"[    9.1] Oops: 0000 [#1] SMP\n", "Oops: 0000 [#1] SMP"},
		"a soft lockup, which TCG earns":       {"[   9.1] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!\n", ""},
		"a null pointer":                       {"BUG: kernel NULL pointer dereference, address: 0\n", "BUG: kernel NULL pointer dereference, address: 0"},
		"a stall of RCU, which TCG earns, too": {"rcu: INFO: rcu_sched self-detected stall on CPU\n", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := breakage([]byte(tt.console)); got != tt.want {
				t.Errorf("breakage = %q, want %q", got, tt.want)
			}
		})
	}
}
