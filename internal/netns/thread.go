package netns

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// A thread is an operating system thread that one goroutine holds from start
// to end. It ends with its goroutine and never returns to the runtime's pool,
// where it would carry its namespace into other goroutines.
type thread struct {
	tid   int
	calls chan *call
	stops chan struct{}
	once  sync.Once
	ended chan struct{}
}

type call struct {
	fn    func() error
	err   error
	panic *Panic
	exit  bool // fn called runtime.Goexit
	done  chan struct{}
}

// A Panic is what Do panics with when its function panicked: the value and
// the stack of the thread in the namespace, which the caller's own stack does
// not show.
type Panic struct {
	Value any
	Stack []byte
}

// String gives the value and the stack.
func (p *Panic) String() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Error makes a Panic readable when the runtime prints it.
func (p *Panic) Error() string { return p.String() }

// Unwrap returns the value if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// startThread runs enter on a new thread and keeps the thread where that
// leaves it. If enter fails the thread ends.
func startThread(enter func() error) (*thread, error) {
	t := &thread{
		calls: make(chan *call),
		stops: make(chan struct{}),
		ended: make(chan struct{}),
	}
	entered := make(chan error)
	go t.run(enter, entered)
	if err := <-entered; err != nil {
		return nil, err
	}
	return t, nil
}

func (t *thread) run(enter func() error, entered chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The first thread must not move: /proc/self/net and /proc/self/ns/net
		// are its, and the runtime cannot end it. While it is held here, the
		// next goroutine gets another one.
		placed := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(placed)
			t.serve(enter, entered)
		}()
		<-placed
		runtime.UnlockOSThread()
		return
	}
	t.serve(enter, entered)
}

// serve enters the namespace and makes calls until stop. It leaves the thread
// locked, which ends it with the goroutine.
func (t *thread) serve(enter func() error, entered chan<- error) {
	defer close(t.ended)
	t.tid = unix.Gettid()
	err := enter()
	entered <- err
	if err != nil {
		return
	}
	for {
		select {
		case c := <-t.calls:
			c.run()
		case <-t.stops:
			return
		}
	}
}

func (t *thread) do(fn func() error) error {
	// The order matters: a thread that has ended only after its id was read
	// cannot have given the id to another.
	inside := unix.Gettid() == t.tid
	select {
	case <-t.ended:
		return os.ErrClosed
	default:
	}
	if inside {
		return fn()
	}
	c := &call{fn: fn, done: make(chan struct{})}
	select {
	case t.calls <- c:
	case <-t.stops:
		return os.ErrClosed
	case <-t.ended:
		return os.ErrClosed
	}
	<-c.done
	if c.panic != nil {
		panic(c.panic)
	}
	if c.exit {
		runtime.Goexit()
	}
	return c.err
}

func (t *thread) stop() {
	t.once.Do(func() { close(t.stops) })
	<-t.ended
}

func (c *call) run() {
	c.exit = true
	defer close(c.done)
	defer func() {
		if v := recover(); v != nil {
			c.panic = &Panic{Value: v, Stack: debug.Stack()}
			c.exit = false
		}
	}()
	c.err = c.fn()
	c.exit = false
}
