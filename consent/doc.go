// Package consent says who may read what of a household's readings, for what
// purpose and until when, and is the only gate to them.
//
// It keeps one promise: no permit exists without a leaf. [Gate.Admit] decides
// and records in one call, inside the transaction that sequences the leaf; a
// [Permit] is minted only after that leaf is committed and its checkpoint
// signed, and a refusal is a leaf too. Nothing opens readings without a permit,
// and no other package can make one.
//
// # The life of a consent
//
// A recipient asks ([Service.Request]), the household that lives at the usage
// point decides, and time ends what nobody ends:
//
//	    ┌ narrow, extend ┐
//	    ▼                │  suspend ──▶ suspended ── resume ──▶ granted
//	 granted ────────────┤  revoke ───▶ revoked      (suspended ends as granted does)
//	    ▲                ├─ expire ───▶ expired
//	  grant              ├─ terminate ▶ terminated
//	    │                └─ fulfil ───▶ fulfilled
//	requested ── deny ──▶ denied
//	    ├─────── expire ▶ expired
//	    └── invalidate ─▶ invalid
//
// Each step is one leaf that commits together with the new state. A grant may
// narrow the [Terms] in any respect and widen them in none; it names the usage
// points it is for. What is granted may be narrowed again ([Service.Narrow]),
// any number of times, and never grows: for more, the recipient asks anew. Only
// the usage points that a household gets later join a grant that includes them, as it was
// agreed. Every end and every hold has its [Cause]; all sharing ends the day a household
// moves out. The leaf holds the hash of the terms, word for word. [Consent.Status] says
// where a consent stands in the words of EDDIE, CIM and ESPI.
//
// # Whose data
//
// An interval belongs to the household that lives at the usage point at its
// start ([Occupancy]). A permit's scopes are cut to that, so that neither the
// former nor the next household's data is ever in one, whatever the consent says.
//
// # What a stranger learns
//
// Nothing: a usage point where nobody is known is asked about, recorded and left
// undecided like any other, and an access under a consent that does not exist, is
// another's, or was never granted is refused for one and the same reason, in a
// leaf that names no household. Requests are bounded for each recipient; a
// server bounds both kinds further before they reach this package, since what
// reaches it leaves a leaf. The payload of a consent.request leaf names the
// household and is not for the recipient's eyes.
//
// # What leaves
//
// Data leaves at the granted granularity ([Permit.Disclose]): whole hours, days
// and months of the usage point's calendar, so that no choice of range makes the
// sum over a shorter time.
package consent
