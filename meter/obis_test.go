package meter_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/wattveil/wattveil/meter"
)

// Catches a register that is written in one way and read in another.
func TestRegisterText(t *testing.T) {
	for s, r := range map[string]meter.Register{
		"1-0:1.29.0*255":          meter.ActiveImport,
		"1-0:2.29.0*255":          meter.ActiveExport,
		"0-0:0.0.0*0":             {},
		"255-255:255.255.255*255": {255, 255, 255, 255, 255, 255},
		"1-65:16.7.0*255":         {1, 65, 16, 7, 0, 255},
	} {
		if got := r.String(); got != s {
			t.Errorf("String() = %q, want %q", got, s)
		}
		if got, err := meter.ParseRegister(s); err != nil || got != r {
			t.Errorf("ParseRegister(%q) = %v, %v", s, got, err)
		}
		j, err := json.Marshal(r)
		if err != nil || string(j) != `"`+s+`"` {
			t.Errorf("as JSON: %s, %v", j, err)
		}
		var back meter.Register
		if err := json.Unmarshal(j, &back); err != nil || back != r {
			t.Errorf("from JSON %s: %v, %v", j, back, err)
		}
	}
}

// One register, one text: the reduced forms of IEC 62056-6-1 are refused, so
// that texts may be compared and used as keys.
func TestParseRegisterRefuses(t *testing.T) {
	for _, s := range []string{
		"", "1", "1.29.0", "1-0:1.29.0", "1-0:1.29.0*", "1-0:1.29.0*256", "1-0:01.29.0*255", "1-0:1.29.00*255",
		"1-0:1.29.0*2550", "1-0:1.29.0.255", "1-0:1.29.0*255 ", " 1-0:1.29.0*255", "+1-0:1.29.0*255", "1-0:1.29.-0*255",
		"1-0:1.29.0*١",
	} {
		if r, err := meter.ParseRegister(s); !errors.Is(err, meter.ErrRegister) {
			t.Errorf("ParseRegister(%q) = %v, %v; want ErrRegister", s, r, err)
		}
	}
	r := meter.ActiveExport
	if err := r.UnmarshalText([]byte("1-0:1.8.0")); !errors.Is(err, meter.ErrRegister) || r != meter.ActiveExport {
		t.Errorf("UnmarshalText of a reduced code: %v, %v; want the register untouched", r, err)
	}
}

func FuzzParseRegister(f *testing.F) {
	f.Add("1-0:1.29.0*255")
	f.Add("255-255:255.255.255*255")
	f.Add("1-0:1.29.0")
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := meter.ParseRegister(s); err == nil && r.String() != s {
			t.Errorf("ParseRegister(%q).String() = %q", s, r)
		}
	})
}

// A wrong unit or sign rule would scale, refuse or admit a whole meter's
// values: one row for each rule, with codes meters really send.
func TestRegisterMeaning(t *testing.T) {
	for _, c := range []struct {
		register    string
		unit        meter.Unit
		symbol      string
		signed      bool
		perInterval bool
	}{
		{"1-0:1.29.0*255", meter.Wh, "Wh", false, true},
		{"1-0:2.29.0*255", meter.Wh, "Wh", false, true},
		{"1-0:16.29.0*255", meter.Wh, "Wh", true, true},
		{"1-0:5.29.0*255", meter.Varh, "varh", false, true},
		{"1-0:9.30.0*255", meter.VAh, "VAh", false, true},
		{"1-0:1.8.1*255", meter.Wh, "Wh", false, false},
		{"1-0:16.7.0*255", meter.W, "W", true, false},
		{"1-0:21.7.0*255", meter.W, "W", false, false},
		{"1-0:36.7.0*255", meter.W, "W", true, false},
		{"1-0:63.7.0*255", meter.Var, "var", false, false},
		{"1-0:9.7.0*255", meter.VA, "VA", false, false},
		{"1-0:32.7.0*255", meter.MilliVolt, "mV", false, false},
		{"1-0:71.7.0*255", meter.MilliAmpere, "mA", false, false},
		{"1-0:14.7.0*255", meter.MilliHertz, "mHz", false, false},
		{"1-0:13.7.0*255", meter.UnknownUnit, "unknown", false, false}, // power factor
		{"1-0:81.7.1*255", meter.UnknownUnit, "unknown", false, false}, // angle
		{"1-0:0.2.0*255", meter.UnknownUnit, "unknown", false, false},  // firmware
		{"7-0:3.1.0*255", meter.UnknownUnit, "unknown", false, false},  // gas
		{"1-0:12.8.0*255", meter.UnknownUnit, "unknown", false, false}, // no time integral of a voltage
	} {
		r, err := meter.ParseRegister(c.register)
		if err != nil {
			t.Fatal(err)
		}
		if r.Unit() != c.unit || r.Unit().String() != c.symbol || r.Signed() != c.signed || r.PerInterval() != c.perInterval {
			t.Errorf("%s: unit %s, signed %v, per interval %v; want %s, %v, %v",
				r, r.Unit(), r.Signed(), r.PerInterval(), c.symbol, c.signed, c.perInterval)
		}
	}
}
