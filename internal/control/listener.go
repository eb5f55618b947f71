package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Peer is the process at the other end of a connection. The kernel recorded it at
// connect time (SO_PEERCRED); the client can't choose it.
type Peer struct {
	UID uint32
	GID uint32
	// PID is 0 for a process of another pid namespace.
	PID int32
}

// Listen opens the socket at path with mode 0660. It replaces a socket that a crash
// left without a listener. A socket in use, and any other file at path, stays and is
// an error.
func Listen(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
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

// removeStale removes a socket without a listener.
func removeStale(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("the file there is not a socket; it is kept")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("another process listens there already"), conn.Close())
	}
	// ECONNREFUSED alone proves that no process listens: EAGAIN, for example, means
	// that the backlog is full.
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("another process may listen there: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}

// A limitListener accepts a limited number of connections at a time. Further ones
// wait in the kernel's backlog.
type limitListener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimitListener(l net.Listener, slots int) *limitListener {
	return &limitListener{Listener: l, slots: make(chan struct{}, slots), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (d *limitListener) Accept() (net.Conn, error) {
	select {
	case d.slots <- struct{}{}:
	case <-d.closed:
		return nil, net.ErrClosed
	}
	conn, err := d.Listener.Accept()
	if err != nil {
		<-d.slots
		return nil, err
	}
	return &peerConn{Conn: conn, release: sync.OnceFunc(func() { <-d.slots })}, nil
}

// Close implements net.Listener.
func (d *limitListener) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Listener.Close()
}

// A peerConn is a connection that holds a slot of a limitListener.
type peerConn struct {
	net.Conn
	release func()
}

// Close closes the connection and frees its slot.
func (v *peerConn) Close() error {
	defer v.release()
	return v.Conn.Close()
}

// peer returns the credentials that the kernel recorded at connect time.
func (v *peerConn) peer() (Peer, error) {
	conn, ok := v.Conn.(*net.UnixConn)
	if !ok {
		return Peer{}, errors.New("not a unix socket")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("read peer credentials: %w", err)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

type connKey struct{}

// withConn adds the connection to the context of its requests.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// peerOf returns the peer that sent a request.
func peerOf(r *http.Request) (Peer, error) {
	v, ok := r.Context().Value(connKey{}).(*peerConn)
	if !ok {
		return Peer{}, errors.New("read peer credentials: no connection")
	}
	return v.peer()
}
