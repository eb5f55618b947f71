package report

import "testing"

func TestLongNumbersAreGrouped(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "no number": "no number", "999 of 1000": "999 of 1,000", "44098 of 262144 entries (16.8%), full in 17.8s": "44,098 of 262,144 entries (16.8%), full in 17.8s",
		"0123456": "0123456", "99999999999999999999999": "99999999999999999999999", "12345": "12,345",
	} {
		if got := grouped(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
