package espi_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// corpus returns a folder of the corpus of other people's data.
func corpus(t testing.TB, below ...string) string {
	t.Helper()
	dir := os.Getenv("WATTVEIL_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	dir = filepath.Join(append([]string{dir, "green-button"}, below...)...)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED, nothing here is held against other people's documents: %v (set WATTVEIL_CORPUS to the folder that holds green-button/)", err)
	}
	return dir
}

// tool returns a program that must be there in CI.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed (package %s)", name, pkg)
		}
		t.Skipf("SKIPPED, nothing is validated: %s is not installed (package %s)", name, pkg)
	}
	return path
}

// versions of the schemas: the files they are made of. What there is of 3.3 goes by the
// names of the certification suite.
var versions = map[string]map[string]string{
	"3.3": {"espi": "espiDerived.xsd", "customer": "retailcustomer.xsd"},
	"4.0": {"espi": "espi_4.0.xsd", "customer": "customer_4.0.xsd"},
}

// schema returns a folder with one schema, all.xsd, of Atom and what stands in it,
// its imports made local.
func schema(t testing.TB, version string) string {
	t.Helper()
	source, dir := filepath.Join("testdata", "schema"), t.TempDir()
	copied := map[string]string{"atom.xsd": filepath.Join(source, "atom.xsd"), "xml.xsd": filepath.Join("testdata", "xml.xsd")}
	all := `<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import namespace="http://www.w3.org/2005/Atom" schemaLocation="atom.xsd"/>`
	for name, space := range map[string]string{"espi": "http://naesb.org/espi", "customer": "http://naesb.org/espi/customer"} {
		copied[name+".xsd"] = filepath.Join(source, versions[version][name])
		all += fmt.Sprintf(`<xs:import namespace=%q schemaLocation="%s.xsd"/>`, space, name)
	}
	for name, from := range copied {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("http://www.w3.org/2001/03/xml.xsd"), []byte("xml.xsd"))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "all.xsd"), []byte(all+`</xs:schema>`), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// schemaFaults returns what a version's schemas find wrong with a document.
func schemaFaults(t testing.TB, version string, document []byte) string {
	t.Helper()
	lint := tool(t, "xmllint", "libxml2-utils")
	cmd := exec.CommandContext(t.Context(), lint, "--nonet", "--noout", "--huge", "--schema", "all.xsd", "-")
	cmd.Dir = schema(t, version) // a path would be read as an address
	cmd.Stdin = bytes.NewReader(document)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out)
}

// blockFaults returns the assertions of a function block that a document fails.
func blockFaults(t testing.TB, block string, document []byte) []string {
	t.Helper()
	proc := tool(t, "xsltproc", "xsltproc")
	source := filepath.Join("testdata", "schema", "schematron")
	dir := t.TempDir()
	compiler, err := os.ReadFile(filepath.Join("testdata", "schematron.xsl"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(filepath.Join(source, block+".sch"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"schematron.xsl": compiler, "rules.sch": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), proc, "--nonet", "-o", "rules.xsl", "schematron.xsl", "rules.sch")
	cmd.Dir = dir // a path would be read as an address
	if made, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("preparing %s: %v: %s", block, err, made)
	}
	cmd = exec.CommandContext(t.Context(), proc, "--nonet", "rules.xsl", "-")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(document)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", block, err, stderr.String())
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

// valid fails the test if the document does not pass both schemas and the
// function blocks named. Where nobody can judge, the rest of the test goes on.
func valid(t *testing.T, document []byte, blocks ...string) {
	t.Helper()
	t.Run("valid", func(t *testing.T) {
		for version := range versions {
			if faults := schemaFaults(t, version, document); faults != "" {
				t.Errorf("schema %s: %.2000s", version, faults)
			}
		}
		for _, block := range blocks {
			if faults := blockFaults(t, block, document); len(faults) > 0 {
				t.Errorf("%s: %s", block, strings.Join(faults, "; "))
			}
		}
	})
}

// The judges themselves: they must refuse the document that is known to break
// the rules, and pass one that is known to keep them, or every test that asks
// them says nothing.
func TestJudges(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(corpus(t), "openespi-test_usage_data_1.xml"))
	if err != nil {
		t.Fatal(err)
	}
	valid(t, good, "FB_01", "FB_04", "FB_05", "FB_15")
	bad, err := os.ReadFile(filepath.Join(corpus(t), "openespi-usage-subscription-anonymized.xml"))
	if err != nil {
		t.Fatal(err)
	}
	for version := range versions {
		if schemaFaults(t, version, bad) == "" {
			t.Errorf("schema %s passes a ReadingType inside a MeterReading", version)
		}
	}
	if faults := blockFaults(t, "FB_04", bad); len(faults) != 6 {
		t.Errorf("FB_04 finds %d faults, want the 6 that are there: %q", len(faults), faults)
	}
	if faults := blockFaults(t, "FB_08", good); len(faults) != 1 || !strings.HasPrefix(faults[0], "D076") {
		t.Errorf("FB_08 finds %q in a feed without export", faults)
	}
}

// Another author's reader finds the usage point and the reading type of every
// value and the value itself.
func TestStrangersReader(t *testing.T) {
	dir := os.Getenv("WATTVEIL_TEST_GREENBUTTON")
	if dir == "" {
		t.Skip("SKIPPED, no stranger reads our feed: set WATTVEIL_TEST_GREENBUTTON to a folder in which npm installed @cityssm/green-button-parser")
	}
	document := write(t, sub(t), home(t))
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("testdata", "reader.mjs"), dir)
	cmd.Stdin = bytes.NewReader(document)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want strings.Builder
	for _, v := range values(t, document) {
		fmt.Fprintf(&want, "urn:uuid:%s %d %d %d %d %s\n", v.Meter, *v.Type.FlowDirection, *v.Type.UOM, v.Start, v.Duration, v.Number)
	}
	if string(out) != want.String() {
		t.Errorf("the stranger reads\n%s, we wrote\n%s", out, want.String())
	}
}
