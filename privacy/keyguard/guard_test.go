package keyguard_test

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
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
)

// An access opens the blocks its leaf names: those points, registers and whole
// days, and nothing else. It would catch a key too many or too few.
func TestKeysOfALeaf(t *testing.T) {
	w := newWorld(t)
	r, index := w.record(access())
	keys := w.allow(r)
	w.opens(keys, func(b seal.Block) bool {
		return b.UsagePoint == up1 && b.Register == meter.ActiveImport && b.Day >= today-3 && b.Day <= today-2
	})
	if keys.Damaged != 0 || w.keys.Uses(index) != 1 {
		t.Errorf("%d damaged, %d uses", keys.Damaged, w.keys.Uses(index))
	}
	if !slices.Equal(w.wrapper.accesses, []uint64{index}) {
		t.Errorf("unwrapped for the accesses %v, want %d: a key service's own log would not fit the ledger", w.wrapper.accesses, index)
	}
	keys.Clear()
	w.opens(keys, func(seal.Block) bool { return false })
}

// A leaf may be presented for less, never for more. It would catch a range that
// is cut instead of refused, or a bound that is off by a day.
func TestLessThanALeaf(t *testing.T) {
	both := access()
	both.UsagePoints = []string{string(up1), string(up2)}
	both.Registers = []string{meter.ActiveImport.String(), meter.ActiveExport.String()}
	for _, test := range []struct {
		name string
		ask  func(*keyguard.Request)
		want func(seal.Block) bool // nil refuses
	}{
		{"one point", func(r *keyguard.Request) { r.UsagePoints = []meter.UsagePoint{up2} }, func(b seal.Block) bool { return b.UsagePoint == up2 }},
		{"one register", func(r *keyguard.Request) { r.Registers = []meter.Register{meter.ActiveExport} }, func(b seal.Block) bool { return b.Register == meter.ActiveExport }},
		{"one day", func(r *keyguard.Request) { r.From, r.To = today-2, today-2 }, func(b seal.Block) bool { return b.Day == today-2 }},
		{"the same days", func(r *keyguard.Request) { r.From, r.To = today-3, today-2 }, func(seal.Block) bool { return true }},

		{"a day before", func(r *keyguard.Request) { r.From, r.To = today-4, today-2 }, nil},
		{"a day after", func(r *keyguard.Request) { r.From, r.To = today-3, today-1 }, nil},
		{"no end", func(r *keyguard.Request) { r.From = today - 3 }, nil},
		{"reversed", func(r *keyguard.Request) { r.From, r.To = today-2, today-3 }, nil},
		{"another point", func(r *keyguard.Request) { r.UsagePoints = []meter.UsagePoint{up1, "UP-3"} }, nil},
		{"another register", func(r *keyguard.Request) { r.Registers = []meter.Register{{1, 0, 1, 7, 0, 255}} }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			r, index := w.record(both)
			test.ask(&r)
			if test.want == nil {
				w.deny(keyguard.ErrOutside, r)
				if w.keys.Uses(index) != 0 {
					t.Error("a request that is refused spent the access")
				}
				return
			}
			w.opens(w.allow(r), func(b seal.Block) bool { return b.Day >= today-3 && b.Day <= today-2 && test.want(b) })
		})
	}
}

// What is not proved to the byte opens nothing. It would catch a check that is
// left to whoever asks.
func TestForgeries(t *testing.T) {
	w := newWorld(t)
	good, index := w.record(access())
	wide := access()
	wide.KeyFrom -= 7
	widePayload, err := encode(wide)
	if err != nil {
		t.Fatal(err)
	}
	w.record(access()) // the log grows on
	stranger := ledgertest.Start(t, ledgertest.NewMemory("wattveil.example/other"))
	for name, forge := range map[string]func(*keyguard.Request) *keyguard.Guard{
		"payload with more days": func(r *keyguard.Request) *keyguard.Guard { r.Payload = widePayload; return w.guard },
		"payload with a bit set": func(r *keyguard.Request) *keyguard.Guard {
			r.Payload = bytes.Clone(r.Payload)
			r.Payload[len(r.Payload)-1] ^= 1
			return w.guard
		},
		"another nonce": func(r *keyguard.Request) *keyguard.Guard { r.Nonce[0] ^= 1; return w.guard },
		"proof of another leaf": func(r *keyguard.Request) *keyguard.Guard {
			proof, err := ledger.TLogProof(t.Context(), w.log.Store, index+1)
			if err != nil {
				t.Fatal(err)
			}
			r.Proof = proof
			return w.guard
		},
		"proof cut short": func(r *keyguard.Request) *keyguard.Guard { r.Proof = r.Proof[:len(r.Proof)/2]; return w.guard },
		"no proof":        func(r *keyguard.Request) *keyguard.Guard { r.Proof = nil; return w.guard },
		"another log": func(*keyguard.Request) *keyguard.Guard {
			return keyguard.New(w.keys, w.wrapper, stranger.Verifier, w.clock)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.T = t
			r := good
			guard := forge(&r)
			before := w.guard
			w.guard = guard
			w.deny(keyguard.ErrProof, r)
			w.guard = before
		})
	}
	w.T = t
	if w.keys.Uses(index) != 0 {
		t.Error("a forgery spent the access")
	}
	w.allow(good)
}

func encode(p ledger.Payload) ([]byte, error) {
	p.Time = time.Unix(today.Start(), 0).UnixMicro()
	return p.Encode()
}

// Only the leaf of an admitted access opens. It would catch a refusal, a grant or
// a release that is taken for one, and a mixture of an own and another's access.
func TestOtherLeaves(t *testing.T) {
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
			w := newWorld(t)
			r, index := w.record(p)
			r.Registers = []meter.Register{meter.ActiveImport}
			w.deny(keyguard.ErrLeaf, r)
			if w.keys.Uses(index) != 0 {
				t.Error("a leaf that is no access was spent")
			}
		})
	}
}

// A third party's leaf is for the moment, whichever way the clocks differ. It
// would catch a proof that is kept for later.
func TestFreshness(t *testing.T) {
	w := newWorld(t)
	r, _ := w.record(access())
	p, err := ledger.DecodePayload(r.Payload)
	if err != nil {
		t.Fatal(err)
	}
	recorded := time.UnixMicro(p.Time)
	for _, age := range []time.Duration{keyguard.MaxAge + 1, 24 * time.Hour, -keyguard.MaxAge - 1} {
		w.now = recorded.Add(age)
		w.deny(keyguard.ErrStale, r)
	}
	w.now = recorded.Add(keyguard.MaxAge)
	w.allow(r)
}

// An access opens once, also when it is presented many times at once. It would
// catch a replay.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	r, _ := w.record(access())
	const callers = 8
	errs := make(chan error)
	for range callers {
		go func() {
			_, err := w.guard.BlockKeys(t.Context(), r)
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
func TestOwnLeaf(t *testing.T) {
	w := newWorld(t)
	r, index := w.record(own())
	w.deny(keyguard.ErrOutside, r) // names no register
	for use := 1; use <= 3; use++ {
		r.Registers = []meter.Register{meter.ActiveExport}
		r.From, r.To = today-5, today
		w.opens(w.allow(r), func(b seal.Block) bool { return b.Register == meter.ActiveExport && b.Day >= today-5 })
		if got := w.keys.Uses(index); got != use {
			t.Errorf("%d uses counted, want %d", got, use)
		}
	}
	w.now = time.Unix(today.End()-1, 0)
	w.allow(r)
	for _, now := range []time.Time{time.Unix(today.End(), 0), time.Unix(today.Start()-1, 0)} {
		w.now = now
		w.deny(keyguard.ErrStale, r)
	}
}

// The access is spent before a private key is touched: when the key service
// fails, it stays spent. It would catch an act before its record.
func TestSpentBeforeKeys(t *testing.T) {
	w := newWorld(t)
	r, index := w.record(access())
	w.wrapper.err = seal.ErrUnavailable
	if _, err := w.guard.BlockKeys(t.Context(), r); !errors.Is(err, seal.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	w.wrapper.err = nil
	if w.keys.Uses(index) != 1 {
		t.Error("the access was not spent first")
	}
	w.deny(keyguard.ErrSpent, r)
}

// The seeds that the key service gave out are zeroed. It would catch a private
// key that stays in memory.
func TestSeedsAreCleared(t *testing.T) {
	w := newWorld(t)
	r, _ := w.record(access())
	w.allow(r)
	if len(w.wrapper.given) != 1 {
		t.Fatalf("%d seeds given out, want 1", len(w.wrapper.given))
	}
	for _, seed := range w.wrapper.given {
		if !bytes.Equal(seed, make([]byte, len(seed))) {
			t.Error("a seed was not zeroed")
		}
	}
}

// Keys of every generation open what was sealed to them; a generation that was
// destroyed opens no more, and an erased household nothing. It would catch data
// lost at rotation, and data that outlives its erasure.
func TestGenerations(t *testing.T) {
	w := newWorld(t)
	w.household(2)
	w.blocks = append(w.blocks, w.seal(up1, meter.ActiveImport, today-2))
	w.wrap(today - 2)
	granted := func(b seal.Block) bool {
		return b.UsagePoint == up1 && b.Register == meter.ActiveImport && b.Day >= today-3 && b.Day <= today-2
	}
	r, _ := w.record(access())
	w.opens(w.allow(r), granted)

	all, err := w.keys.HouseholdKeys(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	w.keys.PutHousehold(home, all[1])
	r, _ = w.record(access())
	keys := w.allow(r)
	w.opens(keys, func(b seal.Block) bool { return granted(b) && b.Generation == 2 })
	if keys.Damaged != 2 {
		t.Errorf("%d day keys could not be had, want those of two days", keys.Damaged)
	}

	w.keys.PutHousehold(home)
	r, _ = w.record(access())
	w.deny(seal.ErrKeyGone, r)
}

// A wrap that its writer did not sign is no wrap, but a good copy still serves;
// one of an unknown writer serves no one. It would catch a store that slips in a
// day key of its own, or one bad row that shuts a whole day.
func TestForgedWraps(t *testing.T) {
	w := newWorld(t)
	forger, err := seal.NewWriter(rand.Reader, w.clock)
	if err != nil {
		t.Fatal(err)
	}
	forged, _, err := forger.Wrap(w.target, today-2)
	if err != nil {
		t.Fatal(err)
	}
	w.keys.PutWrap(forged) // not registered
	forged.Writer = w.writer.ID()
	w.keys.PutWrap(forged) // passed off as the writer's
	r, _ := w.record(access())
	keys := w.allow(r)
	w.opens(keys, func(b seal.Block) bool {
		return b.UsagePoint == up1 && b.Register == meter.ActiveImport && b.Day >= today-3 && b.Day <= today-2
	})
	if keys.Damaged != 1 {
		t.Errorf("%d damaged, want the unknown writer's one", keys.Damaged)
	}
}

// A store that answers with other households' or other days' wraps widens
// nothing. It would catch a guard that trusts the query it made.
func TestStoreIsNotTrusted(t *testing.T) {
	w := newWorld(t)
	stranger := w.target
	stranger.Household, stranger.Generation = "stranger", 7
	foreign, _, err := w.writer.Wrap(stranger, today-2)
	if err != nil {
		t.Fatal(err)
	}
	guard := keyguard.New(careless{w.keys, foreign}, w.wrapper, w.log.Verifier, w.clock)
	r, _ := w.record(access())
	keys, err := guard.BlockKeys(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	w.opens(keys, func(b seal.Block) bool {
		return b.UsagePoint == up1 && b.Register == meter.ActiveImport && b.Day >= today-3 && b.Day <= today-2
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
func TestTooManyKeys(t *testing.T) {
	w := newWorld(t)
	r, index := w.record(access())
	r.UsagePoints = slices.Repeat([]meter.UsagePoint{up1}, 1<<10)
	r.Registers = slices.Repeat([]meter.Register{meter.ActiveImport}, 1<<11)
	w.deny(keyguard.ErrTooMany, r)
	if w.keys.Uses(index) != 0 {
		t.Error("a request that is refused spent the access")
	}
}
