package control

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzReadRequest: whatever is sent, what is accepted is within its bounds and
// reads the same again.
func FuzzReadRequest(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"reason":"x","for":"1h","force":true}`, `{"for":"1ns"}`, `{"for":"720h1s"}`,
		`{"reason":"\ud800"}`, `{"reason":"` + strings.Repeat("ä", 300) + `"}`, `{"for":"9223372036s"}`, `{}{}`, `{"FOR":"1h"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ask, err := readRequest(strings.NewReader(text))
		if err != nil {
			return
		}
		if err := ask.Check(); err != nil {
			t.Fatalf("accepted %q: %v", text, err)
		}
		again, err := json.Marshal(ask)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readRequest(strings.NewReader(string(again))); err != nil || got != ask {
			t.Fatalf("%q became %+v, then %s became %+v, %v", text, ask, again, got, err)
		}
	})
}
