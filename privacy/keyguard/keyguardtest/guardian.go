package keyguardtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
)

// TestGuardian runs the contract of keyguard.Guardian: everything that a guard
// promises, asked through what is given.
func TestGuardian(t *testing.T, through Through) {
	for name, test := range map[string]func(*testing.T, Through){
		"KeysOfALeaf": keysOfALeaf, "LessThanALeaf": lessThanALeaf, "Forgeries": forgeries, "OtherLeaves": otherLeaves,
		"OtherConsents": otherConsents, "ConsentCovers": consentCovers, "Freshness": freshness, "Replay": replay, "OwnLeaf": ownLeaf,
		"SpentBeforeKeys": spentBeforeKeys, "SeedsAreCleared": seedsAreCleared, "Generations": generations, "ForgedWraps": forgedWraps, "ForgedFirst": forgedFirst, "DamagedDays": damagedDays,
		"StoreIsNotTrusted": storeIsNotTrusted, "TooManyKeys": tooManyKeys, "FaultsKeepTheirNames": faultsKeepTheirNames,
	} {
		t.Run(name, func(t *testing.T) { test(t, through) })
	}
}

// An access opens the blocks its leaf names: those points, registers and whole
// days, and nothing else. It would catch a key too many or too few.
func keysOfALeaf(t *testing.T, through Through) {
	w := NewWorld(t, through)
	r, index := w.record(access())
	keys := w.allow(r)
	w.opens(keys, func(b seal.Block) bool {
		return b.UsagePoint == UP1 && b.Register == meter.ActiveImport && b.Day >= Today-3 && b.Day <= Today-2
	})
	if keys.Damaged != 0 || w.Keys.Uses(index) != 1 {
		t.Errorf("%d damaged, %d uses", keys.Damaged, w.Keys.Uses(index))
	}
	if !slices.Equal(w.Wrapper.accesses, []uint64{index}) {
		t.Errorf("unwrapped for the accesses %v, want %d: a key service's own log would not fit the ledger", w.Wrapper.accesses, index)
	}
	keys.Clear()
	w.opens(keys, func(seal.Block) bool { return false })
}

// A leaf may be presented for less, never for more. It would catch a range that
// is cut instead of refused, or a bound that is off by a day.
func lessThanALeaf(t *testing.T, through Through) {
	both := access()
	both.UsagePoints = []string{string(UP1), string(UP2)}
	both.Registers = []string{meter.ActiveImport.String(), meter.ActiveExport.String()}
	for _, test := range []struct {
		name string
		ask  func(*keyguard.Request)
		want func(seal.Block) bool // nil refuses
	}{
		{"one point", func(r *keyguard.Request) { r.UsagePoints = []meter.UsagePoint{UP2} }, func(b seal.Block) bool { return b.UsagePoint == UP2 }},
		{"one register", func(r *keyguard.Request) { r.Registers = []meter.Register{meter.ActiveExport} }, func(b seal.Block) bool { return b.Register == meter.ActiveExport }},
		{"one day", func(r *keyguard.Request) { r.From, r.To = Today-2, Today-2 }, func(b seal.Block) bool { return b.Day == Today-2 }},
		{"the same days", func(r *keyguard.Request) { r.From, r.To = Today-3, Today-2 }, func(seal.Block) bool { return true }},

		{"a day before", func(r *keyguard.Request) { r.From, r.To = Today-4, Today-2 }, nil},
		{"a day after", func(r *keyguard.Request) { r.From, r.To = Today-3, Today-1 }, nil},
		{"no end", func(r *keyguard.Request) { r.From = Today - 3 }, nil},
		{"reversed", func(r *keyguard.Request) { r.From, r.To = Today-2, Today-3 }, nil},
		{"another point", func(r *keyguard.Request) { r.UsagePoints = []meter.UsagePoint{UP1, "UP-3"} }, nil},
		{"another register", func(r *keyguard.Request) { r.Registers = []meter.Register{{1, 0, 1, 7, 0, 255}} }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := NewWorld(t, through)
			r, index := w.record(both)
			test.ask(&r)
			if test.want == nil {
				w.deny(keyguard.ErrOutside, r)
				if w.Keys.Uses(index) != 0 {
					t.Error("a request that is refused spent the access")
				}
				return
			}
			w.opens(w.allow(r), func(b seal.Block) bool { return b.Day >= Today-3 && b.Day <= Today-2 && test.want(b) })
		})
	}
}

// What is not proved to the byte opens nothing. It would catch a check that is
// left to whoever asks.
func forgeries(t *testing.T, through Through) {
	w := NewWorld(t, through)
	good, index := w.record(access())
	wide := access()
	wide.KeyFrom -= 7
	widePayload, err := encode(wide)
	if err != nil {
		t.Fatal(err)
	}
	w.record(access()) // the log grows on
	stranger := NewWorld(t, through)
	stranger.elsewhere()
	foreign, _ := stranger.record(access())
	proofOf := func(index uint64) []byte {
		proof, err := ledger.TLogProof(t.Context(), w.Log.Store, index)
		if err != nil {
			t.Fatal(err)
		}
		return proof
	}
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
		return b
	}
	for name, forge := range map[string]func(*keyguard.Request){
		"payload with more days": func(r *keyguard.Request) { r.Access.Payload = widePayload },
		"payload with a bit set": func(r *keyguard.Request) { r.Access.Payload = flip(r.Access.Payload) },
		"another nonce":          func(r *keyguard.Request) { r.Access.Nonce[0] ^= 1 },
		"proof of another leaf":  func(r *keyguard.Request) { r.Access.Proof = proofOf(index + 1) },
		"proof cut short":        func(r *keyguard.Request) { r.Access.Proof = r.Access.Proof[:len(r.Access.Proof)/2] },
		"no proof":               func(r *keyguard.Request) { r.Access.Proof = nil },
		"nothing":                func(r *keyguard.Request) { *r = keyguard.Request{} },

		"consent with a bit set":            func(r *keyguard.Request) { r.Consent.Payload = flip(r.Consent.Payload) },
		"consent with another nonce":        func(r *keyguard.Request) { r.Consent.Nonce[0] ^= 1 },
		"consent with the access's proof":   func(r *keyguard.Request) { r.Consent.Proof = r.Access.Proof },
		"consent without a proof":           func(r *keyguard.Request) { r.Consent.Proof = nil },
		"consent without a payload":         func(r *keyguard.Request) { r.Consent.Payload = nil },
		"consent of another log":            func(r *keyguard.Request) { r.Consent = foreign.Consent },
		"access of another log":             func(r *keyguard.Request) { r.Access = foreign.Access },
		"everything of another log":         func(r *keyguard.Request) { *r = foreign },
		"checkpoint of another log's proof": func(r *keyguard.Request) { r.Access.Proof = graft(r.Access.Proof, foreign.Access.Proof) },
	} {
		t.Run(name, func(t *testing.T) {
			w.T = t
			r := good
			forge(&r)
			w.deny(keyguard.ErrProof, r)
		})
	}
	w.T = t
	if w.Keys.Uses(index) != 0 {
		t.Error("a forgery spent the access")
	}
	w.allow(good)
}

// graft returns a proof with the checkpoint of another.
func graft(proof, other []byte) []byte {
	head, _, _ := bytes.Cut(proof, []byte("\n\n"))
	_, checkpoint, _ := bytes.Cut(other, []byte("\n\n"))
	return append(append(bytes.Clone(head), "\n\n"...), checkpoint...)
}

func encode(p ledger.Payload) ([]byte, error) {
	p.Time = time.Unix(Today.Start(), 0).UnixMicro()
	return p.Encode()
}

// Only the leaf of an admitted access opens. It would catch a refusal, a grant or
// a release that is taken for one, and a mixture of an own and another's access.
func otherLeaves(t *testing.T, through Through) {
	change := func(p ledger.Payload, f func(*ledger.Payload)) ledger.Payload { f(&p); return p }
	for name, p := range map[string]ledger.Payload{
		"refusal":                  change(access(), func(p *ledger.Payload) { p.Kind, p.Reason = ledger.KindAccessDenied, "revoked" }),
		"grant":                    change(access(), func(p *ledger.Payload) { p.Kind = ledger.KindConsentGrant }),
		"no household":             change(access(), func(p *ledger.Payload) { p.Subject = "" }),
		"no recipient":             change(access(), func(p *ledger.Payload) { p.Recipient = "" }),
		"no consent":               change(access(), func(p *ledger.Payload) { p.Consent = "" }),
		"no usage point":           change(access(), func(p *ledger.Payload) { p.UsagePoints = nil }),
		"no register":              change(access(), func(p *ledger.Payload) { p.Registers = nil }),
		"a register that is none":  change(access(), func(p *ledger.Payload) { p.Registers = []string{"import"} }),
		"a point that is none":     change(access(), func(p *ledger.Payload) { p.UsagePoints = []string{"UP 1"} }),
		"days reversed":            change(access(), func(p *ledger.Payload) { p.KeyFrom, p.KeyUntil = p.KeyUntil, p.KeyFrom }),
		"another's, with session":  change(access(), func(p *ledger.Payload) { p.Session = ledger.Hash{1} }),
		"another's, purpose self":  change(access(), func(p *ledger.Payload) { p.Purpose = consent.PurposeSelf }),
		"own, without session":     change(own(), func(p *ledger.Payload) { p.Session = ledger.Hash{} }),
		"own, with a recipient":    change(own(), func(p *ledger.Payload) { p.Recipient = "adviser" }),
		"own, with a consent":      change(own(), func(p *ledger.Payload) { p.Consent = "c-1" }),
		"own, for another purpose": change(own(), func(p *ledger.Payload) { p.Purpose = "advice" }),
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWorld(t, through)
			r, index := w.record(p)
			r.Registers = []meter.Register{meter.ActiveImport}
			w.deny(keyguard.ErrLeaf, r)
			if w.Keys.Uses(index) != 0 {
				t.Error("a leaf that is no access was spent")
			}
		})
	}
}

// A third party's leaf is for the moment, whichever way the clocks differ. It
// would catch a proof that is kept for later.
func freshness(t *testing.T, through Through) {
	w := NewWorld(t, through)
	r, _ := w.record(access())
	p, err := ledger.DecodePayload(r.Access.Payload)
	if err != nil {
		t.Fatal(err)
	}
	recorded := time.UnixMicro(p.Time)
	for _, age := range []time.Duration{keyguard.MaxAge + 1, 24 * time.Hour, -keyguard.MaxAge - 1} {
		w.Now = recorded.Add(age)
		w.deny(keyguard.ErrStale, r)
	}
	w.Now = recorded.Add(keyguard.MaxAge)
	w.allow(r)
}

// An access opens once, also when it is presented many times at once. It would
// catch a replay.
func replay(t *testing.T, through Through) {
	w := NewWorld(t, through)
	r, _ := w.record(access())
	const callers = 8
	errs := make(chan error)
	for range callers {
		go func() {
			_, err := w.Guardian.BlockKeys(t.Context(), r)
			errs <- err
		}()
	}
	opened := 0
	for range callers {
		switch err := <-errs; {
		case err == nil:
			opened++
		case !errors.Is(err, keyguard.ErrSpent):
			t.Errorf("a late caller: %v, want ErrSpent", err)
		}
	}
	if opened != 1 {
		t.Errorf("one access opened %d times", opened)
	}
	w.deny(keyguard.ErrSpent, r)
}

// A household's own leaf may come again until its UTC day ends; each use is
// counted, and each names the registers it wants. It would catch a session that
// is locked out after a page, or one that reads on for ever.
func ownLeaf(t *testing.T, through Through) {
	w := NewWorld(t, through)
	r, index := w.record(own())
	w.deny(keyguard.ErrOutside, r) // names no register
	for use := 1; use <= 3; use++ {
		r.Registers = []meter.Register{meter.ActiveExport}
		r.From, r.To = Today-5, Today
		w.opens(w.allow(r), func(b seal.Block) bool { return b.Register == meter.ActiveExport && b.Day >= Today-5 })
		if got := w.Keys.Uses(index); got != use {
			t.Errorf("%d uses counted, want %d", got, use)
		}
	}
	w.Now = time.Unix(Today.End()-1, 0)
	w.allow(r)
	for _, now := range []time.Time{time.Unix(Today.End(), 0), time.Unix(Today.Start()-1, 0)} {
		w.Now = now
		w.deny(keyguard.ErrStale, r)
	}
}

// The access is spent before a private key is touched: when the key service
// fails, it stays spent. It would catch an act before its record.
func spentBeforeKeys(t *testing.T, through Through) {
	w := NewWorld(t, through)
	r, index := w.record(access())
	w.Wrapper.err = seal.ErrUnavailable
	if _, err := w.Guardian.BlockKeys(t.Context(), r); !errors.Is(err, seal.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	w.Wrapper.err = nil
	if w.Keys.Uses(index) != 1 {
		t.Error("the access was not spent first")
	}
	w.deny(keyguard.ErrSpent, r)
}

// The seeds that the key service gave out are zeroed. It would catch a private
// key that stays in memory.
func seedsAreCleared(t *testing.T, through Through) {
	w := NewWorld(t, through)
	r, _ := w.record(access())
	w.allow(r)
	if len(w.Wrapper.given) != 1 {
		t.Fatalf("%d seeds given out, want 1", len(w.Wrapper.given))
	}
	for _, seed := range w.Wrapper.given {
		if !bytes.Equal(seed, make([]byte, len(seed))) {
			t.Error("a seed was not zeroed")
		}
	}
}

// Keys of every generation open what was sealed to them; a generation that was
// destroyed opens no more, and an erased household nothing. What no day key asks for is
// not unwrapped. It would catch data lost at rotation, data that outlives its erasure, and
// a read of one day that lays every private key a household ever had open in memory.
func generations(t *testing.T, through Through) {
	w := NewWorld(t, through)
	w.household(2)
	w.Blocks = append(w.Blocks, w.seal(UP1, meter.ActiveImport, Today-2))
	w.wrap(Today - 2)
	granted := func(b seal.Block) bool {
		return b.UsagePoint == UP1 && b.Register == meter.ActiveImport && b.Day >= Today-3 && b.Day <= Today-2
	}
	r, _ := w.record(access())
	w.opens(w.allow(r), granted)

	before := len(w.Wrapper.given)
	r, _ = w.record(access())
	r.From, r.To = Today-3, Today-3
	w.opens(w.allow(r), func(b seal.Block) bool { return granted(b) && b.Day == Today-3 })
	if n := len(w.Wrapper.given) - before; n != 1 {
		t.Errorf("%d private keys were unwrapped for a day that is sealed to one", n)
	}

	all, err := w.Keys.HouseholdKeys(t.Context(), Home)
	if err != nil {
		t.Fatal(err)
	}
	w.Keys.PutHousehold(Home, all[1])
	r, _ = w.record(access())
	keys := w.allow(r)
	w.opens(keys, func(b seal.Block) bool { return granted(b) && b.Generation == 2 })
	if keys.Damaged != 2 {
		t.Errorf("%d day keys could not be had, want those of two days", keys.Damaged)
	}

	w.Keys.PutHousehold(Home)
	r, _ = w.record(access())
	w.deny(seal.ErrKeyGone, r)
}

// A wrap that its writer did not sign is no wrap, but a good copy still serves;
// one of an unknown writer serves no one. It would catch a store that slips in a
// day key of its own, or one bad row that shuts a whole day.
func forgedWraps(t *testing.T, through Through) {
	w := NewWorld(t, through)
	forger, err := seal.NewWriter(rand.Reader, w.Clock)
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := forger.Wrap(w.target, Today-2)
	if err != nil {
		t.Fatal(err)
	}
	w.Keys.PutWrap(forged) // not registered
	forged.Writer = w.Writer.ID()
	w.Keys.PutWrap(forged) // passed off as the writer's
	r, _ := w.record(access())
	keys := w.allow(r)
	w.opens(keys, func(b seal.Block) bool {
		return b.UsagePoint == UP1 && b.Register == meter.ActiveImport && b.Day >= Today-3 && b.Day <= Today-2
	})
	if keys.Damaged != 1 {
		t.Errorf("%d damaged, want the unknown writer's one", keys.Damaged)
	}
}

// A forgery does no harm where it comes before the good copy. It would catch a
// guard that looks at one copy of a wrap.
func forgedFirst(t *testing.T, through Through) {
	w := NewWorld(t, through)
	forger, err := seal.NewWriter(rand.Reader, w.Clock)
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := forger.Wrap(w.target, Today-2)
	if err != nil {
		t.Fatal(err)
	}
	forged.Writer = w.Writer.ID()
	guard := w.guard(arranged{w.Keys, func(wraps []seal.DayKeyWrap) []seal.DayKeyWrap {
		return slices.Insert(wraps, 0, forged, forged)
	}}, w.Log.Verifier)
	r, _ := w.record(access())
	keys, err := guard.BlockKeys(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	w.opens(keys, func(b seal.Block) bool {
		return b.UsagePoint == UP1 && b.Register == meter.ActiveImport && b.Day >= Today-3 && b.Day <= Today-2
	})
	if keys.Damaged != 0 {
		t.Errorf("%d damaged, and every day has a good copy", keys.Damaged)
	}
}

// A wrap whose signature was altered in all copies is damaged, and is all that is:
// the other days of the same access open, whichever day it is. It would catch a
// check of many wraps at once that lets one pass with the others, or fall with them.
func damagedDays(t *testing.T, through Through) {
	w := NewWorld(t, through)
	week := access()
	week.From, week.KeyFrom = (Today - 7).Start(), int32(Today-7)
	for d := Today - 7; d <= Today-2; d++ {
		guard := w.guard(arranged{w.Keys, func(wraps []seal.DayKeyWrap) []seal.DayKeyWrap {
			for i := range wraps {
				if wraps[i].Day == d {
					wraps[i].Signature = bytes.Clone(wraps[i].Signature)
					wraps[i].Signature[40] ^= 1
				}
			}
			return wraps
		}}, w.Log.Verifier)
		r, _ := w.record(week)
		keys, err := guard.BlockKeys(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		w.opens(keys, func(b seal.Block) bool {
			return b.UsagePoint == UP1 && b.Register == meter.ActiveImport && b.Day >= Today-7 && b.Day <= Today-2 && b.Day != d
		})
		if keys.Damaged != 1 {
			t.Errorf("%d damaged, want the one of %d days before", keys.Damaged, Today-d)
		}
	}
}

// arranged is a store that changes the wraps it returns.
type arranged struct {
	keyguard.Keys
	arrange func([]seal.DayKeyWrap) []seal.DayKeyWrap
}

func (a arranged) DayKeyWraps(ctx context.Context, h consent.Household, from, to meter.Day) ([]seal.DayKeyWrap, error) {
	wraps, err := a.Keys.DayKeyWraps(ctx, h, from, to)
	return a.arrange(wraps), err
}

// A store that answers with other households' or other days' wraps widens
// nothing. It would catch a guard that trusts the query it made.
func storeIsNotTrusted(t *testing.T, through Through) {
	w := NewWorld(t, through)
	stranger := w.target
	stranger.Household, stranger.Generation = "stranger", 7
	foreign, _, err := w.Writer.Wrap(stranger, Today-2)
	if err != nil {
		t.Fatal(err)
	}
	guard := w.guard(careless{w.Keys, foreign}, w.Log.Verifier)
	r, _ := w.record(access())
	keys, err := guard.BlockKeys(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	w.opens(keys, func(b seal.Block) bool {
		return b.UsagePoint == UP1 && b.Register == meter.ActiveImport && b.Day >= Today-3 && b.Day <= Today-2
	})
	if keys.Damaged != 0 {
		t.Errorf("%d day keys of others counted as the household's", keys.Damaged)
	}
}

// careless is a store that returns every wrap it has, and another household's.
type careless struct {
	keyguard.Keys
	foreign seal.DayKeyWrap
}

func (c careless) DayKeyWraps(ctx context.Context, h consent.Household, _, _ meter.Day) ([]seal.DayKeyWrap, error) {
	wraps, err := c.Keys.DayKeyWraps(ctx, h, -1<<31, 1<<31-1)
	return append(wraps, c.foreign), err
}

// One request cannot make the guard derive without end. It would catch a request
// that names one point a million times.
func tooManyKeys(t *testing.T, through Through) {
	w := NewWorld(t, through)
	r, index := w.record(access())
	r.UsagePoints = slices.Repeat([]meter.UsagePoint{UP1}, 1<<10)
	r.Registers = slices.Repeat([]meter.Register{meter.ActiveImport}, 1<<11)
	w.deny(keyguard.ErrTooMany, r)
	if w.Keys.Uses(index) != 0 {
		t.Error("a request that is refused spent the access")
	}
}
