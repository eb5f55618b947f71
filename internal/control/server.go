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
	// callTimeout leaves time to tell that it has passed.
	callTimeout = 25 * time.Second
	idleTimeout = 5 * time.Second
	// maxConns is more than maxAtOnce, so that the surplus is told so.
	maxConns  = 64
	maxAtOnce = 16
)

// Calls are what a daemon can be asked. Each runs for as long as its context
// lasts, and several at a time; what a Call returns is sent as JSON.
type Calls struct {
	Status func() any
	// Metrics answers with the page that a Prometheus server reads.
	Metrics http.Handler
	// These change something. One is made at a time.
	Pause, Resume, Revert, Reload Call
}

// A Call does what a peer asks for, and returns what to answer.
type Call func(ctx context.Context, by Peer, ask Ask) (any, error)

// ErrRefused marks the error of a Call that was understood and not done.
var ErrRefused = errors.New("refused")

// Serve answers on l until ctx is done. It closes the listener.
func Serve(ctx context.Context, l net.Listener, calls Calls) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, calls.Status())
	})
	if calls.Metrics != nil {
		mux.Handle("GET /metrics", calls.Metrics)
	}
	turn := make(chan struct{}, 1)
	for name, call := range map[string]Call{
		"pause": calls.Pause, "resume": calls.Resume, "revert": calls.Revert, "reload": calls.Reload,
	} {
		mux.Handle("POST /v1/"+name, inTurn(turn, call))
	}
	server := newServer(mux)
	server.ConnContext = remember
	return serve(ctx, l, server, server.Serve)
}

func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:        atMost(maxAtOnce, handler),
		MaxHeaderBytes: maxHeader,
		ReadTimeout:    readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
}

// serve has answer answer who comes through the door of l, until ctx is done.
func serve(ctx context.Context, l net.Listener, server *http.Server, answer func(net.Listener) error) error {
	ended := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer ended()
	if err := answer(newDoor(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serve %s: %w", l.Addr(), err), l.Close())
	}
	return nil
}

// inTurn makes one call at a time, in the name of the peer.
func inTurn(turn chan struct{}, call Call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if call == nil {
			answer(w, http.StatusNotFound, problem{"this daemon does not do that"})
			return
		}
		ask, err := readAsk(http.MaxBytesReader(w, r.Body, maxBody))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			answer(w, http.StatusRequestEntityTooLarge, problem{err.Error()})
			return
		case err != nil:
			answer(w, http.StatusBadRequest, problem{err.Error()})
			return
		}
		by, err := caller(r)
		if err != nil {
			answer(w, http.StatusForbidden, problem{err.Error()})
			return
		}
		// What was begun is finished, although nobody waits for it any more.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callTimeout)
		defer cancel()
		if code, why := queue(ctx, r.Context(), turn); code != http.StatusOK {
			answer(w, code, problem{why})
			return
		}
		defer func() { <-turn }()
		said, err := call(ctx, by, ask)
		switch {
		case errors.Is(err, ErrRefused):
			answer(w, http.StatusConflict, problem{err.Error()})
		case err != nil:
			answer(w, http.StatusInternalServerError, problem{err.Error()})
		default:
			answer(w, http.StatusOK, said)
		}
	}
}

// queue waits for the turn, and says why it never came. Who has gone by then is
// not served behind their back. A caller who has closed their half, as nc -N
// does, can't be told from one who is gone: where nobody is before them they are
// served, and else they are told that they were not.
func queue(patience, caller context.Context, turn chan struct{}) (code int, why string) {
	select {
	case turn <- struct{}{}:
		return http.StatusOK, ""
	default:
	}
	select {
	case turn <- struct{}{}:
		return http.StatusOK, ""
	case <-caller.Done():
		return http.StatusServiceUnavailable, "another request is under way, and the connection was closed before it ended"
	case <-patience.Done():
		return http.StatusServiceUnavailable, "another request is under way"
	}
}

// A problem is the body of an answer that is no success.
type problem struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error": "the answer has no JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // the client went away: nobody is left to tell
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
			answer(w, http.StatusServiceUnavailable, problem{"too many requests at once"})
		}
	})
}
