package meter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

// Identifiers end up in URLs, associated data and CSV files: this catches a
// widened character set or length, and an error that repeats what it refused.
func TestIdentifiers(t *testing.T) {
	accept := []string{"7855756", "30001234567890", "AT.001-x_y:z", "a", strings.Repeat("9", 64)}
	refuse := []string{"", "a b", "a,b", "a/b", "é", "a\n", "a\x00", "\"a\"", strings.Repeat("9", 65)}
	for _, s := range accept {
		if p, err := meter.ParseUsagePoint(s); err != nil || string(p) != s {
			t.Errorf("ParseUsagePoint(%q) = %q, %v; want it accepted", s, p, err)
		}
		if u, err := meter.ParseUtility(s); err != nil || string(u) != s {
			t.Errorf("ParseUtility(%q) = %q, %v; want it accepted", s, u, err)
		}
	}
	for _, s := range refuse {
		if _, err := meter.ParseUsagePoint(s); !errors.Is(err, meter.ErrUsagePoint) {
			t.Errorf("ParseUsagePoint(%q): %v; want ErrUsagePoint", s, err)
		}
		if _, err := meter.ParseUtility(s); !errors.Is(err, meter.ErrUtility) {
			t.Errorf("ParseUtility(%q): %v; want ErrUtility", s, err)
		}
	}
}

// Quality codes are stored: this catches a renumbering.
func TestQualityCodes(t *testing.T) {
	names := map[meter.Quality]string{
		0: "measured", 1: "estimated", 2: "substituted", 3: "suspect", 15: "missing",
	}
	for q := range meter.Quality(32) {
		name, assigned := names[q]
		if q.Known() != assigned {
			t.Errorf("Quality(%d).Known() = %v", q, q.Known())
		}
		if assigned && q.String() != name {
			t.Errorf("Quality(%d) = %q, want %q", q, q, name)
		}
	}
}
