package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// until is a task that is ready at once and runs until its context is done.
func until(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

func TestReadyAfterAllTasks(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	last := make(chan func(), 1)
	isReady := make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- run(ctx, slog.New(slog.DiscardHandler), []task{
			{"begun", true, until},
			{"failed", false, func(context.Context, func()) error { return errors.New("no") }},
			{"last", true, func(ctx context.Context, ready func()) error {
				last <- ready
				<-ctx.Done()
				return nil
			}},
		}, func() { close(isReady) })
	}()
	ready := <-last
	select {
	case <-isReady:
		t.Error("ready before the last task")
	default:
	}
	ready()
	<-isReady
	end()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestNeededTaskEndsServer(t *testing.T) {
	var logged strings.Builder
	broken := errors.New("broken")
	stop := make(chan struct{})
	err := run(t.Context(), slog.New(slog.NewTextHandler(&logged, nil)), []task{
		{"socket", false, func(context.Context, func()) error { defer close(stop); return errors.New("no socket") }},
		{"loop", true, func(context.Context, func()) error { <-stop; return broken }},
		{"other", true, until},
	}, func() { t.Error("ready") })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "task loop has ended") {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(logged.String(), "no socket") {
		t.Errorf("logged %q", logged.String())
	}
}

func TestStoppedTaskIsNotReady(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	end()
	if err := run(ctx, slog.New(slog.DiscardHandler), []task{{"loop", true, until}}, func() { t.Error("ready") }); err != nil {
		t.Error(err)
	}
}
