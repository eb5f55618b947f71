package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/sandbox"
	"github.com/ctwarden/ctwarden/policy"
)

// A Summary has the results of a drill.
type Summary struct {
	// KernelLines counts kernel log lines; Raised, Shortened and Deleted count actions.
	KernelLines, Raised, Shortened, Deleted int
	// OnlyPlanned counts raises that were not permitted, Entries deleted entries.
	OnlyPlanned int
	Entries     uint64
	Verdicts    map[policy.ActionType]policy.Result
	// Sent and Refused are packets of the flood, Trips round trips of the
	// long-lived connections, Shorts short ones that were made.
	Sent, Refused, RoundTrips, ShortConns uint64
	Alive, LongConns                      int
	Slowest                               time.Duration
	// TimeoutVerdictAfter is the time until the verdict on a timeout. A drill
	// does not wait for it.
	TimeoutVerdictAfter time.Duration
	// Unchanged is how many kernel values are as before, 0 if not all are.
	Unchanged int
}

// A counts is the summary of a drill while it runs.
type counts struct {
	mu sync.Mutex
	Summary
	failed []string
	// stopped is set when the traffic has ended: an action that fails now is expected.
	stopped  bool
	floodErr error
}

// add counts a record of the loop.
func (s *counts) add(r audit.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	payload, err := r.Payload()
	if err != nil {
		s.failed = append(s.failed, err.Error())
		return
	}
	switch p := payload.(type) {
	case *record.Signal:
		s.KernelLines++
	case *record.Outcome:
		s.outcome(&p.Outcome)
	case *record.Verdict:
		if s.Verdicts == nil {
			s.Verdicts = map[policy.ActionType]policy.Result{}
		}
		s.Verdicts[p.Type] = p.Result
	}
}

func (s *counts) outcome(out *policy.Outcome) {
	switch {
	case out.Action.Would:
		s.OnlyPlanned++
		return
	case !out.OK && s.stopped:
		return
	case !out.OK:
		s.failed = append(s.failed, out.Sentence())
		return
	}
	switch out.Action.Type {
	case policy.RaiseMax:
		s.Raised++
	case policy.ShortenTimeout:
		s.Shortened++
	case policy.DeleteEntries:
		if out.Changed > 0 {
			s.Deleted++
			s.Entries += out.Changed
		}
	}
}

func (s *counts) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// complete reports whether each action was seen, and each verdict that does not take
// minutes.
func (s *counts) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Raised+s.OnlyPlanned > 0 && s.Shortened > 0 && s.Deleted > 0 &&
		s.Verdicts[policy.DeleteEntries] != 0 && (s.Raised == 0 || s.Verdicts[policy.RaiseMax] != 0)
}

// revert restores the values that the loop changed, and then ends the incident,
// so that the audit log has the end of the drill. It restores values that it
// can't record, too.
func (d *run) revert() error {
	const force = true
	err := d.agent.Record(&record.Revert{
		Requester: record.Requester{Reason: "drill finished", UID: uint32(os.Getuid()), PID: int32(os.Getpid())}, Force: force,
		Text: "the drill restores every value",
	})
	outcomes, revertErr := d.agent.Kernel().Revert(context.Background(), force)
	err = errors.Join(err, revertErr)
	for i := range outcomes {
		out := &outcomes[i]
		err = errors.Join(err, d.agent.Record(&record.Outcome{Outcome: *out}))
		if !out.OK {
			err = errors.Join(err, fmt.Errorf("put back: %s", out.Sentence()))
		}
	}
	d.agent.CloseIncidents("drill finished")
	return err
}

// cleanUp restores values that are still changed, as after Ctrl-C, and then removes
// everything that the drill made.
func (d *run) cleanUp() error {
	var errs []error
	if d.agent != nil {
		if len(d.agent.Kernel().Ledger().Entries) > 0 {
			errs = append(errs, d.revert())
		}
		d.agent.CloseIncidents("drill interrupted")
		errs = append(errs, d.agent.Close())
	}
	if d.sampler != nil {
		errs = append(errs, d.sampler.Close())
	}
	if d.sandbox != nil {
		errs = append(errs, d.sandbox.Close())
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	if d.own != nil {
		errs = append(errs, d.own.Close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// interrupted returns an error if the user interrupted the drill. The drill's own time
// limit is not an interruption: finish reports it.
func interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted; every value was restored")
	}
	return nil
}

// finish compares the kernel values with the initial ones and returns an error for
// each failed expectation.
func (d *run) finish() error {
	after, err := sandbox.ReadValues(d.own, d.sandbox.NS)
	if err != nil {
		return err
	}
	s := &d.counts
	differ := d.initial.Differences(after)
	s.TimeoutVerdictAfter = d.Config.Limits.Verify.Timeouts
	if len(differ) == 0 {
		s.Unchanged = len(d.initial.Host) + len(d.initial.Sandbox)
	}
	d.Progress.End(&s.Summary)
	var errs []error
	for _, change := range differ {
		errs = append(errs, fmt.Errorf("a kernel value was not restored: %s", change))
	}
	for _, f := range s.failed {
		errs = append(errs, errors.New(f))
	}
	if s.Alive != s.LongConns {
		errs = append(errs, fmt.Errorf("%d of %d long-lived connections died", s.LongConns-s.Alive, s.LongConns))
	}
	if !s.complete() {
		errs = append(errs, fmt.Errorf("not every action was seen in %s: %d raises, %d timeouts shortened, %d deletions",
			timeLimit, s.Raised+s.OnlyPlanned, s.Shortened, s.Deleted))
	}
	return errors.Join(errs...)
}
