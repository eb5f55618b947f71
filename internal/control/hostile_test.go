package control_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/control"
)

// TestListenKeepsOtherFiles: the path of the socket comes from a configuration,
// and a daemon may write where that is wrong.
func TestListenKeepsOtherFiles(t *testing.T) {
	dir := t.TempDir()
	file, answering := filepath.Join(dir, "file"), filepath.Join(dir, "answering")
	if err := os.WriteFile(file, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", answering)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, place := range []string{"link to file", "link to answering", "link to nothing"} {
		if err := os.Symlink(filepath.Join(dir, strings.TrimPrefix(place, "link to ")), filepath.Join(dir, place)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"file", "answering", "fifo", "link to file", "link to answering", "link to nothing"} {
		path := filepath.Join(dir, place)
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := control.Listen(path); err == nil {
			l.Close()
			t.Errorf("%s: listens there", place)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v does not say where", place, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) || after.Mode() != before.Mode() {
			t.Errorf("%s: it was touched: %v, %v", place, after, err)
		}
	}
}

// TestListenKeepsBusySocket fills the queue of one that accepts
// nobody: the kernel answers as little as for one that is gone.
func TestListenKeepsBusySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for { // until the queue is full
		conn, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := control.Listen(path); err == nil {
		l.Close()
		t.Error("it took the socket of a daemon that is busy")
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket was touched: %v", err)
	}
}

// TestHalfClosedClientIsServed: nc -N and its like close their half
// once they have asked. They are told what was done, or that it was not.
func TestHalfClosedClientIsServed(t *testing.T) {
	var made atomic.Int64
	path := serve(t, control.Endpoints{Resume: func(context.Context, control.Peer, control.Request) (any, error) {
		made.Add(1)
		return "resumed", nil
	}})
	const asks = 300
	for range asks {
		text, err := resumeAndClose(t, path)
		if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 ") || !strings.Contains(string(text), `"resumed"`) {
			t.Fatalf("after %d calls: %q, %v", made.Load(), text, err)
		}
	}
	if n := made.Load(); n != asks {
		t.Errorf("%d calls made, %d said to be", n, asks)
	}
}

// TestClosedClientLeavesQueue: what was asked for by somebody who has
// given up waiting is not done later, behind their back.
func TestClosedClientLeavesQueue(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	var resumed atomic.Bool
	path := serve(t, control.Endpoints{
		Status: func() any { return nil },
		Revert: func(context.Context, control.Peer, control.Request) (any, error) {
			close(begun)
			<-finish
			return nil, nil
		},
		Resume: func(context.Context, control.Peer, control.Request) (any, error) {
			resumed.Store(true)
			return nil, nil
		},
	})
	var others sync.WaitGroup
	others.Go(func() {
		if _, err := control.Do(t.Context(), path, "revert", control.Request{}); err != nil {
			t.Error(err)
		}
	})
	<-begun
	// One who closes their half hears that nothing was done.
	text, err := resumeAndClose(t, path)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 503 ") {
		t.Errorf("%q, %v; want 503", text, err)
	}
	close(finish)
	others.Wait()
	if resumed.Load() {
		t.Error("it was done for nobody")
	}
}

// TestPipelinedRequestsAreServedInOrder sends several requests before it
// reads an answer, and then one that breaks off.
func TestPipelinedRequestsAreServedInOrder(t *testing.T) {
	var asked []string
	path := serve(t, control.Endpoints{
		Status: func() any { return "status" },
		Pause: func(_ context.Context, _ control.Peer, a control.Request) (any, error) {
			asked = append(asked, a.Reason)
			return a.Reason, nil
		},
	})
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var requests strings.Builder
	for i := range 3 {
		body := fmt.Sprintf(`{"reason": "%d"}`, i)
		fmt.Fprintf(&requests, "POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%sGET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", len(body), body)
	}
	// Less of a body than was promised: nothing may come of it.
	requests.WriteString("POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{\"reason\": \"cut\"}")
	if _, err := io.WriteString(conn, requests.String()); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	for i := range 6 {
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		text, err := io.ReadAll(answer.Body)
		want := fmt.Sprintf("%q\n", fmt.Sprint(i/2))
		if i%2 == 1 {
			want = "\"status\"\n"
		}
		if err != nil || answer.StatusCode != http.StatusOK || string(text) != want {
			t.Errorf("answer %d: %d %q, %v; want %q", i, answer.StatusCode, text, err, want)
		}
	}
	if answer, err := http.ReadResponse(answers, nil); err == nil && answer.StatusCode != http.StatusBadRequest {
		t.Errorf("half a request is answered by %d", answer.StatusCode)
	}
	if strings.Join(asked, "") != "012" {
		t.Errorf("asked %q", asked)
	}
}

// TestUnknownPathsAreRefused: no other spelling of a path, method or protocol makes
// a call, and none is answered with more than its refusal.
func TestUnknownPathsAreRefused(t *testing.T) {
	path := serve(t, control.Endpoints{
		Status: func() any { return "well" },
		Pause: func(context.Context, control.Peer, control.Request) (any, error) {
			t.Error("the call was made")
			return nil, nil
		},
	})
	const noBody = " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	for name, c := range map[string]struct{ text, want string }{
		"two slashes":                    {"POST //v1/pause" + noBody, "307"},
		"up and down again":              {"POST /v1/../v1/pause" + noBody, "307"},
		"a slash at the end":             {"POST /v1/pause/" + noBody, "404"},
		"an escaped slash":               {"POST /v1%2fpause" + noBody, "404"},
		"an escaped way up":              {"POST /v1/%2e%2e/metrics" + noBody, "404"},
		"capitals":                       {"POST /V1/PAUSE" + noBody, "404"},
		"a zero byte":                    {"POST /v1/pause%00" + noBody, "404"},
		"another method by a header":     {"GET /v1/pause HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: POST\r\n\r\n", "405"},
		"a tunnel":                       {"CONNECT /v1/pause" + noBody, "40"},
		"everything":                     {"OPTIONS *" + noBody, "200"},
		"two lengths":                    {"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", "400"},
		"a length and chunks":            {"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", "501"},
		"chunks without end":             {"POST /v1/pause HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 8), "413"},
		"HTTP/2 by an upgrade":           {"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", "200"},
		"HTTP/2 by previous agreement":   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
		"no host":                        {"GET /v1/status HTTP/1.1\r\n\r\n", "400"},
		"the protocol of 1991":           {"GET /v1/status\r\n", "400"},
		"a header over two lines":        {"GET /v1/status HTTP/1.1\r\nHost: x\r\nA:\r\n b\r\n\r\n", "200"},
		"a name of a header with a bang": {"GET /v1/status HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", "400"},
	} {
		line, err := request(t, path, c.text)
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.want) {
			t.Errorf("%s: answer %q, %v; want %s", name, line, err, c.want)
		}
	}
}

// TestConnectionsBeyondLimitWait fills every place with callers who
// say nothing. Whoever comes next waits until the first of them are cut off.
func TestConnectionsBeyondLimitWait(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the read timeout of 5 s")
	}
	path := serve(t, control.Endpoints{Status: func() any { return "well" }})
	for range 100 { // more than there are places
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if text, err := control.Status(ctx, path); err != nil || !strings.Contains(string(text), "well") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestBrokenClientsLeakNothing: callers who hang up in the middle of
// whatever they do cost a goroutine and a file each, for as long as they are
// there.
func TestBrokenClientsLeakNothing(t *testing.T) {
	path := serve(t, control.Endpoints{
		Status: func() any { return make([]byte, 64<<10) }, // more than the socket's buffer takes, together with the others'
		Pause:  func(context.Context, control.Peer, control.Request) (any, error) { return nil, nil },
	})
	rude := func(n int) {
		t.Helper()
		for i := range n {
			conn, err := net.Dial("unix", path)
			for ; errors.Is(err, unix.EAGAIN); conn, err = net.Dial("unix", path) {
				time.Sleep(time.Millisecond) // the queue is full
			}
			if err != nil {
				t.Fatal(err)
			}
			// The server may have hung up first.
			_, _ = io.WriteString(conn, [...]string{
				"", "GET", "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
				"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
				"POST /v1/pause HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
				"GET /v1/status HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
				strings.Repeat("x", 64<<10),
			}[i%7])
			if i%2 == 0 {
				_ = conn.(*net.UnixConn).CloseWrite()
			}
			conn.Close()
		}
	}
	rude(100)
	before, files := runtime.NumGoroutine(), openFiles(t)
	rude(1000)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		goroutines, now := runtime.NumGoroutine(), openFiles(t)
		if goroutines <= before && now <= files {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("goroutines went from %d to %d, open files from %d to %d", before, goroutines, files, now)
		}
	}
	if _, err := control.Status(t.Context(), path); err != nil {
		t.Error(err)
	}
}

// openFiles returns how many files this process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// resumeAndClose asks for a resume, closes its half of the connection, as nc -N
// does, and returns what it is answered.
func resumeAndClose(t *testing.T, path string) ([]byte, error) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/resume HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return io.ReadAll(conn)
}
