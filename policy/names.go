package policy

import "fmt"

// parseName finds text among the names of an enumeration.
func parseName[T ~uint8](names []string, text []byte, what string) (T, error) {
	for i, name := range names {
		if name == string(text) {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q", what, text)
}

// nameOf returns the name of value v, or a placeholder if it has none.
func nameOf[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("invalid(%d)", uint8(v))
}
