package notify

import (
	"strings"

	"github.com/wattveil/wattveil/consent"
)

// Kind says what happened. Kinds are told to third parties, and their spelling never
// changes. That of a consent that came to another state is "consent." and the state's name.
type Kind string

// The kinds that no state names.
const (
	ConsentNarrowed   Kind = "consent.narrowed"   // it allows less than before, and stands
	ConsentExtended   Kind = "consent.extended"   // a usage point that came to the household later joined it
	ConsentChanged    Kind = "consent.changed"    // its terms are others, neither narrower nor wider
	ConsentResumed    Kind = "consent.resumed"    // it was on hold, and stands again
	ConsentErased     Kind = "consent.erased"     // its household was erased, with all that it agreed to
	ReadingsAvailable Kind = "readings.available" // readings of these days were stored
	Ping              Kind = "ping"               // nothing happened: the endpoint is tried
)

const ofConsent = "consent."

// OfConsent reports whether the kind is of a change to a consent.
func (k Kind) OfConsent() bool { return strings.HasPrefix(string(k), ofConsent) }

// KindOf says what to tell of a consent that was one way and is another; the zero Consent
// was not there. Nothing, "", if neither state nor terms changed, and of a request, which
// is its recipient's own doing.
func KindOf(was, is consent.Consent) Kind {
	switch {
	case is.State == consent.Requested:
		return ""
	case is.State == consent.Granted && was.State == consent.Suspended:
		return ConsentResumed
	case is.State != was.State:
		return Kind(ofConsent + is.State.String())
	case is.Terms.Hash() == was.Terms.Hash():
		return ""
	case is.Terms.NarrowerThan(was.Terms):
		return ConsentNarrowed
	case was.Terms.NarrowerThan(is.Terms):
		return ConsentExtended
	}
	return ConsentChanged
}

// Event is a notification. Times are unix seconds.
type Event struct {
	Seq     uint64 // of its recipient's, from 1
	Kind    Kind
	Consent consent.ID
	Cause   consent.Cause // of the consent's end, or of the hold
	At      int64         // recorded in the ledger, or found
	Leaf    uint64        // of the ledger, that records it; 0 for none
	// From and Until are the first start of an interval that came, and the end of the last
	// day of them; 0 unless it is of readings.
	From, Until int64

	// How it fares.
	State    EventState
	Due      int64 // not to be sent before
	TriedAt  int64 // first refused; 0 if never
	Attempts int   // how often it was refused
}

// EventState is where a notification stands. The numbers are stored and never change.
type EventState uint8

// The states.
const (
	Waiting  EventState = 1 // to be sent
	Taken    EventState = 2 // the receiver has said so
	Dropped  EventState = 3 // refused for so long that it is sent no more
	Pullable EventState = 4 // never to be sent
)
