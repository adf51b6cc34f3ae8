package ledger

import (
	"errors"
	"iter"
	"strings"
)

// MaxPayload is the greatest length of an encoded payload, in bytes.
const MaxPayload = 1 << 16

// ErrPayload reports a payload that cannot be encoded, or bytes that are not
// the canonical encoding of one. It never holds the payload's content.
var ErrPayload = errors.New("ledger: malformed payload")

// Kind is what a payload records.
type Kind string

// The kinds. Their spelling is part of the payload and never changes.
const (
	KindConsentRequest Kind = "consent.request"
	KindConsentGrant   Kind = "consent.grant"
	KindConsentDeny    Kind = "consent.deny"
	KindConsentNarrow  Kind = "consent.narrow"
	KindConsentRevoke  Kind = "consent.revoke"
	KindConsentExpire  Kind = "consent.expire"
	KindAccess         Kind = "access"
	KindAccessDenied   Kind = "access.denied"
	KindRelease        Kind = "release"
	KindErasure        Kind = "erasure"
	KindMapHead        Kind = "map_head"
	KindAdmin          Kind = "admin"

	// KindRekey: a household's tag key was replaced; this event is the first
	// tagged with the new one. It is of payload version 2.
	KindRekey Kind = "household.rekey"
	// KindBudgetSpend: privacy budget was spent on noise that is about to be drawn,
	// whatever becomes of the release. It is of payload version 3.
	KindBudgetSpend Kind = "budget.spend"

	// Of payload version 5.
	KindConsentExtend     Kind = "consent.extend"     // a usage point that came to the household later joined a grant that includes such
	KindConsentSuspend    Kind = "consent.suspend"    // a grant was put on hold
	KindConsentResume     Kind = "consent.resume"     // and taken off it
	KindConsentTerminate  Kind = "consent.terminate"  // a grant was ended by somebody else than the household, see Reason
	KindConsentFulfil     Kind = "consent.fulfil"     // a grant of one reading was read
	KindConsentInvalidate Kind = "consent.invalidate" // a request was ended before it was decided, see Reason
)

// IsConsent reports whether a kind is a step in the life of a consent.
func (k Kind) IsConsent() bool { return strings.HasPrefix(string(k), "consent.") && classOf[k] != 0 }

// Agrees reports whether a leaf of the kind states terms that hold from it on.
func (k Kind) Agrees() bool {
	return k == KindConsentGrant || k == KindConsentNarrow || k == KindConsentExtend
}

// Class returns the public class of a kind, or 0 for an unknown one.
func (k Kind) Class() Class { return classOf[k] }

var classOf = map[Kind]Class{
	KindConsentRequest: ClassEvent, KindConsentGrant: ClassEvent, KindConsentDeny: ClassEvent, KindConsentNarrow: ClassEvent,
	KindConsentRevoke: ClassEvent, KindConsentExpire: ClassEvent, KindConsentExtend: ClassEvent, KindConsentSuspend: ClassEvent,
	KindConsentResume: ClassEvent, KindConsentTerminate: ClassEvent, KindConsentFulfil: ClassEvent, KindConsentInvalidate: ClassEvent,
	KindAccess: ClassEvent, KindAccessDenied: ClassEvent, KindRekey: ClassEvent,
	KindRelease: ClassRelease, KindBudgetSpend: ClassRelease,
	KindErasure: ClassErasure,
	KindMapHead: ClassMapHead,
	KindAdmin:   ClassAdmin,
}

// Payload is what a leaf commits to. Which fields a kind uses is its writer's
// affair; a field that is not used is zero and takes no bytes.
//
// Subject, Recipient and Consent are 1 to 64 characters of A-Z a-z 0-9 . _ : -
// where present; other strings are UTF-8. Names of people stand in none of them.
type Payload struct {
	Kind Kind
	Time int64 // unix µs, when the leaf was sequenced; set by the sequencer

	Subject     string // household
	Recipient   string // third party
	Purpose     string // code of the purpose
	PurposeText Hash   // SHA-256 of the text the household was shown
	Consent     string // id of the consent

	UsagePoints []string // metering points asked or agreed for
	Registers   []string // OBIS codes
	Granularity string   // "interval", "hour", "day" or "month"

	From, Until       int64  // unix s, half-open range of data asked or agreed for
	KeyFrom, KeyUntil int32  // first and last UTC day (since 1970) whose block keys may be handed out, inclusive; accesses only
	PermissionUntil   int64  // unix s, when the consent ends
	Intervals         uint64 // stored in what may be opened, as the leaf was written; not what arrives until it is read. Of a release that comes in parts, paid for once: which part, from 1
	Reason            string // stable code of a refusal; of the end of a consent, or a hold on it, its cause
	Session           Hash   // hash of the household's session, for its own readings
	Terms             Hash   // hash of the canonical terms of the consent
	Product           string // what was released, or paid for
	Day               int32  // UTC day (since 1970) released, or paid for; the first of them, see Days
	Nodes             uint32 // number of nodes of the grid tree released
	RhoNano           uint64 // privacy budget spent, in 1e-9 ρ (zCDP), charged once to every calendar year that its days touch
	Digest            Hash   // SHA-256 of the signed release, or of the admin content; of a map head, its root
	Detail            string // what was administered, or on what legal basis erased

	// The chains, set by the sequencer: the number of this event in the
	// household's and the recipient's chain, contiguous from 1, and the leaf
	// hash of the one before, zero for the first.
	SubjectSeq    uint64
	SubjectPrev   Hash
	RecipientSeq  uint64
	RecipientPrev Hash

	// Of payload version 2.
	Erased   []Erased // an erasure's: the events that can no longer be opened, ascending
	MapKeys  []Hash   // an erasure's: the keys the household had in the map, which are tombstones from now on
	MapSize  uint64   // a map head's: entries in the map, tombstones included
	MapUntil uint64   // a map head's: the map says how chains end by the leaves before this index

	// Of payload version 4. A release and what paid for it say the same here.
	Days       uint32 // the days after Day that are concerned, too: bit i, from the lowest, is Day+1+i; 0 is Day alone
	DayRhoNano uint64 // privacy budget that each of the days is charged, in 1e-9 ρ; 0 where it is RhoNano, and never equal to it

	// Of payload version 5.
	Conditions uint32 // of the terms of a consent: ConditionFuture, ConditionOnce
}

// What terms of a consent say beside their ranges: bits of Payload.Conditions.
const (
	ConditionFuture uint32 = 1 << iota // usage points that the household comes to have are included
	ConditionOnce                      // for one reading, within OnceWindow
)

// OnceWindow is how long a consent for one reading may be read after it was first read,
// in seconds: a reading of many usage points is many calls, and one may fail.
const OnceWindow = 24 * 3600

// EachDay yields the UTC days (since 1970) that a release or a charge concerns,
// ascending: Day, and those after it that Days names, 33 at most.
func (p Payload) EachDay() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		if !yield(p.Day) {
			return
		}
		for i := range int32(32) {
			if p.Days>>i&1 == 1 && !yield(p.Day+1+i) {
				return
			}
		}
	}
}

// DayCharge returns what a release or a charge costs each of its days, in 1e-9 ρ.
// A household loses more on a day than in a year where one of its days can move
// more than the span's total does: a vote for one bin of many that goes to another.
func (p Payload) DayCharge() uint64 {
	if p.DayRhoNano != 0 {
		return p.DayRhoNano
	}
	return p.RhoNano
}

// Erased names an event that an erasure made impossible to open: where its leaf
// is, and its place in its recipient's chain, so that this chain stays whole. It
// never names the household.
type Erased struct {
	Index        uint64
	Recipient    string // or ""
	RecipientSeq uint64 // 0 without a recipient
}
