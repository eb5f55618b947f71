package audit

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sanitise returns s with whatever is not a visible character or a plain
// space written as an escape, so that text from the kernel, a host name or a
// damaged log can neither steer a terminal nor begin a line. An escape of the
// escape is not needed: the result is for reading only.
func Sanitise(s string) string {
	clean := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case clean(r):
			b.WriteRune(r)
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			} else {
				b.WriteRune(r)
			}
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

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
