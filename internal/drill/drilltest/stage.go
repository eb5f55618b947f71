package drilltest

import (
	"errors"
	"os"
	"testing"

	"github.com/ctwarden/ctwarden/internal/drill"
)

// NewStage makes a namespace in which connections are tracked, which is closed
// when the test ends. It skips a test that lacks the right.
func NewStage(tb testing.TB) *drill.Stage {
	tb.Helper()
	stage, err := drill.NewStage()
	if errors.Is(err, os.ErrPermission) && os.Getuid() != 0 {
		tb.Skip("needs CAP_SYS_ADMIN to make a network namespace")
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := stage.Close(); err != nil {
			tb.Error(err)
		}
	})
	return stage
}
