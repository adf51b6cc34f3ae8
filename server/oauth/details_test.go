package oauth

import (
	"errors"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// What is left out of authorization_details has its default, and what is there is taken as
// it is.
func TestDetailsAskFor(t *testing.T) {
	whole := consent.Terms{
		Purpose: consent.Purpose{Code: "tariff", Text: "To compare\ntariffs."}, UsagePoints: []meter.UsagePoint{"p1", "p2"}, Registers: all,
		Granularity: consent.Day, DataFrom: 1, DataUntil: noon + 1000, PermissionUntil: noon + 2000,
	}
	for text, want := range map[string]consent.Terms{
		`[{"type":"wattveil_readings","granularity":"interval"}]`: {
			Purpose: why, Registers: in, Granularity: consent.Interval, DataFrom: day(2026, 3, 3), DataUntil: day(2027, 3, 3), PermissionUntil: day(2027, 3, 3),
		},
		`[{"type":"wattveil_readings","granularity":"month","data_from":0,"permission_until":1772600000,"once":true,"include_future_usage_points":true}]`: {
			Purpose: why, Registers: in, Granularity: consent.Month, DataFrom: 0, DataUntil: 1772600000, PermissionUntil: 1772600000, Future: true, Once: true,
		},
		string(FormatDetails(whole)): whole,
	} {
		got, err := ParseDetails(text, why, noon)
		if err != nil || got.Hash() != want.Hash() {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// What is malformed is named by its field, and nothing that was sent is repeated.
func TestDetailsRefused(t *testing.T) {
	with := func(field string) string {
		return `[{"type":"wattveil_readings","granularity":"day",` + field + `}]`
	}
	for text, words := range map[string]string{
		``:                                    "not an array",
		`{}`:                                  "not an array",
		`[]`:                                  "not one object",
		`[{}]`:                                "not one object",
		`[{"type":"other"}]`:                  "not one object",
		`[{"type":"wattveil_readings"}]`:      "granularity",
		with(`"x":4711`):                      "not an array",
		with(`"granularity":"year"`):          "granularity",
		with(`"usage_points":["a b"]`):        "usage_points",
		with(`"registers":["1.8.0"]`):         "registers",
		with(`"registers":[]`):                "registers",
		with(`"registers":["1-0:1.8.0*255"]`): "granularity sums a register",
		with(`"data_from":4711.5`):            "data_from",
		with(`"data_until":"soon"`):           "not an array",
		with(`"data_from":-1`):                "data range",
		with(`"permission_until":4711`):       "permission_until is past",
		with(`"data_until":86400`):            "data range",
		with(`"purpose":{"code":"self","text":"4711"}`):                 "purpose code",
		with(`"purpose":{"code":"advice","text":"\u202e"}`):             "purpose text",
		with(`"include_future_usage_points":true,"usage_points":["p"]`): "future ones are included",
		with(`"once":false`) + `[]`:                                     "more than one JSON value",
		strings.Repeat(" ", maxDetails+1):                               "longer than",
	} {
		_, err := ParseDetails(text, why, noon)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalidDetails || !strings.Contains(e.Description, words) || strings.Contains(e.Description, "4711") {
			t.Errorf("%.60s: %v; want %q", text, err, words)
		}
	}
}

// Whatever is accepted is written in one way, and read back as the same.
func FuzzDetails(f *testing.F) {
	f.Add(`[{"type":"wattveil_readings","granularity":"interval"}]`)
	f.Add(`[{"type":"wattveil_readings","purpose":{"code":"a","text":"b"},"usage_points":["p"],"registers":["1-0:1.29.0*255"],"granularity":"day","data_from":1,"data_until":2000000000,"permission_until":"2000000000","once":true}]`)
	f.Add(`[{"type":"wattveil_readings"`)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseDetails(text, why, noon)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Code != CodeInvalidDetails {
				t.Fatalf("%v", err)
			}
			return
		}
		b, err := ParseDetails(string(FormatDetails(a)), why, noon)
		if err != nil || b.Hash() != a.Hash() {
			t.Fatalf("%+v comes back as %+v, %v", a, b, err)
		}
	})
}

// A query is read as it came: raw semicolons, one value for each name.
func TestParameters(t *testing.T) {
	got, err := parameters("scope=FB=4;IntervalDuration=900&state=a%26b+c&&empty=")
	if err != nil || got["scope"] != "FB=4;IntervalDuration=900" || got["state"] != "a&b c" || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"a=1&a=2", "a=%zz", "%zz=1", "a&a", strings.Repeat("a", maxQuery+1)} {
		if _, err := parameters(bad); err == nil {
			t.Errorf("%.20s is taken", bad)
		}
	}
}
