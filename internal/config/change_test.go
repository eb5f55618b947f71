package config_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

func TestDiff(t *testing.T) {
	from, to := config.Default(), config.Default()
	to.Limits.Mode = policy.Observe
	to.Limits.Levels.HighEnter = 8650
	to.Protect.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	to.Protect.Zones = []uint16{} // nothing, as before
	want := []record.Change{
		{Key: "mode", From: "enforce", To: "observe"},
		{Key: "levels.high.enter", From: "85%", To: "86.5%"},
		{Key: "protect.cidr", From: "[]", To: "[10.0.0.0/8]"},
	}
	if diff := cmp.Diff(want, config.Diff(from, to)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if changes := config.Diff(from, from); len(changes) > 0 {
		t.Errorf("a configuration differs from itself: %v", changes)
	}
}

func TestDiffIgnoresOrigins(t *testing.T) {
	c := loaded(t, config.Source{Flags: map[string]string{"mode": "enforce"}})
	if changes := config.Diff(config.Default(), *c); len(changes) > 0 {
		t.Errorf("got %v", changes)
	}
}
