package oauth

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// noon is when the requests of these tests are read: a Tuesday, 12:34:56 UTC.
var noon = time.Date(2026, time.March, 3, 12, 34, 56, 0, time.UTC).Unix()

var why = consent.Purpose{Code: "advice", Text: "To tell you where your energy goes."}

func day(y int, m time.Month, d int) int64 { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() }

var (
	in  = []meter.Register{meter.ActiveImport}
	all = []meter.Register{meter.ActiveImport, meter.ActiveExport}
)

// What scopes ask for that are found in the wild: the Green Button Alliance's examples,
// UtilityAPI's, EDDIE's. It would catch months taken for seconds, a range that is off by
// a day, and data that is finer or more than was asked for.
func TestScopesAskFor(t *testing.T) {
	const week = 7 * 86400
	for scope, want := range map[string]consent.Terms{
		"FB=4": {Registers: in, Granularity: consent.Interval, DataFrom: day(2026, 3, 3), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3)},
		"FB=4_5_15;IntervalDuration=3600;BlockDuration=monthly;HistoryLength=13": {
			Registers: in, Granularity: consent.Hour, DataFrom: day(2025, 2, 3), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3),
		},
		"FB=1_3_4_5_8_13_14_18_19_34_35_39_51;IntervalDuration=900_3600;BlockDuration=daily;HistoryLength=34128000;SubscriptionFrequency=daily;AccountCollection=2": {
			Registers: all, Granularity: consent.Interval, DataFrom: day(2025, 2, 1), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3),
		},
		"FB=1_3_4_5_8_13_14_15_18_19_31_32_35_37_38_39_40;IntervalDuration=900_3600;BlockDuration=Daily;HistoryLength=63072000;SubscriptionFrequency=Daily;": {
			Registers: all, Granularity: consent.Interval, DataFrom: day(2024, 3, 3), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3),
		},
		"FB=4_16_51;IntervalDuration=900;AdditionalScope=historical-2025-12-24_ongoing-none_sou-default_noedit": {
			Registers: in, Granularity: consent.Interval, DataFrom: day(2025, 12, 24), DataUntil: day(2026, 3, 4), PermissionUntil: day(2026, 3, 4) + week,
		},
		"FB=4;AdditionalScope=historical-none_ongoing-2026-05-23_meters-all_sou-default_noedit": {
			Registers: in, Granularity: consent.Interval, DataFrom: day(2026, 3, 3), DataUntil: day(2026, 5, 24), PermissionUntil: day(2026, 5, 24) + week,
		},
		"FB=4;IntervalDuration=86400;AdditionalScope=historical-2026-01-01_ongoing-2026-01-31": {
			Registers: in, Granularity: consent.Day, DataFrom: day(2026, 1, 1), DataUntil: day(2026, 2, 1), PermissionUntil: day(2026, 3, 4) + week,
		},
		"FB=15;IntervalDuration=monthly;HistoryLength=0": {Registers: in, Granularity: consent.Month, DataFrom: day(2026, 3, 3), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3)},
		"FB=7;IntervalDuration=weekly":                   {Registers: all, Granularity: consent.Day, DataFrom: day(2026, 3, 3), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3)},
		"FB=4;IntervalDuration=1800;BR=bulk-1":           {Registers: in, Granularity: consent.Interval, DataFrom: day(2026, 3, 3), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3)},
	} {
		s, err := ParseScope(scope)
		if err != nil {
			t.Errorf("%s: %v", scope, err)
			continue
		}
		got, err := s.Asked(why, noon)
		want.Purpose = why
		if err != nil || got.Hash() != want.Normalize().Hash() || s.String() != scope {
			t.Errorf("%s: %+v, %v; want %+v", scope, got, err, want)
		}
	}
}

// What is no scope, by name and without a word of what was sent.
func TestScopesRefused(t *testing.T) {
	for scope, words := range map[string]string{
		"":                                 "unknown term",
		"FB=":                              "not a list of numbers",
		"FB=4_":                            "not a list of numbers",
		"FB=4,5":                           "not a list of numbers",
		"FB=04":                            "not a list of numbers",
		"FB=+4":                            "not a list of numbers",
		"FB=4_4":                           "function block 4 is there twice",
		"FB=4_20":                          "unknown function block 20",
		"FB=4_71":                          "unknown function block 71",
		"FB=0":                             "unknown function block 0",
		"FB=10_16_51":                      "none of the function blocks is about readings of electricity",
		"FB=4;FB=5":                        "FB is there twice",
		"IntervalDuration=900":             "FB is missing",
		"FB=4;;":                           "unknown term",
		"FB=4;fb=5":                        "unknown term: fb",
		"FB=4;secret4711=1":                "unknown term: one of another name",
		"FB=4;IntervalDuration=0":          "IntervalDuration",
		"FB=4;IntervalDuration=-900":       "IntervalDuration",
		"FB=4;IntervalDuration=9e2":        "IntervalDuration",
		"FB=4;IntervalDuration":            "IntervalDuration",
		"FB=4;BlockDuration=often":         "BlockDuration",
		"FB=4;SubscriptionFrequency=4711x": "SubscriptionFrequency",
		"FB=4;HistoryLength=121":           "neither seconds, from 86400, nor months, up to 120",
		"FB=4;HistoryLength=86399":         "neither seconds",
		"FB=4;HistoryLength=-1":            "HistoryLength",
		"FB=4;HistoryLength=99999999999":   "HistoryLength",
		"FB=4;AccountCollection=two":       "AccountCollection",
		"FB=4;BR=a b":                      "BR",
		"FB=4;AdditionalScope=x":           "AdditionalScope is not",
		"FB=4;AdditionalScope=historical-none_ongoing-none":                        "asks for no time",
		"FB=4;AdditionalScope=historical-2026-02-30_ongoing-none":                  "AdditionalScope is not",
		"FB=4;AdditionalScope=ongoing-none_historical-2026-01-01":                  "AdditionalScope is not",
		"FB=4;AdditionalScope=historical-1969-12-31_ongoing-none":                  "AdditionalScope is not",
		"FB=4;AdditionalScope=historical-2026-01-02_ongoing-2026-01-01":            "ends before historical begins",
		"FB=4;AdditionalScope=historical-2026-01-01_ongoing-none_edit":             "says more than",
		"FB=4;HistoryLength=13;AdditionalScope=historical-2026-01-01_ongoing-none": "both say how far back",
		"openid profile": "unknown term",
		"FB=4;BR=" + strings.Repeat("a", MaxScope-7): "longer than 256 characters",
	} {
		_, err := ParseScope(scope)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalidScope || !strings.Contains(e.Description, words) || strings.Contains(e.Description, "4711") {
			t.Errorf("%q: %v; want %q", scope, err, words)
		}
	}
	for scope, words := range map[string]string{
		"FB=4;AdditionalScope=historical-2026-03-04_ongoing-none":     "ends before it begins",
		"FB=4;AdditionalScope=historical-none_ongoing-2026-03-02":     "ends before it begins",
		"FB=4;AdditionalScope=historical-none_ongoing-2046-03-02":     "more than ten years ahead",
		"FB=4;HistoryLength=631152000;AccountCollection=1;BR=0123456": "",
	} {
		s, err := ParseScope(scope)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Asked(why, noon)
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

// What a household leaves of a scope is a scope again, that asks for as much to the day,
// and for no more. It would catch a client that is told of more than it has.
func TestNarrowedScopes(t *testing.T) {
	s, err := ParseScope("FB=4_5_8_16_51;IntervalDuration=1800;HistoryLength=13")
	if err != nil {
		t.Fatal(err)
	}
	asked, err := s.Asked(why, noon)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*consent.Terms){
		"FB=4_5_8;IntervalDuration=1800;AdditionalScope=historical-2025-02-03_ongoing-2027-03-02": func(*consent.Terms) {},
		"FB=4_5;IntervalDuration=1800;AdditionalScope=historical-2025-02-03_ongoing-2027-03-02":   func(t *consent.Terms) { t.Registers = in },
		"FB=4_5_8;IntervalDuration=86400;AdditionalScope=historical-2025-02-03_ongoing-2027-03-02": func(t *consent.Terms) {
			t.Granularity = consent.Day
		},
		"FB=4_5_8;IntervalDuration=2592000;AdditionalScope=historical-2026-01-01_ongoing-2026-01-31": func(t *consent.Terms) {
			t.Granularity, t.DataFrom, t.DataUntil = consent.Month, day(2026, 1, 1), day(2026, 2, 1)
		},
		"FB=4_5_8;IntervalDuration=3600;AdditionalScope=historical-2026-01-01_ongoing-2026-01-31": func(t *consent.Terms) { // local days
			t.Granularity, t.DataFrom, t.DataUntil = consent.Hour, day(2026, 1, 2)-3600, day(2026, 2, 1)-3600
		},
	} {
		terms := asked
		terms.Registers = slices.Clone(terms.Registers)
		change(&terms)
		if got := s.Narrowed(terms); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
}

// Any text is refused with a known code, or is a scope whose terms are valid and which,
// narrowed to them, is a scope again, of the same registers and range to the day and no
// finer.
func FuzzScope(f *testing.F) {
	for _, seed := range []string{
		"FB=4", "FB=4_5_15;IntervalDuration=3600;BlockDuration=monthly;HistoryLength=13",
		"FB=1_3_4_5_8_13_14_18_19_34_35_39_51;IntervalDuration=900_3600;BlockDuration=daily;HistoryLength=34128000;SubscriptionFrequency=daily;AccountCollection=2",
		"FB=4_16_51;IntervalDuration=900;AdditionalScope=historical-2025-12-24_ongoing-none_sou-default_noedit",
		"FB=4;AdditionalScope=historical-2026-01-01_ongoing-2026-05-23", "FB=4;;", "FB=7;IntervalDuration=weekly;BR=x;",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScope(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeInvalidScope || e.Description == "" || strings.ContainsFunc(e.Description, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
				t.Fatalf("%v", err)
			}
			return
		}
		a, err := s.Asked(why, noon)
		if err != nil {
			return
		}
		if err := a.Validate(); err != nil || a.PermissionUntil <= noon || s.String() != text {
			t.Fatalf("%+v: %v", a, err)
		}
		narrowed := s.Narrowed(a)
		again, err := ParseScope(narrowed)
		if err != nil {
			t.Fatalf("%s: %v", narrowed, err)
		}
		b, err := again.Asked(why, noon)
		if err != nil || b.Granularity != a.Granularity || b.DataFrom != a.DataFrom || b.DataUntil != a.DataUntil || !slices.Equal(b.Registers, a.Registers) {
			t.Fatalf("%s is %+v, and narrowed to itself, %s, %+v: %v", text, a, narrowed, b, err)
		}
	})
}
