package sandboxtest

import (
	"errors"
	"os"
	"testing"

	"github.com/ctwarden/ctwarden/internal/sandbox"
)

// New makes a namespace in which connections are tracked, which is closed
// when the test ends. It skips a test that lacks the right.
func New(tb testing.TB) *sandbox.Sandbox {
	tb.Helper()
	sandbox, err := sandbox.New()
	if errors.Is(err, os.ErrPermission) && os.Getuid() != 0 {
		tb.Skip("needs CAP_SYS_ADMIN to make a network namespace")
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := sandbox.Close(); err != nil {
			tb.Error(err)
		}
	})
	return sandbox
}
