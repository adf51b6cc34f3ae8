package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
)

// pair returns a household's pair, with bytes told apart by its name and round.
func pair(h consent.Household, round uint64) store.Pair {
	return store.Pair{
		Household: h, PublicKey: fmt.Appendf(nil, "public %s %d", h, round), WrappedPrivate: fmt.Appendf(nil, "wrapped %s %d", h, round), KeyVersion: 1,
	}
}

// renewed gives households pairs of a round and returns who got which generation.
func renewed(t *testing.T, s *store.Store, round uint64, hs ...consent.Household) map[consent.Household]uint32 {
	t.Helper()
	var pairs []store.Pair
	for _, h := range hs {
		pairs = append(pairs, pair(h, round))
	}
	out := map[consent.Household]uint32{}
	do(t, s, func(ctx context.Context, tx *store.Tx) error {
		given, err := tx.PutPairs(ctx, round, pairs)
		for _, p := range given {
			out[p.Household] = p.Generation
		}
		return err
	})
	return out
}

// generations lists which private halves of a household are stored, as they were wrapped.
func generations(t *testing.T, s *store.Store, h consent.Household) map[uint32]string {
	t.Helper()
	keys, err := s.HouseholdKeys(t.Context(), h)
	must(t, err)
	out := map[uint32]string{}
	for _, k := range keys {
		out[k.Generation] = string(k.Wrapped)
	}
	return out
}

// A round gives each living household one new pair, keeps the halves there were, and is
// over when nobody is old; who is erased gets none, who is registered meanwhile needs
// none. It would catch a pair that replaces its predecessor's private half, one given
// twice in a round, and a status that says done too early.
func TestARoundOfPairs(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		town(t, s)
		must(t, s.CreateLedger(ctx, origin))
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2"), family("h3", 0, "p3")}))
		counts := func(round uint64) store.PairCounts {
			t.Helper()
			c, err := s.CountPairs(ctx, round)
			must(t, err)
			return c
		}
		last, err := s.LastPairRound(ctx)
		must(t, err)
		if got := counts(0); last != (store.PairRound{}) || got != (store.PairCounts{Households: 3, Private: 3}) {
			t.Errorf("before any round: %+v, %+v", last, got)
		}
		for range 2 { // once is enough
			do(t, s, func(ctx context.Context, tx *store.Tx) error {
				return tx.PutPairRound(ctx, store.PairRound{Round: 1, BeganAt: 70})
			})
		}
		last, err = s.LastPairRound(ctx)
		must(t, err)
		late := family("h4", 0, "p4")
		late.PairRound = last.Round
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{late}))
		erase(t, s, "h3")
		var old []consent.Household
		for after := consent.Household(""); ; after = old[len(old)-1] {
			page, err := s.OldPairs(ctx, 1, after, 1)
			must(t, err)
			if old = append(old, page...); len(page) == 0 {
				break
			}
		}
		if d := cmp.Diff([]consent.Household{"h1", "h2"}, old); d != "" {
			t.Errorf("who is old, by pages of one (-want +got):\n%s", d)
		}
		if got := counts(1); got != (store.PairCounts{Households: 3, Old: 2, Private: 3}) {
			t.Errorf("as the round began: %+v", got)
		}
		if d := cmp.Diff(map[consent.Household]uint32{"h1": 2}, renewed(t, s, 1, "h3", "h4", "h1", "nobody")); d != "" {
			t.Errorf("who gets a pair (-want +got):\n%s", d)
		}
		if got := renewed(t, s, 1, "h1"); len(got) != 0 {
			t.Errorf("twice in a round: %v", got)
		}
		if d := cmp.Diff(map[uint32]string{1: "wrapped h1", 2: "wrapped h1 1"}, generations(t, s, "h1")); d != "" {
			t.Errorf("private halves (-want +got):\n%s", d)
		}
		var public []byte
		must(t, s.QueryRow(ctx, `SELECT public_key FROM households WHERE id = 'h1' AND generation = 2 AND pair_round = 1`, nil, &public))
		if string(public) != "public h1 1" {
			t.Errorf("the public key in use is %q", public)
		}
		renewed(t, s, 1, "h2")
		if got := counts(1); got != (store.PairCounts{Households: 3, Private: 5}) {
			t.Errorf("when it is over: %+v", got)
		}
		erase(t, s, "h1")
		if got := generations(t, s, "h1"); len(got) != 0 {
			t.Errorf("an erasure left private halves %v", got)
		}
	})
}

// Pairs wrapped under a version that is being destroyed are refused, all of the page, as
// they are at registration.
func TestPairsUnderARetiredVersion(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.PutRotation(ctx, "households", 2, 5), tx.BeginRetiring(ctx, "households", 2, 6))
		})
		pairs := []store.Pair{pair("h1", 1), pair("h2", 1)}
		pairs[1].KeyVersion = 2
		put := func() error {
			return s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.PutPairs(ctx, 1, pairs)
				return err
			})
		}
		if err := put(); !errors.Is(err, store.ErrKeyRetired) || len(generations(t, s, "h2")) != 1 {
			t.Errorf("one of two under a version that goes: %v", err)
		}
		pairs[0].KeyVersion = 2
		must(t, put())
	})
}

// Tables that were restored from different times do not stop a round: a private half that
// the register has not seen keeps its generation, and one that is missing is said to be,
// until its household has a new pair.
func TestPairsOfTablesOfDifferentTimes(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(
				tx.Exec(ctx, `INSERT INTO household_keys (household, generation, wrapped_private) VALUES ('h1', 5, $1), ('unknown', 1, $1)`, []byte("newer")),
				tx.Exec(ctx, `DELETE FROM household_keys WHERE household = 'h2'`))
		})
		if c, err := s.CountPairs(t.Context(), 0); err != nil || c.Lost != 1 {
			t.Errorf("%+v, %v, want one household without its private half", c, err)
		}
		if d := cmp.Diff(map[consent.Household]uint32{"h1": 6, "h2": 2}, renewed(t, s, 1, "h1", "h2")); d != "" {
			t.Errorf("generations (-want +got):\n%s", d)
		}
		if c, err := s.CountPairs(t.Context(), 1); err != nil || c.Lost != 0 || len(generations(t, s, "h1")) != 3 {
			t.Errorf("after a round: %+v, %v", c, err)
		}
	})
}
