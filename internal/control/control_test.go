package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ctwarden/ctwarden/internal/control"
)

// serve answers on a socket of its own until the test ends.
func serve(t *testing.T, endpoints control.Endpoints) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- control.Serve(ctx, l, endpoints) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return path
}

func statusOnly() control.Endpoints { return control.Endpoints{Status: func() any { return nil }} }

func TestStatus(t *testing.T) {
	path := serve(t, control.Endpoints{Status: func() any { return map[string]int{"entries": 7} }})
	text, err := control.Status(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := json.Unmarshal(text, &got); err != nil || got["entries"] != 7 {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	if _, err := control.Status(t.Context(), path); !errors.Is(err, os.ErrNotExist) || !control.NoDaemon(err) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	} else if strings.Contains(err.Error(), "http") {
		t.Errorf("it speaks of HTTP: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := control.Status(t.Context(), path); !errors.Is(err, syscall.ECONNREFUSED) || !control.NoDaemon(err) {
		t.Errorf("error %v, want %v", err, syscall.ECONNREFUSED)
	}
	if control.NoDaemon(os.ErrPermission) || control.NoDaemon(nil) {
		t.Error("a daemon that may not be asked is taken for none")
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

func TestListenKeepsSocketInUse(t *testing.T) {
	path := serve(t, statusOnly())
	if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("error %v", err)
	}
	if _, err := control.Status(t.Context(), path); err != nil {
		t.Errorf("the first daemon no longer answers: %v", err)
	}
}

func TestHandlerReceivesPeerAndRequest(t *testing.T) {
	var by control.Peer
	var got control.Request
	path := serve(t, control.Endpoints{Pause: func(_ context.Context, p control.Peer, a control.Request) (any, error) {
		by, got = p, a
		return map[string]string{"done": "yes"}, nil
	}})
	want := control.Request{Reason: "a new \"firewall\"\n", For: 90 * time.Minute, Force: true}
	text, err := control.Do(t.Context(), path, "pause", want)
	if err != nil || !strings.Contains(string(text), `"done": "yes"`) {
		t.Errorf("answer %s, %v", text, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ask (-want +got):\n%s", diff)
	}
	self := control.Peer{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}
	if diff := cmp.Diff(self, by); diff != "" {
		t.Errorf("peer (-want +got):\n%s", diff)
	}
}

func TestRefusalHasReason(t *testing.T) {
	path := serve(t, control.Endpoints{
		Pause: func(context.Context, control.Peer, control.Request) (any, error) {
			return nil, fmt.Errorf("%w: not on a Friday", control.ErrRefused)
		},
		Resume: func(context.Context, control.Peer, control.Request) (any, error) { return nil, io.ErrUnexpectedEOF },
	})
	for what, want := range map[string]control.Refusal{
		"pause":  {Code: 409, Text: "refused: not on a Friday"},
		"resume": {Code: 500, Text: "unexpected EOF"},
		"revert": {Code: 404, Text: "this daemon does not support the request"},
		"dance":  {Code: 404, Text: "404 Not Found"},
	} {
		_, err := control.Do(t.Context(), path, what, control.Request{})
		var refusal *control.Refusal
		if !errors.As(err, &refusal) || *refusal != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
}

// request sends text as it is and returns the first line of the answer, or the
// error that there is none.
func request(t *testing.T, path, text string) (string, error) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The server may answer and hang up before it has read everything.
	_, _ = io.WriteString(conn, text)
	return bufio.NewReader(conn).ReadString('\n')
}

func TestMalformedRequestsAreRejected(t *testing.T) {
	path := serve(t, control.Endpoints{
		Status: func() any { return nil },
		Pause: func(context.Context, control.Peer, control.Request) (any, error) {
			t.Error("the call was made")
			return nil, nil
		},
	})
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for name, c := range map[string]struct{ text, want string }{
		"a header of a megabyte":      {"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431"},
		"a body that is too long":     {post(`{"reason": "` + strings.Repeat("x", 8<<10) + `"}`), "413"},
		"a reason that is too long":   {post(`{"reason": "` + strings.Repeat("x", control.MaxReason+1) + `"}`), "400"},
		"no JSON":                     {post(`reason=x`), "400"},
		"two objects":                 {post(`{} {}`), "400"},
		"a field that nobody knows":   {post(`{"until": "tomorrow"}`), "400"},
		"a time without a unit":       {post(`{"for": "60"}`), "400"},
		"a pause into the past":       {post(`{"for": "-1h"}`), "400"},
		"a pause of a year":           {post(`{"for": "8760h"}`), "400"},
		"a pause of half a second":    {post(`{"for": "500ms"}`), "400"},
		"reading what is to be done":  {"GET /v1/pause HTTP/1.1\r\nHost: x\r\n\r\n", "405"},
		"what is not HTTP at all":     {"\x00\x01\x02\r\n\r\n", "400"},
		"a page that is not there":    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
		"metrics of one without them": {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
	} {
		line, err := request(t, path, c.text)
		// The kernel may take the answer away with the connection.
		if err == nil && !strings.HasPrefix(line, "HTTP/1.1 "+c.want) || err != nil && c.want != "431" {
			t.Errorf("%s: answer %q, %v; want %s", name, line, err, c.want)
		}
	}
}

func TestSlowRequestTimesOut(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the read timeout of 5 s")
	}
	path := serve(t, statusOnly())
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/status HTTP/1.1\r\nHost"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the daemon still waits for the rest of a request")
	}
}

func TestSlowClientsDoNotBlockOthers(t *testing.T) {
	path := serve(t, control.Endpoints{Status: func() any { return "well" }})
	for range 40 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET"); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := control.Status(t.Context(), path); err != nil || !strings.Contains(string(text), "well") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestClosedConnectionFreesSlot(t *testing.T) {
	path := serve(t, statusOnly())
	for i := range 200 { // more than there are places
		if _, err := control.Status(t.Context(), path); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

func TestTooManyRequestsAreRefused(t *testing.T) {
	const places = 16
	arrived, leave := make(chan struct{}), make(chan struct{})
	path := serve(t, control.Endpoints{Status: func() any {
		arrived <- struct{}{}
		<-leave
		return nil
	}})
	errs := make(chan error, places)
	for range places {
		go func() {
			_, err := control.Status(t.Context(), path)
			errs <- err
		}()
		<-arrived
	}
	_, err := control.Status(t.Context(), path)
	var refusal *control.Refusal
	if !errors.As(err, &refusal) || refusal.Code != 503 {
		t.Errorf("error %v, want 503", err)
	}
	close(leave)
	for range places {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestManyRequestsKeepMemoryFlat counts live memory, not what the
// collector has yet to free.
func TestManyRequestsKeepMemoryFlat(t *testing.T) {
	path := serve(t, control.Endpoints{
		Status: func() any { return make([]byte, 4096) },
		Pause:  func(context.Context, control.Peer, control.Request) (any, error) { return nil, nil },
	})
	live := func() (heap, goroutines uint64) {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, uint64(runtime.NumGoroutine())
	}
	ask := func(n int) {
		t.Helper()
		for i := range n {
			if i%10 == 0 {
				if _, err := control.Do(t.Context(), path, "pause", control.Request{Reason: "again"}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if _, err := control.Status(t.Context(), path); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(100)
	heapBefore, goBefore := live()
	ask(10_000)
	heap, goroutines := live()
	t.Logf("live heap %d KiB before, %d KiB after; goroutines %d, %d", heapBefore>>10, heap>>10, goBefore, goroutines)
	if heap > heapBefore+1<<20 {
		t.Errorf("live heap grew from %d to %d bytes", heapBefore, heap)
	}
	if goroutines > goBefore+8 {
		t.Errorf("goroutines grew from %d to %d", goBefore, goroutines)
	}
}

func TestOtherUserCannotConnect(t *testing.T) {
	if path := os.Getenv("CTWARDEN_TEST_STRANGER"); path != "" {
		_, err := control.Status(t.Context(), path)
		if !errors.Is(err, os.ErrPermission) {
			t.Fatalf("error %v, want %v", err, os.ErrPermission)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	path := serve(t, statusOnly())
	// The directory lets everybody through: the socket itself must refuse.
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o001 == 0 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(filepath.Dir(path), "stranger")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^TestOtherUserCannotConnect$", "-test.v")
	cmd.Env = append(os.Environ(), "CTWARDEN_TEST_STRANGER="+path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if text, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(text), "--- PASS") {
		t.Errorf("%v\n%s", err, text)
	}
}
