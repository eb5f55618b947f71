package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
)

// hinted is an error with advice: a command to paste, where there is one.
type hinted struct {
	error
	hints []string
}

func (h hinted) Unwrap() error { return h.error }

// hint adds advice to an error; nil stays nil.
func hint(err error, hints ...string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hints}
}

// speak tells a person about an error and returns the exit code.
func speak(w io.Writer, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFound
	}
	code := exitError
	if state, ok := errors.AsType[nagiosState](err); ok {
		return int(state) // it was said already
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		code = exitUsage
		err = hint(err, usage.path+" --help")
	} else if strings.HasPrefix(err.Error(), "unknown command ") {
		// cobra has no type for this one, and it is about the root only.
		code = exitUsage
		err = hint(err, "ctwarden --help")
	}
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintf(w, "ctwarden: error: %s\n", audit.Sanitise(line))
	}
	for _, h := range hintsFor(err) {
		fmt.Fprintf(w, "ctwarden: hint: %s\n", h)
	}
	return code
}

// hintsFor returns an error's own advice, or what is known of its kind.
func hintsFor(err error) []string {
	var own hinted
	var problems config.Problems
	switch {
	case errors.As(err, &own):
		return own.hints
	case errors.As(err, &problems):
		return []string{"ctwarden config reference"}
	case errors.Is(err, syscall.EROFS):
		return []string{"mount -o remount,rw /proc/sys   # read-only in a container, or under ProtectKernelTunables="}
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return []string{"run it as root: sudo " + strings.Join(os.Args, " ")}
	}
	return nil
}
