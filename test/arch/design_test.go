package arch

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "draw the arrows of docs/design.md anew")

const designPage = "../../docs/design.md"

func loadModule(t *testing.T) *Tree {
	t.Helper()
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestEveryArrowIsUsed keeps an arrow that nothing needs any more from permitting an import later.
func TestEveryArrowIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, p := range loadModule(t).Packages {
		for _, f := range p.Files {
			for _, spec := range f.Syntax.Imports {
				inside, own := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), Module+"/")
				if own && !f.Test {
					used[p.Dir+" "+inside] = true
				}
			}
		}
	}
	for from, targets := range arrows() {
		for _, to := range targets {
			if !used[from+" "+to] {
				t.Errorf("%s does not import %s: delete the arrow", from, to)
			}
		}
	}
}

// TestDesignPageDrawsTheArrows compares the drawing of docs/design.md with the arrows.
func TestDesignPageDrawsTheArrows(t *testing.T) {
	text, err := os.ReadFile(designPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin = "```mermaid\nflowchart TD\n"
	head, rest, ok := strings.Cut(string(text), begin)
	drawn, tail, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatalf("docs/design.md has no block that begins with %q", begin)
	}
	want := drawing(arrows())
	if *update {
		if err := os.WriteFile(designPage, []byte(head+begin+want+"```\n"+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := diff.Diff(want, drawn); d != "" {
		t.Errorf("docs/design.md draws other arrows; go test ./test/arch -run Draws -update (-want +got):\n%s", d)
	}
}

// drawing is a flow chart of the arrows between packages of the program. An arrow that follows from two others is left
// out.
func drawing(all map[string][]string) string {
	reach := func(from, to string) bool { return reachable(all, from, to) }
	var b strings.Builder
	for _, from := range slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(closure(all, b)), len(closure(all, a))), cmp.Compare(a, b))
	}) {
		if under(from, "test") || strings.HasSuffix(from, "test") {
			continue
		}
		for _, to := range slices.Sorted(slices.Values(all[from])) {
			follows := slices.ContainsFunc(all[from], func(by string) bool { return by != to && reach(by, to) })
			if !follows {
				fmt.Fprintf(&b, "    %s --> %s\n", short(from), short(to))
			}
		}
	}
	return b.String()
}

func short(dir string) string { return strings.TrimPrefix(dir, "internal/") }

// closure is all that a package imports, directly or not.
func closure(all map[string][]string, from string) map[string]bool {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(dir string) {
		for _, to := range all[dir] {
			if !seen[to] {
				seen[to] = true
				visit(to)
			}
		}
	}
	visit(from)
	return seen
}

func reachable(all map[string][]string, from, to string) bool { return closure(all, from)[to] }

// TestDesignPageNamesTheCalls: the way of an observation is a list of at most twelve calls, each of which exists in the
// package that the list names.
func TestDesignPageNamesTheCalls(t *testing.T) {
	text, err := os.ReadFile(designPage)
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for _, p := range loadModule(t).Packages {
		for _, f := range p.Files {
			for _, d := range f.Syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && !f.Test {
					exists[p.Dir+" "+callName(fn)] = true
				}
			}
		}
	}
	calls := regexp.MustCompile("(?m)^[0-9]+\\. `([a-z/]+)` `([A-Za-z.]+)`").FindAllStringSubmatch(string(text), -1)
	if len(calls) == 0 || len(calls) > 12 {
		t.Errorf("%d calls from the kernel's line to the outcome, want 1 to 12", len(calls))
	}
	for _, c := range calls {
		if !exists[c[1]+" "+c[2]] {
			t.Errorf("package %s has no %s", c[1], c[2])
		}
	}
}

// callName is the name of a function, with its receiver's type before a method.
func callName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	of := fn.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if id, ok := of.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// TestContributingNamesWhatExists: the files that CONTRIBUTING.md lists, but for those to be made, and the tests that it
// runs by name.
func TestContributingNamesWhatExists(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile("`((?:[a-z0-9]+/)+[A-Za-z0-9_.]*)`").FindAllStringSubmatch(string(text), -1)
	if len(paths) < 15 {
		t.Errorf("%d paths", len(paths))
	}
	for _, p := range paths {
		if _, err := os.Stat("../../" + p[1]); err != nil && !strings.Contains(p[1], "NAME") {
			t.Errorf("there is no %s", p[1])
		}
	}
	tree := loadModule(t)
	for _, run := range regexp.MustCompile(`go test \./([a-z/]+) -run ([A-Za-z]+)`).FindAllStringSubmatch(string(text), -1) {
		found := false
		for _, p := range tree.Packages {
			for _, f := range p.Files {
				for _, d := range f.Syntax.Decls {
					fn, ok := d.(*ast.FuncDecl)
					found = found || ok && p.Dir == run[1] && strings.HasPrefix(fn.Name.Name, "Test") && strings.Contains(fn.Name.Name, run[2])
				}
			}
		}
		if !found {
			t.Errorf("package %s has no test %s", run[1], run[2])
		}
	}
}
