package greenbutton

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// query is what the query parameters of ESPI's function block 37 say. The zero query is
// that of a request without any.
type query struct {
	publishedMin, publishedMax int64 // unix seconds, half-open; 0: not said
	updatedMin, updatedMax     int64
	startIndex, maxResults     int // from 1; 0: not said
	depth                      int // levels below the first; -1: all
}

// parameterError is a query parameter that cannot be understood.
type parameterError struct{ name, what string }

func (b *parameterError) Error() string { return fmt.Sprintf("parameter %s %s", b.name, b.what) }

// maxNumber bounds indexes, counts and depths.
const maxNumber = 1_000_000

// parseQuery reads the query of a request. What is unknown, said twice or malformed is a
// *parameterError with its name; more are the names of parameters that the resource has
// beside the common ones.
func parseQuery(raw string, more ...string) (q query, rest url.Values, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, nil, &parameterError{"query", "is not well formed"}
	}
	q.depth = -1
	rest = url.Values{}
	for _, name := range sortedKeys(values) {
		v := values[name]
		if slices.Contains(more, name) {
			rest[name] = v
			continue
		}
		if len(v) != 1 {
			return query{}, nil, &parameterError{shown(name), "is said more than once"}
		}
		switch name {
		case "published-min":
			q.publishedMin, err = instant(name, v[0])
		case "published-max":
			q.publishedMax, err = instant(name, v[0])
		case "updated-min":
			q.updatedMin, err = instant(name, v[0])
		case "updated-max":
			q.updatedMax, err = instant(name, v[0])
		case "start-index":
			q.startIndex, err = number(name, v[0], 1)
		case "max-results":
			q.maxResults, err = number(name, v[0], 1)
		case "depth":
			q.depth, err = number(name, v[0], 0)
		default:
			err = &parameterError{shown(name), "is not known"}
		}
		if err != nil {
			return query{}, nil, err
		}
	}
	switch {
	case q.publishedMax != 0 && q.publishedMin >= q.publishedMax:
		return query{}, nil, &parameterError{"published-max", "is not after published-min"}
	case q.updatedMax != 0 && q.updatedMin >= q.updatedMax:
		return query{}, nil, &parameterError{"updated-max", "is not after updated-min"}
	}
	return q, rest, nil
}

// instant reads RFC 3339. A plus sign that was not escaped has become a space on its way.
func instant(name, s string) (int64, error) {
	t, err := time.Parse(time.RFC3339, strings.ReplaceAll(s, " ", "+"))
	if err != nil || t.Unix() <= 0 || t.Unix() > 253402300799 {
		return 0, &parameterError{name, "is not an RFC 3339 time such as 2026-01-31T00:00:00Z"}
	}
	return t.Unix(), nil
}

func number(name, s string, least int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > maxNumber {
		return 0, &parameterError{name, fmt.Sprintf("is not a whole number from %d to %d", least, maxNumber)}
	}
	return n, nil
}

// shown is a parameter's name as an error may repeat it: what a client wrote by mistake
// for a name could be anything.
func shown(name string) string {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "(unprintable)"
		}
	}
	if name == "" || len(name) > 40 {
		return "(unprintable)"
	}
	return name
}

func sortedKeys(v url.Values) []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// updated reports whether something that changed last at the instant t, unix seconds, is
// asked for.
func (q query) updated(t int64) bool {
	return t >= q.updatedMin && (q.updatedMax == 0 || t < q.updatedMax)
}

// page returns the part of a list that is asked for.
func page[E any](q query, all []E) []E {
	if q.startIndex > 1 {
		all = all[min(len(all), q.startIndex-1):]
	}
	if q.maxResults > 0 {
		all = all[:min(len(all), q.maxResults)]
	}
	return all
}
