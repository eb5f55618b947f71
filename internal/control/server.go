package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// The bounds of a request: no client may block the daemon.
const (
	maxHeader    = 8 << 10
	maxBody      = 4 << 10
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second
	// requestTimeout is below writeTimeout, so that the client receives the error.
	requestTimeout = 25 * time.Second
	idleTimeout    = 5 * time.Second
	// maxConns is more than maxRequests, so that surplus requests receive an error.
	maxConns    = 64
	maxRequests = 16
)

// Endpoints serve the requests of clients. Each runs until its context ends, several
// run at a time, and the result of an Endpoint is sent as JSON.
type Endpoints struct {
	Status func() any
	// Metrics serves the text format that a Prometheus server scrapes. Optional.
	Metrics http.Handler
	// These change something. One runs at a time. Optional.
	Pause, Resume, Revert, Reload Endpoint
}

// An Endpoint executes the request of a peer and returns the response body.
type Endpoint func(ctx context.Context, by Peer, request Request) (any, error)

// ErrRefused marks a request that was understood and not executed.
var ErrRefused = errors.New("refused")

// Serve serves the endpoints on l until ctx is done. It closes the listener.
func Serve(ctx context.Context, l net.Listener, endpoints Endpoints) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, endpoints.Status())
	})
	if endpoints.Metrics != nil {
		mux.Handle("GET /metrics", endpoints.Metrics)
	}
	lock := make(chan struct{}, 1)
	for name, call := range map[string]Endpoint{
		"pause": endpoints.Pause, "resume": endpoints.Resume, "revert": endpoints.Revert, "reload": endpoints.Reload,
	} {
		mux.Handle("POST /v1/"+name, exclusive(lock, call))
	}
	server := newServer(mux)
	server.ConnContext = withConn
	return serve(ctx, l, server, server.Serve)
}

func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:        limitRequests(maxRequests, handler),
		MaxHeaderBytes: maxHeader,
		ReadTimeout:    readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
}

// serve has accept serve the connections of l, maxConns at a time, until ctx is done.
func serve(ctx context.Context, l net.Listener, server *http.Server, accept func(net.Listener) error) error {
	ended := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer ended()
	if err := accept(newLimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serve %s: %w", l.Addr(), err), l.Close())
	}
	return nil
}

// exclusive runs one request at a time and passes the peer to it.
func exclusive(lock chan struct{}, call Endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if call == nil {
			respond(w, http.StatusNotFound, problem{"this daemon does not support the request"})
			return
		}
		request, err := readRequest(http.MaxBytesReader(w, r.Body, maxBody))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			respond(w, http.StatusRequestEntityTooLarge, problem{err.Error()})
			return
		case err != nil:
			respond(w, http.StatusBadRequest, problem{err.Error()})
			return
		}
		by, err := peerOf(r)
		if err != nil {
			respond(w, http.StatusForbidden, problem{err.Error()})
			return
		}
		// A request that has begun is finished even when its client disconnects.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout)
		defer cancel()
		if code, why := acquire(ctx, r.Context(), lock); code != http.StatusOK {
			respond(w, code, problem{why})
			return
		}
		defer func() { <-lock }()
		result, err := call(ctx, by, request)
		switch {
		case errors.Is(err, ErrRefused):
			respond(w, http.StatusConflict, problem{err.Error()})
		case err != nil:
			respond(w, http.StatusInternalServerError, problem{err.Error()})
		default:
			respond(w, http.StatusOK, result)
		}
	}
}

// acquire waits for the lock and returns why it was not acquired. The request of a
// client that disconnected meanwhile is not executed. The server can't distinguish
// that from a client that closed its sending half, as nc -N does: it serves such a
// client if the lock is free, and sends an error otherwise.
func acquire(ctx, client context.Context, lock chan struct{}) (code int, why string) {
	select {
	case lock <- struct{}{}:
		return http.StatusOK, ""
	default:
	}
	select {
	case lock <- struct{}{}:
		return http.StatusOK, ""
	case <-client.Done():
		return http.StatusServiceUnavailable, "another request is under way, and the connection was closed before it ended"
	case <-ctx.Done():
		return http.StatusServiceUnavailable, "another request is under way"
	}
}

// A problem is the body of a response other than 200.
type problem struct {
	Error string `json:"error"`
}

func respond(w http.ResponseWriter, code int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error": "the response can't be encoded as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // fails when the client has disconnected
}

// limitRequests serves n requests at a time and refuses further ones with 503.
func limitRequests(n int, next http.Handler) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			respond(w, http.StatusServiceUnavailable, problem{"too many requests at once"})
		}
	})
}
