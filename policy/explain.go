package policy

import (
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

var reasonSentences = [...]string{
	ReasonFullSoon:           "at the present rate the table is full soon",
	ReasonFill:               "the table is nearly full",
	ReasonDropping:           "the table is full and packets are being lost",
	ReasonChurn:              "connections that are closing fill the table",
	ReasonHalfOpen:           "connections that nobody answered fill the table",
	ReasonStale:              "connections idle for more than a day fill the table",
	ReasonBudgetNeedsBuckets: "the memory budget permits a larger max than the buckets carry",
	ReasonLongChains:         "the kernel refuses entries because hash chains are too long",
	ReasonCalm:               "the load has passed",
	ReasonAsked:              "a person asked for it",
}

// Sentence says the reason in words, without a full stop.
func (r Reason) Sentence() string {
	if int(r) < len(reasonSentences) && reasonSentences[r] != "" {
		return reasonSentences[r]
	}
	return "no reason"
}

var holdSentences = [...]string{
	HeldOff:             "the configuration permits nothing",
	HeldPaused:          "paused by a person",
	HeldNoTable:         "nf_conntrack is not loaded: there is no table",
	HeldUnlimited:       "nf_conntrack_max is 0: the table has no limit",
	HeldCalm:            "nothing to do",
	HeldEnough:          "the headroom is enough",
	HeldFalling:         "the table is emptying, or its growth is easing off",
	HeldBreaker:         "too many actions within the hour: paused by the safety limit",
	HeldAwaiting:        "waiting to see the effect of the last act",
	HeldBudget:          "nf_conntrack_max is as high as the memory budget or the ceiling permits",
	HeldPressure:        "the host is short of memory (PSI)",
	HeldMemoryUnknown:   "the host's memory could not be read",
	HeldYielded:         "somebody else changed this value; it is left to them",
	HeldReadOnly:        "this value is not writable here (run: ctwarden doctor)",
	HeldFloor:           "the timeouts are at their floors already",
	HeldNothingEligible: "too few entries may be touched to make a difference",
	HeldNotPermitted:    "the configuration forbids what would come next",
	HeldBanned:          "what would come next had no effect before in this incident",
	HeldDone:            "every remedy for this cause is used up",
	HeldStall:           "resizing the hash now would stall packets for too long",
	HeldTooSoon:         "the hash was resized not long ago",
	HeldInsertFailed:    "entries clash (NAT out of ports, or a race): a larger table does not help",
	HeldLongChains:      "hash chains are too long, and the memory budget permits no larger hash",
	HeldNoMemory:        "the kernel has no memory for entries: a larger table makes it worse",
	HeldElsewhere:       "another network namespace is the full one",
	HeldWouldRefill:     "giving the timeout back would fill the table again",
	HeldNoAudit:         "the audit log can't be written: no audit, no action",
}

// Sentence says the hold in words, without a full stop.
func (h Hold) Sentence() string {
	if int(h) < len(holdSentences) && holdSentences[h] != "" {
		return holdSentences[h]
	}
	return "not held"
}

// Sentence says the action in words: what is changed, from what to what.
func (act *Action) Sentence() string {
	switch act.Type {
	case RaiseMax, RestoreMax:
		return fmt.Sprintf("set nf_conntrack_max %d -> %d", act.From, act.To)
	case ResizeHash:
		return fmt.Sprintf("set nf_conntrack_buckets %d -> %d", act.From, act.To)
	case ShortenTimeout, RestoreTimeout:
		return fmt.Sprintf("set %s %d s -> %d s", act.Knob.Sysctl(), act.From, act.To)
	case AgeEntries:
		return fmt.Sprintf("leave %d s to at most %d idle %s entries", act.Remaining, act.Cap, act.Class)
	case DeleteEntries:
		return fmt.Sprintf("delete at most %d %s entries idle for %s", act.Cap, act.Class, act.MinIdle)
	}
	return "do nothing"
}

// Sentence says the outcome in words.
func (out *Outcome) Sentence() string {
	text := out.sentence()
	if out.Note != "" {
		text += " (" + out.Note + ")"
	}
	return text
}

func (out *Outcome) sentence() string {
	act := &out.Action
	switch {
	case act.Would:
		return "would " + act.Sentence()
	case out.ChangedExternally:
		return fmt.Sprintf("%s: somebody else set it to %d, left alone", act.Sentence(), out.Before)
	case !out.OK:
		return act.Sentence() + ": " + out.Error
	case act.Type == DeleteEntries:
		return fmt.Sprintf("deleted %d of %d entries looked at", out.Changed, out.Examined)
	case act.Type == AgeEntries:
		return fmt.Sprintf("aged %d of %d entries looked at", out.Changed, out.Examined)
	}
	return fmt.Sprintf("%s: now %d", act.Sentence(), out.After)
}

// Sentence says the verdict in words.
func (v *Verdict) Sentence() string {
	text := fmt.Sprintf("%s: %s (%d of %d entries before, %d of %d after)", v.Type, v.Result,
		v.Before.Entries, v.Before.Max, v.After.Entries, v.After.Max)
	if v.Bans {
		text += "; not used again in this incident"
	}
	return text
}

// Sysctl returns the name of the sysctl that was overridden, below
// net.netfilter.
func (ov *Override) Sysctl() string {
	return (&Action{Type: ov.Type, Knob: ov.Knob}).Sysctl()
}

// Sentence says the override in words.
func (ov *Override) Sentence() string {
	text := fmt.Sprintf("%s was set to %d by somebody else (ctwarden wrote %d)", ov.Sysctl(), ov.Found, ov.Wrote)
	if ov.Change == ExternallyRaised {
		return text + "; taken as the value to work from"
	}
	return fmt.Sprintf("%s; left alone for %s", text, ov.Yield)
}

// Sentence says the assessment in words: fullness, level, forecast, cause.
func (a *Assessment) Sentence() string {
	t := &a.Observation.Table
	if a.Observation.Absent {
		return "no table: nf_conntrack is not loaded"
	}
	text := fmt.Sprintf("%d of %d entries (%s), %s", t.Entries, t.Max, Percent(a.Fullness), a.Level)
	if a.FullIn > 0 && a.FullIn < time.Hour {
		text += fmt.Sprintf(", full in %s", a.FullIn.Round(100*time.Millisecond))
	}
	if a.Cause != NoCause {
		text += ", cause " + a.Cause.String()
	}
	return text
}

// Percent prints a share as in "87.5%".
func Percent(p conntrack.Permyriad) string {
	return fmt.Sprintf("%d.%d%%", p/100, p%100/10)
}
