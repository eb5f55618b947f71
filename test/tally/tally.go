package tally

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strings"
)

// A Tally is the count of a test run. The zero value is an empty run, ready for use.
type Tally struct {
	Passed, Failed, Skipped int
	// Reasons counts the skipped tests by the reason that they gave.
	Reasons map[string]int
	// Failures are the full names of what failed, in the order of its end.
	Failures []string
	// Ran says of each test, by its full name, whether it came to an end of its own rather than being skipped.
	Ran map[string]bool

	lastLine map[key]string
	output   map[key][]string
	failed   map[string]bool
}

// key names a test, or a package when test is empty.
type key struct{ pkg, test string }

// name is the same wherever the test was built: a package is named from the root of the module.
func (k key) name() string {
	return strings.TrimPrefix(k.pkg, "github.com/ctwarden/ctwarden/") + "." + k.test
}

// An event is a line of `go test -json`. See `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// Read counts the events of r until its end. To out goes what a person wants to see meanwhile: one line for each package
// and the output of what failed. Text that is not an event, such as a message of the go command, goes to out as it is.
func (t *Tally) Read(r io.Reader, out io.Writer) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if err := t.line(line, out); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test events: %w", err)
		}
	}
}

func (t *Tally) line(line string, out io.Writer) error {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
		_, err := io.WriteString(out, line)
		return err
	}
	return t.add(e, out)
}

func (t *Tally) add(e event, out io.Writer) error {
	if t.Reasons == nil {
		t.Reasons, t.lastLine = map[string]int{}, map[key]string{}
		t.output, t.failed, t.Ran = map[key][]string{}, map[string]bool{}, map[string]bool{}
	}
	k := key{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		_, err := io.WriteString(out, e.Output)
		return err
	case "output":
		t.output[k] = append(t.output[k], e.Output)
		if s := strings.TrimSpace(e.Output); s != "" && !isFrame(s) {
			t.lastLine[k] = s
		}
		return nil
	case "pass":
		if e.Test != "" {
			t.Passed++
			t.Ran[k.name()] = true
			delete(t.output, k)
			return nil
		}
	case "skip":
		if e.Test != "" {
			t.Skipped++
			t.Ran[k.name()] = false
			t.Reasons[reason(t.lastLine[k])]++
			delete(t.output, k)
			return nil
		}
	case "fail":
		return t.fail(k, out)
	default:
		return nil
	}
	return t.endPackage(k, out)
}

// fail counts a failed test. A failed package counts only when none of its tests did: then it did not build, or it
// ended before the test that it was in.
func (t *Tally) fail(k key, out io.Writer) error {
	if k.test != "" || !t.failed[k.pkg] {
		t.Failed++
		t.failed[k.pkg] = true
		t.Failures = append(t.Failures, strings.TrimSuffix(k.pkg+"."+k.test, "."))
		t.Ran[k.name()] = true
	}
	if k.test == "" {
		// What a test that never ended said is still held: it is the reason.
		for other := range t.output {
			if other.pkg == k.pkg && other.test != "" {
				if _, err := io.WriteString(out, strings.Join(t.output[other], "")); err != nil {
					return err
				}
				delete(t.output, other)
			}
		}
		return t.endPackage(k, out)
	}
	_, err := io.WriteString(out, strings.Join(t.output[k], ""))
	delete(t.output, k)
	return err
}

// endPackage prints the closing line of a package, which is the last of its own output.
func (t *Tally) endPackage(k key, out io.Writer) error {
	lines := t.output[k]
	delete(t.output, k)
	for _, l := range lines {
		if l == "PASS\n" || l == "FAIL\n" {
			continue
		}
		if _, err := io.WriteString(out, l); err != nil {
			return err
		}
	}
	return nil
}

// isFrame reports whether a line is one that package testing prints around a test's own.
func isFrame(s string) bool { return strings.HasPrefix(s, "=== ") || strings.HasPrefix(s, "--- ") }

// reason takes the position off a line that t.Skip printed: "host_test.go:12: needs CAP_NET_ADMIN".
func reason(line string) string {
	if line == "" {
		return "no reason given"
	}
	return regexp.MustCompile(`^\S+\.go:\d+: `).ReplaceAllString(line, "")
}

// Add adds the counts and reasons of u.
func (t *Tally) Add(u Tally) {
	t.Passed += u.Passed
	t.Failed += u.Failed
	t.Skipped += u.Skipped
	t.Failures = append(t.Failures, u.Failures...)
	if t.Reasons == nil {
		t.Reasons = map[string]int{}
	}
	for r, n := range u.Reasons {
		t.Reasons[r] += n
	}
	if t.Ran == nil {
		t.Ran = map[string]bool{}
	}
	for name, ran := range u.Ran {
		t.Ran[name] = t.Ran[name] || ran
	}
}

// Keep writes the count to a file, and beside it, with ".tests" behind its name, a line for each test: "ran" or
// "skipped", and its name. With those of several runs, who was skipped in all of them can be told.
func (t *Tally) Keep(file string) error {
	lines := make([]string, 0, len(t.Ran))
	for name, ran := range t.Ran {
		word := "skipped "
		if ran {
			word = "ran "
		}
		lines = append(lines, word+name+"\n")
	}
	sort.Strings(lines)
	return errors.Join(
		os.WriteFile(file, []byte(t.String()+"\n"), 0o644),                  //nolint:gosec // for all to read
		os.WriteFile(file+".tests", []byte(strings.Join(lines, "")), 0o644), //nolint:gosec // the same
	)
}

// String is the count on one line, "12 passed, 0 failed, 3 skipped".
func (t *Tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.Passed, t.Failed, t.Skipped)
}

// Explain writes what failed and why tests were skipped, the most frequent reason first.
func (t *Tally) Explain(w io.Writer) error {
	var b strings.Builder
	for _, f := range t.Failures {
		fmt.Fprintf(&b, "failed: %s\n", f)
	}
	reasons := make([]string, 0, len(t.Reasons))
	for r := range t.Reasons {
		reasons = append(reasons, r)
	}
	sort.Slice(reasons, func(i, j int) bool {
		if t.Reasons[reasons[i]] != t.Reasons[reasons[j]] {
			return t.Reasons[reasons[i]] > t.Reasons[reasons[j]]
		}
		return reasons[i] < reasons[j]
	})
	for _, r := range reasons {
		fmt.Fprintf(&b, "skipped %d: %s\n", t.Reasons[r], r)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
