package record

// A Kind is the subject of a record. The zero Kind is invalid.
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

// MaxKind bounds the name of a kind in bytes, so that the header of a line is
// found in a bounded prefix.
const MaxKind = 32

// ParseKind returns the kind that b names, without allocating for a known one. A
// kind of a later version is accepted when it is written like ours.
func ParseKind(b []byte) (Kind, bool) {
	for _, k := range kinds {
		if string(b) == string(k) {
			return k, true
		}
	}
	if len(b) == 0 || len(b) > MaxKind {
		return "", false
	}
	for _, c := range b {
		if (c < 'a' || c > 'z') && c != '.' && c != '_' {
			return "", false
		}
	}
	return Kind(b), true
}
