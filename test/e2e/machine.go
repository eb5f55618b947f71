package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/test/event"
	"github.com/ctwarden/ctwarden/test/qemu"
)

// A check is one line of a guest's script.
type check struct {
	name string
	ok   bool
	took time.Duration
	// output is the text of the guest after a check that failed.
	output string
}

// A result has the checks of a guest and its last message, "done" or "reboot".
type result struct {
	checks []check
	end    string
}

// run boots the machine until its guest is done: once more for each reboot that it starts. The directory keeps what
// kernel and guest wrote.
func run(ctx context.Context, m qemu.Machine, dir string, out io.Writer) (checks []check, err error) {
	const boots = 2
	for boot := 1; boot <= boots; boot++ {
		var r result
		m.Console = filepath.Join(dir, fmt.Sprintf("console-%d.log", boot))
		m.Guest = filepath.Join(dir, fmt.Sprintf("guest-%d.log", boot))
		err := m.Run(ctx, func(port io.Reader) error {
			if r = readChecks(port, out); r.end == "" {
				return errors.New("the machine ended in the middle")
			}
			return nil
		})
		checks = append(checks, r.checks...)
		if err != nil || r.end == "done" {
			return checks, err
		}
	}
	return checks, fmt.Errorf("the guest rebooted more than %d times", boots-1)
}

// readChecks reads the guest's messages until the port closes and passes them on for people.
func readChecks(port io.Reader, out io.Writer) result {
	var r result
	qemu.ReadPort(port, func(verb, rest string) {
		switch verb {
		case "ok", "FAIL":
			name, seconds, _ := strings.Cut(strings.TrimSuffix(rest, " s)"), " (")
			took, _ := time.ParseDuration(seconds + "s") // a failed check has none
			r.checks = append(r.checks, check{name: name, ok: verb == "ok", took: took})
		case "reboot", "done":
			r.end = verb
		}
		fmt.Fprintln(out, "  "+verb, rest)
	}, func(line string) {
		if line == "" {
			return
		}
		if n := len(r.checks); n > 0 && !r.checks[n-1].ok {
			r.checks[n-1].output += line + "\n"
		}
		fmt.Fprintln(out, "  "+line)
	})
	return r
}

// report writes the events of a system's checks and of its end, and reports whether all of them passed.
func report(out io.Writer, system string, checks []check, end error, took time.Duration) (ok bool, err error) {
	p := event.Package{Out: out, Name: "e2e:" + system}
	ok = end == nil
	var errs []error
	for _, c := range checks {
		ok = ok && c.ok
		errs = append(errs, p.Check(c.name, c.ok, c.took, c.output))
	}
	why := ""
	switch {
	case end != nil:
		why = end.Error()
	case len(checks) == 0:
		ok, why = false, "no check ran"
	}
	errs = append(errs, p.Check("end", why == "", took, why), p.End(ok, ""))
	return ok, errors.Join(errs...)
}
