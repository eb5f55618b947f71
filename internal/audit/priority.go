package audit

import "github.com/coreos/go-systemd/v22/journal"

// messageIDs are a contract: the journal's catalog and other people's filters
// name them.
var messageIDs = [...]struct {
	kind Kind
	id   string
}{
	{KindStart, "4fb518d64f8c46adb27f73e0cdd10bba"},
	{KindStop, "23cada9992004c3fb8f33b5b3b4cd5a4"},
	{KindConfig, "61483791808c4d5e9b047f02d69d7608"},
	{KindSignal, "cba03d27f5a94f8580df4488ee7baa0f"},
	{KindLevel, "345759ad78d34420a7d023a3fcc451c8"},
	{KindCensus, "dccf1212191648b4ad0047ce64f3699d"},
	{KindPlan, "0d6e2a53607f4c8eabdc46ac66dfb8fd"},
	{KindOutcome, "6a612514a860449db5c2fb603f83443b"},
	{KindVerdict, "c65d588bdfbc42fa887026868661427a"},
	{KindHold, "7caebbd8c5384eb3ac5407e6bf606e2d"},
	{KindOverride, "6900acede6ae43b5abfb44e455d7ca9c"},
	{KindBreaker, "e576d3ab94dc4867afbadefbb9731dc5"},
	{KindPause, "081f7578f83c459196af8faa68d3f529"},
	{KindResume, "ef02a1b6343a424a852cef74cfdfa3ba"},
	{KindRevert, "b2d7aa33bedf473393860898ff5d9297"},
	{KindMissed, "25e3f4d30f4344fb8a40ac3f5bcf3e92"},
	{KindGap, "84c429319484427fa91a461ab839e171"},
	{KindIncidentOpen, "d61f0c18a3484c46af152311bc50a4bc"},
	{KindIncidentClose, "8e305fb4405d40b9b478c6e0dc103003"},
	{KindSample, "a6f1af79bc11461498138d6624888227"},
}

// MessageID returns the MESSAGE_ID of a kind's copies in the journal, "" for
// an unknown kind.
func (k Kind) MessageID() string {
	for _, m := range messageIDs {
		if m.kind == k {
			return m.id
		}
	}
	return ""
}

// Priority returns the syslog priority of a record, so chosen that
// `journalctl -p warning` shows what a person should know of the next
// morning: what was wrong, what was done about it, and what went wrong with
// that. Reports of a healthy day are below.
func (r Record) Priority() journal.Priority {
	f := r.facts()
	switch r.Kind {
	case KindSample:
		return journal.PriDebug
	case KindLevel:
		return levelPriority(f.Level)
	case KindPlan:
		return f.planPriority()
	case KindOutcome:
		switch {
		case f.OK != nil && !*f.OK:
			return journal.PriErr
		case f.Would || f.action().Would || f.action().restores():
			return journal.PriNotice
		}
		return journal.PriWarning
	case KindVerdict:
		if f.Verdict == "no_effect" || f.Verdict == "worse" {
			return journal.PriWarning
		}
		return journal.PriInfo
	case KindBreaker:
		return journal.PriErr
	case KindGap:
		// Retention is housekeeping; every other gap is something missing.
		if plain(f.Reason) == string(GapRetention) {
			return journal.PriNotice
		}
		return journal.PriWarning
	case KindSignal, KindHold, KindOverride, KindPause, KindMissed, KindIncidentOpen:
		return journal.PriWarning
	case KindResume, KindRevert, KindIncidentClose:
		return journal.PriNotice
	}
	return journal.PriInfo
}

func levelPriority(level string) journal.Priority {
	switch level {
	case "exhausted":
		return journal.PriErr
	case "high":
		return journal.PriWarning
	case "elevated":
		return journal.PriNotice
	}
	return journal.PriInfo
}

// planPriority: a change to the kernel is a warning although nothing is
// wrong with it, because nobody was watching when it was made. Giving back
// is not.
func (f facts) planPriority() journal.Priority {
	acts, would := f.acts()
	switch {
	case !acts:
		return journal.PriInfo
	case would:
		return journal.PriNotice
	}
	for _, a := range f.Actions {
		if !a.restores() {
			return journal.PriWarning
		}
	}
	return journal.PriNotice
}

// restores reports whether the action gives something back.
func (a actionFacts) restores() bool {
	return a.Type == "restore_max" || a.Type == "restore_timeout"
}
