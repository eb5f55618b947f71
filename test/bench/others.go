package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/netns"
)

// others are network namespaces besides the one that is measured: every other
// one has a process, the rest only a mount, as those of ip netns.
type others struct {
	mounts    []string
	processes []*exec.Cmd
}

// newOthers makes n namespaces. The caller closes them, after an error, too.
func newOthers(dir string, n int) (*others, error) {
	o := &others{}
	if n == 0 {
		return o, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return o, err
	}
	for i := range n {
		ns, err := netns.New()
		if err != nil {
			return o, err
		}
		if i%2 == 0 {
			err = o.mount(filepath.Join(dir, strconv.Itoa(i)), ns)
		} else {
			err = o.startProcess(ns)
		}
		if err = errors.Join(err, ns.Close()); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *others) mount(path string, ns *netns.NS) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.File().Fd()), path, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "mount", Path: path, Err: err}
	}
	o.mounts = append(o.mounts, path)
	return nil
}

// startProcess starts a process that ends with the bench.
func (o *others) startProcess(ns *netns.NS) error {
	cmd := exec.Command("sleep", "infinity")
	if err := ns.Do(cmd.Start); err != nil {
		return err
	}
	o.processes = append(o.processes, cmd)
	return nil
}

func (o *others) close() error {
	var errs []error
	for _, path := range o.mounts {
		errs = append(errs, unix.Unmount(path, unix.MNT_DETACH), os.Remove(path))
	}
	for _, cmd := range o.processes {
		errs = append(errs, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	}
	return errors.Join(errs...)
}
