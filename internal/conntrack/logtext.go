package conntrack

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Ellipsis ends a text that Printable cut.
const Ellipsis = "…"

// Printable makes text from the kernel, a host name or a comment fit for a
// terminal, a log line or a page: the result is valid UTF-8 of at most most
// bytes (at least those of Ellipsis) in which every rune is printable. What is
// not, such as a newline, a terminal escape, a C1 control, a bidirectional
// override or a broken byte, is spelled out like \x1b or \u202e. It does not
// escape HTML: that belongs to the template. Clean text is returned as it is,
// without a copy.
func Printable(text string, most int) string {
	most = max(most, len(Ellipsis))
	if len(text) <= most && clean(text) {
		return text
	}
	var b strings.Builder
	b.Grow(min(len(text), most))
	end := 0 // the longest prefix that leaves room for the Ellipsis
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		piece := text[i : i+size]
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			piece = spell(r, text[i], size)
		}
		if b.Len()+len(piece) > most {
			return b.String()[:end] + Ellipsis
		}
		b.WriteString(piece)
		if b.Len()+len(Ellipsis) <= most {
			end = b.Len()
		}
		i += size
	}
	return b.String()
}

func clean(text string) bool {
	for i, r := range text {
		if !unicode.IsPrint(r) {
			return false
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}

// spell writes out a rune, or a byte that is part of none.
func spell(r rune, first byte, size int) string {
	if size == 1 {
		const hex = "0123456789abcdef"
		return `\x` + string([]byte{hex[first>>4], hex[first&15]})
	}
	quoted := strconv.QuoteRuneToASCII(r)
	return quoted[1 : len(quoted)-1]
}
