package remediate

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/internal/ctnetlink"
	"github.com/ctwarden/ctwarden/policy"
)

func tuple(src string, sport uint16, dst string, dport uint16) conntrack.Tuple {
	return conntrack.Tuple{Src: netip.MustParseAddr(src), SrcPort: sport, Dst: netip.MustParseAddr(dst), DstPort: dport}
}

// oldUDP is an entry that anybody may delete: unreplied, idle for 18 s.
func oldUDP() conntrack.Entry {
	return conntrack.Entry{
		Orig: tuple("10.0.0.1", 1000, "192.0.2.1", 53), Reply: tuple("192.0.2.1", 53, "198.51.100.1", 2000),
		Proto: conntrack.ProtoUDP, Status: conntrack.StatusConfirmed, Timeout: 100,
	}
}

func oldTCP(state conntrack.TCPState, status conntrack.Status) conntrack.Entry {
	e := oldUDP()
	e.Proto, e.State, e.Status = conntrack.ProtoTCP, state, status|conntrack.StatusConfirmed
	return e
}

func changedUDP(change func(*conntrack.Entry)) conntrack.Entry {
	e := oldUDP()
	change(&e)
	return e
}

func TestEligibilityOfADeletion(t *testing.T) {
	act := policy.Action{
		Type: policy.DeleteEntries, Class: policy.Unreplied, Cap: 1, MinIdle: 10 * time.Second, SynSentIdle: 15 * time.Second,
	}
	left := func(s uint32) conntrack.Entry { return changedUDP(func(e *conntrack.Entry) { e.Timeout = s }) }
	status := func(s conntrack.Status) conntrack.Entry {
		return changedUDP(func(e *conntrack.Entry) { e.Status |= s })
	}
	syn := func(s uint32) conntrack.Entry {
		e := oldTCP(conntrack.StateSynSent, 0)
		e.Timeout = s
		return e
	}
	tests := map[string]struct {
		entry conntrack.Entry
		want  policy.Eligibility
	}{
		"idle and unreplied":                     {oldUDP(), policy.Eligible},
		"idle for just long enough":              {left(108), policy.Eligible},
		"idle for a second less":                 {left(109), policy.SparedTooYoung},
		"SYN_SENT, idle for just long enough":    {syn(103), policy.Eligible},
		"SYN_SENT, idle for a second less":       {syn(104), policy.SparedTooYoung},
		"more left than the timeout":             {left(121), policy.SparedIdleUnknown},
		"replied":                                {status(conntrack.StatusSeenReply), policy.SparedReplied},
		"assured":                                {status(conntrack.StatusAssured), policy.SparedAssured},
		"one direction of a live connection":     {oldTCP(conntrack.StateEstablished, 0), policy.SparedEstablished},
		"one direction, its peer to close":       {oldTCP(conntrack.StateCloseWait, 0), policy.SparedEstablished},
		"being removed":                          {status(conntrack.StatusDying), policy.SparedDying},
		"made by an expectation":                 {status(conntrack.StatusExpected), policy.SparedExpected},
		"part of another connection":             {changedUDP(func(e *conntrack.Entry) { e.HasMaster = true }), policy.SparedExpected},
		"followed by a helper":                   {changedUDP(func(e *conntrack.Entry) { e.HasHelper = true }), policy.SparedHelper},
		"given a helper by a rule":               {status(conntrack.StatusHelper), policy.SparedHelper},
		"fixed timeout":                          {status(conntrack.StatusFixedTimeout), policy.SparedFixedTimeout},
		"offloaded":                              {status(conntrack.StatusOffload), policy.SparedOffload},
		"offloaded to hardware":                  {status(conntrack.StatusHWOffload), policy.SparedOffload},
		"DNAT":                                   {status(conntrack.StatusDstNAT), policy.SparedDNAT},
		"SNAT is no reason":                      {status(conntrack.StatusSrcNAT), policy.Eligible},
		"GRE":                                    {changedUDP(func(e *conntrack.Entry) { e.Proto = conntrack.ProtoGRE }), policy.SparedIdleUnknown},
		"protected":                              {changedUDP(func(e *conntrack.Entry) { e.Zone = 9 }), policy.SparedProtected},
		"protection speaks before the idle time": {changedUDP(func(e *conntrack.Entry) { e.Zone, e.Timeout = 9, 120 }), policy.SparedProtected},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := selector{act: &act, rule: act.Rule(conntrack.Protect{Zones: []uint16{9}}, watched(60, nil).idleness(15*time.Second))}
			if got := s.rule.Judge(&tt.entry); got != tt.want {
				t.Errorf("eligibility %s, want %s", got, tt.want)
			}
			if took := s.match(&tt.entry); took != (tt.want == policy.Eligible) || s.entries.Eligibility[tt.want] != 1 {
				t.Errorf("taken: %t, counted %v", took, s.entries.Eligibility)
			}
		})
	}
}

func TestEligibilityOfAgeing(t *testing.T) {
	closing := policy.Action{Type: policy.AgeEntries, Class: policy.Closing, Cap: 1, Remaining: 30}
	stale := policy.Action{Type: policy.AgeEntries, Class: policy.Established, Cap: 1, Remaining: 30, MinIdle: 7440 * time.Second}
	const seen = conntrack.StatusSeenReply | conntrack.StatusAssured
	left := func(e conntrack.Entry, s uint32) conntrack.Entry { e.Timeout = s; return e }
	tests := map[string]struct {
		act   policy.Action
		entry conntrack.Entry
		want  policy.Eligibility
	}{
		"TIME_WAIT":                           {closing, oldTCP(conntrack.StateTimeWait, seen), policy.Eligible},
		"FIN_WAIT":                            {closing, oldTCP(conntrack.StateFinWait, seen), policy.Eligible},
		"LAST_ACK":                            {closing, oldTCP(conntrack.StateLastAck, seen), policy.Eligible},
		"CLOSE":                               {closing, oldTCP(conntrack.StateClose, seen), policy.Eligible},
		"CLOSE_WAIT, whose peer is to close":  {closing, oldTCP(conntrack.StateCloseWait, seen), policy.SparedWrongClass},
		"ESTABLISHED":                         {closing, oldTCP(conntrack.StateEstablished, seen), policy.SparedWrongClass},
		"not TCP":                             {closing, changedUDP(func(e *conntrack.Entry) { e.State = conntrack.StateTimeWait }), policy.SparedWrongClass},
		"as little left already":              {closing, left(oldTCP(conntrack.StateTimeWait, seen), 30), policy.SparedShort},
		"a second more left":                  {closing, left(oldTCP(conntrack.StateTimeWait, seen), 31), policy.Eligible},
		"closing behind DNAT":                 {closing, oldTCP(conntrack.StateTimeWait, seen|conntrack.StatusDstNAT), policy.Eligible},
		"closing with fixed timeout":          {closing, oldTCP(conntrack.StateTimeWait, seen|conntrack.StatusFixedTimeout), policy.SparedFixedTimeout},
		"idle for a day":                      {stale, left(oldTCP(conntrack.StateEstablished, seen), 432000-86400), policy.Eligible},
		"idle for just long enough":           {stale, left(oldTCP(conntrack.StateEstablished, seen), 432000-7442), policy.Eligible},
		"idle for a second less":              {stale, left(oldTCP(conntrack.StateEstablished, seen), 432000-7441), policy.SparedTooYoung},
		"a live one with data unacknowledged": {stale, left(oldTCP(conntrack.StateEstablished, seen), 290), policy.SparedTooYoung},
		"closing is not established":          {stale, oldTCP(conntrack.StateTimeWait, seen), policy.SparedWrongClass},
	}
	day := watched(0, nil)
	timeouts := conntrack.Timeouts{}
	for i := conntrack.TCPSynSent; i < conntrack.NumTimeouts; i++ {
		if seen := day.changes[i]; len(seen) > 0 {
			timeouts[i] = seen[0].seconds
		}
	}
	for m := range 24 * 60 {
		day.look(&timeouts, start.Add(time.Duration(m+1)*time.Minute))
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rule := tt.act.Rule(conntrack.Protect{}, day.idleness(tt.act.MinIdle))
			if got := rule.Judge(&tt.entry); got != tt.want {
				t.Errorf("eligibility %s, want %s", got, tt.want)
			}
		})
	}
}

func TestProtect(t *testing.T) {
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	six := conntrack.Entry{Orig: tuple("2001:db8::1", 1, "2001:db8::2", 2), Reply: tuple("2001:db8::2", 2, "2001:db8::1", 1), Proto: conntrack.ProtoTCP}
	marked := changedUDP(func(e *conntrack.Entry) { e.Mark = 0x1234 })
	tests := map[string]struct {
		protect conntrack.Protect
		entry   conntrack.Entry
		want    bool
	}{
		"nothing":                    {conntrack.Protect{}, oldUDP(), false},
		"its source":                 {conntrack.Protect{Networks: prefix("10.0.0.0/8")}, oldUDP(), true},
		"its destination":            {conntrack.Protect{Networks: prefix("192.0.2.1/32")}, oldUDP(), true},
		"its address behind NAT":     {conntrack.Protect{Networks: prefix("198.51.100.0/24")}, oldUDP(), true},
		"another network":            {conntrack.Protect{Networks: prefix("203.0.113.0/24")}, oldUDP(), false},
		"one of several networks":    {conntrack.Protect{Networks: append(prefix("203.0.113.0/24"), prefix("10.0.0.1/32")...)}, oldUDP(), true},
		"an IPv6 network":            {conntrack.Protect{Networks: prefix("2001:db8::/32")}, six, true},
		"all of IPv4 is not IPv6":    {conntrack.Protect{Networks: prefix("0.0.0.0/0")}, six, false},
		"its destination port":       {conntrack.Protect{Ports: []conntrack.PortRange{{First: 53, Last: 53}}}, oldUDP(), true},
		"its source port":            {conntrack.Protect{Ports: []conntrack.PortRange{{First: 999, Last: 1000}}}, oldUDP(), true},
		"its port behind NAT":        {conntrack.Protect{Ports: []conntrack.PortRange{{First: 2000, Last: 3000}}}, oldUDP(), true},
		"a port beside it":           {conntrack.Protect{Ports: []conntrack.PortRange{{First: 54, Last: 999}, {First: 1001, Last: 1999}}}, oldUDP(), false},
		"the key of GRE is no port":  {conntrack.Protect{Ports: []conntrack.PortRange{{First: 53, Last: 53}}}, changedUDP(func(e *conntrack.Entry) { e.Proto = conntrack.ProtoGRE }), false},
		"its mark":                   {conntrack.Protect{Marks: []conntrack.Mark{{Value: 0x1234, Mask: 1<<32 - 1}}}, marked, true},
		"its mark within a mask":     {conntrack.Protect{Marks: []conntrack.Mark{{Value: 0x34, Mask: 0xff}}}, marked, true},
		"another mark within a mask": {conntrack.Protect{Marks: []conntrack.Mark{{Value: 0x35, Mask: 0xff}}}, marked, false},
		"its zone":                   {conntrack.Protect{Zones: []uint16{3, 7}}, changedUDP(func(e *conntrack.Entry) { e.Zone = 7 }), true},
		"another zone":               {conntrack.Protect{Zones: []uint16{3}}, changedUDP(func(e *conntrack.Entry) { e.Zone = 7 }), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.protect.Covers(&tt.entry); got != tt.want {
				t.Errorf("protected: %t", got)
			}
		})
	}
}

func TestSamplesAreFew(t *testing.T) {
	act := policy.Action{Type: policy.DeleteEntries, Class: policy.Unreplied, MinIdle: 1, SynSentIdle: 1}
	s := selector{act: &act, rule: act.Rule(conntrack.Protect{}, watched(60, nil).idleness(time.Second))}
	for range 3 * samplesMost {
		e := oldUDP()
		s.match(&e)
	}
	if len(s.entries.Samples) != samplesMost || s.entries.Eligibility[policy.Eligible] != 3*samplesMost {
		t.Errorf("told %+v", s.entries)
	}
	want := policy.Sample{
		Proto: conntrack.ProtoUDP, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("192.0.2.1"),
		SrcPort: 1000, DstPort: 53, Left: 100,
	}
	if got := s.entries.Samples[0]; got != want {
		t.Errorf("sample %+v, want %+v", got, want)
	}
}

func BenchmarkMatch(b *testing.B) {
	act := policy.Action{Type: policy.DeleteEntries, Class: policy.Unreplied, MinIdle: time.Second, SynSentIdle: time.Second}
	s := selector{act: &act, rule: act.Rule(conntrack.Protect{
		Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Ports:    []conntrack.PortRange{{First: 22, Last: 22}, {First: 4500, Last: 4500}},
	}, watched(60, map[int]uint32{55: 60}).idleness(time.Second))}
	e := oldUDP()
	e.Timeout = 20
	b.ReportAllocs()
	for b.Loop() {
		s.match(&e)
	}
}

func TestAnActThatRanOutOfTimeSaysSo(t *testing.T) {
	s := selector{act: &policy.Action{Type: policy.AgeEntries}}
	var out policy.Outcome
	s.report(&out, &ctnetlink.Swept{Change: ctnetlink.Change{Done: 7}, Dump: ctnetlink.Dumped{Stop: ctnetlink.ByTime, Seen: 9}})
	if out.Changed != 7 || out.Examined != 9 || out.Note != "stopped after 2s" {
		t.Errorf("outcome %+v", out)
	}
}

// TestASweepThatCanNotReadTheTimeoutsFails: without them nobody's idle time is
// known.
func TestASweepThatCanNotReadTheTimeoutsFails(t *testing.T) {
	for _, blind := range []string{conntrack.UDP.Sysctl(), conntrack.SysctlCount} {
		k := openAt(t, newProc(t).root, stateDir(t))
		k.sysctls.fault = func(step string) error {
			if step == "read "+blind {
				return unix.EIO
			}
			return nil
		}
		out := k.Apply(t.Context(), "", policy.Action{
			Type: policy.DeleteEntries, Class: policy.Unreplied, Cap: 10, MinIdle: 10 * time.Second, SynSentIdle: 15 * time.Second,
		})
		if out.OK || out.Error == "" || out.Examined != 0 {
			t.Errorf("without %s: %+v", blind, out)
		}
	}
}
