package record

import "testing"

func TestMessageIDs(t *testing.T) {
	seen := make(map[string]Kind)
	for _, k := range Kinds() {
		id := k.MessageID()
		if len(id) != 32 || id[12] != '4' || seen[id] != "" {
			t.Errorf("%s: message ID %q is no UUID of its own", k, id)
		}
		seen[id] = k
	}
	if len(seen) != 20 || Kind("later").MessageID() != "" {
		t.Errorf("%d message IDs", len(seen))
	}
}
