package releasetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Store is one empty store under test, and the doors through which the suite
// sets it up; each commits before it returns.
type Store[T release.Tx] struct {
	release.Store
	// Transact runs fn in a transaction, as ledger.Store does.
	Transact func(ctx context.Context, fn func(ctx context.Context, tx T) error) error
	// AddNodes adds nodes to the grid tree, parents first.
	AddNodes func(t *testing.T, nodes []release.Node)
	// AddPoint registers a usage point at a node and in a tariff group, with all
	// that the store wants to exist first.
	AddPoint func(t *testing.T, point meter.UsagePoint, at release.Place)
	// Occupy records an occupancy of a registered usage point; its zone and node
	// are empty, and past times are allowed.
	Occupy func(t *testing.T, o consent.Occupancy)
	// Erase erases a household.
	Erase func(t *testing.T, h consent.Household)
	// AddWriter registers a writer's public key.
	AddWriter func(t *testing.T, id seal.WriterID, key []byte)
	// AddSpool stores what one batch contributes to a window, as ingest does, and
	// reports whether the window took it. The suite calls it from several
	// goroutines at once, so it must not end the test.
	AddSpool func(t *testing.T, keys []seal.SpoolKeyWrap, r seal.SpoolRecord) bool
	// Published returns a stored release, and whether there is one.
	Published func(t *testing.T, id string) (release.Published, bool)
}

// TestStore runs the contract of release.Store and release.Tx against stores that
// open makes, one empty store for each call.
func TestStore[T release.Tx](t *testing.T, open func(t *testing.T) Store[T]) {
	for _, test := range []struct {
		name string
		run  func(s suite[T], t *testing.T)
	}{
		{"Empty", suite[T].empty},
		{"Windows", suite[T].windows},
		{"States", suite[T].states},
		{"Attempts", suite[T].attempts},
		{"Budget", suite[T].budget},
		{"Caps", suite[T].caps},
		{"NewYear", suite[T].newYear},
		{"NoReservation", suite[T].noReservation},
		{"NothingHalf", suite[T].nothingHalf},
		{"BudgetAtOnce", suite[T].budgetAtOnce},
		{"Running", suite[T].running},
		{"RunningLeft", suite[T].runningLeft},
		{"RunningRefused", suite[T].runningRefused},
		{"Live", suite[T].liveLoad},
		{"Publish", suite[T].publish},
		{"RolledBack", suite[T].rolledBack},
		{"Spool", suite[T].spool},
		{"ClosingWaits", suite[T].closingWaits},
		{"Tree", suite[T].tree},
		{"Households", suite[T].households},
		{"Spans", suite[T].spans},
		{"TwoRegistrations", suite[T].twoRegistrations},
		{"Writers", suite[T].writers},
		{"Conflicts", suite[T].conflicts},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(suite[T]{open(t)}, t) })
	}
}

type suite[T release.Tx] struct{ Store[T] }

const day0 = meter.Day(17_000) // 2016-07-18

var errStop = errors.New("stop")

// bytesOf is n bytes of every kind, told apart by what: a store that takes bytes
// for text will not return them.
func bytesOf(what string, n int) []byte {
	out := make([]byte, 0, n+32)
	for i := byte(0); len(out) < n; i++ {
		h := sha256.Sum256(append([]byte(what), i))
		out = append(out, h[:]...)
	}
	return append([]byte{0, 0xff, '\\', '\n'}, out...)[:n]
}

func window(day meter.Day) release.Window {
	return release.Window{
		Day: day, State: release.WindowOpen, PublicKey: bytesOf("public "+day.String(), seal.PublicKeySize),
		WrappedPrivate: bytesOf("wrapped "+day.String(), 60),
	}
}

func (s suite[T]) put(t *testing.T, days ...meter.Day) {
	t.Helper()
	for _, d := range days {
		must(t, s.PutWindow(t.Context(), window(d)))
	}
}

func (s suite[T]) closing(t *testing.T, days ...meter.Day) {
	t.Helper()
	s.put(t, days...)
	for _, d := range days {
		must(t, s.BeginClosing(t.Context(), d))
	}
}

func (s suite[T]) state(t *testing.T, day meter.Day, want release.WindowState, attempts int) {
	t.Helper()
	w, err := s.Window(t.Context(), day)
	if err != nil || w.State != want || w.Attempts != attempts {
		t.Errorf("window of %s: state %d after %d attempts, %v; want state %d after %d", day, w.State, w.Attempts, err, want, attempts)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// empty: nothing is there, and nothing is an error that is not ErrNotFound. It
// would catch a store that makes up a window, and so closes a day nobody opened.
func (s suite[T]) empty(t *testing.T) {
	ctx := t.Context()
	_, err := s.Window(ctx, day0)
	is(t, "Window", err, release.ErrNotFound)
	_, err = s.FirstWindow(ctx)
	is(t, "FirstWindow", err, release.ErrNotFound)
	_, err = s.LastWindow(ctx)
	is(t, "LastWindow", err, release.ErrNotFound)
	is(t, "BeginClosing", s.BeginClosing(ctx, day0), release.ErrNotFound)
	if ws, err := s.Windows(ctx); err != nil || len(ws) != 0 {
		t.Errorf("Windows: %d, %v", len(ws), err)
	}
	if keys, err := s.SpoolKeys(ctx, day0); err != nil || len(keys) != 0 {
		t.Errorf("SpoolKeys: %d, %v", len(keys), err)
	}
	if got := s.records(t, day0); len(got) != 0 {
		t.Errorf("SpoolRecords: %d", len(got))
	}
	if keys, err := s.WriterKeys(ctx, nil); err != nil || len(keys) != 0 {
		t.Errorf("WriterKeys of nobody: %d, %v", len(keys), err)
	}
	if keys, err := s.WriterKeys(ctx, []seal.WriterID{{1}}); err != nil || len(keys) != 0 {
		t.Errorf("WriterKeys of a stranger: %d, %v", len(keys), err)
	}
	if nodes, err := s.Nodes(ctx); err != nil || len(nodes) != 0 {
		t.Errorf("Nodes: %d, %v", len(nodes), err)
	}
	if homes, err := places(ctx, s, day0, day0); err != nil || len(homes) != 0 {
		t.Errorf("HouseholdPlaces: %d, %v", len(homes), err)
	}
	if found, err := s.PublishedAmong(ctx, []string{releaseID(day0)}); err != nil || len(found) != 0 {
		t.Errorf("PublishedAmong: %d, %v", len(found), err)
	}
	s.spent(t, 2016, day0, 0, 0)
	if sets, err := s.RunningSets(ctx); err != nil || len(sets) != 0 {
		t.Errorf("RunningSets: %d, %v", len(sets), err)
	}
	if got := s.runningRecords(t, seal.RunningID{1}); len(got) != 0 {
		t.Errorf("RunningRecords: %d", len(got))
	}
}

func published(day meter.Day, text string) release.Published {
	return release.Published{
		ID: releaseID(day), Product: product, Day: day, Body: append([]byte(`{"text":"`+text+`\u00e9"}`), 0xc3, 0xa9),
		Signature: bytesOf("signature", 64), PublicKey: bytesOf("key", 32), LeafIndex: 7,
	}
}

// publish: a release is stored with its bytes, once. It would catch a body that
// is read as JSON and written anew, so that its signature breaks, and a day that
// is published again.
func (s suite[T]) publish(t *testing.T) {
	want := published(day0, "first")
	put := func(p release.Published) error {
		return s.Transact(t.Context(), func(ctx context.Context, tx T) error { return tx.PutRelease(ctx, p) })
	}
	must(t, put(want))
	if err := put(published(day0, "second")); err == nil {
		t.Error("a second release of one day was stored")
	}
	must(t, put(published(day0+1, "other")))
	if got, ok := s.Published(t, want.ID); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("the release came back as another, or not at all (%v)", ok)
	}
	found, err := s.PublishedAmong(t.Context(), []string{releaseID(day0 + 1), releaseID(day0 + 2), want.ID, want.ID, "'"})
	if err != nil || !maps.Equal(found, map[string]bool{want.ID: true, releaseID(day0 + 1): true}) {
		t.Errorf("published are %v, %v; want the first and the second day", found, err)
	}
	if found, err := s.PublishedAmong(t.Context(), nil); err != nil || len(found) != 0 {
		t.Errorf("published among none are %v, %v", found, err)
	}
}

// rolledBack: what a transaction did is gone when it fails. It would catch a
// release that is stored without its leaf, and budget that is spent on nothing.
func (s suite[T]) rolledBack(t *testing.T) {
	s.closing(t, day0)
	err := s.Transact(t.Context(), func(ctx context.Context, tx T) error {
		if err := tx.PutRelease(ctx, published(day0, "never")); err != nil {
			return err
		}
		if err := tx.Reserve(ctx, reservation("a", day0, 1, 10, day0)); err != nil {
			return err
		}
		return errStop
	})
	is(t, "transaction", err, errStop)
	s.spent(t, 2016, day0, 0, 0)
	must(t, s.reserve(t.Context(), reservation("a", day0, 1, 1, day0))) // nor is its name taken, or its cap
	if _, ok := s.Published(t, releaseID(day0)); ok {
		t.Error("a release was stored by a transaction that failed")
	}
}

func (s suite[T]) records(t *testing.T, day meter.Day) map[uint64]seal.SpoolRecord {
	t.Helper()
	out := map[uint64]seal.SpoolRecord{}
	must(t, s.SpoolRecords(t.Context(), day, func(r seal.SpoolRecord) error {
		if _, twice := out[r.Seq]; twice {
			t.Errorf("record %d came twice", r.Seq)
		}
		r.Ciphertext = bytes.Clone(r.Ciphertext) // it may be the driver's
		out[r.Seq] = r
		return nil
	}))
	return out
}

func contribution(day meter.Day, seq uint64) ([]seal.SpoolKeyWrap, seal.SpoolRecord) {
	writer := seal.WriterID{1, 0, 0xff}
	return []seal.SpoolKeyWrap{{Day: day, Writer: writer, Seq: 1000 + seq, Sealed: bytesOf("sealed", 1169), Signature: bytesOf("signature", 64)}},
		seal.SpoolRecord{Day: day, Writer: writer, Seq: seq, Ciphertext: bytesOf(fmt.Sprint("record ", seq), 1025)}
}

// spool: contributions come back to the byte, of the day that is asked for, until
// the day is closed; then every trace of them is gone, of that day and no other.
// It would catch readings that outlive their window.
func (s suite[T]) spool(t *testing.T) {
	ctx := t.Context()
	s.put(t, day0, day0+1)
	want := map[uint64]seal.SpoolRecord{}
	for seq := range uint64(5) {
		keys, r := contribution(day0, seq+1)
		want[r.Seq] = r
		if !s.AddSpool(t, keys, r) {
			t.Fatal("an open window took no contribution")
		}
	}
	keys, r := contribution(day0+1, 9)
	s.AddSpool(t, keys, r)
	if s.AddSpool(t, nil, seal.SpoolRecord{Day: day0 + 2, Seq: 10, Ciphertext: []byte{1}}) {
		t.Error("a day without a window took a contribution")
	}
	if got := s.records(t, day0); !reflect.DeepEqual(got, want) {
		t.Errorf("%d records came back, or others; want %d", len(got), len(want))
	}
	wraps, err := s.SpoolKeys(ctx, day0)
	must(t, err)
	slices.SortFunc(wraps, func(a, b seal.SpoolKeyWrap) int { return int(a.Seq) - int(b.Seq) })
	if first, _ := contribution(day0, 1); len(wraps) != 5 || !reflect.DeepEqual(wraps[:1], first) {
		t.Errorf("%d spool keys came back, or others; want 5", len(wraps))
	}
	seen := 0
	err = s.SpoolRecords(ctx, day0, func(seal.SpoolRecord) error { seen++; return errStop })
	is(t, "SpoolRecords whose reader stops", err, errStop)
	if seen != 1 {
		t.Errorf("%d records were read by a reader who stopped at the first", seen)
	}
	must(t, s.BeginClosing(ctx, day0))
	if keys, r := contribution(day0, 6); s.AddSpool(t, keys, r) {
		t.Error("a closing window took a contribution")
	}
	must(t, s.EndPublishing(ctx, day0, nil, nil))
	if got := s.records(t, day0); len(got) != 5 {
		t.Errorf("%d records are left before closing has ended, want 5", len(got))
	}
	must(t, s.EndClosing(ctx, day0))
	wraps, err = s.SpoolKeys(ctx, day0)
	if got := s.records(t, day0); len(got) != 0 || len(wraps) != 0 || err != nil {
		t.Errorf("%d records and %d keys are left after closing, %v", len(got), len(wraps), err)
	}
	if got := s.records(t, day0+1); len(got) != 1 {
		t.Errorf("%d records are left of another day, want 1", len(got))
	}
}

// closingWaits: contributions arrive while the window closes; those that were
// taken are there once BeginClosing has returned, and none comes after. It would
// catch an acknowledged contribution that is in no total.
func (s suite[T]) closingWaits(t *testing.T) {
	const senders, each = 4, 10
	s.put(t, day0)
	taken := make(chan bool)
	for n := range senders {
		go func() {
			for i := range each {
				_, r := contribution(day0, uint64(1+n*each+i))
				taken <- s.AddSpool(t, nil, r)
			}
		}()
	}
	stored := 0
	take := func() {
		if <-taken {
			stored++
		}
	}
	for range senders * each / 4 {
		take()
	}
	then := make(chan int)
	go func() {
		if err := s.BeginClosing(t.Context(), day0); err != nil {
			t.Errorf("BeginClosing: %v", err)
		}
		n := 0
		if err := s.SpoolRecords(t.Context(), day0, func(seal.SpoolRecord) error { n++; return nil }); err != nil {
			t.Errorf("SpoolRecords: %v", err)
		}
		then <- n
	}()
	for range senders*each - senders*each/4 {
		take()
	}
	if then, now := <-then, len(s.records(t, day0)); now != stored || then != now {
		t.Errorf("%d contributions were taken; %d were there when the window closed, %d are now", stored, then, now)
	}
}

// writers: each registered writer has its key, and an unknown one none. It would
// catch keys that are handed out in the wrong order.
func (s suite[T]) writers(t *testing.T) {
	want := map[seal.WriterID][]byte{}
	ids := []seal.WriterID{{0xee}}
	for i := range byte(3) {
		id := seal.WriterID{i, 0, 0xff, '\''}
		want[id] = bytesOf(fmt.Sprint("writer ", i), 32)
		ids = append(ids, id)
		s.AddWriter(t, id, want[id])
	}
	got, err := s.WriterKeys(t.Context(), append(ids, ids...))
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%d writers came back, or others; want %d", len(got), len(want))
	}
}

// conflicts: a report may be repeated, as it is when a day takes two attempts.
func (s suite[T]) conflicts(t *testing.T) {
	s.AddNodes(t, []release.Node{{ID: "region", Kind: "region"}})
	s.AddPoint(t, "up-1", release.Place{Node: "region"})
	for _, n := range []int{3, 3, 1, 5} {
		must(t, s.PutConflict(t.Context(), "up-1", day0, n, day0.Start()))
	}
}

const product = "day-curve"

// releaseID names a day's release.
func releaseID(day meter.Day) string { return product + "/" + day.String() }

// places collects what HouseholdPlaces yields.
func places(ctx context.Context, s release.Store, first, last meter.Day) (map[consent.Household]release.Place, error) {
	out := map[consent.Household]release.Place{}
	twice := false
	err := s.HouseholdPlaces(ctx, first, last, func(h consent.Household, p release.Place) {
		_, seen := out[h]
		out[h], twice = p, twice || seen
	})
	if twice {
		return out, errors.New("a household came twice")
	}
	return out, err
}
