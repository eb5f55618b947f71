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
	ReasonHalfOpen:           "unanswered connections fill the table",
	ReasonStale:              "connections idle for more than a day fill the table",
	ReasonBudgetNeedsBuckets: "the memory budget permits a larger max than the buckets carry",
	ReasonLongChains:         "the kernel refuses entries because hash chains are too long",
	ReasonCalm:               "the load has passed",
	ReasonRequested:          "an administrator requested it",
}

// Sentence describes the reason in words, without a full stop.
func (r Reason) Sentence() string {
	if int(r) < len(reasonSentences) && reasonSentences[r] != "" {
		return reasonSentences[r]
	}
	return "no reason"
}

var holdSentences = [...]string{
	HeldOff:             "the configuration permits nothing",
	HeldPaused:          "paused by an administrator",
	HeldNoTable:         "nf_conntrack is not loaded: there is no table",
	HeldUnlimited:       "nf_conntrack_max is 0: the table has no limit",
	HeldCalm:            "nothing to do",
	HeldEnough:          "the headroom is enough",
	HeldFalling:         "the table is emptying, or its growth is easing off",
	HeldBreaker:         "paused by the safety limit: too many actions within an hour",
	HeldAwaiting:        "waiting for the effect of the last action",
	HeldBudget:          "nf_conntrack_max is as high as the memory budget or the ceiling permits",
	HeldPressure:        "the host is short of memory (PSI)",
	HeldMemoryUnknown:   "the host's memory could not be read",
	HeldYielded:         "another program changed this value: ctwarden leaves it alone",
	HeldReadOnly:        "not writable here (run: ctwarden doctor)",
	HeldFloor:           "the timeouts are at their floors already",
	HeldNothingEligible: "too few entries are eligible to make a difference",
	HeldNotPermitted:    "the configuration forbids the next step",
	HeldBanned:          "the next step had no effect before in this incident",
	HeldDone:            "every step against this cause has been used",
	HeldStall:           "resizing the hash now would stall packets for too long",
	HeldTooSoon:         "the hash was resized not long ago",
	HeldInsertFailed:    "insert conflicts below max (NAT out of ports, or a race): a larger table does not help",
	HeldLongChains:      "hash chains are too long, and the memory budget permits no larger hash",
	HeldNoMemory:        "the kernel has no memory for entries: a larger table makes it worse",
	HeldElsewhere:       "the full table is in another network namespace",
	HeldWouldRefill:     "restoring the timeout would fill the table again",
	HeldNoAudit:         "the audit log can't be written: no audit, no action",
}

// Sentence describes the hold in words, without a full stop.
func (h Hold) Sentence() string {
	if int(h) < len(holdSentences) && holdSentences[h] != "" {
		return holdSentences[h]
	}
	return "not held"
}

// Sentence describes the action in words: the value changed, from and to.
func (act *Action) Sentence() string {
	switch act.Type {
	case RaiseMax, RestoreMax:
		return fmt.Sprintf("set nf_conntrack_max %d -> %d", act.From, act.To)
	case ResizeHash:
		return fmt.Sprintf("set nf_conntrack_buckets %d -> %d", act.From, act.To)
	case ShortenTimeout, RestoreTimeout:
		return fmt.Sprintf("set %s %d s -> %d s", act.Knob.Sysctl(), act.From, act.To)
	case AgeEntries:
		return fmt.Sprintf("shorten the remaining time of at most %[2]d idle %[3]s entries to %[1]d s", act.Remaining, act.Cap, act.Class)
	case DeleteEntries:
		return fmt.Sprintf("delete at most %d %s entries idle for %s", act.Cap, act.Class, act.MinIdle)
	}
	return "do nothing"
}

// Sentence describes the outcome in words.
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
		return fmt.Sprintf("%s: another program set it to %d, so it was left alone", act.Sentence(), out.Before)
	case !out.OK:
		return act.Sentence() + ": " + out.Error
	case act.Type == DeleteEntries:
		return fmt.Sprintf("deleted %d of %d examined entries", out.Changed, out.Examined)
	case act.Type == AgeEntries:
		return fmt.Sprintf("aged %d of %d examined entries", out.Changed, out.Examined)
	}
	return fmt.Sprintf("%s: now %d", act.Sentence(), out.After)
}

// Sentence describes the verdict in words.
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

// Sentence describes the override in words.
func (ov *Override) Sentence() string {
	text := fmt.Sprintf("another program set %s to %d (ctwarden wrote %d)", ov.Sysctl(), ov.Found, ov.Wrote)
	if ov.Change == ExternallyRaised {
		return text + "; ctwarden works from this value now"
	}
	return fmt.Sprintf("%s; ctwarden leaves it alone for %s", text, ov.Yield)
}

// Sentence describes the assessment in words: fullness, level, forecast, cause.
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
