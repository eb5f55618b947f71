package cli

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

// What the daemon answers to those who ask through its socket. The JSON of
// these is a contract.

type pausedAnswer struct {
	Until time.Time `json:"until"`
}

type reloadedAnswer struct {
	Digest string `json:"digest"`
	// Restart are the keys whose new value takes effect after a restart only.
	Restart []string `json:"restart,omitempty"`
}

type revertedAnswer struct {
	Outcomes []policy.Outcome `json:"outcomes"`
	// Until is when decisions are made again.
	Until time.Time `json:"paused_until,omitzero"`
}

// calls are what the socket offers.
func (d *running) calls() control.Calls {
	return control.Calls{
		Status: d.status, Metrics: d.page, Pause: d.pause, Resume: d.resume, Revert: d.revert,
		Reload: func(ctx context.Context, by control.Peer, ask control.Ask) (any, error) {
			asked := askedBy(by, ask)
			if err := d.reload(ctx, &asked); err != nil {
				return nil, fmt.Errorf("%w: the old configuration stays: %w", control.ErrRefused, err)
			}
			cfg := d.cfg.Load()
			return reloadedAnswer{cfg.Limits.Digest(), needRestart(d.begun, cfg)}, nil
		},
	}
}

func askedBy(by control.Peer, ask control.Ask) record.Requester {
	return record.Requester{Reason: ask.Reason, For: ask.For, UID: by.UID, PID: by.PID}
}

// pause holds every decision for a while. A pause without an end would be one
// that somebody forgot.
func (d *running) pause(ctx context.Context, by control.Peer, ask control.Ask) (any, error) {
	if ask.For == 0 || ask.Reason == "" {
		return nil, fmt.Errorf("%w: a pause needs its length (for) and a reason", control.ErrRefused)
	}
	until := time.Now().Add(ask.For)
	if err := d.post.loop.Pause(ctx, askedBy(by, ask)); err != nil {
		return nil, err
	}
	d.say.Warn("paused", "until", ui.Time(until), "uid", by.UID, "reason", ask.Reason)
	return pausedAnswer{until}, nil
}

func (d *running) resume(ctx context.Context, by control.Peer, ask control.Ask) (any, error) {
	if err := d.post.loop.Resume(ctx, askedBy(by, ask)); err != nil {
		return nil, err
	}
	d.say.Info("resumed", "uid", by.UID)
	return struct{}{}, nil
}

// revert puts every value back between two turns. The pause comes first: under
// load the next turn would change the values again. Where there is nothing to
// put back there is nothing to keep, so nobody is left without a guard.
func (d *running) revert(ctx context.Context, by control.Peer, ask control.Ask) (any, error) {
	asked := askedBy(by, ask)
	answer := revertedAnswer{Outcomes: []policy.Outcome{}}
	if len(d.post.kernel.Ledger().Entries) == 0 {
		asked.For = 0
		text := fmt.Sprintf("uid %d asks to put every value back, and none is changed: %s", by.UID, cmp.Or(ask.Reason, "no reason given"))
		if err := d.post.record(&record.Revert{Requester: asked, Force: ask.Force, Text: text}); err != nil {
			d.say.Error("record a revert of nothing", "error", err)
		}
		return answer, nil
	}
	if ask.For > 0 {
		answer.Until = time.Now().Add(ask.For)
		pause := asked
		pause.Reason = "so that what is put back stays: " + asked.Reason
		if err := d.post.loop.Pause(ctx, pause); err != nil {
			return nil, err
		}
	}
	var err error
	between := d.post.loop.Between(ctx, func() (left func(*policy.State, uint32)) {
		// No audit, no action.
		err = d.post.record(&record.Revert{
			Requester: asked, Force: ask.Force, Text: fmt.Sprintf("uid %d asks to put every value back: %s", by.UID, cmp.Or(ask.Reason, "no reason given")),
		})
		if err != nil {
			return d.claimed(ctx)
		}
		answer.Outcomes, err = d.post.kernel.Revert(ctx, ask.Force)
		d.post.refresh()
		for i := range answer.Outcomes {
			o := &answer.Outcomes[i]
			err = errors.Join(err, d.post.record(&record.Outcome{Outcome: *o, Text: o.Sentence()}))
		}
		return d.claimed(ctx)
	})
	if err := errors.Join(between, err); err != nil {
		return nil, err
	}
	d.say.Warn("values put back on request", "uid", by.UID, "values", len(answer.Outcomes))
	return answer, nil
}

// claimed returns what gives a state the claims that the ledger still holds:
// a revert may hold a value back.
func (d *running) claimed(ctx context.Context) func(*policy.State, uint32) {
	claims, err := d.post.kernel.Reconcile(ctx)
	if err != nil {
		d.say.Error("compare the ledger with the kernel", "error", err)
		return nil
	}
	return claims.Seed
}

// serve answers on the socket, and wherever else metrics are wanted, until stop
// is called. The job does not depend on it: without a socket the daemon goes on.
func (d *running) serve(ctx context.Context) (stop func()) {
	cfg := d.cfg.Load()
	serving, cancel := context.WithCancel(ctx)
	var served []chan struct{}
	run := func(what string, fn func() error) {
		done := make(chan struct{})
		served = append(served, done)
		go func() {
			defer close(done)
			if err := fn(); err != nil {
				d.say.Error(what, "error", err)
			}
		}()
	}
	if l, err := control.Listen(cfg.Control.Socket); err != nil {
		d.say.Warn("no control socket: ctwarden status will not reach this daemon", "error", err)
	} else {
		run("control socket", func() error { return control.Serve(serving, l, d.calls()) })
	}
	if l, ok := d.listenMetrics(cfg); ok {
		run("metrics", func() error {
			return control.ServeMetrics(serving, l, d.page, cfg.Metrics.WebConfig, d.say.With("for", "metrics"))
		})
	}
	if path := cfg.Metrics.Textfile; path != "" {
		run("metrics", func() error { return d.keepTextfile(serving, path, d.page.WriteFile) })
	}
	return func() {
		cancel()
		for _, done := range served {
			<-done
		}
	}
}
