package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
)

// AuditRecord opens one leaf to a regulator.
type AuditRecord struct {
	Heads    []EnvelopeHead // of batches, to be taken in before the envelope is opened
	Index    uint64
	Envelope []byte // sealed; nil where the leaf has none

	// Where there is no envelope.
	Payload []byte
	Nonce   Hash
	MapKey  Hash // zero if the leaf has no household
}

// AuditSource is what a hub shows a regulator beside the public log.
type AuditSource interface {
	// Map returns the leaf index of the newest map head and the entries behind it,
	// ascending by key.
	Map(ctx context.Context) (head uint64, entries []MapEntry, err error)
	// Records yields what opens every leaf, ascending by index, up to at least the
	// size that is signed when it is called; what was erased is absent. An error
	// ends it.
	Records(ctx context.Context) iter.Seq2[AuditRecord, error]
}

// AuditOptions are what AuditLog may use.
type AuditOptions struct {
	Verify        VerifyOptions // of the public log
	YearlyCapNano uint64        // most nano-ρ that a calendar year may spend; 0 checks no bound
	DailyCapNano  uint64        // most nano-ρ that a UTC day may be charged; 0 checks no bound
	Limit         int           // findings kept at most; 0 means 1000
	// Record, unless nil, is called with every payload that opens, in the log's order.
	Record func(index uint64, p Payload)
}

// AuditCode names what an audit found. The words are stable.
type AuditCode string

// What an audit may find.
const (
	AuditLogViolated   AuditCode = "log_violated"        // the public log contradicts itself or its checkpoint
	AuditNotOpened     AuditCode = "leaf_not_opened"     // neither opens nor is covered by an erasure
	AuditErasedOpens   AuditCode = "erased_leaf_opens"   // covered by an erasure, and opens
	AuditEnvelope      AuditCode = "envelope_mismatch"   // the envelope is not the leaf's, or does not open
	AuditUnsealed      AuditCode = "envelope_missing"    // no envelope though a key was valid
	AuditCommitment    AuditCode = "commitment_mismatch" // what opens it is not what it commits to
	AuditPayload       AuditCode = "payload_malformed"
	AuditClass         AuditCode = "class_mismatch" // the leaf's class is not that of its kind
	AuditTime          AuditCode = "time_runs_back"
	AuditHousehold     AuditCode = "household_gap"    // an event of a household is missing, repeated or out of order
	AuditRecipient     AuditCode = "recipient_gap"    // the same in a recipient's chain, and no erasure explains it
	AuditErasure       AuditCode = "erasure_mismatch" // an erasure names what is not there
	AuditConsent       AuditCode = "consent_out_of_order"
	AuditNoGrant       AuditCode = "access_without_grant"
	AuditRevoked       AuditCode = "access_after_revocation"
	AuditExpired       AuditCode = "access_after_end"
	AuditSuspended     AuditCode = "access_while_suspended"
	AuditWider         AuditCode = "access_wider_than_granted"
	AuditReleasedTwice AuditCode = "released_twice"
	AuditUnpaid        AuditCode = "release_unpaid" // no budget was spent on record before it
	AuditBudget        AuditCode = "budget_exceeded"
	AuditMapRoot       AuditCode = "map_root"  // the published list does not lead to the recorded root
	AuditMapValue      AuditCode = "map_value" // the map says another end of a chain than the events do
	AuditMapKey        AuditCode = "map_key"   // an entry of the map belongs to nobody, or somebody's is missing
)

// AuditFinding is one thing that is wrong.
type AuditFinding struct {
	Index uint64 // of the leaf; NoIndex where it is none
	Code  AuditCode
	What  string
}

// AuditReport is what AuditLog has established.
type AuditReport struct {
	Log      Report
	Opened   uint64
	Erased   uint64
	Kinds    map[Kind]uint64
	Own      uint64                       // readings by households themselves; not among the accesses
	Accesses map[string]map[string]uint64 // by recipient and purpose
	Refusals map[string]uint64            // by reason
	RhoNano  map[int]uint64               // spent, by calendar year; what touches two years counts in both
	MapSize  uint64
	Findings []AuditFinding // in the order found
	More     uint64         // findings beyond the limit

	MaxDayRhoNano uint64 // the most that a UTC day was charged
	MaxDay        int32  // that day (since 1970), the earliest of equals; nothing if none was charged
}

// AuditLog checks a whole log as a regulator: the public log leaf by leaf, and that
// every leaf opens with the regulator's own keys or is covered by an erasure; then
// what was decided: chains of households and recipients without a gap, no access
// outside a consent that stood at that leaf, no budget overspent, and the map of
// households rebuilt from what was opened. It trusts nothing but the log's public
// keys. Findings are in the report; the error says that something could not be
// read. It keeps the ends of chains and consents in memory, never the payloads.
func AuditLog(ctx context.Context, v *Verifier, log TileSource, src AuditSource, keys []EnvelopePrivateKey, opt AuditOptions) (AuditReport, error) {
	a := newAudit(v.Origin(), keys, opt)
	head, entries, err := src.Map(ctx)
	switch {
	case errors.Is(err, ErrNoMapHead):
	case err != nil:
		return a.report, fmt.Errorf("reading the map: %w", err)
	default:
		a.mapHead, a.mapEntries, a.mapped = head, entries, true
	}
	next, stop := iter.Pull2(src.Records(ctx))
	defer stop()
	var rec AuditRecord
	var failed error
	have, ended := false, false
	verify := opt.Verify
	verify.Leaf = func(index uint64, leaf Leaf) {
		if !have && !ended && failed == nil {
			var err error
			rec, err, have = next()
			ended = !have
			if have && err != nil {
				failed, have = err, false
			}
		}
		switch {
		case failed != nil:
		case have && rec.Index == index:
			have = false
			a.opened(index, leaf, rec)
		default:
			a.skipped(index, leaf)
		}
		if opt.Verify.Leaf != nil {
			opt.Verify.Leaf(index, leaf)
		}
	}
	a.report.Log, err = VerifyLog(ctx, v, log, verify)
	var violation *Violation
	switch {
	case failed != nil:
		return a.report, fmt.Errorf("reading records: %w", failed)
	case errors.As(err, &violation):
		a.find(violation.Index, AuditLogViolated, "%s", violation.What)
		return a.report, nil
	case err != nil:
		return a.report, err
	}
	a.finish()
	return a.report, nil
}

// audit is an audit under way.
type audit struct {
	opt    AuditOptions
	opener *EnvelopeOpener
	report AuditReport

	time       int64
	posted     []Payload               // envelope keys
	absent     map[uint64]Hash         // leaves that did not open
	public     map[uint64]Class        // those of them that concern no household
	covered    map[uint64]erasedAt     // by erasures
	households map[string]*auditChain  // by household
	recipients map[string]*auditChain  // by recipient
	gaps       []auditGap              // in recipients' chains
	consents   map[string]auditConsent // by id
	released   map[releaseName]bool
	paid       map[auditCharge]uint64 // how often: paid and not yet released
	parts      map[auditCharge]bool   // paid for, and released in parts
	paying     bool                   // budget is paid on record
	days       map[int32]uint64       // charged to each UTC day, nano-ρ
	tombstones map[Hash]uint64        // map keys that erasures name, and the erasure's leaf

	mapped     bool // whether there is a map head
	mapHead    uint64
	mapEntries []MapEntry
	recent     []chainChange // the newest changes of households' chains
	dropped    uint64        // index of the newest change that recent has lost, plus 1
	expected   map[Hash]Hash // the map as the events have it, when its head was met
	head       *Payload      // of the map head
}

type erasedAt struct {
	Erased
	leaf uint64 // of the erasure
}

// auditChain is the end of a chain, and of a household where it is in the map.
type auditChain struct {
	link   Link
	mapKey Hash
}

// auditGap is a run of missing numbers in a recipient's chain.
type auditGap struct {
	index     uint64 // of the leaf after it
	recipient string
	from, to  uint64 // missing, both included
	prev      Hash   // what the leaf after it says the last of them is
}

// chainChange is the end of a household's chain before a leaf.
type chainChange struct {
	index     uint64
	household string
	before    auditChain
}

// keptChanges is how many changes are kept to go back from a map head to the
// leaves that it covers: a map head covers what was recorded before its batch.
const keptChanges = 1 << 16

const defaultFindings = 1000

func newAudit(origin string, keys []EnvelopePrivateKey, opt AuditOptions) *audit {
	if opt.Limit <= 0 {
		opt.Limit = defaultFindings
	}
	return &audit{
		opt: opt, opener: NewEnvelopeOpener(origin, keys...),
		absent: make(map[uint64]Hash), public: make(map[uint64]Class), covered: make(map[uint64]erasedAt),
		households: make(map[string]*auditChain), recipients: make(map[string]*auditChain),
		consents: make(map[string]auditConsent), released: make(map[releaseName]bool), paid: make(map[auditCharge]uint64), parts: make(map[auditCharge]bool), days: make(map[int32]uint64), tombstones: make(map[Hash]uint64),
		report: AuditReport{
			Kinds: make(map[Kind]uint64), Accesses: make(map[string]map[string]uint64), Refusals: make(map[string]uint64), RhoNano: make(map[int]uint64),
		},
	}
}

func (a *audit) find(index uint64, code AuditCode, format string, args ...any) {
	if len(a.report.Findings) == a.opt.Limit {
		a.report.More++
		return
	}
	a.report.Findings = append(a.report.Findings, AuditFinding{index, code, fmt.Sprintf(format, args...)})
}

// skipped takes in a leaf that did not open.
func (a *audit) skipped(index uint64, leaf Leaf) {
	a.absent[index] = leaf.Hash()
	if leaf.Class != ClassEvent {
		a.public[index] = leaf.Class
	}
}

// opened takes in a leaf with what is said to open it.
func (a *audit) opened(index uint64, leaf Leaf, rec AuditRecord) {
	for _, h := range rec.Heads {
		if a.opener.AddHead(h) != nil {
			a.find(index, AuditEnvelope, "the head of its batch does not open")
		}
	}
	payload, nonce, mapKey := rec.Payload, rec.Nonce, rec.MapKey
	switch sealed := leaf.Envelope != (Hash{}); {
	case sealed && sha256.Sum256(rec.Envelope) != leaf.Envelope:
		a.find(index, AuditEnvelope, "the envelope is another than the leaf names")
		a.skipped(index, leaf)
		return
	case sealed:
		var err error
		if payload, nonce, mapKey, err = a.opener.Open(index, rec.Envelope); err != nil {
			a.find(index, AuditEnvelope, "%v", err)
			a.skipped(index, leaf)
			return
		}
	}
	if Commit(nonce, payload) != leaf.Commitment {
		a.find(index, AuditCommitment, "what opens it is not what it commits to")
		a.skipped(index, leaf)
		return
	}
	p, err := DecodePayload(payload)
	if err != nil {
		a.find(index, AuditPayload, "%v", err)
		return
	}
	a.report.Opened++
	if a.opt.Record != nil {
		a.opt.Record(index, p)
	}
	if p.Kind.Class() != leaf.Class {
		a.find(index, AuditClass, "a leaf of class %s holds a payload of kind %s", leaf.Class, p.Kind)
	}
	if p.Time < a.time {
		a.find(index, AuditTime, "it is older than the leaf before it")
	}
	a.time = max(a.time, p.Time)
	if leaf.Envelope == (Hash{}) && a.keyValid(p.Time) {
		a.find(index, AuditUnsealed, "it has no envelope though a regulator's key was valid")
	}
	a.chains(index, leaf, p, nonce, mapKey)
	a.decided(index, p)
}

// keyValid reports whether a key that had been posted was valid at an instant,
// unix µs.
func (a *audit) keyValid(at int64) bool {
	for _, k := range a.posted {
		if k.From*1e6 <= at && at < k.Until*1e6 {
			return true
		}
	}
	return false
}

// decided checks what a payload says against what was decided before it.
func (a *audit) decided(index uint64, p Payload) {
	switch {
	case p.Kind == KindAccess && p.Recipient == "":
		a.report.Own++
	default:
		a.report.Kinds[p.Kind]++
	}
	switch p.Kind {
	case KindConsentRequest, KindConsentGrant, KindConsentDeny, KindConsentNarrow, KindConsentRevoke, KindConsentExpire,
		KindConsentExtend, KindConsentSuspend, KindConsentResume, KindConsentTerminate, KindConsentFulfil, KindConsentInvalidate:
		a.consent(index, p)
	case KindAccess:
		a.access(index, p)
	case KindAccessDenied:
		a.report.Refusals[p.Reason]++
	case KindRelease:
		a.release(index, p)
	case KindBudgetSpend:
		a.spend(index, p)
	case KindErasure:
		for _, e := range p.Erased {
			if _, absent := a.absent[e.Index]; !absent || e.Index >= index {
				a.find(index, AuditErasedOpens, "it names leaf %d as erased, which opens", e.Index)
			}
			a.covered[e.Index] = erasedAt{e, index}
		}
		for _, k := range p.MapKeys {
			a.tombstones[k] = index
		}
	case KindAdmin:
		if p.Detail == DetailEnvelopeKey {
			a.posted = append(a.posted, p)
		}
	case KindMapHead:
		if a.mapped && index == a.mapHead {
			a.snapshot(p)
		}
	case KindRekey:
	}
}

// finish checks what only the whole log tells.
func (a *audit) finish() {
	a.report.Erased = uint64(len(a.absent))
	for index := range a.report.Log.Size {
		if _, absent := a.absent[index]; !absent {
			continue
		}
		class, public := a.public[index]
		switch _, covered := a.covered[index]; {
		case !covered:
			a.find(index, AuditNotOpened, "it neither opens nor was it erased")
		case public:
			a.find(index, AuditErasure, "it was erased, and is of class %s: no household has it", class)
		}
	}
	a.checkGaps()
	a.checkMap()
}
