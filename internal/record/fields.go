package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	errNotObject = errors.New("not a JSON object")
	errFound     = errors.New("found") // ends eachField early
)

// eachField calls visit with each field of a JSON object, its name without
// quotes and its value unchanged, and stops at the first error. It skips values
// without reading them, because callers need few of a long record. It does not
// prove that the text is JSON; callers read each value strictly.
func eachField(text []byte, visit func(name, value []byte) error) error {
	text = bytes.TrimSpace(text)
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return errNotObject
	}
	text = text[1 : len(text)-1]
	for len(text) > 0 {
		if text[0] != '"' {
			return errNotObject
		}
		n := stringLength(text)
		if n < 2 || n >= len(text) || text[n] != ':' {
			return errNotObject
		}
		name := text[1 : n-1]
		text = text[n+1:]
		if n = valueLength(text); n == 0 {
			return errNotObject
		}
		if err := visit(name, text[:n]); err != nil {
			return err
		}
		text = text[n:]
		if len(text) > 0 {
			if text[0] != ',' || len(text) == 1 {
				return errNotObject
			}
			text = text[1:]
		}
	}
	return nil
}

// valueLength is how long the value at the beginning of text is; 0 if there is
// none.
func valueLength(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	switch text[0] {
	case '"':
		return stringLength(text)
	case '{', '[':
		return nestedLength(text)
	}
	n := 0
	for n < len(text) && text[n] != ',' && text[n] != '}' && text[n] != ']' {
		n++
	}
	return n
}

func nestedLength(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		// Nearly all bytes are none of these: digits, commas, letters.
		c := text[i]
		if c > '"' && c < '[' {
			continue
		}
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return i + 1
			}
		case '"':
			n := stringLength(text[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		}
	}
	return 0
}

// stringLength is how long the string at the beginning of text is, with its
// quotes; 0 if it has no end.
func stringLength(text []byte) int {
	for i := 1; i < len(text); i++ {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return 0
		}
		i += n
		slashes := 0
		for text[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
	return 0
}

// unquoted returns the value of a JSON string, "" for any other.
func unquoted(value []byte) string {
	if n := len(value); n >= 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : n-1])
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}

// number returns a whole number, 0 for any other value.
func number(value []byte) uint64 {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Pairs returns the plain fields of a payload as key=value, in the order in
// which they stand: the sentence of a record whose writer left none.
func Pairs(payload []byte) string {
	var b strings.Builder
	// An error leaves the fields before it.
	_ = eachField(payload, func(name, value []byte) error {
		if value[0] == '{' || value[0] == '[' {
			return nil
		}
		text := string(value)
		if value[0] == '"' {
			text = unquoted(value)
		}
		if strings.ContainsAny(text, " =\"") {
			text = `"` + strings.ReplaceAll(text, `"`, `'`) + `"`
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s", name, text)
		return nil
	})
	return b.String()
}
