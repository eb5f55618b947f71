package arch

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode"
)

const (
	maxFileLines     = 400
	maxFunctionLines = 60
)

// longFiles and longFunctions are the accepted exceptions, by path and by path.name, each with its reason. One that is
// not needed any more is a violation.
func longFiles() map[string]string     { return map[string]string{} }
func longFunctions() map[string]string { return map[string]string{} }

// bannedWords are words that do not describe a thing.
func bannedWords() []string {
	return []string{
		"util", "utils", "helper", "helpers", "manager", "common", "base", "impl", "handler", "handlers", "service",
		"services", "processor", "misc",
	}
}

// dialectWords are words that only the first version of ctwarden used. CONTRIBUTING.md says how names are chosen.
func dialectWords() []string {
	return []string{
		"deed", "deeds", "fate", "fates", "hear", "keepsake", "lookout", "neighbour", "neighbours", "nobody", "patient",
		"rival", "rivals", "roster", "somebody", "teller", "twin", "twins", "typist", "visits",
	}
}

// checkDocs requires exactly one package comment in each directory, in doc.go.
func (p *Package) checkDocs() []Violation {
	var found []Violation
	documented := false
	for _, f := range p.Files {
		if f.Syntax.Doc == nil {
			continue
		}
		if path.Base(f.Path) == "doc.go" {
			documented = true
			continue
		}
		found = append(found, p.violation(f, f.Syntax.Doc.Pos(), "package comment outside doc.go"))
	}
	if f := p.Files[0]; !documented {
		found = append(found, p.violation(f, f.Syntax.Package, "package %s has no package comment in doc.go", p.Dir))
	}
	return found
}

// checkNames checks the names of the directory, the files and, outside tests, everything declared at package level.
func (p *Package) checkNames() []Violation {
	var found []Violation
	for _, f := range p.Files {
		stem := strings.TrimSuffix(path.Base(f.Path), ".go")
		for _, name := range []string{stem, path.Base(p.Dir), f.Syntax.Name.Name} {
			if w := bannedWord(name); w != "" {
				found = append(found, p.violation(f, f.Syntax.Package, "%q in the name of a file or package says nothing", w))
				break
			}
		}
		if f.Test {
			continue
		}
		for _, id := range identifiers(f.Syntax) {
			if w := wordOf(id.Name, dialectWords()); w != "" {
				found = append(found, p.violation(f, id.Pos(), "%s: %q is no word of the field: name what it is", id.Name, w))
			}
		}
		for _, id := range declared(f.Syntax) {
			// A helper is also a thing of the kernel: what follows the second connection of FTP or SIP.
			if w := bannedWord(id.Name, "helper", "helpers"); w != "" {
				found = append(found, p.violation(f, id.Pos(), "%s: %q says nothing", id.Name, w))
			}
		}
	}
	return found
}

// declared returns the names that a file declares at package level, methods included.
func declared(f *ast.File) []*ast.Ident {
	var names []*ast.Ident
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name)
				case *ast.ValueSpec:
					names = append(names, s.Names...)
				}
			}
		}
	}
	return names
}

func bannedWord(name string, except ...string) string {
	return wordOf(name, slices.DeleteFunc(bannedWords(), func(w string) bool { return slices.Contains(except, w) }))
}

// wordOf returns the first word of a name that is in a list, or "".
func wordOf(name string, list []string) string {
	for _, w := range words(name) {
		if slices.Contains(list, w) {
			return w
		}
	}
	return ""
}

// identifiers returns every name in a file, in the order of the text.
func identifiers(f *ast.File) []*ast.Ident {
	var names []*ast.Ident
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			names = append(names, id)
		}
		return true
	})
	return names
}

// words splits a name at its capitals, underscores, dots and dashes: "netnsHelper_test" is netns, helper, test.
func words(name string) []string {
	var (
		split []string
		word  strings.Builder
	)
	flush := func() {
		if word.Len() > 0 {
			split = append(split, strings.ToLower(word.String()))
			word.Reset()
		}
	}
	lower := false
	for _, r := range name {
		if !unicode.IsLetter(r) || (unicode.IsUpper(r) && lower) {
			flush()
		}
		if unicode.IsLetter(r) {
			word.WriteRune(r)
		}
		lower = unicode.IsLower(r)
	}
	flush()
	return split
}

// checkSizes measures files and functions outside tests.
func (p *Package) checkSizes() []Violation {
	var found []Violation
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		if f.Lines > maxFileLines && longFiles()[f.Path] == "" {
			found = append(found, p.violation(f, f.Syntax.Package, "file of %d lines, at most %d", f.Lines, maxFileLines))
		}
		for _, d := range f.Syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if n := p.lines(d); ok && n > maxFunctionLines && longFunctions()[f.Path+"."+fn.Name.Name] == "" {
				found = append(found, p.violation(f, d.Pos(), "function %s of %d lines, at most %d", fn.Name.Name, n, maxFunctionLines))
			}
		}
	}
	return found
}

func (p *Package) lines(n ast.Node) int {
	line := func(pos token.Pos) int { return p.fset.Position(pos).Line }
	return line(n.End()) - line(n.Pos()) + 1
}

// checkExceptions reports exceptions that are not needed any more.
func (t *Tree) checkExceptions() []Violation {
	long := map[string]bool{}
	for _, p := range t.Packages {
		for _, f := range p.Files {
			long[f.Path] = f.Lines > maxFileLines
			for _, d := range f.Syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && p.lines(fn) > maxFunctionLines {
					long[f.Path+"."+fn.Name.Name] = true
				}
			}
		}
	}
	var found []Violation
	for _, exceptions := range []map[string]string{longFiles(), longFunctions()} {
		for name := range exceptions {
			if !long[name] {
				found = append(found, Violation{Path: "test/arch/shape.go", Line: 1, Text: name + " needs no exception any more"})
			}
		}
	}
	return found
}
