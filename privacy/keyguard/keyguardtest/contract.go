package keyguardtest

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Store is one empty store under test, and the doors through which the suite
// fills it; each commits before it returns.
type Store struct {
	Keys keyguard.Keys
	// Household stores a household with its wrapped keys.
	Household func(t *testing.T, h consent.Household, keys []keyguard.WrappedKey)
	// Writer registers a writer; before any wrap of it is stored.
	Writer func(t *testing.T, id seal.WriterID, key ed25519.PublicKey)
	// Wrap stores a wrap of a stored household.
	Wrap func(t *testing.T, w seal.DayKeyWrap)
}

const (
	home  = consent.Household("home")
	other = consent.Household("other")
	today = meter.Day(17000)
)

// TestKeys runs the contract of keyguard.Keys against stores that open makes, one
// empty store for each call. That a spent access stays spent through a crash it
// cannot check; the store's own tests do.
func TestKeys(t *testing.T, open func(t *testing.T) Store) {
	t.Run("HouseholdKeys", func(t *testing.T) { householdKeys(t, open(t)) })
	t.Run("DayKeyWraps", func(t *testing.T) { dayKeyWraps(t, open(t)) })
	t.Run("WriterKeys", func(t *testing.T) { writerKeys(t, open(t)) })
	t.Run("SpendAccess", func(t *testing.T) { spendAccess(t, open(t)) })
	t.Run("SpendAtOnce", func(t *testing.T) { spendAtOnce(t, open(t)) })
}

// householdKeys: a household's own keys, every generation, byte for byte. It
// would catch a neighbour's key, or one lost at rotation.
func householdKeys(t *testing.T, s Store) {
	want := []keyguard.WrappedKey{{Generation: 1, Wrapped: []byte("first \x00\xff")}, {Generation: 2, Wrapped: []byte("second")}}
	s.Household(t, home, want)
	s.Household(t, other, []keyguard.WrappedKey{{Generation: 1, Wrapped: []byte("other")}})
	got, err := s.Keys.HouseholdKeys(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b keyguard.WrappedKey) int { return int(a.Generation) - int(b.Generation) })
	if !slices.EqualFunc(got, want, func(a, b keyguard.WrappedKey) bool {
		return a.Generation == b.Generation && bytes.Equal(a.Wrapped, b.Wrapped)
	}) {
		t.Errorf("keys %v, want %v", got, want)
	}
	if got, err := s.Keys.HouseholdKeys(t.Context(), "unknown"); err != nil || len(got) != 0 {
		t.Errorf("keys of an unknown household: %v, %v", got, err)
	}
}

// sample is a wrap whose fields all differ; nothing of it opens.
func sample(h consent.Household, d meter.Day, seq uint64) seal.DayKeyWrap {
	return seal.DayKeyWrap{
		Household: h, Generation: 1, Day: d, Writer: seal.WriterID{1, 2, 3}, Seq: seq,
		Sealed:    bytes.Repeat([]byte{byte(seq)}, 1169),
		Signature: bytes.Repeat([]byte{byte(seq + 1)}, ed25519.SignatureSize),
	}
}

// dayKeyWraps: every copy on the days, both ends included, of one household. It
// would catch a day at the edge that cannot be read, or one too many.
func dayKeyWraps(t *testing.T, s Store) {
	for _, h := range []consent.Household{home, other} {
		s.Household(t, h, []keyguard.WrappedKey{{Generation: 1, Wrapped: []byte("key")}})
	}
	s.Writer(t, seal.WriterID{1, 2, 3}, bytes.Repeat([]byte{9}, ed25519.PublicKeySize))
	stored := []seal.DayKeyWrap{
		sample(home, today-1, 1),
		sample(home, today, 2),
		sample(home, today, 3), // a copy
		sample(other, today, 4),
		sample(home, today+1, 5),
		sample(home, today+2, 6),
	}
	for _, w := range stored {
		s.Wrap(t, w)
	}
	for _, test := range []struct {
		h        consent.Household
		from, to meter.Day
		want     []uint64
	}{
		{home, today, today, []uint64{2, 3}},
		{home, today, today + 1, []uint64{2, 3, 5}},
		{home, today - 10, today + 10, []uint64{1, 2, 3, 5, 6}},
		{home, today + 3, today + 10, nil},
		{other, today - 10, today + 10, []uint64{4}},
		{"unknown", today - 10, today + 10, nil},
	} {
		got, err := s.Keys.DayKeyWraps(t.Context(), test.h, test.from, test.to)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, func(a, b seal.DayKeyWrap) int { return int(a.Seq) - int(b.Seq) })
		var seqs []uint64
		for _, w := range got {
			seqs = append(seqs, w.Seq)
			want := stored[w.Seq-1]
			if w.Household != want.Household || w.Generation != want.Generation || w.Day != want.Day || w.Writer != want.Writer ||
				!bytes.Equal(w.Sealed, want.Sealed) || !bytes.Equal(w.Signature, want.Signature) {
				t.Errorf("wrap %d changed in the store", w.Seq)
			}
		}
		if !slices.Equal(seqs, test.want) {
			t.Errorf("%s, days %v to %v: wraps %v, want %v", test.h, test.from, test.to, seqs, test.want)
		}
	}
}

// writerKeys: those that are known and were asked for.
func writerKeys(t *testing.T, s Store) {
	a, b := seal.WriterID{1}, seal.WriterID{2}
	key := ed25519.PublicKey(bytes.Repeat([]byte{7}, ed25519.PublicKeySize))
	s.Writer(t, a, key)
	s.Writer(t, b, bytes.Repeat([]byte{8}, ed25519.PublicKeySize))
	got, err := s.Keys.WriterKeys(t.Context(), []seal.WriterID{a, {3}})
	if err != nil || len(got) != 1 || !bytes.Equal(got[a], key) {
		t.Errorf("keys %x, %v, want that of the one known writer asked for", got, err)
	}
	if got, err := s.Keys.WriterKeys(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("keys of no writer: %x, %v", got, err)
	}
}

// spendAccess: once, but for the household's own. It would catch a leaf that
// opens twice.
func spendAccess(t *testing.T, s Store) {
	for i, step := range []struct {
		index uint64
		self  bool
		want  error
	}{
		{0, false, nil},
		{0, false, keyguard.ErrSpent},
		{1, true, nil},
		{1, true, nil},
		{1 << 40, false, nil},
		{0, false, keyguard.ErrSpent},
		{1 << 40, false, keyguard.ErrSpent},
		{1, true, nil},
		{1, false, keyguard.ErrSpent}, // presented before, whatever it is taken for now
	} {
		if err := s.Keys.SpendAccess(t.Context(), step.index, step.self); !errors.Is(err, step.want) {
			t.Errorf("step %d, leaf %d: %v, want %v", i, step.index, err, step.want)
		}
	}
}

// spendAtOnce: of many callers one wins. It would catch a look before the leap.
func spendAtOnce(t *testing.T, s Store) {
	const callers = 16
	done := make(chan error)
	for range callers {
		go func() { done <- s.Keys.SpendAccess(t.Context(), 7, false) }()
	}
	won := 0
	for range callers {
		switch err := <-done; {
		case err == nil:
			won++
		case !errors.Is(err, keyguard.ErrSpent):
			t.Errorf("a late caller: %v, want ErrSpent", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d callers spent the same access", won, callers)
	}
}
