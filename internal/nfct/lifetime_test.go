package nfct_test

import (
	"net/netip"
	"testing"

	"github.com/ctwarden/ctwarden/internal/nfct"
)

func TestLivesBy(t *testing.T) {
	for want, entries := range map[nfct.Timeout][]nfct.Entry{
		nfct.TCPSynSent:     {{Proto: nfct.ProtoTCP, State: nfct.StateSynSent}, {Proto: nfct.ProtoTCP, State: nfct.StateSynSent2}},
		nfct.TCPEstablished: {{Proto: nfct.ProtoTCP, State: nfct.StateEstablished, Status: assured}},
		nfct.TCPClose:       {{Proto: nfct.ProtoTCP, State: nfct.StateClose}},
		nfct.UDP:            {{Proto: nfct.ProtoUDP}, {Proto: nfct.ProtoUDP, Status: seen}, {Proto: nfct.ProtoUDPLite}},
		nfct.UDPStream:      {{Proto: nfct.ProtoUDP, Status: assured}, {Proto: nfct.ProtoUDPLite, Status: assured}},
		nfct.ICMP:           {{Proto: nfct.ProtoICMP, Status: seen}},
		nfct.ICMPv6:         {{Proto: nfct.ProtoICMPv6}},
		nfct.GRE:            {{Proto: nfct.ProtoGRE}},
		nfct.GREStream:      {{Proto: nfct.ProtoGRE, Status: seen}},
		nfct.Generic:        {{Proto: 50}, {Proto: 0}},
		nfct.NoTimeout: {
			{Proto: nfct.ProtoSCTP}, {Proto: nfct.ProtoDCCP}, {Proto: nfct.ProtoTCP}, {Proto: nfct.ProtoTCP, State: nfct.NumTCPStates},
			{Proto: nfct.ProtoUDP, Status: nfct.StatusFixedTimeout}, {Proto: nfct.ProtoUDP, Status: nfct.StatusOffload},
			{Proto: nfct.ProtoTCP, State: nfct.StateEstablished, Status: nfct.StatusHWOffload},
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
	e := nfct.Entry{
		Proto: nfct.ProtoTCP, Mark: 0x1f2, Zone: 3,
		Orig: tupleOf("10.0.0.1", "10.1.0.1", 1000, 2000), Reply: tupleOf("10.2.0.1", "10.3.0.1", 3000, 4000),
	}
	var none nfct.Protect
	if none.Covers(&e) {
		t.Error("nothing is protected")
	}
	for text, want := range map[string]bool{
		"10.0.0.0/16": true, "10.1.0.0/16": true, "10.2.0.0/16": true, "10.3.0.0/16": true, "10.4.0.0/16": false, "::/0": false,
	} {
		p := nfct.Protect{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix(text)}}
		if got := p.Covers(&e); got != want {
			t.Errorf("network %s: %t", text, got)
		}
	}
	for ports, want := range map[nfct.PortRange]bool{
		{First: 1000, Last: 1000}: true, {First: 2000, Last: 2000}: true, {First: 3000, Last: 3000}: true, {First: 4000, Last: 4000}: true,
		{First: 999, Last: 1001}: true, {First: 1001, Last: 1999}: false, {First: 4001, Last: 65535}: false, {First: 1, Last: 999}: false,
	} {
		p := nfct.Protect{Ports: []nfct.PortRange{ports}}
		if got := p.Covers(&e); got != want {
			t.Errorf("ports %v: %t", ports, got)
		}
		gre := e
		gre.Proto = nfct.ProtoGRE
		if p.Covers(&gre) {
			t.Errorf("ports %v: GRE has none", ports)
		}
	}
	for mark, want := range map[nfct.Mark]bool{
		{Value: 0x1f2, Mask: 0xffffffff}: true, {Value: 0xf2, Mask: 0xff}: true, {Value: 0xf2, Mask: 0xfff}: false, {}: true,
	} {
		p := nfct.Protect{Marks: []nfct.Mark{mark}}
		if got := p.Covers(&e); got != want {
			t.Errorf("mark %#x: %t", mark, got)
		}
	}
	for zone, want := range map[uint16]bool{3: true, 0: false} {
		p := nfct.Protect{Zones: []uint16{zone}}
		if got := p.Covers(&e); got != want {
			t.Errorf("zone %d: %t", zone, got)
		}
	}
}
