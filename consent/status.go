package consent

import "github.com/wattveil/wattveil/ledger"

// Status is where a consent stands in the words of others: the permission process of
// EDDIE, whose states it names one for one and to which it adds three of its own that
// lie within ACCEPTED or after it, the CIM code that goes with it, and the status of an
// ESPI Authorization.
//
// Source: EDDIE's permission process model (PermissionProcessStatus) and its mapping to
// CIM v0.82; ESPI 3.3, AuthorizationStatus.
type Status struct {
	Name  string // EDDIE's, or PARTIAL, SUSPENDED, EXPIRED
	Outer string // EDDIE's alone: where EDDIE knows no finer one, the one that holds
	CIM   string // status code of a permission market document; EDDIE's, by Outer
	ESPI  int    // 0 revoked or ended, 1 active, 2 denied, -1 not decided: there is no Authorization yet
}

// The names of EDDIE's process that a hub which is its own permission administrator
// goes through. A request is checked, created and shown in one step, so it passes
// CREATED and VALIDATED on its way, see [Passes]; one that is malformed is refused to
// its sender and was never there, which is EDDIE's MALFORMED. UNABLE_TO_SEND and the
// states about an external termination have no place here: there is nobody else to
// send to.
const (
	statusCreated    = "CREATED"
	statusValidated  = "VALIDATED"
	statusSent       = "SENT_TO_PERMISSION_ADMINISTRATOR"
	statusAccepted   = "ACCEPTED"
	statusRejected   = "REJECTED"
	statusTimedOut   = "TIMED_OUT"
	statusInvalid    = "INVALID"
	statusRevoked    = "REVOKED"
	statusTerminated = "TERMINATED"
	statusFulfilled  = "FULFILLED"

	statusPartial   = "PARTIAL"   // accepted, for less than was asked
	statusSuspended = "SUSPENDED" // accepted, and on hold
	statusExpired   = "EXPIRED"   // accepted, and its time is up
)

// Status returns where c stands.
func (c Consent) Status() Status {
	switch c.State {
	case Requested:
		return Status{statusSent, statusSent, "A08", -1}
	case Granted:
		if c.partial() {
			return Status{statusPartial, statusAccepted, "A37", 1}
		}
		return Status{statusAccepted, statusAccepted, "A37", 1}
	case Suspended:
		return Status{statusSuspended, statusAccepted, "A37", 0}
	case Denied:
		return Status{statusRejected, statusRejected, "A34", 2}
	case Revoked:
		return Status{statusRevoked, statusRevoked, "A13", 0}
	case Expired:
		if c.DecidedAt == 0 {
			return Status{statusTimedOut, statusTimedOut, "Z03", -1}
		}
		return Status{statusExpired, statusTerminated, "A16", 0}
	case Terminated:
		return Status{statusTerminated, statusTerminated, "A16", 0}
	case Fulfilled:
		return Status{statusFulfilled, statusFulfilled, "A37", 0}
	case Invalid:
		return Status{statusInvalid, statusInvalid, "Z01", -1}
	}
	return Status{ESPI: -1}
}

// partial reports whether less was granted than was asked.
func (c Consent) partial() bool {
	asked := c.Asked
	if len(asked.UsagePoints) == 0 || asked.Future { // all, of which the grant names those there are
		asked.UsagePoints = c.Terms.UsagePoints
	}
	return asked.Hash() != c.Terms.Hash()
}

// Passes returns the names of EDDIE's states that a consent goes through with a leaf of
// the kind, in their order, so that none is skipped; the last is where it is then. Nil
// for a leaf that changes nothing there.
func Passes(kind ledger.Kind, after Consent) []string {
	if kind == ledger.KindConsentRequest {
		return []string{statusCreated, statusValidated, statusSent}
	}
	if after.State == Granted && kind != ledger.KindConsentGrant || after.State == Suspended {
		return nil
	}
	return []string{after.Status().Outer}
}
