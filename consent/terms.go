package consent

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// Bounds of what one consent may say.
const (
	MaxUsagePoints = 256  // usage points named by terms or by one access
	MaxRegisters   = 64   // registers named by terms or by one access
	MaxPurposeText = 4096 // bytes of Purpose.Text
)

// maxTime is 9999-12-31T23:59:59Z: the last instant terms and accesses may name.
const maxTime = 253402300799

// PurposeSelf is the purpose code of a household's reading of its own data. No
// third party may ask with it.
const PurposeSelf = "self"

// Purpose is why a third party wants to read.
type Purpose struct {
	Code string // stable, 1 to 64 characters of a-z 0-9 _ . -
	Text string // the very text the household was shown; its SHA-256 enters the leaf
}

// Terms say exactly what a consent covers: nothing outside any of the fields
// may leave the hub under it.
type Terms struct {
	Purpose     Purpose
	UsagePoints []meter.UsagePoint // sorted, unique; empty in a request: all of the household's, named at the grant
	Registers   []meter.Register   // sorted, unique, at least one
	Granularity Granularity        // finest step that may leave

	// All times are unix seconds UTC, 0 to the year 9999.
	DataFrom        int64 // earliest interval start covered: how much history
	DataUntil       int64 // first interval start no longer covered
	PermissionUntil int64 // from this instant on nothing may be read any more

	// Future includes the usage points that the household comes to have while the
	// consent is granted. Then the consent is for all of its points.
	Future bool
	// Once is for one reading: what may be read is read within ledger.OnceWindow of
	// the first access, and the consent is fulfilled then.
	Once bool
}

// Errors of terms. Validate wraps ErrTerms with the field that is wrong.
var (
	ErrTerms = errors.New("consent: terms are invalid")
	ErrWider = errors.New("consent: terms are wider than what was asked or granted")
)

// Normalize returns t with its usage points and registers sorted and without
// duplicates, as Encode writes and Validate demands them. It shares nothing
// with t that either could change.
func (t Terms) Normalize() Terms {
	t.UsagePoints = sortedPoints(t.UsagePoints)
	t.Registers = sortedRegisters(t.Registers)
	return t
}

// Validate returns nil, or ErrTerms wrapped with the name of the field that is
// wrong: unknown or ill-formed values, an unsorted list, a data range that is
// empty, or registers whose values do not add up with a granularity that sums.
// It does not compare with the clock.
func (t Terms) Validate() error {
	switch {
	case !purposeCode(t.Purpose.Code), t.Purpose.Code == PurposeSelf:
		return fmt.Errorf("%w: purpose code", ErrTerms)
	case !purposeText(t.Purpose.Text):
		return fmt.Errorf("%w: purpose text", ErrTerms)
	case !validPoints(t.UsagePoints):
		return fmt.Errorf("%w: usage points", ErrTerms)
	case len(t.Registers) == 0 || !validRegisters(t.Registers):
		return fmt.Errorf("%w: registers", ErrTerms)
	case !t.Granularity.Known():
		return fmt.Errorf("%w: granularity", ErrTerms)
	case t.Granularity > Interval && slices.ContainsFunc(t.Registers, func(r meter.Register) bool { return !r.PerInterval() }):
		return fmt.Errorf("%w: granularity sums a register that does not add up over time", ErrTerms)
	case t.DataFrom < 0 || t.DataUntil > maxTime || t.DataFrom >= t.DataUntil:
		return fmt.Errorf("%w: data range", ErrTerms)
	case t.PermissionUntil <= 0 || t.PermissionUntil > maxTime:
		return fmt.Errorf("%w: end of permission", ErrTerms)
	}
	return nil
}

// NarrowerThan reports whether t allows nothing that asked does not: the same
// purpose and text, no more usage points or registers, no finer granularity, no
// longer data range and no later end, future points only if they were asked for,
// and one reading if one was. Equal terms are narrower than each other. Empty usage
// points of asked stand for all. Both must be valid.
func (t Terms) NarrowerThan(asked Terms) bool {
	return t.Purpose == asked.Purpose &&
		(len(asked.UsagePoints) == 0 || len(t.UsagePoints) > 0 && subset(t.UsagePoints, asked.UsagePoints)) &&
		subset(t.Registers, asked.Registers) &&
		t.Granularity >= asked.Granularity &&
		t.DataFrom >= asked.DataFrom &&
		t.DataUntil <= asked.DataUntil &&
		t.PermissionUntil <= asked.PermissionUntil &&
		(!t.Future || asked.Future) && (t.Once || !asked.Once)
}

// conditions are Future and Once as leaves and stored terms have them.
func (t Terms) conditions() uint32 {
	var c uint32
	if t.Future {
		c |= ledger.ConditionFuture
	}
	if t.Once {
		c |= ledger.ConditionOnce
	}
	return c
}

func purposeCode(s string) bool {
	if len(s) == 0 || len(s) > MaxIdentifier {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// purposeText accepts what a page can show as it is: UTF-8 that prints, with
// line breaks and the joiners that some scripts need. Direction overrides and
// the like would let the text read other than it is.
func purposeText(s string) bool {
	if len(s) == 0 || len(s) > MaxPurposeText || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case unicode.IsPrint(r), unicode.Is(unicode.Zs, r):
		case r == '\n', r == '\u200c', r == '\u200d':
		default:
			return false
		}
	}
	return true
}

func validPoints(points []meter.UsagePoint) bool {
	for i, p := range points {
		if _, err := meter.ParseUsagePoint(string(p)); err != nil || i > 0 && points[i-1] >= p {
			return false
		}
	}
	return len(points) <= MaxUsagePoints
}

func validRegisters(registers []meter.Register) bool {
	for i, r := range registers {
		if i > 0 && compareRegisters(registers[i-1], r) >= 0 {
			return false
		}
	}
	return len(registers) <= MaxRegisters
}

func sortedPoints(points []meter.UsagePoint) []meter.UsagePoint {
	s := slices.Clone(points)
	slices.SortFunc(s, func(a, b meter.UsagePoint) int { return cmp.Compare(a, b) })
	return slices.Compact(s)
}

func sortedRegisters(registers []meter.Register) []meter.Register {
	s := slices.Clone(registers)
	slices.SortFunc(s, compareRegisters)
	return slices.Compact(s)
}

func compareRegisters(a, b meter.Register) int { return bytes.Compare(a[:], b[:]) }

func subset[E comparable](part, whole []E) bool {
	for _, e := range part {
		if !slices.Contains(whole, e) {
			return false
		}
	}
	return true
}
