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

// A Peer is the process at the other end of a connection, as the kernel knew
// it when it connected (SO_PEERCRED): nothing that it says of itself.
type Peer struct {
	UID uint32
	GID uint32
	// PID is 0 for a process of another pid namespace.
	PID int32
}

// Listen opens the socket at path with mode 0660. A socket that nobody listens
// to any more, left by a crash, is replaced. One that somebody listens to stays,
// and so does anything else that lies there.
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

// removeStale removes a socket that nobody listens to any more.
func removeStale(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("what is there is no socket, and is not touched")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(errors.New("another ctwarden, or another program, answers there"), conn.Close())
	}
	// Any other answer than this one may be that of somebody who listens: EAGAIN,
	// for one, says that too many wait for it already.
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("somebody may listen there already: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}

// A limitListener lets a few connections in at a time, and knows who they are. Those
// who come while it is full wait in the kernel's backlog.
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

// A peerConn is a connection that holds a place.
type peerConn struct {
	net.Conn
	release func()
}

// Close gives the place back.
func (v *peerConn) Close() error {
	defer v.release()
	return v.Conn.Close()
}

// peer asks the kernel who connected.
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
		return Peer{}, fmt.Errorf("ask who is calling: %w", err)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

type connKey struct{}

// withConn keeps the connection for the requests that come through it.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// peerOf returns who made a request.
func peerOf(r *http.Request) (Peer, error) {
	v, ok := r.Context().Value(connKey{}).(*peerConn)
	if !ok {
		return Peer{}, errors.New("ask who is calling: no connection")
	}
	return v.peer()
}
