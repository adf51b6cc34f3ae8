package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
)

// NewHousehold is one home's people who move in.
type NewHousehold struct {
	ID             consent.Household // random, new
	Generation     uint32            // of its key pair
	PublicKey      []byte            // X-Wing, 1216 bytes
	PairRound      uint64            // the last round that had begun when it was made; see PairRound
	WrappedPrivate []byte            // wrapped by the key service
	KeyVersion     uint64            // of the key service's key that it is wrapped under
	SubjectKey     ledger.Hash       // K_hh, with which it finds its leaves
	CodeHash       [32]byte          // of the code in its letter
	UsagePoints    []meter.UsagePoint
	From           int64 // moves in, unix seconds
	CreatedAt      int64 // unix seconds
}

// CreateHouseholds adds households, everything about all of them in one
// transaction. A usage point that does not exist is ErrNotFound; one where
// somebody lives at From or later, or that is named twice, is ErrConflict. ErrKeyRetired
// asks for keys that are wrapped anew.
func (s *Store) CreateHouseholds(ctx context.Context, hs []NewHousehold) error {
	type home struct {
		point meter.UsagePoint
		h     *NewHousehold
	}
	var homes []home
	var points []meter.UsagePoint
	moves := map[meter.UsagePoint]int64{}
	oldest := uint64(math.MaxUint64)
	for i := range hs {
		oldest = min(oldest, hs[i].KeyVersion)
		for _, p := range hs[i].UsagePoints {
			if _, twice := moves[p]; twice {
				return fmt.Errorf("adding households: a usage point is named twice: %w", ErrConflict)
			}
			moves[p] = hs[i].From
			points = append(points, p)
			homes = append(homes, home{p, &hs[i]})
		}
	}
	return s.register(ctx, func(ctx context.Context, tx *Tx) error {
		if err := tx.mustBeFree(ctx, points, moves); err != nil {
			return fmt.Errorf("adding households: %w", err)
		}
		if err := tx.mustStay(ctx, keyguard.HouseholdKey, oldest); err != nil {
			return fmt.Errorf("adding households: %w", err)
		}
		put := func(table string, columns []string, n int, row func(i int, v []any)) error {
			return doing("adding "+table, tx.insert(ctx, tx.sql, table, columns, "", n, row))
		}
		if err := put("households", []string{"id", "generation", "public_key", "pair_round", "created_s"}, len(hs), func(i int, v []any) {
			v[0], v[1], v[2], v[3], v[4] = hs[i].ID, hs[i].Generation, hs[i].PublicKey, hs[i].PairRound, hs[i].CreatedAt
		}); err != nil {
			return err
		}
		if err := put("household_keys", []string{"household", "generation", "wrapped_private"}, len(hs), func(i int, v []any) {
			v[0], v[1], v[2] = hs[i].ID, hs[i].Generation, hs[i].WrappedPrivate
		}); err != nil {
			return err
		}
		if err := put("tlog_tag_keys", []string{"subject", "from_seq", "tag_key"}, len(hs), func(i int, v []any) {
			v[0], v[1], v[2] = hs[i].ID, 1, hs[i].SubjectKey[:]
		}); err != nil {
			return err
		}
		if err := put("letter_codes", []string{"code_hash", "household"}, len(hs), func(i int, v []any) {
			v[0], v[1] = hs[i].CodeHash[:], hs[i].ID
		}); err != nil {
			return err
		}
		return put("occupancies", []string{"usage_point", "from_s", "household"}, len(homes), func(i int, v []any) {
			v[0], v[1], v[2] = homes[i].point, homes[i].h.From, homes[i].h.ID
		})
	})
}

// AddUsagePoints records that a household lives at more usage points from an instant on.
// ErrNotFound for a household that is unknown or erased, ErrConflict for one that lives
// nowhere any more or would have more than most, and for usage points that are unknown or
// not free from then on.
func (s *Store) AddUsagePoints(ctx context.Context, h consent.Household, points []meter.UsagePoint, from int64, most int) error {
	moves := map[meter.UsagePoint]int64{}
	for _, p := range points {
		if _, twice := moves[p]; twice {
			return fmt.Errorf("adding usage points: one is named twice: %w", ErrConflict)
		}
		moves[p] = from
	}
	return s.register(ctx, func(ctx context.Context, tx *Tx) error {
		var lives bool
		if err := scanOne(ctx, tx.sql, ErrNotFound, []any{&lives}, `SELECT EXISTS (SELECT 1 FROM occupancies o WHERE o.household = h.id AND o.until_s IS NULL)
			FROM households h WHERE h.id = $1 AND h.public_key IS NOT NULL`+tx.forShare(), h); err != nil {
			return doing("adding usage points", err)
		}
		var has int
		if err := tx.sql.QueryRowContext(ctx, `SELECT count(DISTINCT usage_point) FROM occupancies WHERE household = $1`, h).Scan(&has); err != nil {
			return doing("adding usage points", err)
		}
		if !lives || has+len(points) > most {
			return fmt.Errorf("adding usage points: %w", ErrConflict)
		}
		if err := tx.mustBeFree(ctx, points, moves); err != nil {
			return fmt.Errorf("adding usage points: %w", err)
		}
		return doing("adding occupancies", tx.insert(ctx, tx.sql, "occupancies", []string{"usage_point", "from_s", "household"}, "", len(points), func(i int, v []any) {
			v[0], v[1], v[2] = points[i], from, h
		}))
	})
}

// mustBeFree returns nil if every usage point exists and nobody lives there from
// the time in moves on.
func (t *Tx) mustBeFree(ctx context.Context, points []meter.UsagePoint, moves map[meter.UsagePoint]int64) error {
	type row struct {
		point    meter.UsagePoint
		occupied sql.NullInt64 // from
		until    sql.NullInt64
	}
	rows, err := scanAll(ctx, t.sql, func(rows *sql.Rows) (r row, err error) {
		return r, rows.Scan(&r.point, &r.occupied, &r.until)
	}, `SELECT p.id, o.from_s, o.until_s FROM usage_points p LEFT JOIN occupancies o ON o.usage_point = p.id
		WHERE `+t.among("p.id", 1), t.list(stringsOf(points)))
	if err != nil {
		return err
	}
	exists := make(map[meter.UsagePoint]bool, len(points))
	for _, r := range rows {
		exists[r.point] = true
		if r.occupied.Valid && (!r.until.Valid || r.until.Int64 > moves[r.point]) {
			return fmt.Errorf("somebody lives at a usage point: %w", ErrConflict)
		}
	}
	if len(exists) != len(points) {
		return fmt.Errorf("a usage point: %w", ErrNotFound)
	}
	return nil
}

// MoveOut ends a household's occupancies at an instant (unix seconds): what
// starts then or later is no longer theirs. Doing it again at the same instant
// changes nothing. ErrNotFound if the household never lived anywhere,
// ErrConflict if it moved in at that instant or later, or moved out at another.
func (s *Store) MoveOut(ctx context.Context, h consent.Household, at int64) error {
	return s.register(ctx, func(ctx context.Context, tx *Tx) error {
		var all, here, ended, late int
		err := tx.sql.QueryRowContext(ctx,
			`SELECT count(*), count(CASE WHEN until_s IS NULL THEN 1 END), count(CASE WHEN until_s = $2 THEN 1 END),
			        count(CASE WHEN until_s IS NULL AND from_s >= $2 THEN 1 END)
			 FROM occupancies WHERE household = $1`, h, at).Scan(&all, &here, &ended, &late)
		switch {
		case err != nil:
		case all == 0:
			err = ErrNotFound
		case late > 0, here == 0 && ended == 0:
			err = ErrConflict
		default:
			_, err = tx.sql.ExecContext(ctx, `UPDATE occupancies SET until_s = $2 WHERE household = $1 AND until_s IS NULL`, h, at)
			if err == nil {
				err = tx.vacate(ctx, h)
			}
		}
		return doing("moving a household out", err)
	})
}

// vacate lets the household's consents end with its last occupancy, which has an end.
func (t *Tx) vacate(ctx context.Context, h consent.Household) error {
	var last int64
	err := t.sql.QueryRowContext(ctx, `SELECT max(until_s) FROM occupancies WHERE household = $1`, h).Scan(&last)
	if err != nil {
		return err
	}
	_, err = t.sql.ExecContext(ctx, `UPDATE consents SET vacated_s = $2, deadline_s = CASE WHEN deadline_s > $2 THEN $2 ELSE deadline_s END
		WHERE household = $1 AND household <> '' AND deadline_s > 0`, h, last)
	return err
}

// Erasure is what one step of an erasure destroyed.
type Erasure struct {
	Events  []ledger.Erased // ledger events of the household that no longer open, ascending
	MapKeys []ledger.Hash   // its keys in the ledger's map; none if it never was in it, or an earlier step named them
	More    bool            // events are left for another step
}

// EraseHousehold destroys what opens a household's readings and what tells its
// story: its keys, its consents and the tokens of them, its tag keys and chain, its codes
// and sessions, and the private columns of at most limit of its ledger entries, oldest first.
// What it returns is for the leaf of the step, with which it commits; the leaf's
// subject must be empty. Called until there is no more; ErrNotFound for a household
// that is unknown, ErrErased for one of which nothing is left.
//
// Blocks stay and open for nobody; the public log is unchanged. What is deleted
// lingers where the engine keeps old pages (PostgreSQL until VACUUM, SQLite until
// its log is next written over), in backups and in the key service, until their
// time runs out.
func (t *Tx) EraseHousehold(ctx context.Context, h consent.Household, limit int) (Erasure, error) {
	e, err := t.eraseHousehold(ctx, h, limit)
	return e, doing("erasing a household", err)
}

// ErrErased says that a household was erased before.
var ErrErased = errors.New("store: household is erased")

func (t *Tx) eraseHousehold(ctx context.Context, h consent.Household, limit int) (Erasure, error) {
	var erased bool
	if err := scanOne(ctx, t.sql, ErrNotFound, []any{&erased}, `SELECT public_key IS NULL FROM households WHERE id = $1`+t.forUpdate(), h); err != nil {
		return Erasure{}, err
	}
	events, err := t.eventsOf(ctx, h, limit+1)
	if err != nil {
		return Erasure{}, err
	}
	e := Erasure{Events: events}
	switch {
	case erased && len(events) == 0:
		return Erasure{}, ErrErased
	case len(events) > limit:
		e.Events, e.More = events[:limit], true
	}
	if !erased && len(events) > 0 {
		keys, err := tagKeys(ctx, t.dialect, t.sql, []string{string(h)})
		if err != nil {
			return Erasure{}, err
		}
		for _, k := range keys[string(h)] {
			e.MapKeys = append(e.MapKeys, ledger.MapKey(k.Key))
		}
	}
	if err := t.tellOfErasure(ctx, h); err != nil {
		return Erasure{}, err
	}
	t.ahead = ahead{} // whatever was read of it
	for _, stmt := range []string{
		`UPDATE households SET public_key = NULL WHERE id = $1`, // a trigger deletes the private halves
		`DELETE FROM oauth_tokens WHERE consent IN (SELECT id FROM consents WHERE household = $1)`,
		`DELETE FROM oauth_grants WHERE consent IN (SELECT id FROM consents WHERE household = $1)`,
		`DELETE FROM consents WHERE household = $1`,
		`DELETE FROM tlog_tag_keys WHERE subject = $1`,
		`DELETE FROM tlog_chains WHERE kind = 1 AND id = $1`, // ledger.SubjectChain
		`DELETE FROM letter_codes WHERE household = $1`,
		`DELETE FROM sessions WHERE household = $1`,
	} {
		if _, err := t.sql.ExecContext(ctx, stmt, h); err != nil {
			return Erasure{}, err
		}
	}
	if len(e.Events) > 0 {
		last := e.Events[len(e.Events)-1].Index
		_, err = t.sql.ExecContext(ctx, `DELETE FROM tlog_private WHERE subject = $1 AND subject <> '' AND idx <= $2`, h, last)
	}
	return e, err
}

// eventsOf returns where a household's first events are in the log and in their
// recipients' chains.
func (t *Tx) eventsOf(ctx context.Context, h consent.Household, limit int) ([]ledger.Erased, error) {
	return scanAll(ctx, t.sql, func(row *sql.Rows) (e ledger.Erased, err error) {
		var payload []byte
		if err := row.Scan(&e.Index, &e.Recipient, &payload); err != nil {
			return e, err
		}
		p, err := ledger.DecodePayload(payload)
		e.RecipientSeq = p.RecipientSeq
		return e, err
	}, `SELECT idx, recipient, payload FROM tlog_private WHERE subject = $1 AND subject <> '' ORDER BY idx LIMIT $2`, h, limit)
}

// HasHousehold reports whether a household is registered, erased or not.
func (s *Store) HasHousehold(ctx context.Context, h consent.Household) (bool, error) {
	var n int
	err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM households WHERE id = $1`, h).Scan(&n)
	return n > 0, s.reading("a household", err)
}

// ErasedHouseholds returns all households that are erased, or begun to be.
func (s *Store) ErasedHouseholds(ctx context.Context) ([]consent.Household, error) {
	hs, err := scanAll(ctx, s.read, func(row *sql.Rows) (h consent.Household, err error) { return h, row.Scan(&h) },
		`SELECT id FROM households WHERE public_key IS NULL ORDER BY id`)
	return hs, s.reading("households", err)
}

// Unerased is a household of which something is left to erase.
type Unerased struct {
	ID consent.Household
	// Begun: its keys are gone, and events are left that an erasure has yet to take.
	Begun bool
}

// Unerased calls yield with every household that is not erased, or not to the end.
func (s *Store) Unerased(ctx context.Context, yield func(Unerased)) error {
	rows, err := s.read.QueryContext(ctx, `SELECT id, FALSE FROM households WHERE public_key IS NOT NULL
		UNION ALL SELECT id, TRUE FROM households h WHERE public_key IS NULL AND EXISTS (SELECT 1 FROM tlog_private p WHERE p.subject = h.id AND p.subject <> '')`)
	if err != nil {
		return s.reading("households", err)
	}
	defer rows.Close()
	for rows.Next() {
		var u Unerased
		if err := rows.Scan(&u.ID, &u.Begun); err != nil {
			return s.reading("households", err)
		}
		yield(u)
	}
	return s.reading("households", rows.Err())
}
