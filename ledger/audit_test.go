package ledger_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// shownToRegulator is what a hub shows a regulator, which a test may damage.
type shownToRegulator struct {
	head    uint64
	entries []ledger.MapEntry
	noMap   bool
	records []ledger.AuditRecord
}

func (s *shownToRegulator) Map(context.Context) (uint64, []ledger.MapEntry, error) {
	if s.noMap {
		return 0, nil, ledger.ErrNoMapHead
	}
	return s.head, s.entries, nil
}

func (s *shownToRegulator) Records(context.Context) iter.Seq2[ledger.AuditRecord, error] {
	return func(yield func(ledger.AuditRecord, error) bool) {
		for _, r := range s.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// toRegulator is what an honest hub shows.
func (w *town) toRegulator() *shownToRegulator {
	w.Helper()
	s := &shownToRegulator{}
	var err error
	if s.head, s.entries, err = w.mapper.List(); errors.Is(err, ledger.ErrNoMapHead) {
		s.noMap = true
	} else if err != nil {
		w.Fatal(err)
	}
	heads := make(map[uint64][]ledger.EnvelopeHead)
	for _, h := range w.store.EnvelopeHeads() {
		heads[h.FirstIndex] = append(heads[h.FirstIndex], h)
	}
	for i := range uint64(1 << 20) {
		e, err := w.store.ReadEntry(w.Context(), i)
		if errors.Is(err, ledger.ErrNoEntry) {
			break
		}
		if errors.Is(err, ledger.ErrErased) {
			continue
		}
		if err != nil {
			w.Fatal(err)
		}
		r := ledger.AuditRecord{Heads: heads[i], Index: i, Envelope: e.Envelope}
		if e.Envelope == nil {
			r.Payload, r.Nonce = e.Payload, e.Nonce
			if e.Subject != "" {
				p, err := ledger.DecodePayload(e.Payload)
				if err != nil {
					w.Fatal(err)
				}
				key, _ := ledger.TagKeyOf(w.store.TagKeys(e.Subject), p.SubjectSeq)
				r.MapKey = ledger.MapKey(key)
			}
		}
		s.records = append(s.records, r)
	}
	return s
}

func (w *town) audit(src ledger.AuditSource, opt ledger.AuditOptions) ledger.AuditReport {
	w.Helper()
	report, err := ledger.AuditLog(w.Context(), w.verifier, ledger.ReaderSource(w.store), src, []ledger.EnvelopePrivateKey{regulator(w, 1).private}, opt)
	if err != nil {
		w.Fatal(err)
	}
	return report
}

const year2026 = 1_798_761_600 // its end, unix s

// agreed is a step in the life of a consent of household h to the adviser.
func agreed(h string, k ledger.Kind) ledger.Payload {
	return ledger.Payload{
		Kind: k, Subject: h, Recipient: "adviser", Consent: "c-" + h, Purpose: "advice", UsagePoints: []string{h + "-1", h + "-2"},
		Registers: []string{"1-0:1.29.0*255"}, Granularity: "hour", From: 1000, Until: 9000, PermissionUntil: year2026, Terms: sequence(9),
	}
}

// reads is an access within it.
func reads(h string) ledger.Payload {
	p := agreed(h, ledger.KindAccess)
	p.From, p.Until, p.UsagePoints = 2000, 3000, p.UsagePoints[:1]
	return p
}

func own(h string) ledger.Payload {
	return ledger.Payload{Kind: ledger.KindAccess, Subject: h, Purpose: "self", Session: sequence(3), Granularity: "interval"}
}

func released(day int32, rho uint64) ledger.Payload {
	return ledger.Payload{Kind: ledger.KindRelease, Product: "day-curve", Day: day, Nodes: 37, RhoNano: rho, Digest: sequence(4)}
}

// paid is what comes before a release.
func paid(day int32, rho uint64) ledger.Payload {
	return ledger.Payload{Kind: ledger.KindBudgetSpend, Product: "day-curve", Day: day, RhoNano: rho}
}

// chronicle is a log in which everything happens that may: agreements, reads and
// refusals, releases, an erasure, a change of secret, and map heads in between.
func chronicle(t *testing.T, sealed bool) *town {
	w := newTown(t, "a", "b", "c")
	if !sealed {
		w = newOpenTown(t, "a", "b", "c")
	}
	narrower := agreed("b", ledger.KindConsentNarrow)
	narrower.UsagePoints, narrower.Granularity, narrower.Terms = narrower.UsagePoints[:1], "day", sequence(10)
	less := narrower
	less.Kind, less.From, less.Until = ledger.KindAccess, 2000, 3000
	w.record(agreed("a", ledger.KindConsentRequest), agreed("b", ledger.KindConsentRequest), agreed("a", ledger.KindConsentGrant), agreed("c", ledger.KindConsentRequest))
	w.record(agreed("b", ledger.KindConsentGrant), agreed("c", ledger.KindConsentGrant))
	w.tick()
	w.record(paid(20454, 18_000_000), paid(20454, 18_000_000), released(20454, 18_000_000), reads("a"), reads("b"), own("a"), reads("c"), of("b", ledger.KindRekey), narrower, less)
	w.tick()
	w.erase("c")
	w.record(agreed("a", ledger.KindConsentRevoke), ledger.Payload{Kind: ledger.KindAccessDenied, Subject: "a", Recipient: "adviser", Consent: "c-a", Reason: "revoked"}, paid(20455, 18_000_000), released(20455, 18_000_000))
	w.tick()
	w.record(own("b"))
	return w
}

// newOpenTown is a town whose regulator has posted no key: everything is opened by
// the hub, so that a test can forge what it likes.
func newOpenTown(t *testing.T, households ...string) *town {
	w := newTown(t, households...)
	w.seq.Close()
	w.seq = start(t, w.store, mustSigner(t), ledger.Options{})
	w.mapper = ledger.NewMapper(ledger.MapStore[*memTx](w.store), w.seq)
	return w
}

// An honest log passes, sealed or not, and the report counts what there was, own
// readings apart.
func TestAudit(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		w := chronicle(t, sealed)
		r := w.audit(w.toRegulator(), ledger.AuditOptions{YearlyCapNano: 54_000_000})
		for _, f := range r.Findings {
			t.Errorf("sealed %v: %d %s: %s", sealed, f.Index, f.Code, f.What)
		}
		if r.Opened+r.Erased != r.Log.Size || r.Erased != 3 || r.Own != 2 || r.Accesses["adviser"]["advice"] != 3 || r.Refusals["revoked"] != 1 ||
			r.RhoNano[2026] != 54_000_000 || r.Kinds[ledger.KindMapHead] != 3 || r.MapSize != 3 {
			t.Errorf("sealed %v: report %+v", sealed, r)
		}
	}
}

// Without its key a regulator opens nothing, and says so of every leaf.
func TestAuditWithAnotherKey(t *testing.T) {
	w := chronicle(t, true)
	r, err := ledger.AuditLog(t.Context(), w.verifier, ledger.ReaderSource(w.store), w.toRegulator(), []ledger.EnvelopePrivateKey{regulator(t, 9).private}, ledger.AuditOptions{Limit: 5})
	if err != nil || r.Opened != 0 || len(r.Findings) != 5 || r.Findings[0].Code != ledger.AuditEnvelope || r.More == 0 {
		t.Errorf("opened %d, %d findings and %d more, %v", r.Opened, len(r.Findings), r.More, err)
	}
}

// has fails unless a finding of that code at that leaf is among the report's.
func has(t *testing.T, what string, r ledger.AuditReport, code ledger.AuditCode, index uint64) {
	t.Helper()
	if !slices.ContainsFunc(r.Findings, func(f ledger.AuditFinding) bool { return f.Code == code && f.Index == index }) {
		t.Errorf("%s: findings %+v, want %s at %d", what, r.Findings, code, index)
	}
}

// What a hub withholds from a regulator or passes off as something else is named,
// leaf by leaf.
func TestAuditOfWhatIsShown(t *testing.T) {
	w := chronicle(t, true)
	for name, c := range map[string]struct {
		edit func(*shownToRegulator)
		code ledger.AuditCode
		at   uint64
	}{
		"a record withheld":    {func(s *shownToRegulator) { s.records = slices.Delete(s.records, 4, 5) }, ledger.AuditNotOpened, s5(w)},
		"an envelope withheld": {func(s *shownToRegulator) { s.records[2].Envelope = nil }, ledger.AuditEnvelope, 2},
		"an envelope changed":  {func(s *shownToRegulator) { s.records[2].Envelope = append([]byte{1}, s.records[2].Envelope...) }, ledger.AuditEnvelope, 2},
		"another's envelope":   {func(s *shownToRegulator) { s.records[2].Envelope = s.records[0].Envelope }, ledger.AuditEnvelope, 2},
		"a head withheld":      {func(s *shownToRegulator) { s.records[0].Heads = nil }, ledger.AuditEnvelope, 0},
		"a head damaged": {func(s *shownToRegulator) {
			s.records[0].Heads = []ledger.EnvelopeHead{{KeyID: regulator(t, 1).posted.ID}}
		}, ledger.AuditEnvelope, 0},
		"a map entry withheld":  {func(s *shownToRegulator) { s.entries = s.entries[1:] }, ledger.AuditMapRoot, w.toRegulator().head},
		"a map entry changed":   {func(s *shownToRegulator) { s.entries = slices.Clone(s.entries); s.entries[0].Value[0] ^= 1 }, ledger.AuditMapRoot, w.toRegulator().head},
		"another map head":      {func(s *shownToRegulator) { s.head -= 3 }, ledger.AuditMapRoot, w.toRegulator().head - 3},
		"a map head withheld":   {func(s *shownToRegulator) { s.records = s.records[:len(s.records)-2] }, ledger.AuditMapRoot, w.toRegulator().head},
		"the public log itself": {func(*shownToRegulator) {}, "", 0},
	} {
		s := w.toRegulator()
		s.records = slices.Clone(s.records)
		c.edit(s)
		r := w.audit(s, ledger.AuditOptions{})
		if c.code != "" {
			has(t, name, r, c.code, c.at)
		} else if len(r.Findings) > 0 {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
	damaged := rowsOf(t, w.store)
	damaged.leaves[3].Tag[0] ^= 1
	r, err := ledger.AuditLog(t.Context(), w.verifier, ledger.ReaderSource(damaged), w.toRegulator(), nil, ledger.AuditOptions{})
	if err != nil || len(r.Findings) == 0 || r.Findings[len(r.Findings)-1].Code != ledger.AuditLogViolated {
		t.Errorf("a damaged log: %+v, %v", r.Findings, err)
	}
}

// s5 is the index of the fifth record that is shown.
func s5(w *town) uint64 { return w.toRegulator().records[4].Index }

// What a hub records against the rules is found, although every leaf opens: each
// case goes through the sequencer, which does not judge.
func TestAuditOfDecisions(t *testing.T) {
	wider := func(edit func(*ledger.Payload)) ledger.Payload {
		p := reads("a")
		edit(&p)
		return p
	}
	granted := []ledger.Payload{agreed("a", ledger.KindConsentRequest), agreed("a", ledger.KindConsentGrant)}
	revoked := append(slices.Clone(granted), agreed("a", ledger.KindConsentRevoke))
	more := agreed("a", ledger.KindConsentGrant)
	more.Until = 10_000
	wide := agreed("a", ledger.KindConsentNarrow)
	wide.UsagePoints = append(slices.Clone(wide.UsagePoints), "a-3")
	suspended := append(slices.Clone(granted), agreed("a", ledger.KindConsentSuspend))
	extended := agreed("a", ledger.KindConsentExtend)
	extended.UsagePoints = append(slices.Clone(extended.UsagePoints), "a-3")
	once := slices.Clone(granted)
	for i := range once {
		once[i].Conditions = ledger.ConditionOnce
	}
	often := agreed("a", ledger.KindConsentGrant)
	short := []ledger.Payload{agreed("a", ledger.KindConsentRequest), agreed("a", ledger.KindConsentGrant)}
	for i := range short {
		short[i].PermissionUntil = 1_767_225_600
	}
	for name, c := range map[string]struct {
		before []ledger.Payload
		last   ledger.Payload
		code   ledger.AuditCode
	}{
		"no consent":              {nil, reads("a"), ledger.AuditNoGrant},
		"asked only":              {granted[:1], reads("a"), ledger.AuditNoGrant},
		"another's consent":       {granted, wider(func(p *ledger.Payload) { p.Recipient = "aggregator" }), ledger.AuditNoGrant},
		"another household's":     {granted, wider(func(p *ledger.Payload) { p.Subject = "b" }), ledger.AuditNoGrant},
		"nobody's":                {granted, wider(func(p *ledger.Payload) { p.Recipient = "" }), ledger.AuditNoGrant},
		"revoked":                 {revoked, reads("a"), ledger.AuditRevoked},
		"ended":                   {short, reads("a"), ledger.AuditExpired},
		"expired":                 {append(slices.Clone(granted), agreed("a", ledger.KindConsentExpire)), reads("a"), ledger.AuditExpired},
		"ended by another":        {append(slices.Clone(granted), agreed("a", ledger.KindConsentTerminate)), reads("a"), ledger.AuditExpired},
		"fulfilled":               {append(slices.Clone(granted), agreed("a", ledger.KindConsentFulfil)), reads("a"), ledger.AuditExpired},
		"taken back":              {append(slices.Clone(granted[:1]), agreed("a", ledger.KindConsentInvalidate)), agreed("a", ledger.KindConsentGrant), ledger.AuditConsent},
		"on hold":                 {suspended, reads("a"), ledger.AuditSuspended},
		"narrowed on hold":        {suspended, agreed("a", ledger.KindConsentNarrow), ledger.AuditConsent},
		"extended unasked":        {granted, extended, ledger.AuditConsent},
		"once became often":       {once[:1], often, ledger.AuditConsent},
		"another purpose":         {granted, wider(func(p *ledger.Payload) { p.Purpose = "sale" }), ledger.AuditWider},
		"another usage point":     {granted, wider(func(p *ledger.Payload) { p.UsagePoints = []string{"b-1"} }), ledger.AuditWider},
		"another register":        {granted, wider(func(p *ledger.Payload) { p.Registers = append(p.Registers, "1-0:2.29.0*255") }), ledger.AuditWider},
		"finer":                   {granted, wider(func(p *ledger.Payload) { p.Granularity = "interval" }), ledger.AuditWider},
		"longer":                  {granted, wider(func(p *ledger.Payload) { p.Until = 9001 }), ledger.AuditWider},
		"other terms":             {granted, wider(func(p *ledger.Payload) { p.Terms = sequence(8) }), ledger.AuditWider},
		"granted more than asked": {granted[:1], more, ledger.AuditConsent},
		"widened":                 {granted, wide, ledger.AuditConsent},
		"granted unasked":         {nil, agreed("a", ledger.KindConsentGrant), ledger.AuditConsent},
		"revived":                 {revoked, agreed("a", ledger.KindConsentGrant), ledger.AuditConsent},
		"released twice":          {[]ledger.Payload{released(20454, 1)}, released(20454, 1), ledger.AuditReleasedTwice},
		"budget":                  {[]ledger.Payload{released(20454, 60)}, released(20455, 41), ledger.AuditBudget},
		"budget for nothing":      {[]ledger.Payload{paid(20454, 60), released(20454, 60)}, paid(20455, 41), ledger.AuditBudget},
		"one payment twice":       {[]ledger.Payload{paid(20454, 6), released(20454, 6)}, released(20455, 6), ledger.AuditUnpaid},
		"paid for less":           {[]ledger.Payload{paid(20454, 6)}, released(20454, 7), ledger.AuditUnpaid},
		"budget beyond numbers":   {[]ledger.Payload{released(20454, 60)}, released(20455, 1<<64-1), ledger.AuditBudget},
		"erased what opens":       {granted, ledger.Payload{Kind: ledger.KindErasure, Erased: []ledger.Erased{{Index: 1}}}, ledger.AuditErasedOpens},
		"erased what is to come":  {granted, ledger.Payload{Kind: ledger.KindErasure, Erased: []ledger.Erased{{Index: 99}}}, ledger.AuditErasedOpens},
	} {
		w := newTown(t, "a", "b")
		w.record(c.before...)
		w.record(c.last)
		r := w.audit(w.toRegulator(), ledger.AuditOptions{YearlyCapNano: 100})
		has(t, name, r, c.code, uint64(len(c.before)))
	}
	// A hold that ended, a usage point that came to who includes such, and the first of
	// one reading are as they should be.
	life := []ledger.Payload{agreed("a", ledger.KindConsentRequest), agreed("a", ledger.KindConsentGrant), extended}
	for i := range life {
		life[i].Conditions = ledger.ConditionFuture | ledger.ConditionOnce
	}
	read := reads("a")
	read.UsagePoints = extended.UsagePoints
	w := newTown(t, "a", "b")
	w.record(append(life, agreed("a", ledger.KindConsentSuspend), agreed("a", ledger.KindConsentResume), read, agreed("a", ledger.KindConsentFulfil))...)
	if r := w.audit(w.toRegulator(), ledger.AuditOptions{}); len(r.Findings) > 0 {
		t.Errorf("a long life: %+v", r.Findings)
	}
	// A payment is counted once, with its release or without.
	w = newTown(t)
	w.record(paid(20454, 40), paid(20454, 40), released(20454, 40), paid(20455, 20), released(20455, 20))
	if r := w.audit(w.toRegulator(), ledger.AuditOptions{YearlyCapNano: 100}); len(r.Findings) > 0 || r.RhoNano[2026] != 100 {
		t.Errorf("a payment for nothing, and two releases: %d nano-rho, %+v", r.RhoNano[2026], r.Findings)
	}
	// An erasure that names a charge does not make it undone.
	w = newTown(t)
	w.record(paid(20454, 60), paid(20454, 60), released(20454, 60), ledger.Payload{Kind: ledger.KindErasure, Erased: []ledger.Erased{{Index: 1}}})
	shown := w.toRegulator()
	shown.records[2].Heads = append(shown.records[1].Heads, shown.records[2].Heads...) // of its batch, where it began one
	shown.records = slices.Delete(shown.records, 1, 2)
	has(t, "a charge erased", w.audit(shown, ledger.AuditOptions{YearlyCapNano: 100}), ledger.AuditErasure, 1)
	// The years of a budget are apart.
	w = newTown(t)
	w.record(released(20453, 100), released(20454, 100)) // 2025-12-31 and 2026-01-01
	if r := w.audit(w.toRegulator(), ledger.AuditOptions{YearlyCapNano: 100}); len(r.Findings) > 0 {
		t.Errorf("two years: %+v", r.Findings)
	}
}

// forge rewrites an open town's log, leaf by leaf, and signs it anew: what somebody
// can do who holds the database and the log's key.
type forge struct {
	*town
	shown    *shownToRegulator
	payloads []ledger.Payload
	leaves   []ledger.Leaf
}

func newForge(t *testing.T) *forge {
	f := &forge{town: chronicle(t, false)}
	f.shown = f.toRegulator()
	f.leaves = rowsOf(t, f.store).leaves
	for _, r := range f.shown.records {
		p, err := ledger.DecodePayload(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		f.payloads = append(f.payloads, p)
	}
	return f
}

// at returns the position of the n-th record of that kind.
func (f *forge) at(k ledger.Kind, n int) int {
	for i, p := range f.payloads {
		if p.Kind == k {
			if n--; n < 0 {
				return i
			}
		}
	}
	f.Fatalf("no such record of kind %s", k)
	return 0
}

// rewrite encodes a payload anew, and the leaf over it.
func (f *forge) rewrite(i int) {
	f.Helper()
	r := &f.shown.records[i]
	var err error
	if r.Payload, err = f.payloads[i].Encode(); err != nil {
		f.Fatal(err)
	}
	l := &f.leaves[r.Index]
	l.Class, l.Commitment = f.payloads[i].Kind.Class(), ledger.Commit(r.Nonce, r.Payload)
}

func (f *forge) audited() ledger.AuditReport {
	f.Helper()
	r := &rows{leaves: f.leaves}
	r.retile()
	var hashes []ledger.Hash
	for _, l := range f.leaves {
		hashes = append(hashes, l.Hash())
	}
	signed, err := signerOf(f).Sign(f.Context(), ledger.Head{Origin: origin, Size: uint64(len(hashes)), Root: treeHash(hashes)})
	if err != nil {
		f.Fatal(err)
	}
	r.signed = signed
	report, err := ledger.AuditLog(f.Context(), f.verifier, ledger.ReaderSource(r), f.shown, nil, ledger.AuditOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return report
}

// A log that was rewritten and signed anew contradicts itself where it was
// rewritten: in the chains that go through it, and in the map.
func TestAuditOfForgedLogs(t *testing.T) {
	if r := newForge(t).audited(); len(r.Findings) > 0 {
		t.Fatalf("unchanged: %+v", r.Findings)
	}
	for name, c := range map[string]struct {
		edit func(*forge) (i int)
		code ledger.AuditCode
	}{
		"renumbered": {func(f *forge) int {
			i := f.at(ledger.KindAccess, 1)
			f.payloads[i].SubjectSeq++
			f.rewrite(i)
			return i
		}, ledger.AuditHousehold},
		"re-chained": {func(f *forge) int {
			i := f.at(ledger.KindAccess, 0)
			f.payloads[i].SubjectPrev = sequence(1)
			f.rewrite(i)
			return i
		}, ledger.AuditHousehold},
		"re-chained for its recipient": {func(f *forge) int {
			i := f.at(ledger.KindAccess, 0)
			f.payloads[i].RecipientPrev = sequence(1)
			f.rewrite(i)
			return i
		}, ledger.AuditRecipient},
		"renumbered for its recipient": {func(f *forge) int {
			i := f.at(ledger.KindAccessDenied, 0)
			f.payloads[i].RecipientSeq += 5
			f.rewrite(i)
			return i
		}, ledger.AuditRecipient},
		"dropped": {func(f *forge) int { // put a remark in its place
			i := f.at(ledger.KindAccess, 0)
			f.payloads[i] = ledger.Payload{Kind: ledger.KindAdmin, Time: f.payloads[i].Time, Detail: "nothing"}
			f.rewrite(i)
			return f.at(ledger.KindAccess, 1) // the own reading that follows it; see below
		}, ledger.AuditHousehold},
		"replayed": {func(f *forge) int {
			i := f.at(ledger.KindAccess, 1)
			f.payloads[i] = f.payloads[f.at(ledger.KindAccess, 0)]
			f.rewrite(i)
			return i
		}, ledger.AuditHousehold},
		"older": {func(f *forge) int {
			i := f.at(ledger.KindConsentRevoke, 0)
			f.payloads[i].Time = 1
			f.rewrite(i)
			return i
		}, ledger.AuditTime},
		"of another class": {func(f *forge) int {
			i := f.at(ledger.KindConsentRevoke, 0)
			f.leaves[f.shown.records[i].Index].Class = ledger.ClassAdmin
			return i
		}, ledger.AuditClass},
		"another nonce": {func(f *forge) int {
			f.shown.records[3].Nonce[0] ^= 1
			return 3
		}, ledger.AuditCommitment},
		"not a payload": {func(f *forge) int {
			r := &f.shown.records[3]
			r.Payload = []byte("x")
			f.leaves[r.Index].Commitment = ledger.Commit(r.Nonce, r.Payload)
			return 3
		}, ledger.AuditPayload},
		"erased too little": {func(f *forge) int {
			i := f.at(ledger.KindErasure, 0)
			e := f.payloads[i].Erased
			f.payloads[i].Erased = e[:2]
			f.rewrite(i)
			return -int(e[2].Index)
		}, ledger.AuditNotOpened},
		"erased another recipient's": {func(f *forge) int {
			i := f.at(ledger.KindErasure, 0)
			f.payloads[i].Erased = slices.Clone(f.payloads[i].Erased)
			f.payloads[i].Erased[1].Recipient = "somebody"
			f.rewrite(i)
			return -int(f.payloads[i].Erased[1].Index + 1)
		}, ledger.AuditRecipient},
		"tombstone of nobody": {func(f *forge) int {
			i := f.at(ledger.KindErasure, 0)
			f.payloads[i].MapKeys = append(slices.Clone(f.payloads[i].MapKeys), sequence(5))
			f.rewrite(i)
			return f.at(ledger.KindMapHead, 2)
		}, ledger.AuditMapKey},
		"no tombstone": {func(f *forge) int {
			i := f.at(ledger.KindErasure, 0)
			f.payloads[i].MapKeys = nil
			f.rewrite(i)
			return f.at(ledger.KindMapHead, 2)
		}, ledger.AuditMapKey},
		"map of other values": {func(f *forge) int {
			var m ledger.Map
			for i, e := range f.shown.entries {
				if f.shown.entries[i].Value = e.Value; i == 0 {
					f.shown.entries[i].Value[0] ^= 1
				}
				m.Set(e.Key, f.shown.entries[i].Value)
			}
			i := f.at(ledger.KindMapHead, 2)
			f.payloads[i].Digest = m.Root()
			f.rewrite(i)
			return i
		}, ledger.AuditMapValue},
		"map without a household": {func(f *forge) int {
			var m ledger.Map
			f.shown.entries = f.shown.entries[1:]
			for _, e := range f.shown.entries {
				m.Set(e.Key, e.Value)
			}
			i := f.at(ledger.KindMapHead, 2)
			f.payloads[i].Digest, f.payloads[i].MapSize = m.Root(), uint64(m.Len())
			f.rewrite(i)
			return i
		}, ledger.AuditMapKey},
		"map key changed": {func(f *forge) int {
			i := f.at(ledger.KindAccess, 0)
			f.shown.records[i].MapKey = sequence(2)
			return i
		}, ledger.AuditMapKey},
	} {
		f := newForge(t)
		i := c.edit(f)
		r := f.audited()
		switch {
		case i < 0:
			if !slices.ContainsFunc(r.Findings, func(x ledger.AuditFinding) bool { return x.Code == c.code }) {
				t.Errorf("%s: findings %+v, want %s", name, r.Findings, c.code)
			}
		default:
			has(t, name, r, c.code, f.shown.records[i].Index)
		}
	}
}

// A leaf without an envelope, while a regulator had a valid key, is hidden from it.
func TestAuditOfUnsealedLeaves(t *testing.T) {
	w := newOpenTown(t, "a")
	key := ledger.Payload{Kind: ledger.KindAdmin, Detail: ledger.DetailEnvelopeKey, Digest: sequence(1), From: 1_767_225_600, Until: year2026}
	w.record(agreed("a", ledger.KindConsentRequest), key, agreed("a", ledger.KindConsentGrant))
	r := w.audit(w.toRegulator(), ledger.AuditOptions{})
	has(t, "after the key", r, ledger.AuditUnsealed, 2)
	if len(r.Findings) != 1 {
		t.Errorf("findings %+v, want that of the grant alone", r.Findings)
	}
}

// A source that fails is an error, never an audit that passed.
func TestAuditFails(t *testing.T) {
	w := chronicle(t, true)
	if _, err := ledger.AuditLog(t.Context(), w.verifier, ledger.ReaderSource(w.store), brokenSource{}, nil, ledger.AuditOptions{}); !errors.Is(err, errOwnSource) {
		t.Errorf("records that fail: %v", err)
	}
}

var errOwnSource = errors.New("source failed")

type brokenSource struct{}

func (brokenSource) Map(context.Context) (uint64, []ledger.MapEntry, error) {
	return 0, nil, ledger.ErrNoMapHead
}

func (brokenSource) Records(context.Context) iter.Seq2[ledger.AuditRecord, error] {
	return func(yield func(ledger.AuditRecord, error) bool) { yield(ledger.AuditRecord{}, errOwnSource) }
}

// BenchmarkAudit measures a complete audit of a log of 100,000 sealed leaves.
func BenchmarkAudit(b *testing.B) {
	const households, rounds = 1000, 98
	store := ledgertest.NewMemory(origin)
	store.PutEnvelopeKey(regulator(b, 1).posted)
	signer, verifier, _ := newSigner(b, origin)
	s := ledger.NewSequencer(ledger.Store[*memTx](store), signer, ledger.Options{Now: ledgertest.Clock(), Rand: rand.Reader, Sealed: true})
	defer s.Close()
	for i := range households {
		store.PutSubjectKey(fmt.Sprint("h", i), sequence(byte(i)))
	}
	for r := range rounds + 2 {
		var batch []ledger.Proposal[*memTx]
		for i := range households {
			h := fmt.Sprint("h", i)
			p := reads(h)
			if r < 2 {
				p = agreed(h, []ledger.Kind{ledger.KindConsentRequest, ledger.KindConsentGrant}[r])
			}
			batch = append(batch, ledger.Proposal[*memTx]{RequestID: fmt.Sprint(r, "-", i), Func: payload(p)})
		}
		for _, o := range s.ProposeAll(b.Context(), batch) {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
		}
	}
	src := &shownToRegulator{noMap: true}
	heads := make(map[uint64][]ledger.EnvelopeHead)
	for _, h := range store.EnvelopeHeads() {
		heads[h.FirstIndex] = append(heads[h.FirstIndex], h)
	}
	for i := range uint64(households * (rounds + 2)) {
		e, err := store.ReadEntry(b.Context(), i)
		if err != nil {
			b.Fatal(err)
		}
		src.records = append(src.records, ledger.AuditRecord{Heads: heads[i], Index: i, Envelope: e.Envelope})
	}
	for b.Loop() {
		r, err := ledger.AuditLog(b.Context(), verifier, ledger.ReaderSource(store), src, []ledger.EnvelopePrivateKey{regulator(b, 1).private}, ledger.AuditOptions{})
		if err != nil || len(r.Findings) > 0 || r.Opened != households*(rounds+2) {
			b.Fatal(r.Opened, r.Findings, err)
		}
	}
}
