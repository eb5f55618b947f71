package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/status"
	"github.com/ctwarden/ctwarden/internal/ui"
	"github.com/ctwarden/ctwarden/policy"
)

// watchStatus shows the status at an interval until ctx is done, which is no
// error: the user leaves by Ctrl-C. It shows the error of a failed reading and
// continues, because a daemon may be restarting. An error of the first reading
// ends it.
func watchStatus(ctx context.Context, w io.Writer, every time.Duration, look func() (*status.Status, error), size func() ui.Terminal) error {
	if fullScreen(size()) {
		fmt.Fprint(w, ui.EnterScreen)
		defer fmt.Fprint(w, ui.LeaveScreen)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	var v view
	show := func() error {
		if err := v.write(w, size()); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
		return nil
	}
	for {
		err := v.look(look)
		switch {
		case ctx.Err() != nil:
			return nil
		case v.looks == 0:
			return err
		}
		if err := show(); err != nil {
			return err
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return nil
			case <-ticks.C:
				waiting = false
			case <-resized:
				if !fullScreen(size()) {
					break // a new line is for a new reading
				}
				if err := show(); err != nil {
					return err
				}
			}
		}
	}
}

// A view holds the readings so far.
type view struct {
	last  *status.Status
	past  history
	looks int
	// err is the error of the latest reading, failed its time.
	err    error
	failed time.Time
}

func (v *view) look(look func() (*status.Status, error)) error {
	r, err := look()
	if v.err = err; err != nil {
		v.failed = time.Now()
		return err
	}
	v.last = r
	v.looks++
	v.past.add(r)
	return nil
}

// fullScreen reports whether t can show a live screen. Elsewhere each reading has
// a line.
func fullScreen(t ui.Terminal) bool { return t.Columns > 0 && !t.Dumb }

// write writes a whole screen, or one line.
func (v *view) write(w io.Writer, s ui.Terminal) error {
	text := oneLine(v.last) + "\n"
	switch {
	case fullScreen(s):
		text = ui.HomeCursor + v.frame(s) + ui.ClearRest
	case v.err != nil:
		text = v.noAnswer() + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

func (v *view) noAnswer() string {
	return audit.Sanitise(fmt.Sprintf("%s no answer: %v", ui.Time(v.failed), v.err))
}

// pastMost bounds the history: no terminal is wider.
const pastMost = 512

// A history has the fullness of the first table at the latest readings.
type history struct{ entries, limit []float64 }

func (h *history) add(r *status.Status) {
	if len(r.Tables) == 0 || r.Tables[0].Assessment.Observation.Absent {
		return
	}
	table := &r.Tables[0].Assessment.Observation.Table
	h.entries, h.limit = append(h.entries, float64(table.Entries)), append(h.limit, float64(table.Max))
	if len(h.entries) > pastMost {
		h.entries, h.limit = h.entries[1:], h.limit[1:]
	}
}

// last returns the latest n readings, or as many as there are.
func (h *history) last(n int) (limit, entries []float64) {
	from := max(len(h.entries)-n, 0)
	return h.limit[from:], h.entries[from:]
}

// oneLine returns one reading on one line.
func oneLine(r *status.Status) string {
	at := ui.Time(r.At)
	if len(r.Tables) == 0 {
		return at + " no table has been looked at yet"
	}
	t := &r.Tables[0]
	o := &t.Assessment.Observation
	if o.Absent {
		return at + " no table: nf_conntrack is not loaded"
	}
	text := fmt.Sprintf("%s %s %s %d of %d entries", at, t.Level, policy.Percent(t.Assessment.Fullness), o.Table.Entries, o.Table.Max)
	if t.Held != policy.NotHeld {
		text += ", held: " + t.HeldText
	}
	return text
}
