package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ctwarden/ctwarden/internal/record"
)

// openIncidents are the incidents that have begun and not ended, by name, with the
// sequence number of the record of their beginning. Retention spares that
// record and all behind it.
type openIncidents map[string]uint64

// note takes a record into account that was just appended.
func (u openIncidents) note(r Record) {
	if r.Kind != record.KindIncidentOpen && r.Kind != record.KindIncidentClose {
		return
	}
	name := record.Incident(r.line)
	if r.Kind == record.KindIncidentClose {
		delete(u, name)
	} else if _, known := u[name]; !known && name != "" {
		u[name] = r.Seq
	}
}

// spares reports whether a segment that ends with record last must stay.
func (u openIncidents) spares(last uint64) bool {
	for _, first := range u {
		if first <= last {
			return true
		}
	}
	return false
}

// Resume names the incidents of an earlier run that are still open, so that
// retention spares them. It is called before the first Append, which may
// remove old segments. The log is read from its end until their beginnings are
// found; a name whose beginning is no longer there spares nothing.
func (l *Log) Resume(names ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	segments, err := openSegments(l.path)
	if err != nil {
		return fmt.Errorf("find open incidents: %w", err)
	}
	defer closeSegments(segments)
	missing := slices.Clone(names)
	for _, s := range slices.Backward(segments) {
		found, err := s.beginnings()
		if err != nil {
			return fmt.Errorf("find open incidents in %s: %w", s.File, err)
		}
		missing = slices.DeleteFunc(missing, func(name string) bool {
			seq, ok := found[name]
			if ok {
				l.openIncidents[name] = seq
			}
			return ok
		})
		if len(missing) == 0 {
			break
		}
	}
	return nil
}

// beginnings returns the incidents that begin in a segment.
func (s *segmentFile) beginnings() (openIncidents, error) {
	r, err := s.content()
	if err != nil {
		return nil, err
	}
	found := openIncidents{}
	m := newMatcher(Filter{Kinds: []record.Kind{record.KindIncidentOpen}})
	readLines(context.Background(), newLines(r), s.File, m, func(r Record, lineErr error) bool {
		switch _, damaged := errors.AsType[*LineError](lineErr); {
		case lineErr == nil:
			found.note(r)
		case !damaged:
			err = lineErr
		}
		return err == nil
	})
	return found, err
}
