package record

import (
	"encoding/hex"
	"fmt"
)

// A Hash is the SHA-256 of a record's canonical text. The zero Hash stands
// before the first record of a chain.
type Hash [32]byte

// hashText is the length of a Hash in a line: lower-case hexadecimal.
const hashText = 64

// ParseHash reads a Hash from 64 lower-case hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if err := h.UnmarshalText([]byte(s)); err != nil {
		return Hash{}, err
	}
	return h, nil
}

// String returns the 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns what String returns.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads 64 lower-case hexadecimal digits. Upper case is
// refused: a hash has one spelling.
func (h *Hash) UnmarshalText(text []byte) error {
	var got Hash
	if !got.decode(text) {
		return fmt.Errorf("parse hash %.80q: want %d lower-case hexadecimal digits", text, hashText)
	}
	*h = got
	return nil
}

func (h *Hash) decode(text []byte) bool {
	if len(text) != hashText {
		return false
	}
	// Upper case passes hex.Decode, so it is refused here.
	for _, c := range text {
		if c >= 'A' && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(h[:], text)
	return err == nil
}
