package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/netns"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

// ErrNoRecord is returned by Revert if the audit log can't be written and the
// request does not force it.
var ErrNoRecord = errors.New("the audit log can't be written")

// A RevertResult is what Revert found and did.
type RevertResult struct {
	// Notes are the values of the ledger that changed while no daemon ran.
	Notes []record.Note
	// Outcomes has one element for each value of the ledger; none if the ledger
	// is empty.
	Outcomes []policy.Outcome
}

// Revert restores every value of the ledger without a daemon, and records it. The
// errors are those of remediate.Open and Reconcile, ErrNoRecord, and of the audit
// log.
func Revert(ctx context.Context, cfg *config.Config, o remediate.Options, logger *slog.Logger, request control.Request) (result RevertResult, err error) {
	own, err := netns.Current()
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	o.Own = own
	o.Others = func() (remediate.Others, error) { return CountOthers(own) }
	kernel, err := remediate.Open(o)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, kernel.Close()) }()
	claims, err := kernel.Reconcile(ctx)
	if err != nil {
		return result, err
	}
	for _, note := range claims.Notes {
		if note.Kind != record.NoteKept {
			result.Notes = append(result.Notes, note)
		}
	}
	if len(kernel.Ledger().Entries) == 0 {
		return result, nil
	}
	log, err := openRevertLog(cfg, logger, request)
	if err != nil && !request.Force {
		return result, fmt.Errorf("no audit, no action: %w: %w", ErrNoRecord, err)
	}
	result.Outcomes, err = kernel.Revert(ctx, request.Force)
	if log != nil {
		err = errors.Join(err, appendOutcomes(log, result.Outcomes), log.Close())
	}
	return result, err
}

func appendOutcomes(log *audit.Log, outcomes []policy.Outcome) (err error) {
	for i := range outcomes {
		payload := &record.Outcome{Outcome: outcomes[i]}
		record.Describe(payload)
		_, appendErr := log.Append(payload)
		err = errors.Join(err, appendErr)
	}
	return err
}

// openRevertLog opens the audit log and records the beginning of a revert.
func openRevertLog(cfg *config.Config, logger *slog.Logger, request control.Request) (*audit.Log, error) {
	// The directory is missing if only a drill ever ran here.
	if err := os.MkdirAll(filepath.Dir(cfg.Audit.Path), 0o750); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	log, err := OpenAudit(cfg, logger, nil)
	if err != nil {
		return nil, err
	}
	by := record.Requester{Reason: request.Reason, UID: uint32(os.Getuid()), PID: int32(os.Getpid())}
	_, err = log.Append(&record.Revert{
		Requester: by, Force: request.Force,
		Text: fmt.Sprintf("uid %d reverts every value without a daemon: %s", by.UID, cmp.Or(request.Reason, "no reason given")),
	})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}
