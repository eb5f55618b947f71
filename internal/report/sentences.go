package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/incident"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// grouped prints the long numbers of a text in groups of three digits.
func grouped(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
		if n, err := strconv.ParseUint(text[:digits], 10, 64); err == nil && digits > 3 && text[0] != '0' {
			b.WriteString(ui.Number(n))
		} else {
			b.WriteString(text[:digits])
		}
		text = text[digits:]
		next := strings.IndexAny(text, "0123456789")
		if next < 0 {
			next = len(text)
		}
		b.WriteString(text[:next])
		text = text[next:]
	}
	return b.String()
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return ui.Number(n) + " " + many
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet was"
	}
	return ui.Number(n) + " packets were"
}

// sentence makes the first letter a capital one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// dateTime prints a time as audit show takes it back.
func dateTime(t time.Time) string  { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
func timeOfDay(t time.Time) string { return t.UTC().Format("15:04:05") }

// elapsed is the time since the incident began.
func elapsed(i *incident.Incident, t time.Time) string {
	d := t.Sub(i.Start)
	if d < 0 {
		return "before"
	}
	return "+" + ui.Duration(d)
}

// causeSentence explains a cause; "" for none.
func causeSentence(c policy.Cause) string {
	switch c {
	case policy.Unknown:
		return "The cause is unknown: the table could not be read at that time."
	case policy.Load:
		return "The cause was load: most entries belonged to live connections. The table was too small for them."
	case policy.Churn:
		return "The cause was churn: most entries belonged to connections that had ended already. Linux keeps such an entry for up to two " +
			"minutes (TIME_WAIT), so that many short connections fill the table."
	case policy.HalfOpen:
		return "The cause was half-open connections: most entries belonged to unanswered connections, as in a flood, a scan, or " +
			"when a service behind this host is down."
	case policy.Stale:
		return "The cause was stale connections: most entries belonged to connections without a packet for more than a day. Their peers are " +
			"probably gone, but Linux keeps the entries for five days."
	case policy.Elsewhere:
		return "The full table was in another network namespace, such as a container's."
	case policy.InsertFailed:
		return "Inserting entries failed below the limit: NAT was out of ports, or two packets raced. A larger table does not help."
	case policy.LongChains:
		return "The hash was too small for the number of entries, so that the kernel refused new ones although the table had room."
	case policy.NoMemory:
		return "The kernel had no memory for new entries."
	}
	return ""
}

// causeName is the cause in a word or two.
func causeName(c policy.Cause) string {
	names := map[policy.Cause]string{
		policy.NoCause: "none", policy.Unknown: "unknown", policy.Load: "load", policy.Churn: "churn (closed connections)",
		policy.HalfOpen: "half-open connections", policy.Stale: "stale connections", policy.Elsewhere: "another namespace",
		policy.InsertFailed: "insert conflicts", policy.LongChains: "hash too small", policy.NoMemory: "no memory",
	}
	return names[c]
}

// actionSentence describes an action in words.
func actionSentence(d *incident.Decision) string {
	act, out := d.Action, d.Outcome
	failed := out != nil && !out.OK && out.Changed == 0
	verb := func(past, plain string) string {
		switch {
		case act.Would:
			return "would have " + past
		case failed:
			return "tried to " + plain
		}
		return past
	}
	text := ""
	switch act.Type {
	case policy.RaiseMax:
		text = fmt.Sprintf("%s the limit nf_conntrack_max from %s to %s", verb("raised", "raise"), ui.Number(act.From), ui.Number(act.To))
	case policy.RestoreMax:
		text = fmt.Sprintf("%s the limit nf_conntrack_max back from %s to %s", verb("put", "put"), ui.Number(act.From), ui.Number(act.To))
	case policy.ResizeHash:
		text = fmt.Sprintf("%s the hash from %s to %s buckets", verb("enlarged", "enlarge"), ui.Number(act.From), ui.Number(act.To))
	case policy.ShortenTimeout:
		text = fmt.Sprintf("%s %s from %d s to %d s", verb("shortened", "shorten"), act.Knob.Sysctl(), act.From, act.To)
	case policy.RestoreTimeout:
		text = fmt.Sprintf("%s %s back from %d s to %d s", verb("put", "put"), act.Knob.Sysctl(), act.From, act.To)
	case policy.AgeEntries:
		text = fmt.Sprintf("%s the remaining time of idle %s entries to %d s, at most %s of them", verb("shortened", "shorten"), act.Class, act.Remaining, ui.Number(act.Cap))
	case policy.DeleteEntries:
		text = fmt.Sprintf("%s %s entries that had been idle for %s, at most %s of them",
			verb("deleted", "delete"), act.Class, ui.Duration(act.MinIdle), ui.Number(act.Cap))
	default:
		text = verb("did", "do") + " something unknown to this version"
	}
	return sentence(text)
}

// result describes the outcome of an act.
func result(d *incident.Decision) string {
	out := d.Outcome
	if out == nil {
		return "no outcome is recorded"
	}
	did := map[policy.ActionType]string{policy.DeleteEntries: "deleted", policy.AgeEntries: "changed"}[out.Action.Type]
	switch {
	case out.Action.Would:
		return "mode is observe: not done"
	case out.ChangedExternally:
		return fmt.Sprintf("left alone: another program had set it to %s", ui.Number(out.Before))
	case !out.OK && did != "" && out.Changed > 0:
		return fmt.Sprintf("%s %s, then it failed: %s", ui.Number(out.Changed), did, clean(out.Error))
	case !out.OK:
		return "failed: " + clean(out.Error)
	case did != "":
		return fmt.Sprintf("%s %s of %s examined", ui.Number(out.Changed), did, ui.Number(out.Examined))
	case out.After != out.Action.To:
		return "done: now " + ui.Number(out.After)
	}
	return "done"
}

// sparedReason explains why an entry was not touched.
func sparedReason(f policy.Eligibility) string {
	words := [policy.NumEligibilities]string{
		policy.SparedReplied: "answered", policy.SparedAssured: "answered, and in use (ASSURED)",
		policy.SparedEstablished: "an established connection", policy.SparedWrongClass: "of another kind",
		policy.SparedDying: "being removed already", policy.SparedExpected: "part of another connection", policy.SparedHelper: "a helper follows it",
		policy.SparedFixedTimeout: "its lifetime is fixed by a rule", policy.SparedOffload: "offloaded", policy.SparedDNAT: "behind port forwarding",
		policy.SparedProtected: "protected by the configuration", policy.SparedIdleUnknown: "how long it was idle is not known",
		policy.SparedTooYoung: "not idle for long enough", policy.SparedShort: "about to expire anyway",
	}
	if f < policy.NumEligibilities && words[f] != "" {
		return sentence(words[f])
	}
	return sentence(f.String())
}

// verdict describes whether an act helped.
func verdict(d *incident.Decision) string {
	if d.Verdict == nil {
		out := d.Outcome
		if out == nil || !out.OK || out.ChangedExternally || out.Action.Would || out.Action.Type.Restores() {
			return ""
		}
		return undecided(out.Action.Type)
	}
	v := d.Verdict
	text := map[policy.Result]string{
		policy.Helped: "helped", policy.NoEffect: "no effect", policy.Worse: "it got worse", policy.Inconclusive: "inconclusive",
	}[v.Result]
	text += fmt.Sprintf(": %s before, %s after", policy.Percent(v.Before.Fullness), policy.Percent(v.After.Fullness))
	if v.Bans {
		text += "; not used again"
	}
	return text
}

// undecided explains why an action has no verdict yet: each kind is judged after
// a delay of its own (policy.VerifyLimits).
func undecided(t policy.ActionType) string {
	if t == policy.ShortenTimeout || t == policy.AgeEntries {
		return "too early to judge: the effect of a shorter timeout shows after 2 min"
	}
	return "not judged yet"
}
