package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// A Request is a user's request, with the fields that its command takes.
type Request struct {
	// Reason is written to the audit log: at most MaxReason bytes of UTF-8.
	Reason string
	// For is how long it lasts; a whole number of seconds.
	For time.Duration
	// Force restores values even if new connections fail or packets stall.
	Force bool
}

// The bounds of a request.
const (
	// MaxReason is the longest reason, in bytes.
	MaxReason = 500
	// MaxFor is the longest pause. A permanent one is a setting (mode: observe).
	MaxFor = 30 * 24 * time.Hour
)

// wire is the JSON form of a Request: durations are texts such as "90m".
type wire struct {
	Reason string `json:"reason,omitempty"`
	For    string `json:"for,omitempty"`
	Force  bool   `json:"force,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (a Request) MarshalJSON() ([]byte, error) {
	w := wire{Reason: a.Reason, Force: a.Force}
	if a.For != 0 {
		w.For = a.For.String()
	}
	return json.Marshal(w)
}

// Check returns the first mistake in a request.
func (a Request) Check() error {
	switch {
	case len(a.Reason) > MaxReason:
		return fmt.Errorf("the reason is longer than %d bytes", MaxReason)
	case !utf8.ValidString(a.Reason):
		return errors.New("the reason is not UTF-8")
	case a.For < 0 || a.For > MaxFor:
		return fmt.Errorf("%s is not between 1s and %s", a.For, MaxFor)
	case a.For%time.Second != 0:
		return fmt.Errorf("%s is not a whole number of seconds", a.For)
	}
	return nil
}

// readRequest reads one JSON object and nothing after it. No body is the zero Request.
func readRequest(body io.Reader) (Request, error) {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	var w wire
	if err := decoder.Decode(&w); errors.Is(err, io.EOF) {
		return Request{}, nil
	} else if err != nil {
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Request{}, errors.New("read request: more than one JSON object")
	}
	request := Request{Reason: w.Reason, Force: w.Force}
	if w.For != "" {
		var err error
		if request.For, err = time.ParseDuration(w.For); err != nil {
			return Request{}, fmt.Errorf("read request: for: %w", err)
		}
	}
	return request, request.Check()
}
