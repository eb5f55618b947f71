package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// Module is the path that import paths of this module begin with.
const Module = "github.com/ctwarden/ctwarden"

// A Tree is the parsed source of a module.
type Tree struct {
	Packages []*Package

	fset *token.FileSet
}

// A Package is the Go files of one directory, external tests included.
type Package struct {
	// Dir is the directory below the root of the module, with slashes.
	Dir string
	// Files are in the order of their names.
	Files []*File

	fset *token.FileSet
}

// A File is one Go file.
type File struct {
	// Path is the path below the root of the module, with slashes.
	Path string
	// Syntax is the whole file with its comments.
	Syntax *ast.File
	// Lines is the number of lines.
	Lines int
	// Test is set for a _test.go file.
	Test bool
}

// A Violation is one place that breaks a rule.
type Violation struct {
	Path string
	Line int
	// Text is the violation and, where that is not obvious, the fix.
	Text string
}

// String is the violation as editors read it, "policy/level.go:12: …".
func (v Violation) String() string { return fmt.Sprintf("%s:%d: %s", v.Path, v.Line, v.Text) }

// Load parses every Go file below the root, except in testdata, vendor and hidden directories.
func Load(root fs.FS) (*Tree, error) {
	tree := &Tree{fset: token.NewFileSet()}
	packages := map[string]*Package{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (d.Name() == "testdata" || d.Name() == "vendor" || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		file, err := tree.parse(root, name)
		if err != nil || file == nil {
			return err
		}
		dir := path.Dir(name)
		if packages[dir] == nil {
			packages[dir] = &Package{Dir: dir, fset: tree.fset}
			tree.Packages = append(tree.Packages, packages[dir])
		}
		packages[dir].Files = append(packages[dir].Files, file)
		return nil
	})
	sort.Slice(tree.Packages, func(i, j int) bool { return tree.Packages[i].Dir < tree.Packages[j].Dir })
	return tree, err
}

// parse returns nil for a file that no build includes.
func (t *Tree) parse(root fs.FS, name string) (*File, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	syntax, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, group := range syntax.Comments {
		for _, c := range group.List {
			if c.Pos() < syntax.Package && c.Text == "//go:build ignore" {
				return nil, nil
			}
		}
	}
	return &File{
		Path: name, Syntax: syntax,
		Lines: t.fset.File(syntax.Pos()).LineCount(),
		Test:  strings.HasSuffix(name, "_test.go"),
	}, nil
}

// Check returns every violation in the tree, by path and line.
func (t *Tree) Check() []Violation {
	var found []Violation
	for _, p := range t.Packages {
		found = append(found, p.checkImports()...)
		found = append(found, p.checkCalls()...)
		found = append(found, p.checkDocs()...)
		found = append(found, p.checkNames()...)
		found = append(found, p.checkSizes()...)
		found = append(found, p.checkState()...)
	}
	found = append(found, t.checkExceptions()...)
	slices.SortFunc(found, func(a, b Violation) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.Text, b.Text)
	})
	return found
}

// Command reports whether the package is a program.
func (p *Package) Command() bool {
	return slices.ContainsFunc(p.Files, func(f *File) bool { return !f.Test && f.Syntax.Name.Name == "main" })
}

func (p *Package) violation(f *File, pos token.Pos, format string, args ...any) Violation {
	return Violation{Path: f.Path, Line: p.fset.Position(pos).Line, Text: fmt.Sprintf(format, args...)}
}
