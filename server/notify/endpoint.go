package notify

import "github.com/wattveil/wattveil/consent"

// Form is how an endpoint is told. The numbers are stored and never change.
type Form uint8

// The forms.
const (
	Webhook     Form = 1 // a POST of JSON, see Compose
	GreenButton Form = 2 // a POST of an ESPI BatchList
	Pull        Form = 3 // not at all: the third party asks
)

// Known reports whether f is one of the forms.
func (f Form) Known() bool { return Webhook <= f && f <= Pull }

// State is where an endpoint stands. The numbers are stored and never change.
type State uint8

// The states.
const (
	Active  State = 1
	Gone    State = 2 // it answered 410
	GivenUp State = 3 // it took nothing for too long
	Removed State = 4 // by the third party; its row keeps the numbers of what it was told
)

// Problem says in a word why a call came to nothing. It names nobody.
type Problem string

// The problems.
const (
	NoProblem          Problem = ""
	AddressProblem     Problem = "address_refused" // the name leads to an address that is not called
	NameProblem        Problem = "name"            // it does not resolve
	TimeoutProblem     Problem = "timeout"
	CertificateProblem Problem = "certificate" // it cannot be verified
	ConnectionProblem  Problem = "connection"
	StatusProblem      Problem = "status" // answered, with no success
)

// Pace is how an endpoint's last call went: it decides with whom it shares places.
type Pace uint8

// The paces.
const (
	Quick   Pace = iota // or never called
	Slow                // with success, and it took its time
	Failing             // without success
)

// Endpoint is where a third party wants to be told, and how that fares. Times are unix
// seconds, 0 for what has not happened.
type Endpoint struct {
	Recipient consent.Recipient
	URL       string // empty if Form is Pull
	Form      Form
	State     State
	PutAt     int64

	Failures     int   // in a row
	FailingSince int64 // first of them
	TriedAt      int64 // last called
	TakenAt      int64 // last called with success
	Status       int   // HTTP, of the last call; 0 if it was not answered
	Problem      Problem
	Slow         bool   // the last call took its time
	Dropped      uint64 // notifications that are sent no more, since it was put

	LastSeq   uint64 // of the newest notification
	PrunedSeq uint64 // of the newest that is no longer kept; 0 if all are
}
