// Package meter holds what every norm is turned into: readings of a usage
// point's register over an interval of time.
//
// The promise of this package is exactness. A value is an int64 in the base
// unit of its register (Wh for energy), a time is unix seconds in UTC, an
// interval is [start, start+length), and no number passes through a float on
// its way in or out. What cannot be true is refused by name, interval by
// interval, and leaves the rest of its series standing; see [Series.Validate]
// and [RefuseConflicts].
//
// The unit of work is the [Series]: a run of consecutive, equally long
// intervals of one usage point and register. A [Reading] is the view of one of
// them. Nothing here does input or output, keeps a clock, or holds a lock:
// values may be shared by goroutines that only read them.
package meter

import (
	"errors"
	"fmt"
	"time"
)

// MaxIdentifier is the longest UsagePoint or Utility, in bytes.
const MaxIdentifier = 64

// Errors of the two identifier parsers. They never hold the refused text.
var (
	ErrUsagePoint = errors.New("meter: usage point is not 1 to 64 characters of A-Z a-z 0-9 . _ : -")
	ErrUtility    = errors.New("meter: utility is not 1 to 64 characters of A-Z a-z 0-9 . _ : -")
)

// UsagePoint names the place where energy is metered (UsagePoint of IEC 61968-9;
// in the field a PRM, EAN, MPAN or NMI). It is 1 to 64 characters of
// A-Z a-z 0-9 . _ : - and compares byte by byte.
type UsagePoint string

// ParseUsagePoint returns s as a UsagePoint, or ErrUsagePoint.
func ParseUsagePoint(s string) (UsagePoint, error) {
	if !identifier(s) {
		return "", ErrUsagePoint
	}
	return UsagePoint(s), nil
}

// Utility names the company that operates meters and submits their readings.
// It is written in the same characters as a UsagePoint.
type Utility string

// ParseUtility returns s as a Utility, or ErrUtility.
func ParseUtility(s string) (Utility, error) {
	if !identifier(s) {
		return "", ErrUtility
	}
	return Utility(s), nil
}

func identifier(s string) bool {
	if len(s) == 0 || len(s) > MaxIdentifier {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// Quality says how a value came about. The codes are stored in four bits and
// never change their meaning.
type Quality uint8

// The qualities. 4 to 14 are unassigned.
const (
	Measured    Quality = 0  // read from the meter
	Estimated   Quality = 1  // computed by the utility where no value was read
	Substituted Quality = 2  // replaced by the utility, for instance from a second meter
	Suspect     Quality = 3  // read from the meter, doubted by the utility
	Missing     Quality = 15 // the slot holds no value
)

// Known reports whether q is an assigned code.
func (q Quality) Known() bool { return q <= Suspect || q == Missing }

// Worse returns the worse of two qualities of values that are there: what a sum of both
// is worth. From the best: measured, substituted, estimated, suspect; whatever else a
// value is said to be counts as suspect.
func Worse(a, b Quality) Quality {
	rank := [...]int{Measured: 0, Substituted: 1, Estimated: 2, Suspect: 3}
	if rank[min(b, Suspect)] > rank[min(a, Suspect)] {
		return min(b, Suspect)
	}
	return a
}

// String returns the lower-case English name, or "quality(n)" for an unassigned code.
func (q Quality) String() string {
	switch q {
	case Measured:
		return "measured"
	case Estimated:
		return "estimated"
	case Substituted:
		return "substituted"
	case Suspect:
		return "suspect"
	case Missing:
		return "missing"
	}
	return fmt.Sprintf("quality(%d)", uint8(q))
}

// Reading is one interval of one register.
type Reading struct {
	UsagePoint UsagePoint
	Register   Register
	Start      time.Time     // UTC
	Length     time.Duration // whole seconds
	Value      int64         // in Unit; 0 if Quality is Missing
	Unit       Unit
	Quality    Quality
	Revision   uint32 // higher replaces lower
}
