package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// The responses to requests on the control socket. Their JSON is a contract.

// A Paused is the response to a pause.
type Paused struct {
	Until time.Time `json:"until"`
}

// A Reloaded is the response to a reload.
type Reloaded struct {
	Digest string `json:"digest"`
	// Restart are the keys whose new value needs a restart.
	Restart []string `json:"restart,omitempty"`
}

// A Reverted is the response to a revert.
type Reverted struct {
	Outcomes []policy.Outcome `json:"outcomes"`
	// Until is the end of the pause after the revert; zero if there is none.
	Until time.Time `json:"paused_until,omitzero"`
}

// endpoints returns the endpoints of the control socket.
func (s *Server) endpoints() control.Endpoints {
	return control.Endpoints{
		Status: func() any { return s.Status() }, Metrics: s.exporter, Pause: s.pause, Resume: s.resume, Revert: s.revert,
		Reload: func(ctx context.Context, by control.Peer, ask control.Request) (any, error) {
			asked := requesterOf(by, ask)
			if err := s.reload(ctx, &asked); err != nil {
				return nil, fmt.Errorf("%w: the old configuration stays: %w", control.ErrRefused, err)
			}
			cfg := s.settings.current.Load()
			return Reloaded{cfg.Limits.Digest(), restartKeys(s.settings.initial, cfg)}, nil
		},
	}
}

func requesterOf(by control.Peer, ask control.Request) record.Requester {
	return record.Requester{Reason: ask.Reason, For: ask.For, UID: by.UID, PID: by.PID}
}

// pause suspends decisions for a time. A pause must have an end, because an
// administrator may forget it.
func (s *Server) pause(ctx context.Context, by control.Peer, ask control.Request) (any, error) {
	if ask.For == 0 || ask.Reason == "" {
		return nil, fmt.Errorf("%w: a pause needs its length (for) and a reason", control.ErrRefused)
	}
	until := time.Now().Add(ask.For)
	if err := s.agent.loop.Pause(ctx, requesterOf(by, ask)); err != nil {
		return nil, err
	}
	s.logger.Warn("paused", "until", ui.Time(until), "uid", by.UID, "reason", ask.Reason)
	return Paused{until}, nil
}

func (s *Server) resume(ctx context.Context, by control.Peer, ask control.Request) (any, error) {
	if err := s.agent.loop.Resume(ctx, requesterOf(by, ask)); err != nil {
		return nil, err
	}
	s.logger.Info("resumed", "uid", by.UID)
	return struct{}{}, nil
}

// revert restores every value between two turns. The pause comes first: under load
// the next turn would change the values again. If no value is changed there is no
// pause, so that the host stays protected.
func (s *Server) revert(ctx context.Context, by control.Peer, ask control.Request) (any, error) {
	asked := requesterOf(by, ask)
	answer := Reverted{Outcomes: []policy.Outcome{}}
	if len(s.agent.kernel.Ledger().Entries) == 0 {
		asked.For = 0
		text := fmt.Sprintf("uid %d requested a revert of every value; none is changed: %s", by.UID, cmp.Or(ask.Reason, "no reason given"))
		if err := s.agent.Record(&record.Revert{Requester: asked, Force: ask.Force, Text: text}); err != nil {
			s.logger.Error("record a revert of nothing", "error", err)
		}
		return answer, nil
	}
	if ask.For > 0 {
		answer.Until = time.Now().Add(ask.For)
		pause := asked
		pause.Reason = "keeps reverted values: " + asked.Reason
		if err := s.agent.loop.Pause(ctx, pause); err != nil {
			return nil, err
		}
	}
	var err error
	between := s.agent.loop.Between(ctx, func() (left func(*policy.State, uint32)) {
		// No audit, no action.
		err = s.agent.Record(&record.Revert{Requester: asked, Force: ask.Force})
		if err != nil {
			return s.remainingClaims(ctx)
		}
		answer.Outcomes, err = s.agent.kernel.Revert(ctx, ask.Force)
		s.agent.refresh()
		for i := range answer.Outcomes {
			err = errors.Join(err, s.agent.Record(&record.Outcome{Outcome: answer.Outcomes[i]}))
		}
		return s.remainingClaims(ctx)
	})
	if err := errors.Join(between, err); err != nil {
		return nil, err
	}
	s.logger.Warn("values restored on request", "uid", by.UID, "values", len(answer.Outcomes))
	return answer, nil
}

// remainingClaims returns the function that adds the claims left in the ledger to a
// state: a revert may keep a value.
func (s *Server) remainingClaims(ctx context.Context) func(*policy.State, uint32) {
	claims, err := s.agent.kernel.Reconcile(ctx)
	if err != nil {
		s.logger.Error("compare the ledger with the kernel", "error", err)
		return nil
	}
	return claims.Seed
}
