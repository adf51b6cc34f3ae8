package web

import (
	"strconv"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// detail says in words how fine data is, and what that shows of a home. One
// wording a level, wherever it appears.
type detail struct{ Name, Shows string }

var details = map[wattveilv1.Granularity]detail{
	wattveilv1.Granularity_GRANULARITY_INTERVAL: {"Every figure your meter sends", "when you get up, cook, go out and go to bed, and when big appliances run"},
	wattveilv1.Granularity_GRANULARITY_HOUR:     {"One figure an hour", "when you get up, cook, go out and go to bed"},
	wattveilv1.Granularity_GRANULARITY_DAY:      {"One figure a day", "which days someone was home and which days nobody was"},
	wattveilv1.Granularity_GRANULARITY_MONTH:    {"One figure a month", "how much you use in a month, not when"},
}

// detailOf returns the words for a granularity. For one it does not know it
// promises nothing.
func detailOf(g wattveilv1.Granularity) detail {
	if d, ok := details[g]; ok {
		return d
	}
	return detail{"A level of detail this page does not know", "more than this page can say"}
}

// directions say in words what a register counts.
var directions = map[string]string{
	registerUsed: "Electricity you use",
	registerFed:  "Electricity you feed in",
}

func directionOf(register string) string {
	if words, ok := directions[register]; ok {
		return words
	}
	return "Register " + register + " of your meter"
}

// refusals say in words why a read was refused.
var refusals = map[string]string{
	"range_empty":             "it asked for no time at all",
	"range_too_long":          "it asked for too long a time at once",
	"range_in_future":         "it asked for a time to come",
	"not_consented":           "it has no permission",
	"revoked":                 "you had stopped sharing",
	"expired":                 "its permission had ended",
	"purpose_not_granted":     "it gave another reason than the one you allowed",
	"usage_point_not_granted": "it asked for a meter you did not allow",
	"register_not_granted":    "it asked for figures you did not allow",
	"range_not_granted":       "it asked for a time you did not allow",
}

func refusalOf(reason string) string {
	if words, ok := refusals[reason]; ok {
		return words
	}
	return "reason " + reason
}

// entryName names an entry of the record, for addresses and for people.
func entryName(index uint64) (path, text string) {
	return strconv.FormatUint(index, 10), count(index)
}

// nameOf is what a company or service is called: as registered, else by its
// identifier.
func nameOf(name, id string) string {
	if name != "" {
		return name
	}
	return id
}

// excerpt shortens a text to about n characters, at a blank where there is one.
func excerpt(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	cut := n
	for i := n; i > n/2; i-- {
		if runes[i] == ' ' {
			cut = i
			break
		}
	}
	return string(runes[:cut]) + "…"
}
