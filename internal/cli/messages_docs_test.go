package cli

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/audit"
	"github.com/ctwarden/ctwarden/internal/control"
	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
	"github.com/ctwarden/ctwarden/remediate"
)

const messagesPage = "../../docs/messages.md"

// page returns a document; in the virtual machine there are none.
func page(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CTWARDEN_TEST_VM") == "1" {
		t.Skip("needs the documents, which are not in the virtual machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestTheNightPageQuotesHolds: what docs/3am.md says that status shows behind held is part of a hold's sentence.
func TestTheNightPageQuotesHolds(t *testing.T) {
	var sentences []string
	for _, w := range words(policy.Hold.Sentence) {
		sentences = append(sentences, w.sentence)
	}
	quoted := 0
	for line := range strings.Lines(page(t, "../../docs/3am.md")) {
		_, after, found := strings.Cut(line, "held `")
		cell, _, _ := strings.Cut(after, "|")
		for i, phrase := range strings.Split("`"+cell, "`") {
			if !found || i%2 == 0 {
				continue
			}
			quoted++
			if !slices.ContainsFunc(sentences, func(s string) bool { return strings.Contains(s, phrase) }) {
				t.Errorf("docs/3am.md quotes held %q, which no hold says", phrase)
			}
		}
	}
	if quoted < 5 {
		t.Errorf("%d holds are quoted", quoted)
	}
}

// section returns what stands below a heading of a page.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, below, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no section %q", heading)
	}
	text, _, _ := strings.Cut(below, "\n## ")
	return text
}

// A word is a value that is told by its name, and what says it in a sentence.
type word struct{ name, sentence string }

// words returns all values of a type that has names, but those that stand for
// none.
func words[T interface {
	~uint8
	fmt.Stringer
}](sentence func(T) string) []word {
	var all []word
	for n := range 256 {
		v := T(n)
		switch name := v.String(); {
		case strings.HasPrefix(name, "invalid("):
			return all
		case name != "" && name != "none":
			all = append(all, word{name, sentence(v)})
		}
	}
	return all
}

func noSentence[T any](T) string { return "" }

// TestWordsAreDocumented compares the tables of the page with what there is in
// the code: each name has a line, with its sentence, and no line has a name that
// is none.
func TestWordsAreDocumented(t *testing.T) {
	text := page(t, messagesPage)
	for heading, want := range map[string][]word{
		"Levels":                  words(noSentence[policy.Level]),
		"Causes":                  words(noSentence[policy.Cause]),
		"Holds":                   words(policy.Hold.Sentence),
		"Acts":                    words(noSentence[policy.ActionType]),
		"Reasons":                 words(policy.Reason.Sentence),
		"Verdicts":                words(noSentence[policy.Result]),
		"Why an entry was spared": words(noSentence[policy.Eligibility]),
	} {
		t.Run(heading, func(t *testing.T) {
			lines := map[string]string{}
			for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|(.*)$").FindAllStringSubmatch(section(t, text, heading), -1) {
				lines[m[1]] = m[2]
			}
			for _, w := range want {
				if line, found := lines[w.name]; !found || !strings.Contains(line, w.sentence) {
					t.Errorf("%s: %q: want a line with %q", w.name, line, w.sentence)
				}
				delete(lines, w.name)
			}
			for name := range lines {
				t.Errorf("%s is no longer there", name)
			}
		})
	}
}

func TestKindsAreDocumented(t *testing.T) {
	text := page(t, "../../docs/audit-log.md")
	for _, k := range record.Kinds() {
		if !strings.Contains(text, "| `"+string(k)+"` |") {
			t.Errorf("no line for %s", k)
		}
	}
}

func TestExitStatusIsDocumented(t *testing.T) {
	text := section(t, page(t, messagesPage), "Exit status")
	for _, code := range []int{exitOK, exitError, exitUsage, exitFound, exitConfig} {
		if !strings.Contains(text, fmt.Sprintf("\n| %d |", code)) {
			t.Errorf("no line for %d", code)
		}
	}
}

// TestErrorsAreDocumented looks for the beginning of each error that the
// commands make, and of each line that the daemon writes for a person to act
// on. What they put into a text is … on the page.
func TestErrorsAreDocumented(t *testing.T) {
	text := page(t, messagesPage)
	for heading, calls := range map[string][]string{
		"Errors":                     {"fmt.Errorf", "errors.New"},
		"What the daemon's log says": {"logger.Warn", "logger.Error"},
	} {
		var beginnings []string
		for line := range strings.Lines(section(t, text, heading)) {
			cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
				if strings.HasPrefix(line, "| ") {
					beginnings = append(beginnings, strings.TrimSuffix(m[1], "…"))
				}
			}
		}
		found := messagesOf(t, calls)
		if len(found) < 10 {
			t.Errorf("%s: %d texts in the source", heading, len(found))
		}
		used := map[string]bool{}
		for _, message := range found {
			known := message == errFound.Error() // which is never printed
			for _, b := range beginnings {
				anywhere, open := strings.CutPrefix(b, "…")
				if strings.HasPrefix(message, b) || open && strings.Contains(message, anywhere) {
					known, used[b] = true, true
				}
			}
			if !known {
				t.Errorf("%s: nothing about `%s`", heading, message)
			}
		}
		for _, b := range beginnings {
			if !used[b] {
				t.Errorf("%s: no text begins with `%s`", heading, b)
			}
		}
	}
}

// TestSentinelErrorsAreDocumented has those that a person meets at the end of
// an error's text.
func TestSentinelErrorsAreDocumented(t *testing.T) {
	told := section(t, page(t, messagesPage), "Inside of an error")
	for _, err := range []error{
		remediate.ErrLocked, remediate.ErrUntrusted, remediate.ErrNoConntrack, remediate.ErrReadOnly, remediate.ErrNotPermitted,
		remediate.ErrNoMemory, remediate.ErrInvalid, remediate.ErrReadBack, remediate.ErrHeldBack,
		audit.ErrInUse, audit.ErrNotDurable, control.ErrRefused,
	} {
		if !strings.Contains(told, "| `"+err.Error()+"` |") {
			t.Errorf("nothing about `%v`", err)
		}
	}
}

// messagesOf returns what the program's own calls of some functions say, with …
// for what they put in.
func messagesOf(t *testing.T, calls []string) []string {
	t.Helper()
	var found []string
	var files []string
	for _, pattern := range []string{"*.go", "../agent/*.go", "../replay/*.go", "../drill/*.go", "../audit/verify/*.go", "../../watcher/find.go"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, matches...)
	}
	verb := regexp.MustCompile(`%[-+#.0-9]*[a-zA-Z]`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 || !slices.Contains(calls, called(call)) {
				return true
			}
			if text, ok := literal(call.Args[0]); ok {
				found = append(found, verb.ReplaceAllString(text, "…"))
			}
			return true
		})
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// called is the last two words of what is called, as in logger.Warn.
func called(call *ast.CallExpr) string {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	switch on := method.X.(type) {
	case *ast.Ident:
		return on.Name + "." + method.Sel.Name
	case *ast.SelectorExpr:
		return on.Sel.Name + "." + method.Sel.Name
	}
	return ""
}

// literal is a text that stands in the source; what is added to it is ….
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, leftKnown := literal(e.X)
		right, rightKnown := literal(e.Y)
		if !leftKnown {
			left = "…"
		}
		if !rightKnown {
			right = "…"
		}
		return left + right, leftKnown || rightKnown
	}
	return "", false
}
