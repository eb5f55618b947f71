package conntrack_test

import (
	"net/netip"
	"testing"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

func TestLivesBy(t *testing.T) {
	for want, entries := range map[conntrack.Timeout][]conntrack.Entry{
		conntrack.TCPSynSent:     {{Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent}, {Proto: conntrack.ProtoTCP, State: conntrack.StateSynSent2}},
		conntrack.TCPEstablished: {{Proto: conntrack.ProtoTCP, State: conntrack.StateEstablished, Status: assured}},
		conntrack.TCPClose:       {{Proto: conntrack.ProtoTCP, State: conntrack.StateClose}},
		conntrack.UDP:            {{Proto: conntrack.ProtoUDP}, {Proto: conntrack.ProtoUDP, Status: seen}, {Proto: conntrack.ProtoUDPLite}},
		conntrack.UDPStream:      {{Proto: conntrack.ProtoUDP, Status: assured}, {Proto: conntrack.ProtoUDPLite, Status: assured}},
		conntrack.ICMP:           {{Proto: conntrack.ProtoICMP, Status: seen}},
		conntrack.ICMPv6:         {{Proto: conntrack.ProtoICMPv6}},
		conntrack.GRE:            {{Proto: conntrack.ProtoGRE}},
		conntrack.GREStream:      {{Proto: conntrack.ProtoGRE, Status: seen}},
		conntrack.Generic:        {{Proto: 50}, {Proto: 0}},
		conntrack.NoTimeout: {
			{Proto: conntrack.ProtoSCTP}, {Proto: conntrack.ProtoDCCP}, {Proto: conntrack.ProtoTCP}, {Proto: conntrack.ProtoTCP, State: conntrack.NumTCPStates},
			{Proto: conntrack.ProtoUDP, Status: conntrack.StatusFixedTimeout}, {Proto: conntrack.ProtoUDP, Status: conntrack.StatusOffload},
			{Proto: conntrack.ProtoTCP, State: conntrack.StateEstablished, Status: conntrack.StatusHWOffload},
		},
	} {
		for _, e := range entries {
			if got := e.LivesBy(); got != want {
				t.Errorf("%s lives by %v, want %v", &e, got, want)
			}
		}
	}
}

// Each place where an entry can match, and nothing beside it.
func TestProtectCovers(t *testing.T) {
	e := conntrack.Entry{
		Proto: conntrack.ProtoTCP, Mark: 0x1f2, Zone: 3,
		Orig: tupleOf("10.0.0.1", "10.1.0.1", 1000, 2000), Reply: tupleOf("10.2.0.1", "10.3.0.1", 3000, 4000),
	}
	var none conntrack.Protect
	if none.Covers(&e) {
		t.Error("nothing is protected")
	}
	for text, want := range map[string]bool{
		"10.0.0.0/16": true, "10.1.0.0/16": true, "10.2.0.0/16": true, "10.3.0.0/16": true, "10.4.0.0/16": false, "::/0": false,
	} {
		p := conntrack.Protect{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix(text)}}
		if got := p.Covers(&e); got != want {
			t.Errorf("network %s: %t", text, got)
		}
	}
	for ports, want := range map[conntrack.PortRange]bool{
		{First: 1000, Last: 1000}: true, {First: 2000, Last: 2000}: true, {First: 3000, Last: 3000}: true, {First: 4000, Last: 4000}: true,
		{First: 999, Last: 1001}: true, {First: 1001, Last: 1999}: false, {First: 4001, Last: 65535}: false, {First: 1, Last: 999}: false,
	} {
		p := conntrack.Protect{Ports: []conntrack.PortRange{ports}}
		if got := p.Covers(&e); got != want {
			t.Errorf("ports %v: %t", ports, got)
		}
		gre := e
		gre.Proto = conntrack.ProtoGRE
		if p.Covers(&gre) {
			t.Errorf("ports %v: GRE has none", ports)
		}
	}
	for mark, want := range map[conntrack.Mark]bool{
		{Value: 0x1f2, Mask: 0xffffffff}: true, {Value: 0xf2, Mask: 0xff}: true, {Value: 0xf2, Mask: 0xfff}: false, {}: true,
	} {
		p := conntrack.Protect{Marks: []conntrack.Mark{mark}}
		if got := p.Covers(&e); got != want {
			t.Errorf("mark %#x: %t", mark, got)
		}
	}
	for zone, want := range map[uint16]bool{3: true, 0: false} {
		p := conntrack.Protect{Zones: []uint16{zone}}
		if got := p.Covers(&e); got != want {
			t.Errorf("zone %d: %t", zone, got)
		}
	}
}
