package consent_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

var power = meter.Register{1, 0, 1, 7, 0, 255} // instantaneous, does not add up

// What terms may say, a line a rule. It would catch a bound that is not checked
// before terms are shown to a household or stored.
func TestValidate(t *testing.T) {
	for _, test := range []struct {
		rule   string
		change func(*consent.Terms)
		ok     bool
	}{
		{"the usual", func(*consent.Terms) {}, true},
		{"no usage point: all of them", func(c *consent.Terms) { c.UsagePoints = nil }, true},
		{"lines, accents and joiners in the text", func(c *consent.Terms) { c.Purpose.Text = "Bilan d’énergie\n۱\u200c۲ 🏠" }, true},
		{"power as metered", func(c *consent.Terms) { c.Registers = []meter.Register{power} }, true},

		{"no code", func(c *consent.Terms) { c.Purpose.Code = "" }, false},
		{"code in capitals", func(c *consent.Terms) { c.Purpose.Code = "Advice" }, false},
		{"long code", func(c *consent.Terms) { c.Purpose.Code = strings.Repeat("a", 65) }, false},
		{"code of the household's own reading", func(c *consent.Terms) { c.Purpose.Code = consent.PurposeSelf }, false},
		{"no text", func(c *consent.Terms) { c.Purpose.Text = "" }, false},
		{"long text", func(c *consent.Terms) { c.Purpose.Text = strings.Repeat("a", consent.MaxPurposeText+1) }, false},
		{"text that reads other than it is", func(c *consent.Terms) { c.Purpose.Text = "for \u202egnitekram" }, false},
		{"text that is not UTF-8", func(c *consent.Terms) { c.Purpose.Text = "\xff" }, false},
		{"usage point malformed", func(c *consent.Terms) { c.UsagePoints = []meter.UsagePoint{"UP 1"} }, false},
		{"usage points unsorted", func(c *consent.Terms) { c.UsagePoints = []meter.UsagePoint{up2, up1} }, false},
		{"usage point twice", func(c *consent.Terms) { c.UsagePoints = []meter.UsagePoint{up1, up1} }, false},
		{"no register", func(c *consent.Terms) { c.Registers = nil }, false},
		{"register twice", func(c *consent.Terms) { c.Registers = []meter.Register{power, power} }, false},
		{"no granularity", func(c *consent.Terms) { c.Granularity = 0 }, false},
		{"unknown granularity", func(c *consent.Terms) { c.Granularity = 5 }, false},
		{"power summed by day", func(c *consent.Terms) { c.Registers, c.Granularity = []meter.Register{power}, consent.Day }, false},
		{"empty data range", func(c *consent.Terms) { c.DataUntil = c.DataFrom }, false},
		{"data before 1970", func(c *consent.Terms) { c.DataFrom = -1 }, false},
		{"data after the year 9999", func(c *consent.Terms) { c.DataUntil = 253402300800 }, false},
		{"no end", func(c *consent.Terms) { c.PermissionUntil = 0 }, false},
	} {
		terms := advice()
		test.change(&terms)
		err := terms.Validate()
		if test.ok && err != nil {
			t.Errorf("%s: %v", test.rule, err)
		}
		if !test.ok && !errors.Is(err, consent.ErrTerms) {
			t.Errorf("%s: %v, want ErrTerms", test.rule, err)
		}
	}
}

// What a household may make of a request: less in any field, more in none. It
// would catch a grant that allows what nobody asked for, or a comparison the
// wrong way round.
func TestNarrowerThan(t *testing.T) {
	asked := advice()
	asked.UsagePoints = []meter.UsagePoint{up1, up2}
	asked.Registers = []meter.Register{meter.ActiveImport, meter.ActiveExport}
	asked.Granularity = consent.Hour
	for _, test := range []struct {
		change   string
		narrowed func(*consent.Terms)
		want     bool
	}{
		{"nothing", func(*consent.Terms) {}, true},
		{"fewer points", func(c *consent.Terms) { c.UsagePoints = []meter.UsagePoint{up2} }, true},
		{"fewer registers", func(c *consent.Terms) { c.Registers = []meter.Register{meter.ActiveExport} }, true},
		{"coarser", func(c *consent.Terms) { c.Granularity = consent.Month }, true},
		{"less history", func(c *consent.Terms) { c.DataFrom += day }, true},
		{"less of the future", func(c *consent.Terms) { c.DataUntil -= day }, true},
		{"sooner over", func(c *consent.Terms) { c.PermissionUntil -= day }, true},

		{"another point", func(c *consent.Terms) { c.UsagePoints = []meter.UsagePoint{up3} }, false},
		{"all points", func(c *consent.Terms) { c.UsagePoints = nil }, false},
		{"another register", func(c *consent.Terms) { c.Registers = []meter.Register{power} }, false},
		{"finer", func(c *consent.Terms) { c.Granularity = consent.Interval }, false},
		{"more history", func(c *consent.Terms) { c.DataFrom-- }, false},
		{"more of the future", func(c *consent.Terms) { c.DataUntil++ }, false},
		{"later over", func(c *consent.Terms) { c.PermissionUntil++ }, false},
		{"another purpose", func(c *consent.Terms) { c.Purpose.Code = "marketing" }, false},
		{"other words", func(c *consent.Terms) { c.Purpose.Text += " And sell it." }, false},
	} {
		narrowed := asked
		test.narrowed(&narrowed)
		if got := narrowed.NarrowerThan(asked); got != test.want {
			t.Errorf("%s: %v, want %v", test.change, got, test.want)
		}
	}
	all := asked
	all.UsagePoints = nil
	if !asked.NarrowerThan(all) || !all.NarrowerThan(all) {
		t.Error("named points are not narrower than all")
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

// The stored form, byte for byte. It would catch a change that makes old terms
// unreadable or gives them another hash; a later form gets another version.
func TestEncodeGolden(t *testing.T) {
	terms := consent.Terms{
		Purpose:         consent.Purpose{Code: "advice.v1", Text: "Où épargner ?"},
		UsagePoints:     []meter.UsagePoint{up1, up2},
		Registers:       []meter.Register{meter.ActiveImport, meter.ActiveExport},
		Granularity:     consent.Day,
		DataFrom:        1468800000,
		DataUntil:       1500336000,
		PermissionUntil: 1500000000,
	}
	hash := terms.Hash()
	got := hex.EncodeToString(terms.Encode()) + "\n" + hex.EncodeToString(hash[:]) + "\n"
	file := filepath.Join("testdata", "terms.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("encoding and hash\n%swant\n%s", got, want)
	}
	decoded, err := consent.DecodeTerms(terms.Encode())
	if err != nil || !reflect.DeepEqual(decoded, terms) {
		t.Errorf("read back %+v, %v", decoded, err)
	}

	shuffled := terms
	shuffled.UsagePoints = []meter.UsagePoint{up2, up1, up2}
	shuffled.Registers = []meter.Register{meter.ActiveExport, meter.ActiveImport}
	if shuffled.Hash() != terms.Hash() {
		t.Error("the order in which points and registers are named changes the hash")
	}
}

// Only what Encode writes is read: shorter, longer, another version, or unsorted
// bytes are not. It would catch two encodings, and so two hashes, of one consent.
func TestDecodeTermsStrict(t *testing.T) {
	good := advice().Encode()
	for n := range good {
		if _, err := consent.DecodeTerms(good[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were read", n, len(good))
		}
	}
	version := bytes.Clone(good)
	version[0]++
	twice := advice()
	twice.UsagePoints = []meter.UsagePoint{"UP-1", "UP-9"}
	unsorted := bytes.Replace(twice.Encode(), []byte("UP-9"), []byte("UP-0"), 1)
	for name, b := range map[string][]byte{"longer": append(bytes.Clone(good), 0), "another version": version, "unsorted": unsorted} {
		if _, err := consent.DecodeTerms(b); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzDecodeTerms(f *testing.F) {
	f.Add(advice().Encode())
	all := advice()
	all.UsagePoints = nil
	all.Granularity = consent.Month
	f.Add(all.Encode())
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		terms, err := consent.DecodeTerms(b)
		if err != nil {
			return
		}
		if err := terms.Validate(); err != nil {
			t.Errorf("read invalid terms: %v", err)
		}
		if !bytes.Equal(terms.Encode(), b) {
			t.Error("read what Encode would not have written")
		}
	})
}

// Identifiers and granularities read what they write and nothing else.
func TestParse(t *testing.T) {
	for s, ok := range map[string]bool{
		"a": true, "A.b_c:d-9": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "é": false, "a/b": false, "a\n": false,
	} {
		_, h := consent.ParseHousehold(s)
		_, r := consent.ParseRecipient(s)
		_, i := consent.ParseID(s)
		for _, err := range []error{h, r, i} {
			if ok != (err == nil) || !ok && !errors.Is(err, consent.ErrIdentifier) {
				t.Errorf("%q: %v", s, err)
			}
		}
	}
	for g := consent.Interval; g <= consent.Month; g++ {
		if got, err := consent.ParseGranularity(g.String()); err != nil || got != g {
			t.Errorf("%v read back as %v, %v", g, got, err)
		}
	}
	for _, s := range []string{"", "Interval", "year", "granularity(5)"} {
		if _, err := consent.ParseGranularity(s); !errors.Is(err, consent.ErrGranularity) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
