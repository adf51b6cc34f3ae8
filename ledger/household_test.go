package ledger_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
)

// town is a log with map heads, sealed to a regulator, in which households have
// events.
type town struct {
	*testing.T
	store    *ledgertest.Memory
	seq      *ledger.Sequencer[*memTx]
	mapper   *ledger.Mapper[*memTx]
	verifier *ledger.Verifier
	requests int
}

func newTown(t *testing.T, households ...string) *town {
	t.Helper()
	store := ledgertest.NewMemory(origin)
	for i, h := range households {
		store.PutSubjectKey(h, sequence(byte(40*i+1)))
	}
	store.PutEnvelopeKey(regulator(t, 1).posted)
	signer, verifier, _ := newSigner(t, origin)
	s := start(t, store, signer, ledger.Options{Sealed: true})
	return &town{t, store, s, ledger.NewMapper(ledger.MapStore[*memTx](store), s), verifier, 0}
}

// record records payloads in one batch, in order.
func (w *town) record(payloads ...ledger.Payload) {
	w.Helper()
	var batch []ledger.Proposal[*memTx]
	for _, p := range payloads {
		w.requests++
		batch = append(batch, ledger.Proposal[*memTx]{RequestID: fmt.Sprint("town-", w.requests), Func: payload(p)})
	}
	for _, o := range w.seq.ProposeAll(w.Context(), batch) {
		if o.Err != nil {
			w.Fatal(o.Err)
		}
	}
}

func of(h string, k ledger.Kind) ledger.Payload {
	p := ledger.Payload{Kind: k, Subject: h, Recipient: "adviser", Consent: "c-" + h}
	if k == ledger.KindRekey {
		p.Recipient, p.Consent = "", ""
	}
	return p
}

// tick writes a map head.
func (w *town) tick() {
	w.Helper()
	if wrote, err := w.mapper.Tick(w.Context()); err != nil || !wrote {
		w.Fatalf("map head written: %v, %v", wrote, err)
	}
}

// erase erases a household, with its leaf.
func (w *town) erase(h string) {
	w.Helper()
	w.requests++
	_, err := w.seq.Propose(w.Context(), fmt.Sprint("erase-", w.requests), func(_ context.Context, tx *memTx, _ ledger.Position) (ledger.Payload, error) {
		erased, keys := tx.Erase(h)
		return ledger.Payload{Kind: ledger.KindErasure, Erased: erased, MapKeys: keys}, nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// shown is the record that an honest hub shows a household.
func (w *town) shown(h string) ledger.HouseholdRecord {
	w.Helper()
	rec := ledger.HouseholdRecord{Household: h, TagKeys: w.store.TagKeys(h)}
	note, err := w.store.Checkpoint(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	size, _, err := w.verifier.Checkpoint(note)
	if err != nil {
		w.Fatal(err)
	}
	for i := range size {
		e, err := w.store.ReadEntry(w.Context(), i)
		if err != nil {
			if errors.Is(err, ledger.ErrErased) {
				continue
			}
			w.Fatal(err)
		}
		if e.Subject == h {
			rec.Events = append(rec.Events, ledger.HouseholdEvent{Index: i, Payload: e.Payload, Nonce: e.Nonce, Envelope: e.Leaf.Envelope})
		}
	}
	head, _, proof, err := w.mapper.Prove(rec.TagKeys)
	if err != nil {
		w.Fatal(err)
	}
	rec.MapProof = proof
	e, err := w.store.ReadEntry(w.Context(), head)
	if err != nil {
		w.Fatal(err)
	}
	rec.MapPayload, rec.MapNonce = e.Payload, e.Nonce
	if rec.MapReceipt, err = ledger.TLogProof(w.Context(), w.store, head); err != nil {
		w.Fatal(err)
	}
	return rec
}

// life gives two households a story: agreed, read, read by themselves, refused,
// revoked, and a person leaves one of them.
func life(t *testing.T) *town {
	w := newTown(t, "a", "b", "c")
	own := ledger.Payload{Kind: ledger.KindAccess, Subject: "a", Purpose: "self"}
	w.record(of("a", ledger.KindConsentRequest), of("b", ledger.KindConsentRequest), of("a", ledger.KindConsentGrant))
	w.tick()
	w.record(of("a", ledger.KindAccess), own, of("b", ledger.KindConsentGrant), of("a", ledger.KindRekey), of("a", ledger.KindAccess), of("b", ledger.KindAccess))
	w.record(of("a", ledger.KindConsentRevoke), of("a", ledger.KindAccessDenied))
	w.tick()
	return w
}

// An honest hub's record passes, and says what there was; so does that of a
// household without events, and of one with events newer than the map.
func TestHousehold(t *testing.T) {
	w := life(t)
	r, err := w.verifier.Household(w.shown("a"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Events != 8 || r.Newer != 0 || r.Own != 1 || r.Accesses["adviser"] != 2 || r.Kinds[ledger.KindAccess] != 2 || r.Kinds[ledger.KindRekey] != 1 {
		t.Errorf("report %+v", r)
	}
	for h, events := range map[string]uint64{"b": 3, "c": 0} {
		if r, err := w.verifier.Household(w.shown(h)); err != nil || r.Events != events {
			t.Errorf("%s: %d events, %v; want %d", h, r.Events, err, events)
		}
	}
	w.record(of("c", ledger.KindConsentRequest), of("a", ledger.KindConsentRequest))
	for h, events := range map[string]uint64{"a": 9, "c": 1} {
		if r, err := w.verifier.Household(w.shown(h)); err != nil || r.Events != events || r.Newer != 1 {
			t.Errorf("%s: %d events, %d newer, %v; want %d and 1", h, r.Events, r.Newer, err, events)
		}
	}
	if wrote, err := w.mapper.Tick(t.Context()); err != nil || !wrote {
		t.Errorf("a map head for what is new: %v, %v", wrote, err)
	}
	if wrote, err := w.mapper.Tick(t.Context()); err != nil || wrote {
		t.Errorf("a map head for nothing: %v, %v", wrote, err)
	}
	rec := w.shown("a")
	if _, err := ledger.FindOwn(t.Context(), w.verifier, ledger.ReaderSource(w.store), rec, ledger.VerifyOptions{}); err != nil {
		t.Errorf("the log holds what was shown: %v", err)
	}
}

// Whatever a hub leaves out, changes or makes up, the household finds it, by
// itself, and at its place. Each case is a way to hide a reading.
func TestHouseholdFinds(t *testing.T) {
	w := life(t)
	other := w.shown("b")
	for name, c := range map[string]struct {
		edit func(*ledger.HouseholdRecord)
		at   uint64 // index of the violation
		says string
	}{
		"first dropped":        {func(r *ledger.HouseholdRecord) { r.Events = r.Events[1:] }, 2, "number 2"},
		"middle dropped":       {func(r *ledger.HouseholdRecord) { r.Events = slices.Delete(r.Events, 2, 3) }, 5, "number 4"},
		"last dropped":         {func(r *ledger.HouseholdRecord) { r.Events = r.Events[:7] }, 12, "an event is missing"},
		"all dropped":          {func(r *ledger.HouseholdRecord) { r.Events = nil }, 12, "an event is missing"},
		"two swapped":          {func(r *ledger.HouseholdRecord) { r.Events[2], r.Events[3] = r.Events[3], r.Events[2] }, 5, "number 4"},
		"replayed":             {func(r *ledger.HouseholdRecord) { r.Events[3] = r.Events[2] }, 4, "number 3"},
		"repeated at the end":  {func(r *ledger.HouseholdRecord) { r.Events = append(r.Events, r.Events[7]) }, 11, "number 8"},
		"renumbered":           {func(r *ledger.HouseholdRecord) { r.Events[3].Index = r.Events[2].Index }, 4, "before that of"},
		"another household's":  {func(r *ledger.HouseholdRecord) { r.Events[0] = other.Events[0] }, 1, "another household"},
		"payload changed":      {func(r *ledger.HouseholdRecord) { r.Events[2] = changed(t, r.Events[2]) }, 5, "does not follow"},
		"last payload changed": {func(r *ledger.HouseholdRecord) { r.Events[7] = changed(t, r.Events[7]) }, 12, "was changed"},
		"nonce changed":        {func(r *ledger.HouseholdRecord) { r.Events[2].Nonce[0] ^= 1 }, 5, "does not follow"},
		"envelope changed":     {func(r *ledger.HouseholdRecord) { r.Events[7].Envelope[0] ^= 1 }, 12, "was changed"},
		"garbage":              {func(r *ledger.HouseholdRecord) { r.Events[1].Payload = []byte{9} }, 2, "malformed"},
		"map of another":       {func(r *ledger.HouseholdRecord) { r.MapProof = other.MapProof }, 12, "map"},
		"forged proof":         {func(r *ledger.HouseholdRecord) { r.MapProof.Siblings[0][0] ^= 1 }, 12, "map"},
		"rekey forgotten":      {func(r *ledger.HouseholdRecord) { r.TagKeys = r.TagKeys[:1] }, 7, "secret"},
		"rekey made up":        {func(r *ledger.HouseholdRecord) { r.TagKeys = append(r.TagKeys, ledger.TagKey{FromSeq: 8}) }, 11, "secret"},
		"no secret":            {func(r *ledger.HouseholdRecord) { r.TagKeys = nil }, 2, "does not follow"},
		"not a map head":       {func(r *ledger.HouseholdRecord) { notMapHead(w, r) }, 2, "not of a map head"},
		"another map head's":   {func(r *ledger.HouseholdRecord) { r.MapNonce[0] ^= 1 }, ledger.NoIndex, "receipt"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := w.shown("a")
			c.edit(&rec)
			_, err := w.verifier.Household(rec)
			var v *ledger.Violation
			if !errors.As(err, &v) || v.Index != c.at || !strings.Contains(v.Error(), c.says) {
				t.Errorf("%v; want a violation at %d that says %q", err, c.at, c.says)
			}
		})
	}
}

// changed rewrites an event as if more had been agreed to.
func changed(t *testing.T, e ledger.HouseholdEvent) ledger.HouseholdEvent {
	t.Helper()
	p, err := ledger.DecodePayload(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	p.Purpose = "advertising"
	if e.Payload, err = p.Encode(); err != nil {
		t.Fatal(err)
	}
	return e
}

func notMapHead(w *town, r *ledger.HouseholdRecord) {
	w.Helper()
	e := r.Events[1]
	r.MapPayload, r.MapNonce = e.Payload, e.Nonce
	var err error
	if r.MapReceipt, err = ledger.TLogProof(w.Context(), w.store, e.Index); err != nil {
		w.Fatal(err)
	}
}

// What is in the log under the household's tags must have been shown, leaf for
// leaf; the secret alone finds it.
func TestFindOwn(t *testing.T) {
	w := life(t)
	for name, c := range map[string]struct {
		edit func(*ledger.HouseholdRecord)
		at   uint64
	}{
		"last hidden":       {func(r *ledger.HouseholdRecord) { r.Events = r.Events[:7] }, 11},
		"shown elsewhere":   {func(r *ledger.HouseholdRecord) { r.Events[0].Index = 1 }, 0},
		"shown differently": {func(r *ledger.HouseholdRecord) { r.Events[4] = changed(t, r.Events[4]) }, 7},
	} {
		rec := w.shown("a")
		c.edit(&rec)
		_, err := ledger.FindOwn(t.Context(), w.verifier, ledger.ReaderSource(w.store), rec, ledger.VerifyOptions{})
		var v *ledger.Violation
		if !errors.As(err, &v) || v.Index != c.at {
			t.Errorf("%s: %v, want a violation at %d", name, err, c.at)
		}
	}
}

// Map heads of two processes over one store, with crashes in between, say the same;
// a household that was erased is a tombstone, under every key it ever had.
func TestMapper(t *testing.T) {
	w := life(t)
	second := ledger.NewMapper(ledger.MapStore[*memTx](w.store), w.seq)
	if wrote, err := second.Tick(t.Context()); err != nil || !wrote {
		t.Fatalf("the second process: %v, %v", wrote, err)
	}
	same := func(step string) {
		t.Helper()
		_, one, err := w.mapper.List()
		if err != nil {
			t.Fatal(err)
		}
		if _, two, err := second.List(); err != nil || !slices.Equal(one, two) {
			t.Errorf("%s: the maps are of %d and %d entries, or differ, %v", step, len(one), len(two), err)
		}
	}
	same("read anew")
	keys := w.store.TagKeys("a")
	w.erase("a")
	w.record(of("c", ledger.KindConsentRequest))
	w.tick()
	if _, err := second.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	same("after an erasure")
	_, entries, err := w.mapper.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || len(entries) != 4 {
		t.Fatalf("%d entries, %d generations", len(entries), len(keys))
	}
	for _, k := range keys {
		key := ledger.MapKey(k.Key)
		if !slices.Contains(entries, ledger.MapEntry{Key: key, Value: ledger.MapTombstone(key)}) {
			t.Errorf("no tombstone under the key of generation %d", k.FromSeq)
		}
	}
}

// A map head that fails leaves the map as it was: the next one says the truth.
func TestMapperFaults(t *testing.T) {
	for _, c := range []struct {
		step  ledgertest.Step
		fault ledgertest.Fault
	}{
		{ledgertest.ReadEnds, failed},
		{ledgertest.LockHead, failed},
		{ledgertest.Append, failed},
		{ledgertest.Commit, failed},
		{ledgertest.Commit, lost},
		{ledgertest.Commit, persisted},
		{ledgertest.PutCheckpoint, failed},
		{ledgertest.RollbackTo, failed},
	} {
		w := life(t)
		w.record(of("b", ledger.KindAccess), of("c", ledger.KindConsentRequest))
		once(w.store, c.fault, c.step)
		_, _ = w.mapper.Tick(t.Context())
		w.store.OnStep(nil)
		w.record(of("b", ledger.KindAccess))
		w.tick()
		for _, h := range []string{"a", "b", "c"} {
			if r, err := w.verifier.Household(w.shown(h)); err != nil || r.Newer != 0 {
				t.Errorf("%s/%d: %s: %d newer, %v", c.step, c.fault, h, r.Newer, err)
			}
		}
	}
}

// Whoever asked for a map head leaves in the middle of it: the head is written all
// the same, and is true. It would catch a map that is put back while the function
// that the head is made by still reads it.
func TestMapperIsLeft(t *testing.T) {
	w := life(t)
	w.record(of("b", ledger.KindAccess))
	ctx, leave := context.WithCancel(t.Context())
	w.store.OnStep(func(s ledgertest.Step) ledgertest.Fault {
		if s == ledgertest.LockHead {
			leave()
			time.Sleep(10 * time.Millisecond) // for who left to be gone
		}
		return ledgertest.None
	})
	if ok, err := w.mapper.Tick(ctx); !ok || err != nil {
		t.Errorf("a map head was written: %v, %v", ok, err)
	}
	w.store.OnStep(nil)
	if r, err := w.verifier.Household(w.shown("b")); err != nil || r.Newer != 0 {
		t.Errorf("%d newer, %v", r.Newer, err)
	}
}

// BenchmarkHousehold measures what completeness costs a household among 10,000 with
// 100 events each: client work, and bytes beside its own payloads and nonces.
func BenchmarkHousehold(b *testing.B) {
	const households, events = 10_000, 100
	store := ledgertest.NewMemory(origin)
	store.PutEnvelopeKey(regulator(b, 1).posted)
	for i := range households {
		var key ledger.Hash
		_, _ = rand.Read(key[:])
		store.PutSubjectKey(fmt.Sprint("h", i), key)
	}
	signer, verifier, _ := newSigner(b, origin)
	s := ledger.NewSequencer(ledger.Store[*memTx](store), signer, ledger.Options{Now: ledgertest.Clock(), Rand: rand.Reader, Sealed: true})
	defer s.Close()
	mapper := ledger.NewMapper(ledger.MapStore[*memTx](store), s)
	for n := 0; n < households*events; n += 500 {
		batch := make([]ledger.Proposal[*memTx], 500)
		for i := range batch {
			batch[i] = ledger.Proposal[*memTx]{RequestID: fmt.Sprint(n + i), Func: payload(of(fmt.Sprint("h", (n+i)%households), ledger.KindAccess))}
		}
		for _, o := range s.ProposeAll(b.Context(), batch) {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
		}
	}
	if _, err := mapper.Tick(b.Context()); err != nil {
		b.Fatal(err)
	}
	w := &town{nil, store, s, mapper, verifier, 0}
	rec := w.benchRecord(b, "h77", households)
	size := len(rec.MapPayload) + len(rec.MapNonce) + len(rec.MapReceipt) + 32*len(rec.MapProof.Siblings)
	for range rec.TagKeys {
		size += 40
	}
	size += len(rec.Events) * (8 + 32) // index and envelope hash
	b.ResetTimer()
	for b.Loop() {
		if r, err := verifier.Household(rec); err != nil || r.Events != events {
			b.Fatal(r.Events, err)
		}
	}
	b.ReportMetric(float64(size), "bytes")
}

// benchRecord is shown without reading the whole log.
func (w *town) benchRecord(b *testing.B, h string, stride uint64) ledger.HouseholdRecord {
	rec := ledger.HouseholdRecord{Household: h, TagKeys: w.store.TagKeys(h)}
	for i := uint64(77); ; i += stride {
		e, err := w.store.ReadEntry(b.Context(), i)
		if err != nil || e.Subject != h {
			break
		}
		rec.Events = append(rec.Events, ledger.HouseholdEvent{Index: i, Payload: e.Payload, Nonce: e.Nonce, Envelope: e.Leaf.Envelope})
	}
	head, _, proof, err := w.mapper.Prove(rec.TagKeys)
	if err != nil {
		b.Fatal(err)
	}
	e, err := w.store.ReadEntry(b.Context(), head)
	if err != nil {
		b.Fatal(err)
	}
	rec.MapProof, rec.MapPayload, rec.MapNonce = proof, e.Payload, e.Nonce
	if rec.MapReceipt, err = ledger.TLogProof(b.Context(), w.store, head); err != nil {
		b.Fatal(err)
	}
	return rec
}
