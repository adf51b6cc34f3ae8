package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Target is what ingest needs to know of a usage point.
type Target struct {
	Utility   meter.Utility // who may send its readings
	CapWatts  int64
	Zone      string     // IANA
	Node      string     // leaf of the grid tree
	Occupants []Occupant // by From; they do not overlap
}

// Occupant is a household that lives, lived or will live at a usage point.
type Occupant struct {
	Household  consent.Household
	From       int64  // unix seconds
	Until      int64  // first second that is not theirs; 0 while they live there
	Generation uint32 // of the household's key pair in use
}

// TargetsFor looks up usage points. Those that are not registered are not in
// the answer.
func (s *Store) TargetsFor(ctx context.Context, points []meter.UsagePoint) (map[meter.UsagePoint]Target, error) {
	type row struct {
		point      meter.UsagePoint
		target     Target
		household  sql.NullString
		from       sql.NullInt64
		until      int64
		generation sql.NullInt64
	}
	rows, err := scanAll(ctx, s.read, func(rows *sql.Rows) (r row, err error) {
		return r, rows.Scan(&r.point, &r.target.Utility, &r.target.CapWatts, &r.target.Zone, &r.target.Node,
			&r.household, &r.from, &r.until, &r.generation)
	}, fmt.Sprintf(`SELECT p.id, p.utility, p.cap_watts, p.zone, p.node, o.household, o.from_s, coalesce(o.until_s, 0), h.generation
		FROM usage_points p LEFT JOIN occupancies o ON o.usage_point = p.id LEFT JOIN households h ON h.id = o.household
		WHERE %s ORDER BY p.id, o.from_s`, s.among("p.id", 1)), s.list(stringsOf(points)))
	if err != nil {
		return nil, s.reading("usage points", err)
	}
	targets := make(map[meter.UsagePoint]Target, len(points))
	for _, r := range rows {
		t, seen := targets[r.point]
		if !seen {
			t = r.target
		}
		if r.household.Valid {
			t.Occupants = append(t.Occupants, Occupant{
				consent.Household(r.household.String), r.from.Int64, r.until, uint32(r.generation.Int64),
			})
		}
		targets[r.point] = t
	}
	return targets, nil
}

// KeyID names a household's key pair.
type KeyID struct {
	Household  consent.Household
	Generation uint32
}

// PublicKeys returns the public keys that day keys of households are wrapped to, under the
// generations that are in use: those asked for, or later ones where a round of new key
// pairs has passed since. Households that are not registered, or erased, are not in the
// answer.
func (s *Store) PublicKeys(ctx context.Context, ids []KeyID) (map[KeyID]seal.PublicKey, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	households := make([]string, len(ids))
	for i, id := range ids {
		households[i] = string(id.Household)
	}
	type row struct {
		id     KeyID
		packed []byte
	}
	rows, err := scanAll(ctx, s.read, func(rows *sql.Rows) (r row, err error) {
		return r, rows.Scan(&r.id.Household, &r.id.Generation, &r.packed)
	}, `SELECT id, generation, public_key FROM households WHERE public_key IS NOT NULL AND `+s.among("id", 1), s.list(households))
	if err != nil {
		return nil, s.reading("households' public keys", err)
	}
	keys := make(map[KeyID]seal.PublicKey, len(rows))
	for _, r := range rows {
		if keys[r.id], err = seal.ParsePublicKey(r.packed); err != nil {
			return nil, fmt.Errorf("reading a household's public key: %w", err)
		}
	}
	return keys, nil
}

// PutWriter registers who will seal: its id, its Ed25519 public key, since when
// (unix µs), and the ledger leaf that says so. A writer is registered once; the
// same again is ErrConflict.
func (t *Tx) PutWriter(ctx context.Context, id seal.WriterID, publicKey []byte, startedAt int64, leaf uint64) error {
	put, err := execOne(ctx, t.sql,
		`INSERT INTO writers (writer, public_key, started_us, leaf_index) VALUES ($1, $2, $3, $4) ON CONFLICT (writer) DO NOTHING`,
		id[:], publicKey, startedAt, leaf)
	if err == nil && !put {
		err = ErrConflict
	}
	return doing("registering a writer", err)
}

// WriterKeys returns the registered Ed25519 keys of writers. Unknown writers are
// not in the answer.
func (s *Store) WriterKeys(ctx context.Context, ids []seal.WriterID) (map[seal.WriterID][]byte, error) {
	keys := make(map[seal.WriterID][]byte, len(ids))
	for _, id := range ids {
		if _, known := keys[id]; known {
			continue
		}
		var key []byte
		err := scanOne(ctx, s.kept, ErrNotFound, []any{&key}, `SELECT public_key FROM writers WHERE writer = $1`, id[:])
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, s.reading("writers", err)
		}
		keys[id] = key
	}
	return keys, nil
}
