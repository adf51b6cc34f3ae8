package release_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Names and values that must turn up in no error and no log line.
const (
	secretHome  = "home-7f3a"
	secretPoint = "point-c41d"
	secretValue = 16_417
)

// oneDay is a plan whose windows are due an hour after their day, so that a
// schedule begins with the day at hand.
func oneDay() release.Catalogue {
	p := plain()
	p.Watermark = 3600e9
	return p
}

// waiting is a world with one day that is due, with a conflict among what it holds.
func waiting(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, oneDay())
	w.home(secretHome, "feeder-1", secretPoint)
	w.home("home-2", "feeder-3", "point-2")
	w.send(t, today, quarters(secretHome, secretPoint, today, 0, repeated(secretValue, 96)...), halves("home-2", "point-2", today, 3, 10))
	w.send(t, today, quarters(secretHome, secretPoint, today, 0, secretValue+1))
	w.due(today)
	return w
}

// watch orders a fault at the n-th time of a step and writes down all steps.
type watch struct {
	step  releasetest.Step
	fault ledgertest.Fault
	n     int64
	seen  atomic.Int64
	trace []releasetest.Step
	lock  chan struct{}
}

func (x *watch) order(w *world) {
	x.lock = make(chan struct{}, 1)
	f := func(s releasetest.Step) ledgertest.Fault {
		x.lock <- struct{}{}
		x.trace = append(x.trace, s)
		<-x.lock
		if s == x.step && x.seen.Add(1) == x.n {
			return x.fault
		}
		return ledgertest.None
	}
	w.store.OnStep(f)
	w.keys.OnStep(f)
}

func (x *watch) end(w *world) {
	w.store.OnStep(nil)
	w.keys.OnStep(nil)
}

// Each step of a closing fails, with and without having had its effect, in a
// process that goes on and in one that is replaced. Whatever happened, calling
// CloseDue again ends with exactly one release of the day, whose bytes never
// changed after it was published, and with key and spool gone; and never did a
// release leave the engine, nor was noise drawn, without a reservation of its own
// before it.
//
// Each row would catch the step that is taken out of order there: a spool that is
// deleted before the release is durable, a key that outlives its window, a day
// published twice with two noises, budget that is spent after the noise is drawn,
// and a day that is stuck.
func TestClosingSurvivesEveryFault(t *testing.T) {
	type row struct {
		step  releasetest.Step
		n     int64
		spent int // reservations when it is over, in a process that goes on
		again int // and in one that was replaced
	}
	for _, r := range []row{
		{releasetest.LastWindow, 1, 1, 1},
		{releasetest.ListWindows, 1, 1, 1},
		{releasetest.BeginClosing, 1, 1, 1},
		{releasetest.ReadWindow, 1, 1, 1},  // after BeginClosing
		{releasetest.FirstWindow, 1, 1, 1}, // the schedule
		{releasetest.ListWindows, 2, 1, 1},
		{releasetest.ReadNodes, 1, 1, 1},
		{releasetest.Unwrap, 1, 1, 1},
		{releasetest.SpoolKeys, 1, 1, 1},
		{releasetest.WriterKeys, 1, 1, 1},
		{releasetest.RunningSets, 1, 1, 1},
		{releasetest.ReadHouseholds, 1, 1, 1},
		{releasetest.SpoolRecords, 1, 1, 1}, // tried
		{releasetest.PublishedAmong, 1, 1, 1},
		{releasetest.CountAttempt, 1, 1, 1},
		{ledgertest.Begin, 1, 1, 1}, // of the payment
		{ledgertest.LockHead, 1, 1, 1},
		{ledgertest.FindRequest, 1, 1, 1},
		{ledgertest.Savepoint, 1, 1, 1},
		{releasetest.Reserve, 1, 1, 1},
		{ledgertest.Append, 1, 1, 1},
		{ledgertest.Commit, 1, 1, 1},
		{ledgertest.PutCheckpoint, 1, 1, 2}, // paid, and not signed: no noise is drawn on it yet
		{releasetest.SpoolRecords, 2, 2, 2}, // summed: noise is drawn by now
		{releasetest.PutConflict, 1, 1, 1},  // not worth a day
		{releasetest.ReadWindow, 2, 2, 2},   // is it still ours to publish?
		{releasetest.ReadSpent, 1, 2, 2},    // stated
		{ledgertest.Begin, 2, 1, 2},         // of the release
		{ledgertest.LockHead, 2, 1, 2},
		{ledgertest.FindRequest, 2, 1, 2},
		{ledgertest.Savepoint, 2, 1, 2},
		{releasetest.PutRelease, 1, 1, 2},
		{ledgertest.Append, 2, 1, 2},
		{ledgertest.Commit, 2, 1, 2},
		{ledgertest.PutCheckpoint, 2, 1, 1},
		{releasetest.EndPublishing, 1, 1, 1},
		{releasetest.ReadWindow, 3, 1, 1}, // after the release
		{releasetest.DestroyKey, 1, 1, 1},
		{releasetest.EndClosing, 1, 1, 1},
		{releasetest.ReadWindow, 4, 1, 1}, // after the end
	} {
		for _, fault := range []ledgertest.Fault{ledgertest.Failed, ledgertest.FailedPersisted, ledgertest.Lost} {
			if fault == ledgertest.Lost && r.step != ledgertest.Commit {
				continue
			}
			for _, replaced := range []bool{false, true} {
				name := fmt.Sprintf("%s %d/%s/replaced=%v", r.step, r.n, map[ledgertest.Fault]string{
					ledgertest.Failed: "failed", ledgertest.FailedPersisted: "persisted", ledgertest.Lost: "lost",
				}[fault], replaced)
				t.Run(name, func(t *testing.T) {
					w := waiting(t)
					x := &watch{step: r.step, fault: fault, n: r.n}
					x.order(w)
					_, failure := w.engine.CloseDue(t.Context())
					x.end(w)
					if x.seen.Load() < r.n {
						t.Fatal("the fault was never met")
					}
					before, out := w.store.Published(id(today))
					if replaced {
						w.restart(t)
					}
					y := &watch{}
					y.order(w)
					_, err := w.engine.CloseDue(t.Context())
					y.end(w)
					if err != nil {
						t.Fatalf("closing again: %v", err)
					}
					w.settled(t, today)
					w.body(t, today)
					if after, _ := w.store.Published(id(today)); out && !bytes.Equal(after.Body, before.Body) {
						t.Error("a published release has changed")
					}
					w.restart(t) // signs what a fault has left unsigned
					if report := w.log.Verify(t); report.Classes[ledger.ClassRelease] != 1+uint64(len(w.store.Reservations())) || w.store.Releases() != 1 {
						t.Errorf("%d leaves of payments and releases, and %d rows of one release", report.Classes[ledger.ClassRelease], w.store.Releases())
					}
					want := r.spent
					if replaced {
						want = r.again
					}
					if out {
						want = 1
					}
					if got := len(w.store.Reservations()); got != want {
						t.Errorf("%d reservations, want %d", got, want)
					}
					w.paid(t, append(x.trace, y.trace...))
					w.discreet(t, failure)
				})
			}
		}
	}
}

// paid fails unless each drawing of noise came after a reservation of its own, and
// every release after a drawing.
func (w *world) paid(t *testing.T, trace []releasetest.Step) {
	t.Helper()
	draws, last := 0, releasetest.Step("")
	asked, paid, trying := false, false, false
	for _, s := range trace {
		// The spool is tried after running sums were opened, and summed under noise
		// that has just been drawn: after a payment that was committed.
		switch {
		case s == releasetest.Reserve:
			asked = true
		case s == ledgertest.Commit:
			asked, paid = false, paid || asked
		case s == releasetest.RunningSets:
			trying = true
		case s == releasetest.SpoolRecords && trying: // tried, while the register is read
			trying = false
		case s == releasetest.SpoolRecords && paid:
			draws, paid = draws+1, false
		case s == releasetest.SpoolRecords:
			t.Errorf("the spool is opened after %q", last)
		case s == releasetest.PutRelease && draws == 0:
			t.Error("a release left the engine before its budget was reserved")
		}
		last = s
	}
	var sum dp.Rho
	for _, r := range w.store.Reservations() {
		sum += r.Rho
	}
	cost, err := w.plan.Products[0].Rho()
	if err != nil {
		t.Fatal(err)
	}
	if spent := w.spent(2018); draws == 0 || spent != sum || spent < dp.Rho(draws)*cost || spent > w.plan.YearlyCap {
		t.Errorf("spent %s, reserved %s, for %d drawings at %s", spent, sum, draws, cost)
	}
}

// discreet fails if an error or the log names a household, a usage point or a
// reading.
func (w *world) discreet(t *testing.T, err error) {
	t.Helper()
	text := fmt.Sprint(err, " ", w.logged.String())
	for _, secret := range []string{secretHome, secretPoint, "home-2", "point-2", fmt.Sprint(secretValue), fmt.Sprint(secretValue + 1)} {
		if strings.Contains(text, secret) {
			t.Errorf("an error or the log tells %s: %s", secret, text)
		}
	}
}

// failing orders a step to fail, every time.
func failing(step releasetest.Step) func(releasetest.Step) ledgertest.Fault {
	return func(s releasetest.Step) ledgertest.Fault {
		if s == step {
			return ledgertest.Failed
		}
		return ledgertest.None
	}
}

// A ledger that is down for long costs one reservation, not one an attempt: the
// signed bytes that are paid for are proposed again. It would catch a year's
// budget that is gone after an hour of a broken log.
func TestABrokenLedgerDoesNotEatTheBudget(t *testing.T) {
	w := waiting(t)
	w.store.OnStep(failing(releasetest.PutRelease))
	for range 60 {
		if _, err := w.engine.CloseDue(t.Context()); !errors.Is(err, ledgertest.ErrFault) {
			t.Fatalf("closing: %v, want the fault", err)
		}
	}
	w.store.OnStep(nil)
	w.close(t, today)
	w.body(t, today)
	w.settled(t, today)
	if got := len(w.store.Reservations()); got != 1 {
		t.Errorf("%d reservations, want 1", got)
	}
}

// Nor does one that records and cannot sign: what was paid is waited for, under its
// own name, and is not paid again; and a day that is paid for with the last of the
// budget is not given up. It would catch a year's budget that is gone after half an
// hour with a full disk under the witness file.
func TestALedgerThatCannotSignDoesNotEatTheBudget(t *testing.T) {
	w := waiting(t)
	w.plan = capped(1)
	w.restart(t)
	w.store.OnStep(failing(ledgertest.PutCheckpoint))
	for range 60 {
		if closed, err := w.engine.CloseDue(t.Context()); !errors.Is(err, ledger.ErrUnsigned) || len(closed) > 0 {
			t.Fatalf("closed %v, %v; want none, and ErrUnsigned", closed, err)
		}
	}
	if got := len(w.store.Reservations()); got != 1 || w.store.Releases() != 0 {
		t.Fatalf("%d reservations and %d releases, want 1 and 0", got, w.store.Releases())
	}
	w.store.OnStep(failing(releasetest.ListWindows))
	if _, err := w.engine.CloseDue(t.Context()); !errors.Is(err, ledgertest.ErrFault) {
		t.Fatalf("closing: %v, want the fault", err)
	}
	w.store.OnStep(nil)
	w.close(t, today)
	w.body(t, today)
	w.settled(t, today)
	if got := len(w.store.Reservations()); got != 1 {
		t.Errorf("%d reservations, want 1", got)
	}
}

// What is damaged stops its own day and no other, costs no budget however often
// it is tried, and keeps its key; mended, the day is published. Each row would
// catch a total that is published without the readings that did not open, or one
// bad row that holds up all days to come.
func TestDamageStopsItsOwnDayAlone(t *testing.T) {
	flip := func(b []byte) { b[len(b)/2] ^= 1 }
	stranger, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(with func(good []byte) []byte) func(*world) func() { // the window's public key
		return func(w *world) func() {
			var good []byte
			w.store.Damage(today, func(window *release.Window, _ []seal.SpoolKeyWrap, _ []seal.SpoolRecord) {
				good, window.PublicKey = window.PublicKey, with(window.PublicKey)
			})
			return func() {
				w.store.Damage(today, func(window *release.Window, _ []seal.SpoolKeyWrap, _ []seal.SpoolRecord) { window.PublicKey = good })
			}
		}
	}
	for name, test := range map[string]struct {
		damage func(w *world) (mend func())
		want   error
	}{
		"a record": {func(w *world) func() {
			change := func(_ *release.Window, _ []seal.SpoolKeyWrap, records []seal.SpoolRecord) {
				flip(records[1].Ciphertext)
			}
			w.store.Damage(today, change)
			return func() { w.store.Damage(today, change) }
		}, seal.ErrOpen},
		"a record of another format": {func(w *world) func() {
			change := func(_ *release.Window, _ []seal.SpoolKeyWrap, records []seal.SpoolRecord) {
				records[0].Ciphertext[0] ^= 0x80
			}
			w.store.Damage(today, change)
			return func() { w.store.Damage(today, change) }
		}, seal.ErrFormat},
		"every copy of a spool key": {func(w *world) func() {
			change := func(_ *release.Window, keys []seal.SpoolKeyWrap, _ []seal.SpoolRecord) {
				flip(keys[0].Sealed) // copies share their bytes
			}
			w.store.Damage(today, change)
			return func() { w.store.Damage(today, change) }
		}, seal.ErrKey},
		"a writer that nobody registered": {func(w *world) func() {
			w.store.AddWriter(w.writer.ID(), make([]byte, 32))
			return func() { w.store.AddWriter(w.writer.ID(), w.writer.PublicKey()) }
		}, seal.ErrKey},
		"the window's public key":         {replace(func(good []byte) []byte { return good[1:] }), seal.ErrKey},
		"a public key that is somebody's": {replace(func([]byte) []byte { return stranger.Public().Bytes() }), seal.ErrKey},
		"the window's wrapped key": {func(w *world) func() {
			change := func(window *release.Window, _ []seal.SpoolKeyWrap, _ []seal.SpoolRecord) { flip(window.WrappedPrivate) }
			w.store.Damage(today, change)
			return func() { w.store.Damage(today, change) }
		}, seal.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			w := waiting(t)
			w.open(t, today+1)
			w.due(today + 1)
			mend := test.damage(w)
			closed, err := w.engine.CloseDue(t.Context())
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), today.String()) || !slices.Equal(closed, []meter.Day{today + 1}) {
				t.Fatalf("closed %v, %v; want the other day, and %v naming this one", closed, err, test.want)
			}
			w.discreet(t, err)
			w.body(t, today+1)
			for range 5 {
				w.restart(t)
				if closed, err := w.engine.CloseDue(t.Context()); !errors.Is(err, test.want) || len(closed) != 0 {
					t.Fatalf("closed %v, %v; want none, and %v", closed, err, test.want)
				}
			}
			if got := len(w.store.Reservations()); got != 1 || w.store.Releases() != 1 || w.keys.Destroyed(release.KeyName(today)) {
				t.Errorf("%d reservations and %d releases; want one, of the other day, and the key of this one", got, w.store.Releases())
			}
			mend()
			w.close(t, today)
			w.body(t, today)
			w.settled(t, today)
		})
	}
}

// One damaged copy of a spool key does not matter while another opens.
func TestAnyCopyOfASpoolKeyOpens(t *testing.T) {
	w := waiting(t)
	w.store.Damage(today, func(_ *release.Window, keys []seal.SpoolKeyWrap, _ []seal.SpoolRecord) {
		if len(keys) < 2 {
			t.Fatalf("%d copies of the spool key, want two", len(keys))
		}
		keys[0].Sealed = bytes.Repeat([]byte{1}, len(keys[0].Sealed))
	})
	w.close(t, today)
	w.body(t, today)
}

// A window whose key is gone is never published anew: after a restore from a
// backup that is older than the release, the key's destruction is what keeps a
// day from a second noise.
func TestADayIsNotPublishedAgainAfterARestore(t *testing.T) {
	w := waiting(t)
	if err := w.keys.DestroyKey(t.Context(), release.KeyName(today)); err != nil {
		t.Fatal(err)
	}
	closed, err := w.engine.CloseDue(t.Context())
	if !errors.Is(err, seal.ErrKeyGone) || len(closed) != 0 || w.store.Releases() != 0 || len(w.store.Reservations()) != 0 {
		t.Errorf("closed %v, %d releases, %v; want none, and ErrKeyGone", closed, w.store.Releases(), err)
	}
}

// slow is a store of which one half fails and the other, told to stop, fails in words
// of its own, as drivers do.
type slow struct {
	*releasetest.Memory
	register, spool error
}

var errInterrupted = errors.New("interrupted")

func (s slow) HouseholdPlaces(ctx context.Context, _, _ meter.Day, _ func(consent.Household, release.Place)) error {
	return s.fail(ctx, s.register)
}

func (s slow) SpoolRecords(ctx context.Context, _ meter.Day, _ func(seal.SpoolRecord) error) error {
	return s.fail(ctx, s.spool)
}

func (slow) fail(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	<-ctx.Done()
	return errInterrupted
}

// Register and spool are read at once: what failed first is what the operator reads. It
// would catch a broken register that shows as an interrupted query.
func TestWhatFailedFirstSaysWhy(t *testing.T) {
	broken := errors.New("broken")
	for what, s := range map[string]slow{"register": {register: broken}, "spool": {spool: broken}} {
		w := waiting(t)
		s.Memory = w.store
		e := release.NewEngine(release.Config[*releasetest.Tx]{
			Store: s, Ledger: w.log, Keys: w.keys, Signer: w.signer, Catalogue: w.plan, Origin: origin, Now: w.clock, Rand: rand.Reader,
		})
		if _, err := e.CloseDue(t.Context()); !errors.Is(err, broken) || errors.Is(err, errInterrupted) {
			t.Errorf("%s: %v, want that it is broken", what, err)
		}
	}
}
