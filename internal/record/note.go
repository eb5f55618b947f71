package record

import "fmt"

// A NoteKind is a kind of finding about the ledger.
type NoteKind uint8

// The kinds.
const (
	// Kept: the kernel has the value that ctwarden wrote.
	NoteKept NoteKind = iota + 1
	// Returned: the kernel has the original; the write never happened, or was
	// undone. The row is dropped.
	NoteReturned
	// Foreign: another program or a person changed the value and owns it now.
	NoteForeign
	// Rebooted: the row is from another boot.
	NoteRebooted
	// NamespaceGone: the row's namespace does not exist any more.
	NoteNamespaceGone
	// ModuleGone: nf_conntrack was unloaded, and its values with it.
	NoteModuleGone
	// Unknown: the value could not be read now. The row stays.
	NoteUnknown
	// SetAside: the ledger could not be trusted; it was renamed.
	NoteSetAside
)

// names of the kinds, for the audit log.
func noteNames() []string {
	return []string{
		"none", "kept", "returned", "foreign", "rebooted", "namespace_gone",
		"module_gone", "unknown", "set_aside",
	}
}

// String returns the name used in the audit log.
func (k NoteKind) String() string {
	if names := noteNames(); int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("invalid(%d)", uint8(k))
}

// MarshalText implements encoding.TextMarshaler.
func (k NoteKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *NoteKind) UnmarshalText(text []byte) error {
	for i, name := range noteNames() {
		if name == string(text) {
			*k = NoteKind(i)
			return nil
		}
	}
	return fmt.Errorf("unknown note %q", text)
}

// A Note is one finding about the ledger, for the operator and the audit log.
type Note struct {
	Kind NoteKind `json:"kind"`
	// Sysctl and NetNS (0 is ctwarden's own) name the value; Original, Written
	// and Found are 0 where they are unknown.
	Sysctl   string `json:"sysctl,omitempty"`
	NetNS    uint32 `json:"netns,omitempty"`
	Original uint64 `json:"original,omitempty"`
	Written  uint64 `json:"written,omitempty"`
	Found    uint64 `json:"found,omitempty"`
	// Path is the new name of a ledger that was set aside.
	Path string `json:"path,omitempty"`
	// Error is the reason why a ledger was set aside, or a value is unknown.
	Error string `json:"error,omitempty"`
}

// Sentence returns the note in words, without a full stop.
func (n *Note) Sentence() string {
	name := n.Sysctl
	if n.NetNS != 0 {
		name += fmt.Sprintf(" of netns %d", n.NetNS)
	}
	switch n.Kind {
	case NoteKept:
		return fmt.Sprintf("%s is still %d, as ctwarden set it (originally %d)", name, n.Found, n.Original)
	case NoteReturned:
		return fmt.Sprintf("%s is %d, as it was originally", name, n.Original)
	case NoteForeign:
		return fmt.Sprintf("%s was set to %d by somebody else (ctwarden wrote %d); left alone", name, n.Found, n.Written)
	case NoteRebooted:
		return name + " was changed before the last boot; nothing is left of that"
	case NoteNamespaceGone:
		return name + ": the network namespace is gone, and the change with it"
	case NoteModuleGone:
		return name + ": nf_conntrack was unloaded, and the change is gone with it"
	case NoteUnknown:
		return name + " can't be compared now: " + n.Error
	case NoteSetAside:
		return fmt.Sprintf("the ledger can't be trusted (%s); it was set aside as %s", n.Error, n.Path)
	}
	return "nothing"
}
