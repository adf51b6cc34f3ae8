package meter

import (
	"math"
	"math/bits"
	"slices"
)

// Reason names why an interval was refused. The words are on the wire and in
// clients' code: they are only ever added.
type Reason string

// The reasons. Those marked with an asterisk are given by whoever knows the
// registry, the others by this package.
const (
	NegativeDelivered   Reason = "negative_delivered"   // below zero in a register that only counts upwards
	AboveCap            Reason = "above_physical_cap"   // more than the connection can carry
	BadQuality          Reason = "bad_quality"          // unassigned code, or not one for each value
	Future              Reason = "future"               // ends after now and the allowed slack
	MisalignedStart     Reason = "misaligned_start"     // not a whole number of lengths after UTC midnight
	BadLength           Reason = "bad_interval_length"  // does not divide a day, or outside 60 s to one day
	TimeOverflow        Reason = "time_overflow"        // outside the years 0 to 9999
	UnknownRegister     Reason = "unknown_register"     // no base unit is known for it
	ConflictingRevision Reason = "conflicting_revision" // stated twice in one batch, at the same revision, differently
	UnknownUsagePoint   Reason = "unknown_usage_point"  // * not registered, or another utility's
)

// DefaultCapWatts is the physical cap of a usage point for which no other is
// registered: a household connection of 3 × 100 A × 230 V.
const DefaultCapWatts = 3 * 100 * 230

// CapValue returns the most energy, in Wh, that capWatts can carry in
// lengthSeconds, rounded down: capWatts·lengthSeconds/3600. It is 0 if either
// is negative and math.MaxInt64 if the result is larger.
func CapValue(capWatts, lengthSeconds int64) int64 {
	if capWatts <= 0 || lengthSeconds <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(capWatts), uint64(lengthSeconds))
	if hi >= 3600 {
		return math.MaxInt64
	}
	wh, _ := bits.Div64(hi, lo, 3600)
	return int64(min(wh, math.MaxInt64))
}

// Refusal says that one interval was not accepted, and why. It goes back to
// the sender and nowhere else; it does not hold the value.
type Refusal struct {
	UsagePoint UsagePoint
	Register   Register
	Start      int64 // unix seconds UTC of the interval's start
	Reason     Reason
}

// Limits are what a series is validated against.
type Limits struct {
	CapWatts    int64 // physical cap of the usage point; DefaultCapWatts if none is registered
	Now         int64 // unix seconds UTC
	FutureSlack int64 // an interval may end at most this many seconds after Now
}

// Validate removes from s what cannot be true and returns one Refusal for each
// interval removed, in order of time.
//
//   - A refused interval becomes Missing with the value 0; the rest stays.
//   - If the frame is wrong (register, length, start, or the number of quality
//     codes), no interval can be trusted: every one is refused and s is left
//     without values.
//   - An interval that is already Missing states nothing and is never refused;
//     a value given with it is set to 0.
//
// Energies within an interval are held against CapValue, powers against
// CapWatts, in absolute value if the register is signed; counter states,
// voltages, currents and frequencies have no cap here.
//
// After Validate, s.Present() intervals may be stored. The arrays that
// s.Values and s.Quality pointed to are not written to; s gets new ones if it
// changes.
func (s *Series) Validate(l Limits) []Refusal {
	if reason := s.frameFault(); reason != "" {
		return s.refuseAll(reason)
	}
	var refused []Refusal
	check := s.checker(l)
	owned := false
	for i, v := range s.Values {
		reason := Reason("")
		if q := s.QualityAt(i); q != Missing {
			if reason = check(i, v, q); reason == "" {
				continue
			}
			refused = append(refused, s.refusal(i, reason))
		} else if v == 0 {
			continue
		}
		if !owned {
			s.own()
			owned = true
		}
		s.clear(i)
	}
	return refused
}

// frameFault returns what is wrong with s as a whole, or "".
func (s *Series) frameFault() Reason {
	switch {
	case s.Register.Unit() == UnknownUnit:
		return UnknownRegister
	case s.Length < 60 || s.Length > secondsPerDay || secondsPerDay%s.Length != 0:
		return BadLength
	case !s.inCalendar():
		return TimeOverflow
	case s.Start%s.Length != 0: // Length divides the day, and days start at multiples of it
		return MisalignedStart
	case s.Quality != nil && len(s.Quality) != len(s.Values):
		return BadQuality
	}
	return ""
}

// checker returns the test of one value of s: the first reason that applies, or "".
func (s *Series) checker(l Limits) func(i int, v int64, q Quality) Reason {
	latestEnd := l.Now + l.FutureSlack
	if l.FutureSlack > 0 && latestEnd < l.Now {
		latestEnd = math.MaxInt64
	}
	limit := int64(math.MaxInt64)
	switch u := s.Register.Unit(); {
	case s.Register.PerInterval():
		limit = CapValue(l.CapWatts, s.Length)
	case u == W, u == Var, u == VA:
		limit = max(l.CapWatts, 0)
	}
	signed := s.Register.Signed()
	return func(i int, v int64, q Quality) Reason {
		switch {
		case !q.Known():
			return BadQuality
		case s.StartAt(i)+s.Length > latestEnd:
			return Future
		case v < 0 && !signed:
			return NegativeDelivered
		case v > limit, v < -limit:
			return AboveCap
		}
		return ""
	}
}

// refuseAll empties s and refuses every interval that states something. Without
// a usable quality slice that is every interval.
func (s *Series) refuseAll(reason Reason) []Refusal {
	countable := s.Quality == nil || len(s.Quality) == len(s.Values)
	var refused []Refusal
	for i := range s.Values {
		if !countable || s.QualityAt(i) != Missing {
			refused = append(refused, s.refusal(i, reason))
		}
	}
	s.Values, s.Quality = nil, nil
	return refused
}

// refusal names interval i. Its start wraps if the series has TimeOverflow;
// the sender then sees the same arithmetic that it got wrong.
func (s *Series) refusal(i int, reason Reason) Refusal {
	return Refusal{UsagePoint: s.UsagePoint, Register: s.Register, Start: s.StartAt(i), Reason: reason}
}

// own gives s arrays that nobody else holds, with a quality for each value.
func (s *Series) own() {
	s.Values = slices.Clone(s.Values)
	quality := make([]Quality, len(s.Values))
	copy(quality, s.Quality)
	s.Quality = quality
}

// clear makes interval i Missing. The arrays must be owned.
func (s *Series) clear(i int) {
	s.Values[i], s.Quality[i] = 0, Missing
}
