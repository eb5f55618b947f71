package netns

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Visit enters one namespace after the other, in a thread that ends with it,
// and calls fn in each: what fn opens below /proc/sys/net belongs to that
// namespace. It costs one thread for all, where Open keeps one for each. An
// error of opening or entering a path is given to fn, which is then called
// outside. It needs CAP_SYS_ADMIN.
func Visit(paths []string, fn func(i int, err error)) error {
	t, err := startThread(func() error {
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			return err
		}
		defer home.Close()
		for i, path := range paths {
			if err := visit(path); err != nil {
				if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
					return fmt.Errorf("return from a network namespace: %w", back)
				}
				fn(i, err)
				continue
			}
			fn(i, nil)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("visit network namespaces: %w", err)
	}
	t.stop()
	return nil
}

func visit(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return &os.PathError{Op: "setns", Path: path, Err: err}
	}
	return nil
}
