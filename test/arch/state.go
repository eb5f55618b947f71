package arch

import (
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// checkState reports package-level variables that change: one that some code of the package writes to or takes the
// address of, and one whose type is made for being changed. Errors and tables that are only read pass.
func (p *Package) checkState() []Violation {
	var files []*ast.File
	byFile := map[string]*File{}
	for _, f := range p.Files {
		if !f.Test {
			files = append(files, f.Syntax)
			byFile[f.Path] = f
		}
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	// Imports are not resolved, and the resulting errors are ignored: the checker resolves the names of this package's own
	// variables without them.
	config := types.Config{Importer: noImporter{}, Error: func(error) {}}
	pkg, _ := config.Check(p.Dir, p.fset, files, info)

	var found []Violation
	at := func(pos token.Pos, format string, args ...any) {
		if f := byFile[p.fset.Position(pos).Filename]; f != nil {
			found = append(found, p.violation(f, pos, format, args...))
		}
	}
	state := func(e ast.Expr) (string, bool) {
		id := root(e)
		if id == nil {
			return "", false
		}
		v, ok := info.Uses[id].(*types.Var)
		return id.Name, ok && v.Parent() == pkg.Scope()
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			for _, e := range changed(n) {
				if name, ok := state(e); ok {
					at(n.Pos(), "package variable %s is changed: keep state in a value", name)
				}
			}
			return true
		})
		for _, spec := range variables(f) {
			if t := made(spec); t != "" {
				at(spec.Pos(), "package variable %s is state of type %s: keep it in a value", spec.Names[0].Name, t)
			}
		}
	}
	return found
}

// changed returns the expressions that a node writes to or takes the address of.
func changed(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.CallExpr:
		if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(n.Args) > 0 {
			return n.Args[:1]
		}
	}
	return nil
}

// root returns the variable that an expression is a part of: m for m[k].f.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// variables returns the package-level variables of a file.
func variables(f *ast.File) []*ast.ValueSpec {
	var specs []*ast.ValueSpec
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, s := range g.Specs {
				specs = append(specs, s.(*ast.ValueSpec))
			}
		}
	}
	return specs
}

// made names the type of a variable, as written, when its only use is to be changed: locks, atomics, pools, channels.
func made(spec *ast.ValueSpec) string {
	exprs := append([]ast.Expr{spec.Type}, spec.Values...)
	for _, e := range exprs {
		switch x := e.(type) {
		case *ast.CallExpr:
			if id, ok := x.Fun.(*ast.Ident); ok && id.Name == "make" && len(x.Args) > 0 {
				return "made " + types.ExprString(x.Args[0])
			}
		case *ast.ChanType:
			return types.ExprString(x)
		}
		if e == nil {
			continue
		}
		text := strings.TrimLeft(types.ExprString(e), "*&")
		if strings.HasPrefix(text, "sync.") || strings.HasPrefix(text, "atomic.") {
			return text
		}
	}
	return ""
}

// A noImporter knows no package.
type noImporter struct{}

// Import always fails, which leaves names of other packages unresolved.
func (noImporter) Import(string) (*types.Package, error) { return nil, errors.New("not imported") }
