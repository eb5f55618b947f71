package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// maxAnswer bounds what a client reads.
const maxAnswer = 16 << 20

// Status asks the daemon behind the socket at path for its status, as JSON.
// The error is os.ErrNotExist or ECONNREFUSED when no daemon runs, and
// os.ErrPermission when the caller is not in the socket's group.
func Status(ctx context.Context, path string) (json.RawMessage, error) {
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", path)
			},
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ctwarden/v1/status", nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask daemon: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer of daemon: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask daemon: %s: %s", answer.Status, text)
	}
	return text, nil
}
