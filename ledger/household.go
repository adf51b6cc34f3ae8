package ledger

import (
	"context"
	"fmt"
)

// HouseholdRecord is what a household needs to know that it has been shown every
// event of its own: its secret, the events, and the proof of how they end.
type HouseholdRecord struct {
	Household string
	TagKeys   []TagKey         // its secret (K_hh), oldest generation first
	Events    []HouseholdEvent // all, oldest first

	// The newest map head: payload, nonce and tlog-proof of its leaf, and what the
	// map says of the household.
	MapPayload []byte
	MapNonce   Hash
	MapReceipt []byte
	MapProof   MapProof
}

// HouseholdEvent opens one leaf of a household.
type HouseholdEvent struct {
	Index    uint64
	Payload  []byte
	Nonce    Hash
	Envelope Hash // as it stands in the leaf
}

// HouseholdReport is what a household's record has established.
type HouseholdReport struct {
	Events   uint64            // in all
	Newer    uint64            // of them not yet in the map
	Kinds    map[Kind]uint64   // of all events; own readings are not among the accesses
	Own      uint64            // readings by the household itself
	Accesses map[string]uint64 // third parties' accesses, by recipient
	MapHead  uint64            // leaf index
	Size     uint64            // of the tree that the signed checkpoint is over
	Root     Hash
}

// Household checks offline, from the household's own secret, that its record is
// whole: every event is tagged with the secret, opens its leaf, has its number and
// follows the one before; and the chain ends where the map of a signed map head
// says it does. A failure is a *Violation that names the event's leaf.
//
// Events that are newer than the map head are checked like all others, but the map
// does not yet vouch that there are no more of them; they are counted apart.
func (v *Verifier) Household(rec HouseholdRecord) (HouseholdReport, error) {
	report := HouseholdReport{Events: uint64(len(rec.Events)), Kinds: make(map[Kind]uint64), Accesses: make(map[string]uint64)}
	head, err := v.Proof(rec.MapPayload, rec.MapNonce, rec.MapReceipt)
	if err != nil {
		return report, &Violation{Index: NoIndex, What: "the map head's receipt", Err: err}
	}
	if head.Payload.Kind != KindMapHead {
		return report, &Violation{Index: head.Index, What: "the receipt is not of a map head"}
	}
	report.MapHead, report.Size, report.Root = head.Index, head.Size, head.Root
	var end, vouched Link // of all events, and of those that the map knows of
	var last uint64
	var lastTime int64
	for i, e := range rec.Events {
		p, err := rec.event(i, end, last, lastTime)
		if err != nil {
			return report, err
		}
		last, lastTime = e.Index, p.Time
		end.Seq, end.Head, end.Nonce = p.SubjectSeq, e.leaf(p, rec.TagKeys).Hash(), e.Nonce
		switch {
		case p.Kind == KindAccess && p.Recipient == "":
			report.Own++
		case p.Kind == KindAccess:
			end.Accesses++
			report.Accesses[p.Recipient]++
			report.Kinds[p.Kind]++
		default:
			report.Kinds[p.Kind]++
		}
		if e.Index < head.Payload.MapUntil {
			vouched = end
		}
	}
	report.Newer = end.Seq - vouched.Seq
	return report, rec.checkMap(head.Payload, head.Index, vouched)
}

// event opens the i-th event and checks its place after end.
func (rec *HouseholdRecord) event(i int, end Link, last uint64, lastTime int64) (Payload, error) {
	e := rec.Events[i]
	bad := func(format string, a ...any) (Payload, error) {
		return Payload{}, &Violation{Index: e.Index, What: fmt.Sprintf("event %d: ", i+1) + fmt.Sprintf(format, a...)}
	}
	p, err := DecodePayload(e.Payload)
	switch {
	case err != nil:
		return bad("%v", err)
	case p.Subject != rec.Household:
		return bad("it is another household's")
	case p.SubjectSeq != end.Seq+1:
		return bad("it is number %d of the household's chain: something is missing, repeated or out of order", p.SubjectSeq)
	case p.SubjectPrev != end.Head:
		return bad("it does not follow the event that was shown before it")
	case i > 0 && e.Index <= last:
		return bad("its leaf comes before that of the event before it")
	case p.Time < lastTime:
		return bad("it is older than the event before it")
	}
	rekeyed := false
	for _, k := range rec.TagKeys {
		rekeyed = rekeyed || k.FromSeq == p.SubjectSeq && k.FromSeq > 1
	}
	if rekeyed != (p.Kind == KindRekey) {
		return bad("the household's secret and its changes do not fit")
	}
	return p, nil
}

// leaf rebuilds the public leaf from what the household knows.
func (e HouseholdEvent) leaf(p Payload, keys []TagKey) Leaf {
	key, _ := TagKeyOf(keys, p.SubjectSeq)
	return Leaf{
		Class: p.Kind.Class(), Tag: SubjectTag(key, p.SubjectSeq),
		Commitment: Commit(e.Nonce, e.Payload), Envelope: e.Envelope,
	}
}

// checkMap checks that the map ends the household's chain with link.
func (rec *HouseholdRecord) checkMap(head Payload, index uint64, link Link) error {
	key, ok := TagKeyOf(rec.TagKeys, max(link.Seq, 1))
	if !ok {
		return &Violation{Index: NoIndex, What: "the record holds no secret of the household"}
	}
	err := VerifyMap(head.Digest, MapKey(key), MapValue(link), link.Seq > 0, rec.MapProof)
	if err != nil {
		return &Violation{
			Index: index, Err: err,
			What: fmt.Sprintf("the map does not end the household's chain with event %d: an event is missing, or was changed", link.Seq),
		}
	}
	return nil
}

// FindOwn reads the whole log, as VerifyLog does, and finds every leaf that is
// tagged with the household's secret. They must be the events of the record, leaf
// for leaf: what the hub showed is in the log, and what is in the log was shown.
func FindOwn(ctx context.Context, v *Verifier, src TileSource, rec HouseholdRecord, opt VerifyOptions) (Report, error) {
	// The tags of events that were not shown are looked for as well, and of those
	// that a former member of the household could still recognise.
	const beyond = 1024
	tags := make(map[Hash]uint64)
	for _, k := range rec.TagKeys {
		for seq := k.FromSeq; seq <= uint64(len(rec.Events))+beyond; seq++ {
			tags[SubjectTag(k.Key, seq)] = seq
		}
	}
	found := make(map[uint64]Leaf)
	var violation *Violation
	inner := opt.Leaf
	opt.Leaf = func(index uint64, leaf Leaf) {
		if inner != nil {
			inner(index, leaf)
		}
		seq, own := tags[leaf.Tag]
		switch {
		case !own || violation != nil:
		case seq > uint64(len(rec.Events)) || rec.Events[seq-1].Index != index:
			violation = &Violation{Index: index, What: fmt.Sprintf("the log holds an event %d of the household that was not shown", seq)}
		default:
			found[index] = leaf
		}
	}
	report, err := VerifyLog(ctx, v, src, opt)
	if err != nil {
		return report, err
	}
	if violation != nil {
		return report, violation
	}
	for i, e := range rec.Events {
		p, err := DecodePayload(e.Payload)
		if err != nil {
			return report, &Violation{Index: e.Index, What: fmt.Sprintf("event %d", i+1), Err: err}
		}
		if leaf, ok := found[e.Index]; !ok && e.Index < report.Size || ok && leaf != e.leaf(p, rec.TagKeys) {
			return report, &Violation{Index: e.Index, What: fmt.Sprintf("event %d is not in the log as it was shown", i+1)}
		}
	}
	return report, nil
}
