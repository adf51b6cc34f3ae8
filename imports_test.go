// Package wattveil_test keeps the promises that no single package can keep:
// which way imports point, by which door outside code enters, and who alone may
// call what opens sealed data.
package wattveil_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// row says which packages of this module a package may import, relative to the
// module. Its tests may also import the package itself, every support package,
// and what tests names.
type row struct {
	may     []string
	tests   []string
	support bool // contract suites and throw-away servers: imported by tests alone
}

// table is a statement of policy, in the order of the layers. Do not change it
// to make a build pass: a new edge is a decision, taken in the same commit with
// its reason. A package that it does not name fails, and so does a row whose
// package is gone.
var table = map[string]row{
	".": {},

	"meter":                {},
	"meter/espi":           {may: []string{"meter"}},
	"meter/profile":        {may: []string{"meter"}},
	"meter/profile/sample": {tests: []string{"meter", "meter/profile"}},

	"ledger":            {},
	"ledger/ledgertest": {may: []string{"ledger"}, support: true},
	// Watches a log as a stranger does: by its checkpoints alone.
	"ledger/witness": {may: []string{"ledger"}},
	"consent":        {may: []string{"ledger", "meter"}},

	"consent/consenttest": {may: []string{"consent", "ledger", "meter"}, support: true},

	"privacy/dp":          {},
	"privacy/dp/estimate": {may: []string{"privacy/dp"}},
	// Plans on public populations; it never meets a reading.
	"privacy/plan":                {may: []string{"privacy/dp", "privacy/dp/estimate"}, tests: []string{"privacy/population"}},
	"privacy/seal":                {may: []string{"consent", "meter"}, tests: []string{"ledger"}},
	"privacy/seal/wrappertest":    {may: []string{"privacy/seal"}, support: true},
	"privacy/population":          {},
	"privacy/release":             {may: []string{"consent", "ledger", "meter", "privacy/dp", "privacy/dp/estimate", "privacy/seal"}},
	"privacy/release/releasetest": {may: []string{"consent", "ledger", "meter", "privacy/dp", "privacy/release", "privacy/seal"}, support: true},
	// Its contract of a guardian records the accesses that it presents.
	"privacy/keyguard/keyguardtest": {may: []string{"consent", "ledger", "meter", "privacy/keyguard", "privacy/seal"}, support: true},
	"privacy/keyguard":              {may: []string{"consent", "ledger", "meter", "privacy/seal"}},

	"proto":             {},
	"proto/wattveil/v1": {},
	"proto/gateway":     {may: []string{"proto/wattveil/v1"}},

	// What is told to whom, and how; the store keeps it, and knows these words.
	"server/notify": {may: []string{"consent", "ledger", "meter", "meter/espi"}, tests: []string{"server/store"}},
	"server/store": {may: []string{
		"consent", "ledger", "meter",
		"privacy/dp", "privacy/keyguard", "privacy/release", "privacy/seal",
		"server/notify",
	}},
	"server/store/pgtest": {support: true},
	// Looks at the tables past the store; its own tests fill them.
	"server/store/storetest": {tests: []string{"server/store"}, support: true},
	// The plain table that the hub is measured against.
	"server/store/plain": {},
	"server/keys":        {may: []string{"privacy/seal"}},
	// Readings as tables, for other people's programs.
	"server/export": {may: []string{"meter"}},

	// What lets third parties in: codes and tokens for what consents allow. It opens
	// nothing, and changes no consent.
	"server/oauth": {may: []string{"consent", "meter", "server/store"}},

	// A door in another norm's words, which asks the API in its caller's name.
	"server/greenbutton": {may: []string{"meter", "meter/espi", "proto/wattveil/v1"}},

	// A client of the API, and a verifier of what it is told.
	"web": {may: []string{"ledger", "meter", "meter/espi", "proto/wattveil/v1"}},

	// The edge: everything meets here, and nothing below knows it. It serves the
	// pages of web, which reach the hub by its API alone.
	"server": {may: []string{
		"consent", "ledger", "meter",
		"privacy/dp", "privacy/keyguard", "privacy/release", "privacy/seal",
		"proto", "proto/gateway", "proto/wattveil/v1",
		"server/export", "server/greenbutton", "server/keys", "server/notify", "server/oauth", "server/store", "web",
	}, tests: []string{"ledger/witness", "meter/espi"}},
	"cmd/wattveil": {may: []string{
		"consent", "ledger", "ledger/witness", "meter", "meter/espi", "meter/profile", "meter/profile/sample",
		"privacy/dp", "privacy/dp/estimate", "privacy/plan", "privacy/population", "privacy/release", "privacy/seal",
		"proto/wattveil/v1",
		"server", "server/keys", "server/store", "server/store/plain",
	}, tests: []string{"privacy/keyguard"}},
}

// door says which packages of this module may import a package and everything
// below it. An outside package without a door is refused; of the standard
// library only what is named here is watched.
type door struct {
	pkg   string
	by    []string // the packages and their tests
	tests []string // the tests of these packages; "*" stands for all
}

var doors = []door{
	// Readings leave memory for SQL in one place, sealed.
	{pkg: "database/sql", by: []string{"server/store", "server/store/pgtest", "server/store/plain", "server/store/storetest"}},
	{pkg: "github.com/lib/pq", by: []string{"server/store", "server/store/pgtest", "server/store/plain", "server/store/storetest"}},
	{pkg: "modernc.org/sqlite", by: []string{"server/store", "server/store/plain", "server/store/storetest"}},

	// Keys are wrapped in one place, and sealed to in another.
	{pkg: "github.com/hashicorp/vault/api", by: []string{"server/keys"}},
	{pkg: "github.com/cloudflare/circl", by: []string{"privacy/seal", "ledger"}},
	// Many signatures are checked at once, where they are made.
	{pkg: "filippo.io/edwards25519", by: []string{"privacy/seal"}},

	// The log's formats, and the trees behind them.
	{pkg: "github.com/transparency-dev", by: []string{"ledger", "ledger/ledgertest"}},
	{pkg: "golang.org/x/mod/sumdb", by: []string{"ledger", "ledger/ledgertest"}},

	// The wire. The gateway's runtime is the server's alone: a client of the
	// API does not link it.
	{pkg: "google.golang.org/grpc", by: []string{"proto/wattveil/v1", "proto/gateway", "server", "server/greenbutton", "web", "cmd/wattveil"}},
	{pkg: "google.golang.org/protobuf", by: []string{"proto/wattveil/v1", "proto/gateway", "server", "web", "cmd/wattveil"}},
	{pkg: "google.golang.org/genproto/googleapis", by: []string{"server", "server/greenbutton", "web", "cmd/wattveil"}},
	{pkg: "github.com/grpc-ecosystem/grpc-gateway/v2", by: []string{"proto/gateway", "server"}},

	// What the hub states in JSON is signed in one place.
	{pkg: "github.com/go-jose/go-jose/v4", by: []string{"server"}},
	// OAuth: the server's side of the wire, and in tests a client's.
	{pkg: "github.com/zitadel/oidc/v3", by: []string{"server/oauth"}},
	{pkg: "golang.org/x/oauth2", tests: []string{"server"}},
	// Tables for others.
	{pkg: "github.com/parquet-go/parquet-go", by: []string{"server/export"}},

	// Configuration and the command line.
	{pkg: "go.yaml.in/yaml/v3", by: []string{"server", "cmd/wattveil"}},
	{pkg: "github.com/spf13/cobra", by: []string{"cmd/wattveil"}},
	{pkg: "github.com/schollz/progressbar/v3", by: []string{"cmd/wattveil"}},
	{pkg: "golang.org/x/sync", by: []string{"server", "cmd/wattveil"}},

	// Tests.
	{pkg: "github.com/google/go-cmp", tests: []string{"*"}},
	{pkg: "github.com/rogpeppe/go-internal", tests: []string{"cmd/wattveil"}},
	{pkg: "github.com/jba/templatecheck", tests: []string{"web"}},

	// unsafe reaches into unexported fields, a Permit's among them; only
	// generated code has a use for it.
	{pkg: "unsafe", by: []string{"proto/wattveil/v1"}},

	// Nowhere, tests included: guessable numbers, and C.
	{pkg: "math/rand"},
	{pkg: "C"},
}

// standardOnly names packages that reach nothing but the standard library,
// their dependencies' dependencies included, so that they can be read and
// checked by themselves.
var standardOnly = []string{"meter", "privacy/dp", "privacy/population"}

// unreachable says what a package must not reach on any path.
var unreachable = map[string][]string{
	// Whatever a decision is recorded in knows nothing of what is decided.
	"ledger": {module + "/meter", module + "/consent", module + "/privacy", module + "/server"},
	// What gives permission cannot open anything itself.
	"consent": {module + "/privacy", module + "/server", "database/sql"},
	// The pages know what the API tells them.
	"web": {module + "/privacy", module + "/server", "database/sql"},
}

// Catches a new edge between packages, a package nobody placed in the
// architecture, and a row that outlived its package.
func TestImportTable(t *testing.T) {
	tree := source(t)
	for _, f := range tree {
		if _, ok := table[f.pkg]; !ok {
			t.Errorf("%s: package %s is not in the table", f.path, f.pkg)
			continue
		}
		for _, imported := range f.imports {
			if to, ok := within(imported, module); ok && !mayImport(f, to) {
				t.Errorf("%s: %s may not import %s", f.path, f.pkg, to)
			}
		}
	}
	for pkg, r := range table {
		for _, to := range slices.Concat(r.may, r.tests) {
			if _, ok := table[to]; !ok {
				t.Errorf("%s may import %s, which the table does not name", pkg, to)
			}
		}
		if !slices.ContainsFunc(tree, func(f file) bool { return f.pkg == pkg }) {
			t.Errorf("the table names %s, which is not there", pkg)
		}
	}
}

func mayImport(f file, to string) bool {
	r := table[f.pkg]
	if slices.Contains(r.may, to) && !table[to].support {
		return true
	}
	if table[to].support {
		return f.test || r.support
	}
	return f.test && (to == f.pkg || slices.Contains(r.tests, to))
}

// Catches an outside package that enters unasked, or by a second door.
func TestDoors(t *testing.T) {
	for _, f := range source(t) {
		for _, imported := range f.imports {
			if _, ours := within(imported, module); ours {
				continue
			}
			i := slices.IndexFunc(doors, func(d door) bool {
				_, ok := within(imported, d.pkg)
				return ok
			})
			switch {
			case i >= 0 && !opensTo(doors[i], f):
				t.Errorf("%s: %s may not import %s", f.path, f.pkg, imported)
			case i < 0 && !standard(imported):
				t.Errorf("%s: %s has no door", f.path, imported)
			}
		}
	}
	for _, d := range doors {
		for _, pkg := range slices.Concat(d.by, d.tests) {
			if _, ok := table[pkg]; !ok && pkg != "*" {
				t.Errorf("the door of %s opens to %s, which the table does not name", d.pkg, pkg)
			}
		}
	}
}

func opensTo(d door, f file) bool {
	return slices.Contains(d.by, f.pkg) ||
		f.test && (slices.Contains(d.tests, f.pkg) || slices.Contains(d.tests, "*"))
}

// Catches what no single import shows: a package reached through another,
// outside ones included.
func TestReach(t *testing.T) {
	deps := dependencies(t)
	reach := func(pkg string) []string {
		found, ok := deps[module+"/"+pkg]
		if !ok {
			t.Errorf("%s is not there", pkg)
		}
		return found
	}
	for _, pkg := range standardOnly {
		for _, dep := range reach(pkg) {
			if !standard(dep) {
				t.Errorf("%s reaches %s", pkg, dep)
			}
		}
	}
	for pkg, banned := range unreachable {
		for _, dep := range reach(pkg) {
			if slices.ContainsFunc(banned, func(b string) bool { _, ok := within(dep, b); return ok }) {
				t.Errorf("%s reaches %s", pkg, dep)
			}
		}
	}
}

// dependencies asks the go command for everything that each package of the
// module reaches, tests left out.
func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	deps := make(map[string][]string)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return deps
		} else if err != nil {
			t.Fatalf("reading the list of packages: %v", err)
		}
		deps[p.ImportPath] = p.Deps
	}
}

// within says whether a package is root or below it, and where.
func within(pkg, root string) (rel string, ok bool) {
	if pkg == root {
		return ".", true
	}
	return strings.CutPrefix(pkg, root+"/")
}

// standard says whether a package is of the standard library: only there does
// the first element of a path have no dot.
func standard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return !strings.Contains(first, ".")
}
