package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrPayload says that a payload cannot be a record: it is no JSON object, or
// one of its fields has a name that every record uses already.
var ErrPayload = errors.New("payload refused")

var reserved = [...]string{"seq", "time", "kind", "prev", "hash"}

// encodePayload returns the payload's fields without the braces, in printable
// ASCII. A nil payload has none.
func encodePayload(payload any) ([]byte, error) {
	if payload == nil {
		return nil, nil
	}
	text, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if err := checkFields(text); err != nil {
		return nil, err
	}
	return appendASCII(nil, text[1:len(text)-1]), nil
}

// checkFields refuses what would make a record ambiguous. Names are compared
// without regard to case because Go's own decoder matches them that way: a
// field "Seq" would be read as the record's number.
func checkFields(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: not a JSON object: %.40q", ErrPayload, text)
	}
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrPayload, err)
		}
		name, _ := t.(string)
		for _, r := range reserved {
			if strings.EqualFold(name, r) {
				return fmt.Errorf("%w: field %q belongs to the record", ErrPayload, name)
			}
		}
		if seen[name] {
			return fmt.Errorf("%w: field %q occurs twice", ErrPayload, name)
		}
		seen[name] = true
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return fmt.Errorf("%w: field %q: %w", ErrPayload, name, err)
		}
	}
	return nil
}

// appendASCII escapes whatever is not printable ASCII. In valid, compact JSON
// such a character stands inside a string, so the meaning stays. What is left
// cannot move a terminal's cursor, turn text around or be read differently by
// a reader with another idea of UTF-8.
func appendASCII(dst, src []byte) []byte {
	for len(src) > 0 {
		if c := src[0]; c >= 0x20 && c < 0x7f {
			dst = append(dst, c)
			src = src[1:]
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
