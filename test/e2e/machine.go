package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/ctwarden/ctwarden/test/qemu"
)

// A verdict is one check of the guest.
type verdict struct {
	name string
	ok   bool
}

// A story is what a guest told: its checks, its notes, and its last word.
type story struct {
	ready    string
	verdicts []verdict
	notes    []string
	end      string
}

// run boots the machine until its guest is done: once more for each reboot that it asks for. The directory keeps what
// kernel and guest wrote.
func run(ctx context.Context, m qemu.Machine, dir string, out io.Writer) (story, error) {
	var all story
	const boots = 2
	for boot := 1; boot <= boots; boot++ {
		var told story
		m.Console = filepath.Join(dir, fmt.Sprintf("console-%d.log", boot))
		m.Guest = filepath.Join(dir, fmt.Sprintf("guest-%d.log", boot))
		err := m.Run(ctx, func(port io.Reader) error {
			if told = listen(port, out); told.end == "" {
				return errors.New("the machine ended in the middle")
			}
			return nil
		})
		all.verdicts = append(all.verdicts, told.verdicts...)
		all.notes = append(all.notes, told.notes...)
		all.ready = told.ready
		if err != nil {
			return all, err
		}
		if told.end == "done" {
			return all, nil
		}
	}
	return all, fmt.Errorf("the guest rebooted more than %d times", boots-1)
}

// listen reads the guest's messages until the port closes and passes them on for people.
func listen(port io.Reader, out io.Writer) story {
	var told story
	qemu.ReadPort(port, func(verb, rest string) {
		switch verb {
		case "ok", "FAIL":
			name, _, _ := strings.Cut(rest, " (")
			told.verdicts = append(told.verdicts, verdict{name, verb == "ok"})
		case "note":
			told.notes = append(told.notes, rest)
		case "ready":
			told.ready = rest
		case "reboot", "done":
			told.end = verb
		}
		fmt.Fprintln(out, "  "+verb, rest)
	}, func(line string) {
		if line != "" {
			fmt.Fprintln(out, "  "+line)
		}
	})
	return told
}
