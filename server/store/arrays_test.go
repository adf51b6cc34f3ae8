package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// A column's values reach PostgreSQL as array_recv reads them, and the absent ones
// as NULL, whatever their type: a nil slice is not the empty string. It would catch
// a row that loses a NOT NULL constraint, and one kind of value sent as another.
func TestArrays(t *testing.T) {
	kind, got, err := store.Array(int64(1), nil, uint8(2))
	want := []byte{
		0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 1,
		0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2,
	}
	if err != nil || kind != "bigint" || !bytes.Equal(got, want) {
		t.Errorf("integers: %s %x, %v; want %x", kind, got, err, want)
	}
	kind, got, err = store.Array(consent.Household("a"), sql.NullString{}, "")
	want = []byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
	if err != nil || kind != "text" || !bytes.Equal(got, want) {
		t.Errorf("texts: %s %x, %v; want %x", kind, got, err, want)
	}
	kind, got, err = store.Array([]byte{7}, []byte(nil), []byte{})
	want = []byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 17, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
	if err != nil || kind != "bytea" || !bytes.Equal(got, want) {
		t.Errorf("bytes: %s %x, %v; want %x", kind, got, err, want)
	}
	if kind, _, err := store.Array(nil, []byte(nil)); err != nil || kind != "" {
		t.Errorf("nothing but NULL: %q, %v", kind, err)
	}
	for what, values := range map[string][]any{
		"two kinds": {int64(1), "a"}, "text and bytes": {"a", []byte("a")}, "a float": {1.5}, "what is no integer of the database's": {uint64(1 << 63)}, "a channel": {make(chan int)},
	} {
		if _, _, err := store.Array(values...); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// More than one statement may carry is sent in several, and no row is lost between
// them.
func TestArraysInPieces(t *testing.T) {
	s := open(t, pgtest.Database(t))
	do(t, s, func(ctx context.Context, tx *store.Tx) error {
		return tx.InsertArrays(ctx, "hub_secrets", []string{"name", "generation", "wrapped", "created_s"}, 10, func(i int, v []any) {
			v[0], v[1], v[2], v[3] = fmt.Sprint("s", i), 1, bytes.Repeat([]byte{1}, 100), 1
		}, 300)
	})
	for i := range 10 {
		if !has(t, s, fmt.Sprint("s", i)) {
			t.Errorf("row %d is not there", i)
		}
	}
}

// A household without its wrapped key is refused by either engine.
func TestNoKeyIsNoEmptyKey(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		h := store.NewHousehold{ID: "h", Generation: 1, PublicKey: []byte{1}, WrappedPrivate: nil}
		if err := s.CreateHouseholds(t.Context(), []store.NewHousehold{h}); err == nil {
			t.Error("stored")
		}
	})
}
