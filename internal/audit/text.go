package audit

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/conntrack"
)

// Sanitise returns s with whatever is not a visible character or a plain
// space spelled out, so that text from the kernel, a host name or a damaged
// log can neither steer a terminal nor begin a line. It is conntrack.Printable
// without a bound.
func Sanitise(s string) string { return conntrack.Printable(s, math.MaxInt) }

// Clip returns s, or as much of its beginning as fits into limit bytes together
// with a note of how many bytes are missing. It never cuts a character in two.
func Clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const note = "… (+%d bytes)"
	keep := max(0, limit-len(fmt.Sprintf(note, len(s))))
	for keep > 0 && !utf8.RuneStart(s[keep]) {
		keep--
	}
	return s[:keep] + fmt.Sprintf(note, len(s)-keep)
}
