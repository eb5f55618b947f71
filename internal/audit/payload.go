package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/record"
)

// ErrPayload reports that a payload cannot be a record: it is no JSON object, or
// of a kind that this version does not write.
var ErrPayload = errors.New("payload refused")

// encodePayload returns the payload's fields without the braces, in printable
// ASCII.
func encodePayload(p record.Payload) ([]byte, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if text[0] != '{' {
		return nil, fmt.Errorf("%w: not a JSON object: %.40q", ErrPayload, text)
	}
	return appendASCII(nil, text[1:len(text)-1]), nil
}

// appendASCII escapes whatever is not printable ASCII. In valid, compact JSON
// such a character stands inside a string, so the meaning stays. What is left
// cannot move a terminal's cursor, turn text around or be read differently by
// a reader with another idea of UTF-8.
func appendASCII(dst, src []byte) []byte {
	for len(src) > 0 {
		plain := 0
		for plain < len(src) && src[plain] >= 0x20 && src[plain] < 0x7f {
			plain++
		}
		if plain > 0 {
			dst = append(dst, src[:plain]...)
			src = src[plain:]
			continue
		}
		r, n := utf8.DecodeRune(src)
		src = src[n:]
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, hi, lo)
			continue
		}
		dst = fmt.Appendf(dst, `\u%04x`, r)
	}
	return dst
}
