package arch

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

// impureNames are the names in otherwise pure packages that read a clock, wait, read a file or draw from a global source.
func impureNames() map[string][]string {
	return map[string][]string{
		"time": {
			"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "LoadLocation", "Local",
		},
		"math/rand/v2": {
			"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint", "UintN", "Uint32", "Uint32N", "Uint64", "Uint64N",
			"Float32", "Float64", "ExpFloat64", "NormFloat64", "N", "Perm", "Shuffle",
		},
		"hash/maphash": {"MakeSeed", "Bytes", "String", "Comparable"},
	}
}

// printNames are the names that print or exit. Only a command may do so: it is the whole process.
func printNames() map[string][]string {
	return map[string][]string{
		"fmt": {"Print", "Printf", "Println"},
		"os":  {"Exit", "Stdout", "Stderr"},
		"log": {
			"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln", "Default", "SetOutput",
		},
		"log/slog": {"Debug", "Info", "Warn", "Error", "Log", "Default", "SetDefault"},
	}
}

// checkCalls reports names that a package may not use, whether it calls them or passes them on.
func (p *Package) checkCalls() []Violation {
	var found []Violation
	for _, f := range p.Files {
		if f.Test {
			continue
		}
		imports := importNames(f.Syntax)
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok {
					return true
				}
				from := imports[x.Name]
				if p.pure() && slices.Contains(impureNames()[from], n.Sel.Name) {
					found = append(found, p.violation(f, n.Pos(), "%s.%s in a pure package: it comes in as a value", x.Name, n.Sel.Name))
				}
				if !p.Command() && slices.Contains(printNames()[from], n.Sel.Name) {
					found = append(found, p.violation(f, n.Pos(), "%s.%s: only a command prints or exits", x.Name, n.Sel.Name))
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "print" || id.Name == "println") {
					found = append(found, p.violation(f, n.Pos(), "builtin %s is for debugging", id.Name))
				}
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					found = append(found, p.violation(f, n.Pos(), "init runs unasked: let the caller call"))
				}
			}
			return true
		})
	}
	return found
}

// importNames maps the name of each import in a file to its path. Without types the name of a package is taken from its
// path, which is right for all packages that the rules name.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		from, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(from)
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(from))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = from
	}
	return names
}
