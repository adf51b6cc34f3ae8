package server

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/release"
)

// A catalogue file is read as strictly as the configuration, and what would overspend
// is refused with the sum shown; the example beside the documents is the default.
func TestCatalogueFiles(t *testing.T) {
	c, err := LoadCatalogue("../docs/catalogue.example.yaml")
	ok(t, err)
	if !reflect.DeepEqual(c, release.DefaultCatalogue()) {
		t.Errorf("the example is %+v", c)
	}
	example, err := os.ReadFile("../docs/catalogue.example.yaml")
	ok(t, err)
	for name, test := range map[string]struct {
		old, new, words string
	}{
		"a budget below zero":     {"yearly_cap: 1.0 ", "yearly_cap: -1 ", "rho"},
		"a key nobody knows":      {"daily_cap:", "dayly_cap:", "dayly_cap"},
		"a catalogue too dear":    {"rho: 0.014,", "rho: 0.03,", "a year can cost 1.275, above the yearly cap of 1: day-curve 366 x 0.0005, weekday-curve 12 x 0.036"},
		"a register that is none": {"1-0:1.29.0*255\n    span: day", "import\n    span: day", "OBIS"},
		"two documents":           {"products:", "---\nproducts:", "more than one document"},
		"too large":               {"# What", strings.Repeat("#", 1<<20) + "\n# What", "1 MiB"},
	} {
		text := strings.ReplaceAll(string(example), test.old, test.new)
		path := filepath.Join(t.TempDir(), "catalogue.yaml")
		ok(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := LoadCatalogue(path)
		if text == string(example) || !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ParseConfig([]byte(with("catalogue: '" + path + "'"))); !errors.Is(err, ErrConfig) {
			t.Errorf("%s, named by a configuration: %v", name, err)
		}
	}
}
