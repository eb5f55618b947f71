package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"github.com/ctwarden/ctwarden/test/tally"
)

func main() {
	counts := flag.String("counts", "", "also write the last line to this file")
	flag.Parse()
	ok, err := run(flag.Args(), *counts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "run: error:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(args []string, counts string) (ok bool, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	var t tally.Tally
	err = t.Read(events, os.Stdout)
	end := cmd.Wait()
	if err != nil {
		return false, err
	}
	if err := t.Explain(os.Stdout); err != nil {
		return false, err
	}
	fmt.Println(&t)
	if counts != "" {
		if err := t.Keep(counts); err != nil {
			return false, err
		}
	}
	// The go command's own word counts too: it fails where no test did, for a pattern that matches nothing.
	var exit *exec.ExitError
	if end != nil && !errors.As(end, &exit) {
		return false, end
	}
	return end == nil && t.Failed == 0, nil
}
