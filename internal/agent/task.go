package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/internal/control"
)

// A task is a part of the server.
type task struct {
	name string
	// needed ends the server when the task ends. The error of another task is
	// logged, and the server continues without it.
	needed bool
	// run works until ctx is done. It calls ready when it has started.
	run func(ctx context.Context, ready func()) error
}

// run runs the tasks until ctx is done or one that is needed has ended. It calls
// ready when every task is, or has ended.
func run(ctx context.Context, logger *slog.Logger, tasks []task, ready func()) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	var starting sync.WaitGroup
	for _, t := range tasks {
		starting.Add(1)
		group.Go(func() error {
			started := sync.OnceFunc(starting.Done)
			defer started()
			err := t.run(ctx, started)
			switch {
			case t.needed && ctx.Err() == nil:
				end() // before it counts as started
				return errors.Join(fmt.Errorf("task %s has ended", t.name), err)
			case err != nil:
				logger.Error(t.name, "error", err)
			}
			return nil
		})
	}
	group.Go(func() error {
		starting.Wait() // a task that is stopped while it starts has ended
		if ctx.Err() == nil {
			ready()
		}
		return nil
	})
	return group.Wait()
}

// tasks are the server's concurrent tasks. Only the loop is needed to keep the table
// from filling, so the server continues without any other.
func (s *Server) tasks(hangups <-chan os.Signal) []task {
	return []task{
		{"loop", true, s.runLoop},
		{"kernel log", false, func(ctx context.Context, ready func()) error {
			ready()
			s.agent.kernelLog.Run(ctx)
			return nil
		}},
		{"signals", false, func(ctx context.Context, ready func()) error {
			ready()
			return s.handleHangups(ctx, hangups)
		}},
		{"control socket", false, s.serveSocket},
		{"metrics", false, s.serveMetrics},
		{"metrics textfile", false, s.writeTextfile},
	}
}

// runLoop is ready with the first step of the loop.
func (s *Server) runLoop(ctx context.Context, ready func()) error {
	go func() {
		select {
		case <-s.systemd.started:
		case <-ctx.Done():
		}
		ready()
	}()
	s.agent.loop.Run(ctx)
	return nil
}

// serveSocket serves the control socket.
func (s *Server) serveSocket(ctx context.Context, ready func()) error {
	l, err := control.Listen(s.settings.initial.Control.Socket)
	if err != nil {
		s.logger.Warn("no control socket: ctwarden status can't reach this daemon", "error", err)
		return nil
	}
	ready()
	return control.Serve(ctx, l, s.endpoints())
}
