package ctnetlink

// Support says whether the kernel has a feature. The zero Support is Unknown:
// what was not proven is not used.
type Support uint8

// The answers of a probe.
const (
	Unknown Support = iota
	No
	Yes
)

// String is "unknown", "no" or "yes".
func (s Support) String() string {
	return [...]string{"unknown", "no", "yes"}[min(s, Yes)]
}

// MarshalText implements encoding.TextMarshaler.
func (s Support) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Features is what a probe found. A version number cannot tell it: vendors
// carry features back, and a kernel ignores a filter that it does not know.
type Features struct {
	StatusFilter Support
}
