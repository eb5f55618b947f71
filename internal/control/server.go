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

// The bounds of a request: whoever may connect may not hold the daemon up.
const (
	maxHeader    = 8 << 10
	maxBody      = 4 << 10
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second
	// requestTimeout leaves time to tell that it has passed.
	requestTimeout = 25 * time.Second
	idleTimeout    = 5 * time.Second
	// maxConns is more than maxAtOnce, so that the surplus is told so.
	maxConns    = 64
	maxRequests = 16
)

// Endpoints are what a daemon can be asked. Each runs for as long as its context
// lasts, and several at a time; what a Call returns is sent as JSON.
type Endpoints struct {
	Status func() any
	// Metrics answers with the page that a Prometheus server reads.
	Metrics http.Handler
	// These change something. One is made at a time.
	Pause, Resume, Revert, Reload Endpoint
}

// An Endpoint does what a peer asks for, and returns what to answer.
type Endpoint func(ctx context.Context, by Peer, ask Request) (any, error)

// ErrRefused marks the error of a Call that was understood and not done.
var ErrRefused = errors.New("refused")

// Serve answers on l until ctx is done. It closes the listener.
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

// serve has answer answer who comes through the door of l, until ctx is done.
func serve(ctx context.Context, l net.Listener, server *http.Server, accept func(net.Listener) error) error {
	ended := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer ended()
	if err := accept(newLimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serve %s: %w", l.Addr(), err), l.Close())
	}
	return nil
}

// exclusive makes one call at a time, in the name of the peer.
func exclusive(lock chan struct{}, call Endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if call == nil {
			respond(w, http.StatusNotFound, problem{"this daemon does not do that"})
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
		// What was begun is finished, although nobody waits for it any more.
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

// acquire waits for the turn, and says why it never came. Who has gone by then is
// not served behind their back. A caller who has closed their half, as nc -N
// does, can't be told from one who is gone: where nobody is before them they are
// served, and else they are told that they were not.
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

// A problem is the body of an answer that is no success.
type problem struct {
	Error string `json:"error"`
}

func respond(w http.ResponseWriter, code int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error": "the answer has no JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // the client went away: nobody is left to tell
}

// limitRequests answers n requests at a time and turns the others away.
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
