package releasetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
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
	// AddPoint registers a usage point at a node, with all that the store wants to
	// exist first.
	AddPoint func(t *testing.T, point meter.UsagePoint, node string)
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
		{"Budget", suite[T].budget},
		{"BudgetAtOnce", suite[T].budgetAtOnce},
		{"Publish", suite[T].publish},
		{"RolledBack", suite[T].rolledBack},
		{"Spool", suite[T].spool},
		{"ClosingWaits", suite[T].closingWaits},
		{"Tree", suite[T].tree},
		{"Households", suite[T].households},
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
	if homes, err := s.HouseholdNodes(ctx, day0); err != nil || len(homes) != 0 {
		t.Errorf("HouseholdNodes: %d, %v", len(homes), err)
	}
}

// windows: what was put comes back, the first one put stays, and those that are
// not closed are listed oldest first, days before 1970 too. It would catch a
// second process that replaces a window's key after contributions were sealed to
// the first, and a schedule that begins anew when every window is closed.
func (s suite[T]) windows(t *testing.T) {
	ctx := t.Context()
	days := []meter.Day{day0, -1, day0 + 2, 0, day0 + 1}
	s.put(t, days...)
	other := window(day0)
	other.PublicKey, other.WrappedPrivate = bytesOf("other", seal.PublicKeySize), bytesOf("other", 60)
	must(t, s.PutWindow(ctx, other))
	slices.Sort(days)
	ws, err := s.Windows(ctx)
	must(t, err)
	want := make([]release.Window, len(days))
	for i, d := range days {
		want[i] = window(d)
		if got, err := s.Window(ctx, d); err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("window of %s came back as another, %v", d, err)
		}
	}
	if !reflect.DeepEqual(ws, want) {
		t.Errorf("%d windows are listed, or in another order; want %d", len(ws), len(want))
	}
	last := day0 + 2
	must(t, s.BeginClosing(ctx, last))
	must(t, s.GiveUp(ctx, last))
	must(t, s.EndClosing(ctx, last))
	if got, err := s.LastWindow(ctx); err != nil || got != last {
		t.Errorf("last window: %s, %v; want %s, though it is closed", got, err, last)
	}
	if ws, err := s.Windows(ctx); err != nil || len(ws) != len(want)-1 {
		t.Errorf("%d windows are listed, %v; want %d, without the closed one", len(ws), err, len(want)-1)
	}
	must(t, s.PutWindow(ctx, window(last)))
	s.state(t, last, release.WindowClosed, 0)
}

// states: a window only ever moves forward, one step at a time, and a step that
// is not allowed changes nothing. It would catch a day that opens again, one that
// is given up after it was published, and a key that is dropped before its day is
// published.
func (s suite[T]) states(t *testing.T) {
	ctx := t.Context()
	s.put(t, day0, day0+1)
	steps := map[string]func() error{
		"BeginClosing": func() error { return s.BeginClosing(ctx, day0) },
		"GiveUp":       func() error { return s.GiveUp(ctx, day0) },
		"EndClosing":   func() error { return s.EndClosing(ctx, day0) },
		"MoveWindow": func() error {
			return s.Transact(ctx, func(ctx context.Context, tx T) error {
				return tx.MoveWindow(ctx, day0, release.WindowClosing, release.WindowPublished)
			})
		},
	}
	for _, at := range []struct {
		state release.WindowState
		deny  []string
		allow []string // in order; each is harmless the second time but the last
	}{
		{release.WindowOpen, []string{"GiveUp", "EndClosing", "MoveWindow"}, []string{"BeginClosing"}},
		{release.WindowClosing, []string{"EndClosing"}, []string{"BeginClosing", "MoveWindow"}},
		{release.WindowPublished, []string{"BeginClosing", "GiveUp", "MoveWindow"}, []string{"EndClosing"}},
		{release.WindowClosed, []string{"BeginClosing", "GiveUp", "MoveWindow"}, []string{"EndClosing"}},
	} {
		s.state(t, day0, at.state, 0)
		for _, step := range at.deny {
			is(t, fmt.Sprintf("%s in state %d", step, at.state), steps[step](), release.ErrWindowClosed)
			s.state(t, day0, at.state, 0)
		}
		for _, step := range at.allow {
			is(t, fmt.Sprintf("%s in state %d", step, at.state), steps[step](), nil)
		}
	}
	w, err := s.Window(ctx, day0)
	if err != nil || len(w.WrappedPrivate) != 0 || !bytes.Equal(w.PublicKey, window(day0).PublicKey) {
		t.Errorf("closed window keeps %d bytes of its private key, %v", len(w.WrappedPrivate), err)
	}
	s.state(t, day0+1, release.WindowOpen, 0)
}

func reservation(day meter.Day, attempt, year int, rho, limit dp.Rho) release.Reservation {
	return release.Reservation{ID: fmt.Sprintf("%s/%d", release.ID(day), attempt), Product: release.Product, Day: day, Year: year, Rho: rho, Cap: limit}
}

// reserve spends in a transaction of its own.
func (s suite[T]) reserve(ctx context.Context, r release.Reservation) error {
	return s.Transact(ctx, func(ctx context.Context, tx T) error { return tx.Reserve(ctx, r) })
}

// budget: a year is spent to its last unit and not beyond; what is refused spends
// nothing and counts no attempt. It would catch a cap that is off by one, a
// refused reservation that is half made, one spend counted for two attempts, and
// a cap that a later configuration raises.
func (s suite[T]) budget(t *testing.T) {
	ctx := t.Context()
	s.closing(t, day0, day0+1)
	s.put(t, day0+2) // open
	reserve := func(r release.Reservation, want error) {
		t.Helper()
		is(t, fmt.Sprintf("reserving %d for %s", r.Rho, r.ID), s.reserve(ctx, r), want)
	}
	reserve(reservation(day0, 1, 2016, 101, 100), release.ErrOverBudget)
	s.state(t, day0, release.WindowClosing, 0)
	reserve(reservation(day0, 1, 2016, 40, 100), nil)
	s.state(t, day0, release.WindowClosing, 1)
	if err := s.reserve(ctx, reservation(day0, 1, 2016, 40, 100)); err == nil || errors.Is(err, release.ErrOverBudget) {
		t.Errorf("the same reservation again: %v, want an error of its own", err)
	}
	s.state(t, day0, release.WindowClosing, 1)
	reserve(reservation(day0+2, 1, 2016, 1, 100), release.ErrWindowClosed) // takes contributions still
	reserve(reservation(day0+3, 1, 2016, 1, 100), release.ErrWindowClosed) // has no window
	reserve(reservation(day0+1, 1, 2016, 61, 100), release.ErrOverBudget)
	reserve(reservation(day0+1, 1, 2016, 61, 1000), release.ErrOverBudget) // the cap does not rise
	reserve(reservation(day0+1, 1, 2016, 15, 50), release.ErrOverBudget)   // but it falls
	s.state(t, day0+1, release.WindowClosing, 0)
	reserve(reservation(day0+1, 1, 2016, 60, 100), nil)
	reserve(reservation(day0+1, 2, 2016, 1, 100), release.ErrOverBudget)
	reserve(reservation(day0+1, 2, 2017, 100, 100), nil) // another year has its own
	s.state(t, day0+1, release.WindowClosing, 2)
	must(t, s.GiveUp(ctx, day0))
	reserve(reservation(day0, 2, 2018, 1, 100), release.ErrWindowClosed)
	reserve(reservation(day0+1, 3, 2018, 100, 100), nil) // nothing was spent of it
}

// budgetAtOnce: many processes reserve at once, and exactly those that fit are
// granted. It would catch a sum that is read, then written.
func (s suite[T]) budgetAtOnce(t *testing.T) {
	const callers, fit = 40, 13
	days := make([]meter.Day, callers)
	for i := range days {
		days[i] = day0 + meter.Day(i)
	}
	s.closing(t, days...)
	errs := make(chan error)
	for _, d := range days {
		go func() { errs <- s.reserve(t.Context(), reservation(d, 1, 2016, 7, 7*fit+6)) }()
	}
	granted := 0
	for range days {
		switch err := <-errs; {
		case err == nil:
			granted++
		case !errors.Is(err, release.ErrOverBudget):
			t.Errorf("reserving: %v", err)
		}
	}
	if granted != fit {
		t.Errorf("%d reservations were granted, want %d", granted, fit)
	}
}

func published(day meter.Day, text string) release.Published {
	return release.Published{
		ID: release.ID(day), Product: release.Product, Day: day, Body: append([]byte(`{"text":"`+text+`\u00e9"}`), 0xc3, 0xa9),
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
}

// rolledBack: what a transaction did is gone when it fails. It would catch a
// release that is stored without its leaf.
func (s suite[T]) rolledBack(t *testing.T) {
	s.closing(t, day0)
	err := s.Transact(t.Context(), func(ctx context.Context, tx T) error {
		if err := tx.PutRelease(ctx, published(day0, "never")); err != nil {
			return err
		}
		if err := tx.MoveWindow(ctx, day0, release.WindowClosing, release.WindowPublished); err != nil {
			return err
		}
		return errStop
	})
	is(t, "transaction", err, errStop)
	s.state(t, day0, release.WindowClosing, 0)
	if _, ok := s.Published(t, release.ID(day0)); ok {
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
	must(t, s.GiveUp(ctx, day0))
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

// tree: the public tree, parents first, empty nodes included, each with the usage
// points at or below it. It would catch a node that is left out because nobody
// lives there, and so tells that nobody does.
func (s suite[T]) tree(t *testing.T) {
	s.AddNodes(t, []release.Node{
		{ID: "region", Kind: "region"},
		{ID: "s-2", Parent: "region", Level: 1, Kind: "substation"},
		{ID: "s-1", Parent: "region", Level: 1, Kind: "substation"},
		{ID: "a-feeder", Parent: "s-1", Level: 2, Kind: "feeder"}, // sorts before its parent
		{ID: "f-empty", Parent: "s-2", Level: 2, Kind: "feeder"},
	})
	s.AddPoint(t, "up-1", "a-feeder")
	s.AddPoint(t, "up-2", "a-feeder")
	s.AddPoint(t, "up-3", "s-2") // fed by a substation itself
	nodes, err := s.Nodes(t.Context())
	must(t, err)
	want := map[string]release.Node{
		"region":   {ID: "region", Kind: "region", UsagePoints: 3},
		"s-1":      {ID: "s-1", Parent: "region", Level: 1, Kind: "substation", UsagePoints: 2},
		"s-2":      {ID: "s-2", Parent: "region", Level: 1, Kind: "substation", UsagePoints: 1},
		"a-feeder": {ID: "a-feeder", Parent: "s-1", Level: 2, Kind: "feeder", UsagePoints: 2},
		"f-empty":  {ID: "f-empty", Parent: "s-2", Level: 2, Kind: "feeder"},
	}
	seen := map[string]bool{"": true}
	for _, n := range nodes {
		if n != want[n.ID] {
			t.Errorf("node %+v, want %+v", n, want[n.ID])
		}
		if !seen[n.Parent] || seen[n.ID] {
			t.Errorf("node %s comes twice, or before its parent", n.ID)
		}
		seen[n.ID] = true
	}
	if len(nodes) != len(want) {
		t.Errorf("%d nodes, want %d", len(nodes), len(want))
	}
}

// households: whoever lives somewhere at any second of the day counts at one
// node, that of the first of its usage points by name; an erased household at
// none. It would catch a household that is counted on two feeders, one that moves
// out at midnight and is counted on the day it never saw, and readings of the
// erased in a total.
func (s suite[T]) households(t *testing.T) {
	s.AddNodes(t, []release.Node{{ID: "region", Kind: "region"}, {ID: "f-1", Parent: "region", Level: 1, Kind: "feeder"}, {ID: "f-2", Parent: "region", Level: 1, Kind: "feeder"}})
	start, end := day0.Start(), day0.End()
	for i, o := range []consent.Occupancy{
		{Household: "stays", From: start - 86400},
		{Household: "leaves-at-midnight", From: start - 86400, Until: start},
		{Household: "leaves-at-noon", From: start - 86400, Until: start + 43200},
		{Household: "comes-at-noon", From: start + 43200},
		{Household: "comes-at-midnight", From: end},
		{Household: "one-second", From: end - 1, Until: end},
		{Household: "two-points", From: start},
		{Household: "two-points", From: start},
		{Household: "erased", From: start - 86400},
	} {
		// Names fall as nodes alternate: of two-points the later one counts.
		o.UsagePoint = meter.UsagePoint(fmt.Sprintf("up-%d", 9-i))
		s.AddPoint(t, o.UsagePoint, fmt.Sprintf("f-%d", 1+i%2))
		s.Occupy(t, o)
	}
	s.Erase(t, "erased")
	got, err := s.HouseholdNodes(t.Context(), day0)
	must(t, err)
	want := map[consent.Household]string{"stays": "f-1", "leaves-at-noon": "f-1", "comes-at-noon": "f-2", "one-second": "f-2", "two-points": "f-2"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("households count at %v, want %v", got, want)
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
	s.AddPoint(t, "up-1", "region")
	for _, n := range []int{3, 3, 1, 5} {
		must(t, s.PutConflict(t.Context(), "up-1", day0, n, day0.Start()))
	}
}
