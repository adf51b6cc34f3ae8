package greenbutton

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// What a client writes wrong is refused with the parameter's name, and what is right is
// taken as it is. It would catch a misspelt parameter that is ignored, so that more is
// read than was meant.
func TestQuery(t *testing.T) {
	q, _, err := parseQuery("published-min=2026-01-31T00:00:00%2B01:00&published-max=2026-02-01T00:00:00Z&updated-min=2026-01-01T00:00:00Z&start-index=2&max-results=3&depth=0")
	if want := (query{1769814000, 1769904000, 1767225600, 0, 2, 3, 0}); err != nil || q != want {
		t.Errorf("read %+v, %v, want %+v", q, err, want)
	}
	if q, _, err := parseQuery("published-min=2026-01-31T00:00:00+01:00"); err != nil || q.publishedMin != 1769814000 {
		t.Errorf("a plus that was not escaped: %+v, %v", q, err)
	}
	if q, _, err := parseQuery(""); err != nil || q.depth != -1 {
		t.Errorf("nothing: %+v, %v", q, err)
	}
	for raw, name := range map[string]string{
		"published-min=yesterday":            "published-min",
		"published-max=2026-01-31":           "published-max",
		"updated-min=1769814000":             "updated-min",
		"updated-max=":                       "updated-max",
		"start-index=0":                      "start-index",
		"start-index=1.5":                    "start-index",
		"max-results=-1":                     "max-results",
		"max-results=99999999999999":         "max-results",
		"depth=deep":                         "depth",
		"published-mn=2026-01-31":            "published-mn",
		"depth=1&depth=2":                    "depth",
		"%zz=1":                              "query",
		"a;b=1":                              "query",
		"%3Cscript%3E=1":                     "(unprintable)",
		"published-min=0001-01-01T00:00:00Z": "published-min",
		"published-min=2026-02-01T00:00:00Z&published-max=2026-02-01T00:00:00Z":     "published-max",
		"updated-min=2026-02-02T00:00:00Z&updated-max=2026-02-01T00:00:00Z&depth=1": "updated-max",
		"limit=1": "limit",
	} {
		_, _, err := parseQuery(raw)
		var bad *parameterError
		if !errors.As(err, &bad) || bad.name != name {
			t.Errorf("%s: %v, want it to name %s", raw, err, name)
		}
	}
	if _, more, err := parseQuery("limit=1&limit=2", "limit"); err != nil || !slices.Equal(more["limit"], []string{"1", "2"}) {
		t.Errorf("a resource's own: %v, %v", more, err)
	}
}

// A page begins and ends where it was asked to, within what there is.
func TestPage(t *testing.T) {
	all := []int{1, 2, 3}
	for want, q := range map[string]query{
		"1 2 3": {}, "2 3": {startIndex: 2}, "2": {startIndex: 2, maxResults: 1}, "": {startIndex: 4}, "1 2": {maxResults: 2}, "3": {startIndex: 3, maxResults: 9},
	} {
		var got []string
		for _, n := range page(q, all) {
			got = append(got, string(rune('0'+n)))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%+v: %v, want %s", q, got, want)
		}
	}
}

// FuzzQuery: whatever is asked is understood or refused by name, and never by a word of
// the client's own making.
func FuzzQuery(f *testing.F) {
	f.Add("published-min=2026-01-31T00:00:00Z&depth=1")
	f.Add("a=b&a=c")
	f.Add("%00=%00")
	f.Fuzz(func(t *testing.T, raw string) {
		q, _, err := parseQuery(raw)
		var bad *parameterError
		if err != nil && (!errors.As(err, &bad) || strings.ContainsAny(bad.Error(), "<>\"'&\n\x00")) {
			t.Errorf("%q: %v", raw, err)
		}
		if err == nil && (q.publishedMax != 0 && q.publishedMin >= q.publishedMax || q.maxResults < 0 || q.depth < -1) {
			t.Errorf("%q was read as %+v", raw, q)
		}
		_, _ = url.ParseQuery(raw)
	})
}
