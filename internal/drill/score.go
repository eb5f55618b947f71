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

// A Summary is what was seen in a drill.
type Summary struct {
	// Heard are lines of the kernel; Raised, Shortened and Deleted acts.
	Heard, Raised, Shortened, Deleted int
	// Would are raises that were only recorded, Entries what was deleted.
	Would    int
	Entries  uint64
	Verdicts map[policy.ActionType]policy.Result
	// Sent and Refused are packets of the flood, Trips round trips of the
	// long-lived connections, Shorts short ones that were made.
	Sent, Refused, Trips, Shorts uint64
	Alive, Flows                 int
	Slowest                      time.Duration
	// Due is after how long the verdict on a timeout comes, for which a drill
	// does not wait.
	Due time.Duration
	// Same is how many kernel values are as before, 0 if not all are.
	Same int
}

// A score is the summary of a drill while it goes on.
type score struct {
	mu sync.Mutex
	Summary
	failed []string
	// over says that the traffic has ended: what is cut short now is no failure.
	over     bool
	floodErr error
}

// note takes a record of the loop into account.
func (s *score) note(r audit.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	payload, err := r.Payload()
	if err != nil {
		s.failed = append(s.failed, err.Error())
		return
	}
	switch p := payload.(type) {
	case *record.Signal:
		s.Heard++
	case *record.Outcome:
		s.outcome(&p.Outcome)
	case *record.Verdict:
		if s.Verdicts == nil {
			s.Verdicts = map[policy.ActionType]policy.Result{}
		}
		s.Verdicts[p.Type] = p.Result
	}
}

func (s *score) outcome(out *policy.Outcome) {
	switch {
	case out.Action.Would:
		s.Would++
		return
	case !out.OK && s.over:
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

func (s *score) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// complete reports whether each remedy was seen, and its effect where that
// does not take minutes.
func (s *score) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Raised+s.Would > 0 && s.Shortened > 0 && s.Deleted > 0 &&
		s.Verdicts[policy.DeleteEntries] != 0 && (s.Raised == 0 || s.Verdicts[policy.RaiseMax] != 0)
}

// putBack reverts what the loop changed, and then ends the incident: the
// record tells a drill to its end. What can't be recorded is put back, too.
func (e *run) putBack() error {
	const force = true
	err := e.agent.Record(&record.Revert{
		Requester: record.Requester{Reason: "the drill is over", UID: uint32(os.Getuid()), PID: int32(os.Getpid())}, Force: force,
		Text: "the drill puts every value back",
	})
	outcomes, revertErr := e.agent.Kernel().Revert(context.Background(), force)
	err = errors.Join(err, revertErr)
	for i := range outcomes {
		out := &outcomes[i]
		err = errors.Join(err, e.agent.Record(&record.Outcome{Outcome: *out, Text: out.Sentence()}))
		if !out.OK {
			err = errors.Join(err, fmt.Errorf("put back: %s", out.Sentence()))
		}
	}
	e.agent.CloseIncidents("is over: the drill is")
	return err
}

// cleanUp removes everything that the drill made. What it had changed is put
// back first: after Ctrl-C it was not yet.
func (e *run) cleanUp() error {
	var errs []error
	if e.agent != nil {
		if len(e.agent.Kernel().Ledger().Entries) > 0 {
			errs = append(errs, e.putBack())
		}
		e.agent.CloseIncidents("is over: the drill was cut short")
		errs = append(errs, e.agent.Close())
	}
	if e.look != nil {
		errs = append(errs, e.look.Close())
	}
	if e.sandbox != nil {
		errs = append(errs, e.sandbox.Close())
	}
	if e.log != nil {
		errs = append(errs, e.log.Close())
	}
	if e.own != nil {
		errs = append(errs, e.own.Close())
	}
	if e.dir != "" {
		errs = append(errs, os.RemoveAll(e.dir))
	}
	return errors.Join(errs...)
}

// interrupted says why a drill ended early, if it did: its own time limit is
// not an interruption, verdict speaks of it.
func interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted; everything was put back")
	}
	return nil
}

// verdict compares the kernel with what it was and says whether the drill
// showed what it should.
func (e *run) verdict() error {
	after, err := sandbox.ReadValues(e.own, e.sandbox.NS)
	if err != nil {
		return err
	}
	s := &e.score
	differ := e.before.Differences(after)
	s.Due = e.Config.Limits.Verify.Timeouts
	if len(differ) == 0 {
		s.Same = len(e.before.Host) + len(e.before.Sandbox)
	}
	e.Progress.End(&s.Summary)
	var errs []error
	for _, d := range differ {
		errs = append(errs, fmt.Errorf("a value is not as before: %s", d))
	}
	for _, f := range s.failed {
		errs = append(errs, errors.New(f))
	}
	if s.Alive != s.Flows {
		errs = append(errs, fmt.Errorf("%d of %d long-lived connections died", s.Flows-s.Alive, s.Flows))
	}
	if !s.complete() {
		errs = append(errs, fmt.Errorf("not everything was seen in %s: %d raises, %d timeouts shortened, %d deletions",
			longest, s.Raised+s.Would, s.Shortened, s.Deleted))
	}
	return errors.Join(errs...)
}
