package audit

// A Kind says what a record is about. The zero Kind is invalid.
type Kind string

// The kinds. Their names are a contract: they never change their meaning, new
// ones may be added.
const (
	KindStart         Kind = "start"
	KindStop          Kind = "stop"
	KindConfig        Kind = "config"
	KindSignal        Kind = "signal"
	KindLevel         Kind = "level"
	KindCensus        Kind = "census"
	KindPlan          Kind = "plan"
	KindOutcome       Kind = "outcome"
	KindVerdict       Kind = "verdict"
	KindHold          Kind = "hold"
	KindOverride      Kind = "override"
	KindBreaker       Kind = "breaker"
	KindPause         Kind = "pause"
	KindResume        Kind = "resume"
	KindRevert        Kind = "revert"
	KindMissed        Kind = "missed"
	KindGap           Kind = "gap"
	KindIncidentOpen  Kind = "incident.open"
	KindIncidentClose Kind = "incident.close"
	KindSample        Kind = "sample"
)

// kinds begins with the one that is nearly all of a long log, because
// reading compares in this order.
var kinds = [...]Kind{
	KindSample, KindPlan, KindOutcome, KindVerdict, KindHold, KindLevel,
	KindSignal, KindCensus, KindStart, KindStop, KindConfig, KindOverride,
	KindBreaker, KindPause, KindResume, KindRevert, KindMissed, KindGap,
	KindIncidentOpen, KindIncidentClose,
}

// Kinds returns every kind that this version writes.
func Kinds() []Kind { return append([]Kind(nil), kinds[:]...) }

// Known reports whether this version writes records of kind k.
func (k Kind) Known() bool {
	for _, known := range kinds {
		if k == known {
			return true
		}
	}
	return false
}

// maxKind bounds the name of a kind in a line, so that a header is found in a
// bounded prefix.
const maxKind = 32

// kindOf returns the kind that b names, without allocating for a known one. A
// kind of a later version is accepted when it is written like ours.
func kindOf(b []byte) (Kind, bool) {
	for _, k := range kinds {
		if string(b) == string(k) {
			return k, true
		}
	}
	if len(b) == 0 || len(b) > maxKind {
		return "", false
	}
	for _, c := range b {
		if (c < 'a' || c > 'z') && c != '.' && c != '_' {
			return "", false
		}
	}
	return Kind(b), true
}
