package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/internal/ui"
)

// hinted is an error with hints: commands to paste.
type hinted struct {
	error
	hints []string
}

func (h hinted) Unwrap() error { return h.error }

// hint adds hints to an error; nil stays nil.
func hint(err error, hints ...string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hints}
}

// printError prints an error and its hints, and returns the exit code.
func printError(w io.Writer, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFound
	}
	code := exitError
	if state, ok := errors.AsType[nagiosState](err); ok {
		return int(state) // printed already
	}
	if _, ok := errors.AsType[usageError](err); ok {
		code = exitUsage
	} else if _, ok := errors.AsType[configError](err); ok {
		code = exitConfig
	}
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintf(w, "ctwarden: error: %s\n", audit.Sanitise(line))
	}
	for _, h := range hintsFor(err) {
		fmt.Fprintf(w, "ctwarden: hint: %s\n", audit.Sanitise(h))
	}
	return code
}

// hintsFor returns the hints of an error, or those of its kind.
func hintsFor(err error) []string {
	var hints []string
	if own, ok := errors.AsType[hinted](err); ok {
		hints = own.hints
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		return append(slices.Clip(hints), usage.path+" --help")
	}
	if hints != nil {
		return hints
	}
	problems, missing := config.Problems(nil), (*fs.PathError)(nil)
	switch {
	case errors.As(err, &problems):
		return []string{"ctwarden config reference"}
	case errors.Is(err, syscall.EROFS):
		return []string{"mount -o remount,rw /proc/sys   # read-only in a container, or under ProtectKernelTunables="}
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return []string{"sudo " + ui.Quote(os.Args...) + "   # as root"}
	case errors.Is(err, fs.ErrNotExist) && errors.As(err, &missing):
		return []string{"ls -l " + ui.Quote(filepath.Dir(missing.Path))}
	}
	return nil
}
