package wattveil_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// guards name what opens sealed data without asking for a Permit, by prefix, so
// that a variant added later is guarded from its first day. Only the packages
// named may mention such a function or method, in tests, too, unless it says tests; the
// package that declares it may test it.
var guards = []struct {
	pkg, prefix string
	by          []string
	tests       []string // packages whose tests may, too
}{
	// A window's spool is opened once, to be summed and noised.
	{pkg: "privacy/seal", prefix: "OpenSpool", by: []string{"privacy/release"}},
	// Running sums are opened at the closing that takes them up.
	{pkg: "privacy/seal", prefix: "OpenRunning", by: []string{"privacy/release"}},
	// A household's day keys are opened against a proof of the record; a test looks for
	// them in the memory of a part that must not have them.
	{pkg: "privacy/seal", prefix: "UnwrapDayKey", by: []string{"privacy/keyguard"}, tests: []string{"cmd/wattveil"}},
	// Block keys that cross from one process to another are opened by who asked.
	{pkg: "privacy/seal", prefix: "OpenMessage", by: []string{"privacy/keyguard"}},
	{pkg: "privacy/keyguard", prefix: "OpenAnswer", by: []string{"server"}},
}

// Catches a second way to plaintext: code that opens the spool but is not the
// release, or opens day keys but is not keyguard.
func TestGuardedCalls(t *testing.T) {
	declared := make([]bool, len(guards))
	for _, f := range source(t) {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				for _, g := range guards {
					if strings.HasPrefix(n.Sel.Name, g.prefix) && f.pkg != g.pkg && !slices.Contains(g.by, f.pkg) && !(f.test && slices.Contains(g.tests, f.pkg)) {
						t.Errorf("%s: %s is for %s alone", positions.Position(n.Pos()), n.Sel.Name, strings.Join(g.by, ", "))
					}
				}
			case *ast.FuncDecl:
				for i, g := range guards {
					declared[i] = declared[i] || !f.test && f.pkg == g.pkg && strings.HasPrefix(n.Name.Name, g.prefix)
				}
			case *ast.ImportSpec:
				if n.Name != nil && n.Name.Name == "." {
					t.Errorf("%s: a dot import hides where names come from", positions.Position(n.Pos()))
				}
			}
			return true
		})
	}
	for i, g := range guards {
		if !declared[i] {
			t.Errorf("%s declares no function %s…: the guard guards nothing", g.pkg, g.prefix)
		}
	}
}

// Catches noise that can be foreseen: an exported function of privacy/dp that
// lets its caller bring the randomness, as a reader, a function, an interface
// or a seed.
func TestNoiseComesFromNowhereElse(t *testing.T) {
	for _, f := range source(t) {
		if f.pkg != "privacy/dp" || f.test {
			continue
		}
		for _, decl := range f.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() {
				continue
			}
			for _, param := range fn.Type.Params.List {
				if bringsRandomness(param) {
					t.Errorf("%s: %s accepts what its noise could be drawn from", positions.Position(param.Pos()), fn.Name.Name)
				}
			}
		}
	}
}

func bringsRandomness(param *ast.Field) (brings bool) {
	ast.Inspect(param, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType, *ast.InterfaceType:
			brings = true
		case *ast.Ident:
			name := strings.ToLower(n.Name)
			brings = brings || name == "reader" || name == "source" || name == "any" || strings.Contains(name, "seed")
		}
		return !brings
	})
	return brings
}

// clock names the functions of package time that look at the machine's clock.
var clock = []string{"Now", "Since", "Until"}

// Catches a clock that was not handed in: what it times could be neither tested
// nor replayed. Only the command asks the machine for the time; it hands
// time.Now down as a function.
func TestClockIsHandedIn(t *testing.T) {
	for _, f := range source(t) {
		if f.test || table[f.pkg].support || strings.HasPrefix(f.pkg, "cmd/") {
			continue
		}
		name := importName(f, "time")
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if selector, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(clock, selector.Sel.Name) {
				if x, ok := selector.X.(*ast.Ident); ok && name != "" && x.Name == name {
					t.Errorf("%s: time.%s is called; the clock is handed in", positions.Position(n.Pos()), selector.Sel.Name)
				}
			}
			return true
		})
	}
}

// importName is what a file calls a package of the standard library whose name
// is its path, or "" if it does not import it.
func importName(f file, pkg string) string {
	for i, imported := range f.imports {
		if imported != pkg {
			continue
		}
		if name := f.syntax.Imports[i].Name; name != nil {
			return name.Name
		}
		return pkg
	}
	return ""
}
