package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/loop"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// Query requests the status of the daemon behind the socket at path. Errors are
// those of control.Status.
func Query(ctx context.Context, path string) (*Status, error) {
	text, err := control.Status(ctx, path)
	if err != nil {
		return nil, err
	}
	s := new(Status)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("read response of daemon: %w", err)
	}
	return s, nil
}

// Read makes a status without a daemon: it reads the table of the process's
// namespace and the ledger in dir. Version is that of this program. For a ledger
// that this user may not read it sets Ledger and returns no error.
func Read(version string, limits *policy.Limits, dir string) (s *Status, err error) {
	own, err := netns.Current()
	if err != nil {
		return nil, err
	}
	sampler := watcher.NewSampler(own, false)
	defer func() { err = errors.Join(err, sampler.Close(), own.Close()) }()
	o, err := sampler.Observe()
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	var state policy.State
	a := limits.Assess(&state, &o)
	s = &Status{Version: version, Status: loop.Status{
		At: o.At, Mode: limits.Mode,
		Tables: []loop.TableStatus{{Level: a.Level, Cause: a.Cause, Assessment: a, Text: a.Sentence()}},
	}}
	ledger, err := remediate.ReadLedger(remediate.Options{Dir: dir})
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.Ledger = err.Error()
	case err != nil:
		return nil, err
	}
	s.Changed = ledger.Entries
	return s, nil
}
