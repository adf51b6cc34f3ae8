package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/privacy/keyguard"
)

// PairRound is a round in which every living household gets a new key pair. A household is
// old as long as the pair it uses was made before the round began. The zero round is
// before the first; nobody is old in it.
type PairRound struct {
	Round   uint64 // 1, 2, …
	BeganAt int64  // unix seconds
}

// LastPairRound returns the round that began last.
func (s *Store) LastPairRound(ctx context.Context) (PairRound, error) {
	var r PairRound
	err := scanOne(ctx, s.read, nil, []any{&r.Round, &r.BeganAt}, `SELECT round, began_s FROM pair_rounds ORDER BY round DESC LIMIT 1`)
	return r, s.reading("rounds of key pairs", err)
}

// PutPairRound writes down that a round has begun; once is enough.
func (t *Tx) PutPairRound(ctx context.Context, r PairRound) error {
	_, err := t.sql.ExecContext(ctx, `INSERT INTO pair_rounds (round, began_s) VALUES ($1, $2) ON CONFLICT DO NOTHING`, r.Round, r.BeganAt)
	return doing("storing a round of key pairs", err)
}

// OldPairs returns the next living households after one that are old in a round, in their
// order, at most limit; the empty household comes before all.
func (s *Store) OldPairs(ctx context.Context, round uint64, after consent.Household, limit int) ([]consent.Household, error) {
	hs, err := scanAll(ctx, s.read, func(row *sql.Rows) (h consent.Household, err error) { return h, row.Scan(&h) },
		`SELECT id FROM households WHERE public_key IS NOT NULL AND pair_round < $1 AND id > $2 ORDER BY id LIMIT $3`, round, after, limit)
	return hs, s.reading("households' key pairs", err)
}

// PairCounts is how households' key pairs stand.
type PairCounts struct {
	Households uint64 // living
	Old        uint64 // of them: those that are old in the round
	Lost       uint64 // of them: those whose pair in use has no private half here, so that what is sealed to it opens for nobody
	Private    uint64 // private halves of all generations, of all households
}

// CountPairs looks through all key pairs for how they stand in a round.
func (s *Store) CountPairs(ctx context.Context, round uint64) (PairCounts, error) {
	var c PairCounts
	err := scanOne(ctx, s.read, ErrNotFound, []any{&c.Households, &c.Old, &c.Lost, &c.Private},
		`SELECT count(*), count(CASE WHEN h.pair_round < $1 THEN 1 END), count(CASE WHEN k.household IS NULL THEN 1 END), (SELECT count(*) FROM household_keys)
		 FROM households h LEFT JOIN household_keys k ON k.household = h.id AND k.generation = h.generation WHERE h.public_key IS NOT NULL`, round)
	return c, s.reading("households' key pairs", err)
}

// Pair is a key pair for a household that has one.
type Pair struct {
	Household      consent.Household
	Generation     uint32 // set by PutPairs
	PublicKey      []byte // X-Wing, 1216 bytes
	WrappedPrivate []byte // wrapped by the key service, with the household as context
	KeyVersion     uint64 // of the key service's key that it is wrapped under
}

// PutPairs gives households the next generation of their key pairs, made in a round, and
// returns those that it gave, ascending, with their generations. It passes over who was
// erased, or has a pair of this round or a later one, since the pairs were made.
// ErrKeyRetired asks for private halves that are wrapped anew.
//
// What was sealed to the pair before opens as it did: its private half stays.
func (t *Tx) PutPairs(ctx context.Context, round uint64, pairs []Pair) ([]Pair, error) {
	given, err := t.putPairs(ctx, round, pairs)
	return given, doing("storing key pairs", err)
}

func (t *Tx) putPairs(ctx context.Context, round uint64, pairs []Pair) ([]Pair, error) {
	if err := t.lock(ctx, t.sql, lockRegistry); err != nil {
		return nil, fmt.Errorf("locking the registry: %w", err)
	}
	made := make(map[consent.Household]Pair, len(pairs))
	ids := make([]string, len(pairs))
	oldest := uint64(math.MaxUint64)
	for i, p := range pairs {
		made[p.Household], ids[i], oldest = p, string(p.Household), min(oldest, p.KeyVersion)
	}
	if err := t.mustStay(ctx, keyguard.HouseholdKey, oldest); err != nil {
		return nil, err
	}
	// An erasure that is under way is waited for, and one that comes waits for this.
	given, err := scanAll(ctx, t.sql, func(row *sql.Rows) (Pair, error) {
		var h consent.Household
		var used, stored uint32
		err := row.Scan(&h, &used, &stored)
		p := made[h]
		p.Generation = max(used, stored) + 1
		return p, err
	}, `SELECT id, generation, (SELECT coalesce(max(k.generation), 0) FROM household_keys k WHERE k.household = households.id) FROM households
		WHERE public_key IS NOT NULL AND pair_round < $1 AND `+t.among("id", 2)+` ORDER BY id`+t.forUpdate(), round, t.list(ids))
	if err != nil {
		return nil, err
	}
	err = t.insert(ctx, t.sql, "household_keys", []string{"household", "generation", "wrapped_private"}, "", len(given), func(i int, v []any) {
		v[0], v[1], v[2] = given[i].Household, given[i].Generation, given[i].WrappedPrivate
	})
	if err != nil {
		return nil, err
	}
	for _, p := range given {
		if _, err := t.sql.ExecContext(ctx, `UPDATE households SET generation = $2, public_key = $3, pair_round = $4 WHERE id = $1`, p.Household, p.Generation, p.PublicKey, round); err != nil {
			return nil, err
		}
	}
	return given, nil
}
