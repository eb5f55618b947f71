package remediate

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

func TestForeseeDelete(t *testing.T) {
	act := policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied, Cap: 1,
		MinIdle: 10 * time.Second, SynSentIdle: 15 * time.Second,
	}
	f := Foresee(act, conntrack.Protect{Zones: []uint16{7}}, conntrack.DefaultTimeouts())
	udp := func(left uint32) conntrack.Entry {
		return conntrack.Entry{
			Family: conntrack.IPv4, Proto: conntrack.ProtoUDP, Timeout: left,
			Orig: conntrack.Tuple{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), DstPort: 53},
		}
	}
	syn := func(left uint32) conntrack.Entry {
		e := udp(left)
		e.Proto, e.State = conntrack.ProtoTCP, conntrack.StateSynSent
		return e
	}
	protected, replied, old := udp(1), udp(1), udp(1)
	protected.Zone, replied.Status = 7, conntrack.StatusSeenReply
	for e, want := range map[*conntrack.Entry]bool{
		new(udp(18)): true, new(udp(19)): false, new(udp(31)): false, // two seconds are lost to rounding
		new(syn(103)): true, new(syn(104)): false,
		&protected: false, &replied: false, &old: true,
	} {
		if got := f.Choose(e); got != want {
			t.Errorf("%s: %v, want %v", e, got, want)
		}
	}
	told := f.Entries()
	want := policy.Eligibilities{
		policy.Eligible: 3, policy.SparedTooYoung: 2, policy.SparedIdleUnknown: 1, policy.SparedProtected: 1, policy.SparedReplied: 1,
	}
	if diff := cmp.Diff(want, told.Eligibility); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if len(told.Samples) != 3 {
		t.Errorf("%d samples, want 3", len(told.Samples))
	}
}
