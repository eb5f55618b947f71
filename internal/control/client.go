package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// maxResponse bounds the response that a client reads, in bytes.
const maxResponse = 16 << 20

// A Refusal is the response of a daemon that did not execute a request.
type Refusal struct {
	// Code is the HTTP status: 409 when the daemon refused.
	Code int
	// Text is the reason.
	Text string
}

func (r *Refusal) Error() string { return "the daemon refused: " + r.Text }

// NoDaemon reports whether an error means that no daemon listens on the socket.
func NoDaemon(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// Status requests the status of the daemon behind the socket at path, as JSON.
// The error is os.ErrNotExist or ECONNREFUSED when no daemon runs, and
// os.ErrPermission when the caller is not in the socket's group.
func Status(ctx context.Context, path string) (json.RawMessage, error) {
	return send(ctx, path, http.MethodGet, "/v1/status", nil)
}

// Metrics requests the metrics in the text format of Prometheus.
func Metrics(ctx context.Context, path string) ([]byte, error) {
	return send(ctx, path, http.MethodGet, "/metrics", nil)
}

// Do requests an action: pause, resume, revert or reload. The errors are those of
// Status, and a *Refusal when the daemon did not execute it.
func Do(ctx context.Context, path, action string, request Request) (json.RawMessage, error) {
	if err := request.Check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return send(ctx, path, http.MethodPost, "/v1/"+action, body)
}

func send(ctx context.Context, path, method, endpoint string, body []byte) ([]byte, error) {
	client := http.Client{
		Timeout: writeTimeout + time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", path)
			},
		},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://ctwarden"+endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		err = inURL.Err // its text names a URL that the user did not type
	}
	if err != nil {
		return nil, fmt.Errorf("query daemon: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return nil, fmt.Errorf("read response of daemon: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return text, nil
	}
	var failure problem
	if err := json.Unmarshal(text, &failure); err != nil || failure.Error == "" {
		failure.Error = response.Status
	}
	return nil, &Refusal{Code: response.StatusCode, Text: failure.Error}
}
