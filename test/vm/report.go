package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/test/event"
)

// A column is what happened on one kernel. err is why its machine did not come to its end.
type column struct {
	kernel  string
	results []result
	err     error
	took    time.Duration
}

// report writes the events of the jobs and of the machine, and reports whether all of them passed. A package is named after
// the kernel and, behind a colon, from the root of the module.
func (c column) report(out io.Writer, jobs []job) (ok bool, err error) {
	ok = c.err == nil
	machine := event.Package{Out: out, Name: c.kernel + ":machine"}
	var errs []error
	for _, j := range jobs {
		var r result
		if i := slices.IndexFunc(c.results, func(r result) bool { return r.job == j.Name }); i >= 0 {
			r = c.results[i]
		}
		why := j.failure(r)
		ok = ok && why == ""
		if !j.Events {
			errs = append(errs, machine.Check(j.Name, why == "", 0, string(r.output)+why))
			continue
		}
		name := c.kernel + ":" + j.Name
		errs = append(errs, convert(out, name, r.output))
		if why != "" {
			errs = append(errs, event.Package{Out: out, Name: name}.End(false, why))
		}
	}
	why := ""
	if c.err != nil {
		why = c.err.Error()
	}
	errs = append(errs, machine.Check("end", c.err == nil, c.took, why), machine.End(c.err == nil, ""))
	return ok, errors.Join(errs...)
}

// failure is why a job failed: a test binary by what it printed and its status, any other program by its status alone. Empty
// is a success. Not to know is a failure.
func (j job) failure(r result) string {
	switch {
	case j.unbuilt != nil:
		return j.unbuilt.Error()
	case r.job == "":
		return "not run"
	case !r.ended:
		return "did not end"
	case r.status != 0:
		return fmt.Sprintf("exit status %d", r.status)
	case j.Events && bytes.Contains(r.output, []byte("--- FAIL: ")):
		return "exit status 0 in spite of a failed test"
	case j.Events && !j.narrowed && !bytes.Contains(r.output, []byte(markTest+"=== RUN ")):
		return "no test ran"
	}
	return ""
}

// convert turns a test binary's output into events with the go command's own tool.
func convert(out io.Writer, name string, output []byte) error {
	cmd := exec.CommandContext(context.Background(), "go", "tool", "test2json", "-p", name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(output), out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("convert output of %s: %w", name, err)
	}
	return nil
}
