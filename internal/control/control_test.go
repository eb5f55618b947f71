package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/control"
)

// serve answers on a socket of its own until the test ends.
func serve(t *testing.T, status func() any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- control.Serve(ctx, l, status) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestStatusIsWhatTheDaemonSays(t *testing.T) {
	path := serve(t, func() any { return map[string]int{"entries": 7} })
	text, err := control.Status(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := json.Unmarshal(text, &got); err != nil || got["entries"] != 7 {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestNoDaemonIsANamedError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	if _, err := control.Status(t.Context(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := control.Status(t.Context(), path); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v, want %v", err, syscall.ECONNREFUSED)
	}
	// The stale socket is no obstacle for the next daemon.
	next, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("mode %o, want 660", got)
	}
}

func TestSecondDaemonDoesNotTakeTheSocket(t *testing.T) {
	path := serve(t, func() any { return nil })
	if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "another ctwarden") {
		t.Errorf("error %v", err)
	}
	if _, err := control.Status(t.Context(), path); err != nil {
		t.Errorf("the first daemon no longer answers: %v", err)
	}
}

func TestOversizedRequestIsRefused(t *testing.T) {
	path := serve(t, func() any { return nil })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 1<<20))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.Contains(line, "431") {
		t.Errorf("answer %q, want 431", line)
	}
}
