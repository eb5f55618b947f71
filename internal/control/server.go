package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

// The bounds of a request: whoever may connect may not hold the daemon up.
const (
	maxHeader   = 8 << 10
	readTimeout = 5 * time.Second
	idleTimeout = 30 * time.Second
	maxAtOnce   = 16
)

// Listen opens the socket at path with mode 0660. A socket that nobody listens
// to any more, left by a crash, is replaced; one that answers is not.
func Listen(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: another ctwarden answers there", path), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("set mode of socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers GET /v1/status with what status returns, until ctx is done.
// It closes the listener.
func Serve(ctx context.Context, l net.Listener, status func() any) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(status()) // the client went away: nobody is left to tell
	})
	server := &http.Server{
		Handler:        atMost(maxAtOnce, mux),
		MaxHeaderBytes: maxHeader,
		ReadTimeout:    readTimeout, WriteTimeout: readTimeout, IdleTimeout: idleTimeout,
	}
	ended := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer ended()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve control socket: %w", err)
	}
	return nil
}

// atMost answers n requests at a time and turns the others away.
func atMost(n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
		}
	})
}
