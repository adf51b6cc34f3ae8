package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// newPairs runs a round as the operator does, and returns what the hub said last.
func (w *town) newPairs() *wattveilv1.RotateKeysResponse {
	w.t.Helper()
	stream, err := w.operator.RotateKeys(w.t.Context(), &wattveilv1.RotateKeysRequest{Pairs: true})
	ok(w.t, err)
	var last *wattveilv1.RotateKeysResponse
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last
		}
		ok(w.t, err)
		if last != nil && got.GetSeen() < last.GetSeen() {
			w.t.Errorf("progress went back from %d to %d", last.GetSeen(), got.GetSeen())
		}
		last = got
	}
}

// pairStatus is how the hub says that pairs stand, for comparison.
func (w *town) pairStatus() [5]uint64 {
	p := w.keyStatus().GetPairs()
	return [5]uint64{p.GetRound(), p.GetHouseholds(), p.GetOld(), p.GetLost(), p.GetPrivateHalves()}
}

// sealedTo counts the blocks of a household by the generation that they are sealed to.
func (w *town) sealedTo(household, point string) map[uint32]int {
	w.t.Helper()
	day := meter.DayOf(yesterday.Unix())
	blocks, err := w.store.Blocks(w.t.Context(), consent.Household(household), []meter.UsagePoint{meter.UsagePoint(point)}, nil, day, day+1)
	ok(w.t, err)
	out := map[uint32]int{}
	for _, b := range blocks {
		out[b.Generation]++
	}
	return out
}

// After a round what was sealed before opens, what comes is sealed to the new pair and opens
// too, and each page is on record by a digest that the register can be held against. A
// second call begins a second round. It would catch a rotation that loses what is stored,
// one that goes on sealing to the old key, and a public key that was replaced off record.
func TestPairsRotate(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		w.hub.pairs.atOnce = 2
		w.keep(batch("b-1", series(home, yesterday, 7)))
		if got := w.pairStatus(); got != [5]uint64{0, 3, 0, 0, 3} {
			t.Errorf("at first: %v", got)
		}
		said := w.newPairs()
		if said.GetName() != pairsName || said.GetVersion() != 1 || said.GetSeen() != 3 || said.GetOld() != 3 {
			t.Errorf("the hub said %v", said)
		}
		if got := w.pairStatus(); got != [5]uint64{1, 3, 0, 0, 6} || w.keyStatus().GetPairs().GetBeganAt() != w.clock.now().Unix() {
			t.Errorf("after a round: %v", w.keyStatus().GetPairs())
		}
		w.keep(batch("b-2", series(home, yesterday.Add(time.Hour), 8)))
		if got := w.sealedTo(w.homes[home].GetHousehold(), home); !maps.Equal(got, map[uint32]int{1: 1, 2: 1}) {
			t.Errorf("blocks by generation: %v", got)
		}
		c, _ := w.signIn(w.homes[home])
		if got := w.own(c, home, yesterday, morning); len(got) != 2 || got[yesterday.Unix()] != 7 || got[yesterday.Add(time.Hour).Unix()] != 8 {
			t.Errorf("read %v", got)
		}
		recorded := map[ledger.Hash]bool{}
		for _, e := range w.events(w.regulator, string(ledger.KindAdmin)) {
			got, err := w.regulator.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
			ok(t, err)
			p := w.proven(got.GetReceipt())
			if strings.HasPrefix(p.Detail, "household pairs round 1 renewed ") {
				recorded[p.Digest] = true
			}
			for _, made := range w.homes {
				if strings.Contains(p.Detail, made.GetHousehold()) {
					t.Errorf("a record names a household: %s", p.Detail)
				}
			}
		}
		everybody, err := w.store.OldPairs(t.Context(), 2, "", 10)
		ok(t, err)
		var pages [2][]store.Pair
		for i, h := range everybody {
			keys, err := w.store.PublicKeys(t.Context(), []store.KeyID{{Household: h, Generation: 2}})
			ok(t, err)
			pages[i/2] = append(pages[i/2], store.Pair{Household: h, Generation: 2, PublicKey: keys[store.KeyID{Household: h, Generation: 2}].Bytes()})
		}
		if len(recorded) != 2 || !recorded[pairsDigest(1, pages[0])] || !recorded[pairsDigest(1, pages[1])] {
			t.Errorf("%d pages are on record, and not by what the register holds", len(recorded))
		}
		if w.newPairs().GetVersion() != 2 || w.pairStatus() != [5]uint64{2, 3, 0, 0, 9} {
			t.Errorf("after two rounds: %v", w.pairStatus())
		}
		if got := w.own(c, home, yesterday, morning); len(got) != 2 {
			t.Errorf("after two rounds a household reads %v", got)
		}
		stream, err := w.operator.RotateKeys(t.Context(), &wattveilv1.RotateKeysRequest{Pairs: true, RetireNow: true})
		ok(t, err)
		_, err = stream.Recv()
		refused(t, err, codes.InvalidArgument, "pairs_do_not_retire")
	})
}

// What ingest has sealed to a pair is stored after a round has replaced it, and opens; and
// a round between looking up who lives where and looking up their keys costs nothing. It
// would catch readings refused as nobody's because their key was on its way out.
func TestIngestAcrossARound(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		p := w.hub.meter.preparer
		sealed, err := p.prepare(t.Context(), utility, batch("held", series(home, yesterday, 7)))
		ok(t, err)
		w.newPairs()
		outcome, err := w.hub.committer.commit(t.Context(), sealed)
		ok(t, err)
		if outcome.Result != store.Stored || len(sealed.refused) != 0 {
			t.Errorf("a batch sealed before the round: %v, %v", outcome.Result, sealed.refused)
		}
		load, between := p.keys.load, 0
		p.keys.load = func(ctx context.Context, ids []store.KeyID) (map[store.KeyID]seal.PublicKey, error) {
			if len(ids) > 0 && between == 0 {
				between++
				w.newPairs()
			}
			return load(ctx, ids)
		}
		w.keep(batch("between", series(home, yesterday.Add(time.Hour), 8)))
		w.keep(batch("after", series(home, yesterday.Add(2*time.Hour), 9)))
		if got := w.sealedTo(w.homes[home].GetHousehold(), home); between != 1 || !maps.Equal(got, map[uint32]int{1: 1, 3: 2}) {
			t.Errorf("blocks by generation: %v, %d rounds in between", got, between)
		}
		c, _ := w.signIn(w.homes[home])
		if got := w.own(c, home, yesterday, morning); len(got) != 3 || got[yesterday.Unix()] != 7 {
			t.Errorf("read %v", got)
		}
	})
}

// A round that is cut short, wherever, goes on where it was when it is asked for again, also
// after a start, and gives nobody a second pair. It would catch a round that begins anew,
// and one that leaves a household without the private half of its key.
func TestARoundOfPairsIsResumed(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", series(home, yesterday, 7)))
	for wraps := range 3 { // of a page of one household each
		w.hub.pairs.atOnce = 1
		left := wraps
		w.keys.cut = func(step string) error {
			if left--; step == "wrapped" && left < 0 {
				return seal.ErrUnavailable
			}
			return nil
		}
		stream, err := w.operator.RotateKeys(t.Context(), &wattveilv1.RotateKeysRequest{Pairs: true})
		ok(t, err)
		for err == nil {
			_, err = stream.Recv()
		}
		refused(t, err, codes.Unavailable, "key_service_unavailable")
		w.keys.cut = nil
		w.restart()
		round := uint64(wraps + 1)
		if got, want := w.pairStatus(), [5]uint64{round, 3, uint64(3 - wraps), 0, uint64(3*(wraps+1) + wraps)}; got != want {
			t.Errorf("cut short after %d pages: %v, want %v", wraps, got, want)
		}
		if said := w.newPairs(); said.GetVersion() != round || said.GetOld() != uint64(3-wraps) {
			t.Errorf("the hub went on with %v", said)
		}
		if got, want := w.pairStatus(), [5]uint64{round, 3, 0, 0, uint64(3 * (wraps + 2))}; got != want {
			t.Errorf("when it is done: %v, want %v", got, want)
		}
		w.keep(batch(fmt.Sprint("r-", wraps), series(home, yesterday.Add(time.Duration(wraps+1)*time.Hour), 8)))
	}
	c, _ := w.signIn(w.homes[home])
	if got := w.own(c, home, yesterday, morning); len(got) != 4 {
		t.Errorf("after rounds that were cut short a household reads %v", got)
	}
}

// Who is erased between the making of a pair and its storing gets none, and the round goes
// on; a page of nobody else leaves no record. It would catch an erased household that can
// be sealed to again, with a private half that outlives it.
func TestErasedWhilePairsRotate(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		for _, atOnce := range []int{1, 1000} {
			w := newTown(t, url)
			w.hub.pairs.atOnce = atOnce
			first, err := w.store.OldPairs(t.Context(), 9, "", 1)
			ok(t, err)
			var once atomic.Bool
			w.keys.wrapped = func() {
				if once.CompareAndSwap(false, true) {
					_, err := w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: string(first[0]), LegalBasis: "gdpr-17-1-b"})
					ok(t, err)
				}
			}
			if said := w.newPairs(); said.GetVersion() != 1 || said.GetOld() != 2 {
				t.Errorf("%d at once: the hub said %v", atOnce, said)
			}
			keys, err := w.store.HouseholdKeys(t.Context(), first[0])
			ok(t, err)
			if got := w.pairStatus(); len(keys) != 0 || got != [5]uint64{1, 2, 0, 0, 4} {
				t.Errorf("%d at once: an erased household has %d private halves; %v", atOnce, len(keys), got)
			}
			for _, e := range w.events(w.regulator, string(ledger.KindAdmin)) {
				got, err := w.regulator.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
				ok(t, err)
				if p := w.proven(got.GetReceipt()); strings.HasSuffix(p.Detail, "renewed 0") {
					t.Errorf("%d at once: a record of nothing: %s", atOnce, p.Detail)
				}
			}
			w.stop()
			url = onSQLite(t)
		}
	})
}

// Who moves in while a round runs has a pair from after its beginning, or is old and gets
// one: never neither. It would catch a pair that was drawn before the round, in a process
// that may have been the reason for it, and counts as new.
func TestMovingInWhilePairsRotate(t *testing.T) {
	w := newTown(t, onSQLite(t))
	var once atomic.Bool
	w.keys.wrapped = func() {
		if once.CompareAndSwap(false, true) {
			_, err := w.hub.pairs.run(t.Context(), func(int, int) {})
			ok(t, err)
		}
	}
	made := w.moveIn(morning, empty) // drawn, and then a whole round runs before it is stored
	if got := w.pairStatus(); got != [5]uint64{1, 4, 1, 0, 7} {
		t.Errorf("drawn before the round, stored after it: %v", got)
	}
	if said := w.newPairs(); said.GetVersion() != 1 || said.GetOld() != 1 {
		t.Errorf("the round went on with %v", said)
	}
	keys, err := w.store.HouseholdKeys(t.Context(), consent.Household(made.GetHousehold()))
	ok(t, err)
	if len(keys) != 2 || w.pairStatus() != [5]uint64{1, 4, 0, 0, 8} {
		t.Errorf("%d private halves; %v", len(keys), w.pairStatus())
	}
}

// A round runs while the key that wraps private halves is rotated and its older version
// destroyed: what was wrapped under that is wrapped anew before it is stored. It would
// catch a pair whose private half is destroyed before anything was sealed to it.
func TestPairsRotateWhileKeysRotate(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		w.keep(batch("b-1", series(home, yesterday, 7)))
		w.rotated()
		var once atomic.Bool
		w.keys.wrapped = func() {
			if once.CompareAndSwap(false, true) {
				_, _, err := w.hub.rotations[0].run(t.Context(), true, func(int, int) {})
				ok(t, err)
			}
		}
		if said := w.newPairs(); said.GetVersion() != 1 || said.GetOld() != 3 || !once.Load() {
			t.Errorf("the hub said %v", said)
		}
		stored, err := w.store.HouseholdSecrets(t.Context(), store.WrappedSecret{}, 100)
		ok(t, err)
		for _, s := range stored {
			if v, err := w.keys.VersionOf(s.Wrapped); err != nil || v != 2 {
				t.Errorf("generation %d is wrapped under version %d, %v", s.Generation, v, err)
			}
			if _, err := w.keys.Unwrap(t.Context(), keyguard.HouseholdKey, []seal.Item{{Context: []byte(s.Name), Data: s.Wrapped}}); err != nil {
				t.Errorf("generation %d does not open: %v", s.Generation, err)
			}
		}
		w.keep(batch("b-2", series(home, yesterday.Add(time.Hour), 8)))
		c, _ := w.signIn(w.homes[home])
		if got := w.own(c, home, yesterday, morning); len(stored) != 6 || len(got) != 2 {
			t.Errorf("%d private halves; read %v", len(stored), got)
		}
	})
}
