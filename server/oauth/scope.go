package oauth

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// MaxScope is the longest scope in bytes: ESPI holds one in a String256.
const MaxScope = 256

// Bounds of what a scope may ask for.
const (
	maxMonths  = 120              // the largest HistoryLength that is taken for months
	minSeconds = 86400            // the smallest that is taken for seconds
	maxHistory = 20 * 366 * 86400 // seconds back
	maxAhead   = 10 * 366         // days to come
	catchUp    = 7 * 24 * 3600    // a permission outlives its last day by this, in which that day's readings arrive
	monthStep  = 28 * 24 * 3600   // an interval of so many seconds is a month's
	monthShown = 30 * 24 * 3600   // and this is how one is written
	yearAhead  = 1                // years: how long a permission lasts of which nothing is said
	datePlaces = time.DateOnly    // of AdditionalScope
	noDate     = "none"           // of AdditionalScope: on that side nothing is asked for
	quarter    = int64(15 * 60)   // how readings as metered are written where a scope must name a step
	dayLength  = int64(24 * 3600)
)

// Scope is an ESPI scope: function blocks and a few terms, such as
// "FB=4_5_15;IntervalDuration=900_3600;BlockDuration=daily;HistoryLength=34128000". It
// names no purpose, which is the one its client registered, and no usage point.
//
// The grammar is that of the Green Button Alliance's EBNF for the scope parameter, with
// AdditionalScope as UtilityAPI and EDDIE write it:
// "historical-2024-05-09_ongoing-none_sou-default_noedit". HistoryLength is in seconds
// there and in months in most examples; both are read, and what could be either is
// refused.
type Scope struct {
	text    string
	blocks  []int
	finest  int64     // seconds; 0 if none is named
	seconds int64     // of history; 0 for none
	months  int       // of history; 0 for none
	ranged  bool      // AdditionalScope names first and last, of which one may be absent
	first   time.Time // first day, zero for none
	last    time.Time // last day, zero for none
}

// String returns the scope as it was written.
func (s Scope) String() string { return s.text }

// knownBlocks are the numbers of function blocks that the standard has given out, as
// ranges.
var knownBlocks = [][2]int{{1, 19}, {27, 29}, {31, 41}, {44, 44}, {51, 70}}

// What function blocks mean for readings. The others are about the protocol, cost, other
// media or customers' names: they may be asked for and give nothing.
var (
	readingBlocks = []int{4, 5, 7, 8, 15} // interval metering, electricity, net, forward and reverse, usage summary
	reverseBlocks = []int{7, 8}           // what is fed in, too
)

// named are the periods with a name, in seconds, of which a scope's are written in any case.
var named = map[string]int64{
	"daily": dayLength, "weekly": 7 * dayLength, "monthly": monthShown, "billingperiod": monthShown, "seasonal": 91 * dayLength,
}

// ParseScope reads a scope, or returns an [*Error] with the code invalid_scope that names
// the function block or the term that is wrong.
func ParseScope(text string) (Scope, error) {
	if len(text) > MaxScope {
		return Scope{}, problem(CodeInvalidScope, "the scope is longer than 256 characters")
	}
	s := Scope{text: text}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(strings.TrimSuffix(text, ";"), ";") {
		key, value, _ := strings.Cut(part, "=")
		read, known := scopeTerms[key]
		switch {
		case !known:
			return Scope{}, problem(CodeInvalidScope, "unknown term: ", shown(key))
		case seen[key]:
			return Scope{}, problem(CodeInvalidScope, key, " is there twice")
		}
		seen[key] = true
		if words := read(&s, value); words != "" {
			return Scope{}, problem(CodeInvalidScope, words)
		}
	}
	switch {
	case !seen["FB"]:
		return Scope{}, problem(CodeInvalidScope, "FB is missing")
	case !slices.ContainsFunc(s.blocks, func(b int) bool { return slices.Contains(readingBlocks, b) }):
		return Scope{}, problem(CodeInvalidScope, "none of the function blocks is about readings of electricity: ask for 4, 5, 7, 8 or 15")
	case s.ranged && seen["HistoryLength"]:
		return Scope{}, problem(CodeInvalidScope, "HistoryLength and AdditionalScope both say how far back")
	}
	return s, nil
}

// scopeTerms reads the terms of a scope into it; each says what is wrong, or nothing.
var scopeTerms = map[string]func(s *Scope, value string) string{
	"FB":                    (*Scope).readBlocks,
	"IntervalDuration":      (*Scope).readInterval,
	"BlockDuration":         periodsOnly("BlockDuration"),
	"SubscriptionFrequency": periodsOnly("SubscriptionFrequency"),
	"HistoryLength":         (*Scope).readHistory,
	"AccountCollection": func(_ *Scope, value string) string {
		if _, ok := number(value, 1_000_000); !ok {
			return "AccountCollection is not a number"
		}
		return ""
	},
	"BR": func(_ *Scope, value string) string {
		if _, err := consent.ParseRecipient(value); err != nil {
			return "BR is not an identifier"
		}
		return ""
	},
	"AdditionalScope": (*Scope).readAdditional,
}

func (s *Scope) readBlocks(value string) string {
	for text := range strings.SplitSeq(value, "_") {
		n, ok := number(text, 999)
		switch {
		case !ok:
			return "FB is not a list of numbers of function blocks, parted by _"
		case !slices.ContainsFunc(knownBlocks, func(r [2]int) bool { return r[0] <= int(n) && int(n) <= r[1] }):
			return "unknown function block " + strconv.FormatInt(n, 10)
		case slices.Contains(s.blocks, int(n)):
			return "function block " + strconv.FormatInt(n, 10) + " is there twice"
		}
		s.blocks = append(s.blocks, int(n))
	}
	return ""
}

func (s *Scope) readInterval(value string) string {
	ps, ok := periods(value)
	if !ok {
		return "IntervalDuration is not a list of seconds, parted by _"
	}
	s.finest = slices.Min(ps)
	return ""
}

func (s *Scope) readHistory(value string) string {
	n, ok := number(value, maxHistory)
	switch {
	case !ok:
		return "HistoryLength is not a number of seconds of at most 20 years"
	case n <= maxMonths:
		s.months = int(n)
	case n < minSeconds:
		return "HistoryLength is neither seconds, from 86400, nor months, up to 120"
	default:
		s.seconds = n
	}
	return ""
}

// readAdditional reads the form that EDDIE writes. What it says of usage points and of
// editing is that of a form elsewhere, and has one value each here.
func (s *Scope) readAdditional(value string) string {
	const malformed = "AdditionalScope is not historical-DATE_ongoing-DATE, each a date such as 2024-05-09 or none"
	parts := strings.Split(value, "_")
	if len(parts) < 2 {
		return malformed
	}
	for i, side := range []struct {
		word string
		day  *time.Time
	}{{"historical-", &s.first}, {"ongoing-", &s.last}} {
		text, ok := strings.CutPrefix(parts[i], side.word)
		if !ok {
			return malformed
		}
		if text == noDate {
			continue
		}
		var err error
		if *side.day, err = time.Parse(datePlaces, text); err != nil || side.day.Unix() < 0 {
			return malformed
		}
	}
	for _, part := range parts[2:] {
		if !slices.Contains([]string{"meters-all", "sou-default", "noedit"}, part) {
			return "AdditionalScope says more than historical, ongoing, meters-all, sou-default and noedit"
		}
	}
	switch {
	case s.first.IsZero() && s.last.IsZero():
		return "AdditionalScope asks for no time: historical and ongoing are both none"
	case !s.last.IsZero() && s.last.Before(s.first):
		return "AdditionalScope contradicts itself: ongoing ends before historical begins"
	}
	s.ranged = true
	return ""
}

// periodsOnly accepts a list of periods and takes nothing from it: how readings are
// bundled and how often they are fetched is no matter of permission.
func periodsOnly(term string) func(*Scope, string) string {
	return func(_ *Scope, value string) string {
		if _, ok := periods(value); !ok {
			return term + " is not a list of seconds or names of periods, parted by _"
		}
		return ""
	}
}

// periods reads a list of periods in seconds or by name.
func periods(value string) (ps []int64, ok bool) {
	for text := range strings.SplitSeq(value, "_") {
		p, isNamed := named[strings.ToLower(text)]
		if !isNamed {
			if p, ok = number(text, 366*dayLength); !ok || p == 0 {
				return nil, false
			}
		}
		ps = append(ps, p)
	}
	return ps, true
}

// number reads a decimal number up to most, without sign or leading zeros.
func number(text string, most int64) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0 && n <= most && strconv.FormatInt(n, 10) == text
}

// Asked returns what the scope asks for at an instant, unix seconds, for a purpose. Days
// are those of UTC: whose home it is about is not known yet.
//
// The granularity is the coarsest that gives the finest interval asked for. A permission
// that names no end lasts a year; one that names the last day of readings outlives it by a
// week, in which they arrive.
func (s Scope) Asked(purpose consent.Purpose, at int64) (consent.Terms, error) {
	today := time.Unix(at-at%dayLength, 0).UTC()
	t := consent.Terms{Purpose: purpose, Registers: s.registers(), Granularity: s.granularity()}
	from, end := today, today.AddDate(yearAhead, 0, 0)
	until := end
	switch {
	case s.ranged:
		tomorrow := today.AddDate(0, 0, 1)
		until = tomorrow
		if !s.first.IsZero() {
			from = s.first
		}
		if !s.last.IsZero() {
			until = s.last.AddDate(0, 0, 1)
		}
		end = until
		if end.Before(tomorrow) {
			end = tomorrow
		}
		end = end.Add(catchUp * time.Second)
	case s.months > 0:
		from = today.AddDate(0, -s.months, 0)
	case s.seconds > 0:
		from = time.Unix((at-s.seconds)-(at-s.seconds)%dayLength, 0).UTC()
	}
	switch {
	case !from.Before(until):
		return consent.Terms{}, problem(CodeInvalidScope, "the scope contradicts itself: its time ends before it begins")
	case from.Unix() < 0 || until.After(today.AddDate(0, 0, maxAhead)):
		return consent.Terms{}, problem(CodeInvalidScope, "the scope's time begins before 1970 or ends more than ten years ahead")
	}
	t.DataFrom, t.DataUntil, t.PermissionUntil = from.Unix(), until.Unix(), end.Unix()
	return asked(t, CodeInvalidScope)
}

func (s Scope) registers() []meter.Register {
	if slices.ContainsFunc(s.blocks, func(b int) bool { return slices.Contains(reverseBlocks, b) }) {
		return []meter.Register{meter.ActiveImport, meter.ActiveExport}
	}
	return []meter.Register{meter.ActiveImport}
}

func (s Scope) granularity() consent.Granularity {
	switch {
	case s.finest < 3600:
		return consent.Interval
	case s.finest < dayLength:
		return consent.Hour
	case s.finest < monthStep:
		return consent.Day
	default:
		return consent.Month
	}
}

// Narrowed writes as a scope what a household has agreed to, where that is less than the
// scope asks for: its function blocks for readings that are left, one interval, and the
// days in UTC that hold the range. Usage points cannot be written into a scope.
func (s Scope) Narrowed(t consent.Terms) string {
	reverse := slices.Contains(t.Registers, meter.ActiveExport)
	var blocks []string
	for _, b := range s.blocks {
		if slices.Contains(readingBlocks, b) && (reverse || !slices.Contains(reverseBlocks, b)) {
			blocks = append(blocks, strconv.Itoa(b))
		}
	}
	if len(blocks) == 0 {
		blocks = []string{"4"}
	}
	step := map[consent.Granularity]int64{consent.Interval: quarter, consent.Hour: 3600, consent.Day: dayLength, consent.Month: monthShown}[t.Granularity]
	if t.Granularity == consent.Interval && s.finest > 0 && s.finest < 3600 {
		step = s.finest
	}
	day := func(at int64) string { return time.Unix(at, 0).UTC().Format(datePlaces) }
	return "FB=" + strings.Join(blocks, "_") + ";IntervalDuration=" + strconv.FormatInt(step, 10) +
		";AdditionalScope=historical-" + day(t.DataFrom) + "_ongoing-" + day(t.DataUntil-1)
}
