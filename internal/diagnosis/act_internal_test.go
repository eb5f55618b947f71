package diagnosis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/conntrack"
	"github.com/ctwarden/ctwarden/policy"
)

// sampled is a look at a tenth of a table of 10,000 entries: 600 in SYN_SENT
// for 60 s, 300 in LAST_ACK, 100 established.
func sampled(t *testing.T, change func(*policy.Observation)) *Census {
	t.Helper()
	cfg := config.Default()
	o := policy.Observation{
		Now: policy.BootTime(time.Hour), Timeouts: conntrack.DefaultTimeouts(),
		Table:  conntrack.Table{Entries: 10_000, Max: 12_000, Buckets: 12_288},
		Memory: policy.Memory{Total: 8 << 30, Available: 4 << 30, EntryBytes: 320},
	}
	change(&o)
	look := Begin(&cfg.Limits, cfg.Protect, o)
	for i := range 1000 {
		state, left := "SYN_SENT", 60
		switch {
		case i >= 900:
			state, left = "ESTABLISHED", 431_000
		case i >= 600:
			state, left = "LAST_ACK", 1
		}
		l := line(state, left, i, 80)
		if state == "SYN_SENT" {
			l = strings.Replace(strings.Replace(l, "[ASSURED] ", "", 1), " src=192.0.2.1 dst", " [UNREPLIED] src=192.0.2.1 dst", 1)
		}
		e, err := conntrack.ParseEntry(l)
		if err != nil {
			t.Fatal(err)
		}
		look.Add(&e)
	}
	look.Census.Summary.Sampled = true
	return look
}

// act finds one by its type.
func act(found *Diagnosis, kind policy.ActionType) *Act {
	for i := range found.Acts {
		if found.Acts[i].Type == kind {
			return &found.Acts[i]
		}
	}
	return nil
}

func TestALookScalesASample(t *testing.T) {
	found := sampled(t, func(*policy.Observation) {}).Diagnose()
	if found.Cause != policy.HalfOpen || found.Look.Margin == 0 {
		t.Errorf("cause %s, margin %d", found.Cause, found.Look.Margin)
	}
	shorten := act(found, policy.ShortenTimeout)
	if shorten == nil || !strings.Contains(shorten.Text, "syn_sent") || shorten.Frees != 6000 || shorten.Margin == 0 ||
		shorten.From != time.Minute || shorten.Until != 2*time.Minute {
		t.Errorf("shorten %+v", shorten)
	}
	remove := act(found, policy.DeleteEntries)
	if remove == nil || remove.Frees != 6000 || !strings.Contains(remove.Cost, "at most 2000 in one act") ||
		remove.Eligibility[policy.Eligible] != 600 || remove.Eligibility[policy.SparedReplied] != 400 {
		t.Errorf("delete %+v", remove)
	}
	for _, a := range found.Acts {
		if strings.Contains(a.Text, "last_ack") {
			t.Errorf("the limits do not permit to %s", a.Text)
		}
	}
}

func TestALookForeseesTheCapExactly(t *testing.T) {
	found := sampled(t, func(o *policy.Observation) { o.Table.Entries = 30_000 }).Diagnose()
	// 600 of 1000 are 18,000, and a fifth of the table is 6,000.
	if remove := act(found, policy.DeleteEntries); remove.Frees != 18_000 || !strings.Contains(remove.Cost, "at most 6000") {
		t.Errorf("delete %+v", remove)
	}
	look := sampled(t, func(*policy.Observation) {})
	for most, capped := range map[conntrack.Permyriad]bool{5999: true, 6000: false} {
		look.limits.Delete.Cap = most
		if remove := act(look.Diagnose(), policy.DeleteEntries); remove.Frees != 6000 || strings.Contains(remove.Cost, "at most") != capped {
			t.Errorf("cap %d: delete %+v", most, remove)
		}
	}
}

func TestALookForeseesARaise(t *testing.T) {
	found := sampled(t, func(*policy.Observation) {}).Diagnose()
	if raise := act(found, policy.RaiseMax); raise.Frees != 12_000 || raise.Bytes != 12_000*(320+128) || raise.Held != "" {
		t.Errorf("raise %+v", raise)
	}
	found = sampled(t, func(o *policy.Observation) { o.Memory.Total = 230 << 20 }).Diagnose()
	if raise := act(found, policy.RaiseMax); raise.Frees == 0 || raise.Frees >= 12_000 {
		t.Errorf("raise beyond the budget: %+v", raise)
	}
	for name, change := range map[string]func(*policy.Observation){
		"no room in the budget": func(o *policy.Observation) { o.Memory.Total = 64 << 20 },
		"unknown memory":        func(o *policy.Observation) { o.Memory = policy.Memory{} },
		"no limit":              func(o *policy.Observation) { o.Table.Max = 0 },
	} {
		if raise := act(sampled(t, change).Diagnose(), policy.RaiseMax); raise.Held == "" || raise.Frees != 0 {
			t.Errorf("%s: raise %+v", name, raise)
		}
	}
}

func TestALookPreviewsAResizeOnlyWhereChainsAreLong(t *testing.T) {
	if found := sampled(t, func(*policy.Observation) {}).Diagnose(); act(found, policy.ResizeHash) != nil {
		t.Errorf("resize %+v", act(found, policy.ResizeHash))
	}
	few := func(o *policy.Observation) { o.Table.Buckets = 1024 }
	found := sampled(t, few).Diagnose()
	if resize := act(found, policy.ResizeHash); resize == nil || resize.Held != "" {
		t.Errorf("resize %+v", resize)
	}
	advised := false
	for _, ad := range found.Advice {
		advised = advised || strings.Contains(ad.Text, "11 times the buckets") &&
			slices.Contains(ad.Commands, "net.netfilter.nf_conntrack_buckets = 3072") // 3000, in whole pages
	}
	if !advised {
		t.Errorf("no advice about buckets in %+v", found.Advice)
	}
	found = sampled(t, func(o *policy.Observation) { few(o); o.Table.Entries = 1 << 20 }).Diagnose()
	if resize := act(found, policy.ResizeHash); resize == nil || resize.Held == "" {
		t.Errorf("a resize that stalls for too long: %+v", resize)
	}
}

// TestProtectedEntriesAreNotCountedAsDeletable compares the count that the
// policy plans by with what the deletion selects: all entries are protected.
func TestProtectedEntriesAreNotCountedAsDeletable(t *testing.T) {
	cfg := config.Default()
	dns := strings.Repeat("ipv4 2 udp 17 1 src=10.0.0.1 dst=192.0.2.1 sport=4000 dport=53 [UNREPLIED] src=192.0.2.1 dst=10.0.0.1 sport=53 dport=4000\n", 1000)
	closing := strings.Repeat(line("TIME_WAIT", 110, 1, 53), 1000)
	for _, protect := range []conntrack.Protect{{}, {Ports: []conntrack.PortRange{{First: 53, Last: 53}}}} {
		want := uint64(1000)
		if protect.Ports != nil {
			want = 0
		}
		look, err := ReadText(strings.NewReader(dns+closing), &cfg.Limits, protect)
		if err != nil {
			t.Fatal(err)
		}
		s := &look.Census.Summary
		deleted, aged := look.remove.counts[policy.Eligible], look.age.counts[policy.Eligible]
		if s.Deletable != want || deleted != want || s.Ageable != want || aged != want {
			t.Errorf("protected %v: %d deletable and %d ageable, %d selected to delete and %d to age, want %d of each",
				protect.Ports, s.Deletable, s.Ageable, deleted, aged, want)
		}
	}
}

func TestALookNotesWhatMustBeKnown(t *testing.T) {
	look := sampled(t, func(*policy.Observation) {})
	if notes := look.notes(); len(notes) != 0 {
		t.Errorf("notes without a reason: %q", notes)
	}
	look.Reading.Resized = true
	if notes := strings.Join(look.notes(), " "); !strings.Contains(notes, "resized") {
		t.Errorf("no note of the resize in %q", notes)
	}
	look.Reading.Resized, look.Census.Summary.Sampled = false, false
	if notes := strings.Join(look.notes(), " "); !strings.Contains(notes, "counts 10000 entries and shows 1000") {
		t.Errorf("no note of what the kernel hides in %q", notes)
	}
	look.Observation.Table.Entries = 1001
	if notes := look.notes(); len(notes) != 0 {
		t.Errorf("notes of one entry more: %q", notes)
	}
}
