package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// main is the program, as package main makes it.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := Main(ctx, "dev", os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func TestMain(m *testing.M) {
	if os.Getenv("CTWARDEN_TEST_MAIN") == "1" {
		main() // this process is a ctwarden that a test has started
	}
	testscript.Main(m, map[string]func(){"ctwarden": main})
}

// TestScripts runs the command line as a person would, and compares what it
// says. Kernel values are never written: every script has its own directories.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("CTWARDEN_STATE_DIR", e.WorkDir+"/state")
			e.Setenv("CTWARDEN_AUDIT_PATH", e.WorkDir+"/log/audit.jsonl")
			e.Setenv("CTWARDEN_CONTROL_SOCKET", e.WorkDir+"/run/control.sock")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			return cond == "root" && os.Getuid() == 0, nil
		},
	})
}
