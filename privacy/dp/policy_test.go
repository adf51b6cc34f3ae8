package dp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources parses the package's files, without tests.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]*ast.File)
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
	}
	return files
}

// Catches a float on its way into a value, a sum, a bound or a budget:
// convert.go alone may compute with them.
func TestNoFloatsOutsideStatements(t *testing.T) {
	for name, f := range sources(t) {
		if name == "convert.go" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if n.Name == "float64" || n.Name == "float32" || n.Name == "Float64" || n.Name == "Float" {
					t.Errorf("%s uses %s", name, n.Name)
				}
			case *ast.BasicLit:
				if v, err := strconv.ParseFloat(n.Value, 64); n.Kind == token.FLOAT && (err != nil || v != 1e9) {
					t.Errorf("%s has the literal %s", name, n.Value)
				}
			}
			return true
		})
	}
}

// Catches an import that brings floats, another source of randomness, or a
// dependency. It is a statement of policy: a new line here is a decision.
//
// Budgets are shared by goroutines: sync/atomic, rather than sync, because a
// budget is one word, whose check and charge are then one operation that no
// later edit can take apart. A stored state is integers of fixed length:
// encoding/binary, which writes them as nothing else does.
func TestImports(t *testing.T) {
	everywhere := []string{"errors", "fmt", "strconv", "strings", "math/big", "math/bits"}
	only := map[string][]string{
		"source.go":   {"crypto/rand", "encoding/binary"},
		"convert.go":  {"math"},
		"filter.go":   {"sync/atomic"},
		"odometer.go": {"sync/atomic"},
		"causal.go":   {"encoding/binary"},
		"basis.go":    {"slices"},
	}
	for name, f := range sources(t) {
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(everywhere, path) && !slices.Contains(only[name], path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// Catches an exported function through which someone could choose the noise: no
// parameter is a function, an interface or a channel, and none is called a seed.
func TestNothingExportedTakesASourceOfRandomness(t *testing.T) {
	for name, f := range sources(t) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() {
				continue
			}
			for _, p := range fn.Type.Params.List {
				switch typ := p.Type.(type) {
				case *ast.Ident, *ast.ArrayType:
				default:
					t.Errorf("%s: %s takes a parameter of kind %T", name, fn.Name.Name, typ)
				}
				for _, id := range p.Names {
					if strings.Contains(strings.ToLower(id.Name), "seed") {
						t.Errorf("%s: %s takes %s", name, fn.Name.Name, id.Name)
					}
				}
			}
		}
	}
}
