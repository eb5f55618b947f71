package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/test/qemu"
)

// A result is how one job ended. The output of a job that never ended is kept too.
type result struct {
	job    string
	ended  bool
	status int
	output []byte
}

// readResults reads the guest's messages until the port closes, passes everything else on to out, and returns an error
// unless the guest reported that it was done.
func readResults(port io.Reader, out io.Writer) ([]result, error) {
	var (
		results []result
		failure error
		done    bool
		current *result
	)
	qemu.ReadPort(port, func(verb, rest string) {
		switch verb {
		case verbReady:
			fmt.Fprintf(out, "vm: kernel %s is up\n", rest)
		case verbBegin:
			results = append(results, result{job: rest})
			current = &results[len(results)-1]
			fmt.Fprintf(out, "vm: %s\n", rest)
		case verbEnd:
			if status, name, ok := parseEnd(rest); ok && current != nil && current.job == name {
				current.ended, current.status = true, status
				current = nil
			}
		case verbFail:
			failure = errors.New(rest)
		case verbDone:
			done = true
		}
	}, func(line string) {
		if current != nil {
			current.output = append(current.output, line+"\n"...)
		}
		if !isFrame(line) {
			fmt.Fprintln(out, strings.ReplaceAll(line, markTest, ""))
		}
	})
	if failure == nil && !done {
		failure = errors.New("the guest ended before it was done")
	}
	return results, failure
}

// markTest is what -test.v=test2json puts before the lines that are testing's own. See `go doc test2json`.
const markTest = "\x16"

// isFrame reports whether a line is of no use to a person: it is empty, or marks that a test begins or goes on.
func isFrame(line string) bool {
	return line == "" || strings.HasPrefix(line, markTest+"=== ")
}

// parseEnd reads a job's exit status and name.
func parseEnd(message string) (status int, name string, ok bool) {
	number, name, ok := strings.Cut(message, " ")
	status, err := strconv.Atoi(number)
	return status, name, ok && err == nil
}
