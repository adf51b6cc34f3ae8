package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// Reserve implements release.Tx. The cap of a year is what its first
// reservation says, or what this one says if that is less: it never rises. A
// reservation's ID is new each time (ErrConflict), so that of two processes
// which close one day at once only one goes on, and no draw of noise is paid for
// by another's reservation. ErrWindowClosed if the window is not closing.
func (t *Tx) Reserve(ctx context.Context, r release.Reservation) error {
	return doing("reserving budget", t.reserve(ctx, r))
}

func (t *Tx) reserve(ctx context.Context, r release.Reservation) error {
	if r.Rho == 0 {
		return fmt.Errorf("%w: a reservation of nothing", ErrConflict)
	}
	if r.Rho > r.Cap {
		return release.ErrOverBudget
	}
	_, err := t.sql.ExecContext(ctx,
		`INSERT INTO budget_years (year, cap_nano, spent_nano) VALUES ($1, $2, 0) ON CONFLICT (year) DO NOTHING`, r.Year, uint64(r.Cap))
	if err != nil {
		return err
	}
	var limit, spent dp.Rho
	err = t.sql.QueryRowContext(ctx, `SELECT cap_nano, spent_nano FROM budget_years WHERE year = $1`+t.forUpdate(), r.Year).Scan(&limit, &spent)
	if err != nil {
		return err
	}
	if limit = min(limit, r.Cap); spent > limit || r.Rho > limit-spent {
		return release.ErrOverBudget
	}
	put, err := execOne(ctx, t.sql,
		`INSERT INTO budget_spends (id, year, block_day, product, rho_nano, leaf_index) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING`,
		r.ID, r.Year, r.Day, r.Product, uint64(r.Rho), r.LeafIndex)
	if err != nil {
		return err
	}
	if !put {
		return fmt.Errorf("%w: this reservation was made before", ErrConflict)
	}
	if _, err := t.sql.ExecContext(ctx, `UPDATE budget_years SET spent_nano = spent_nano + $2 WHERE year = $1`, r.Year, uint64(r.Rho)); err != nil {
		return err
	}
	counted, err := execOne(ctx, t.sql, `UPDATE windows SET attempts = attempts + 1 WHERE day = $1 AND state = $2`, r.Day, release.WindowClosing)
	if err == nil && !counted {
		err = release.ErrWindowClosed
	}
	return err
}

// PutRelease implements release.Tx. An ID that is taken is ErrConflict.
func (t *Tx) PutRelease(ctx context.Context, p release.Published) error {
	put, err := execOne(ctx, t.sql,
		`INSERT INTO releases (id, product, day, body, signature, public_key, leaf_index) VALUES ($1, $2, $3, $4, $5, $6, $7)
		 ON CONFLICT (id) DO NOTHING`,
		p.ID, p.Product, p.Day, p.Body, p.Signature, p.PublicKey, p.LeafIndex)
	if err == nil && !put {
		err = ErrConflict
	}
	return doing("storing a release", err)
}

// Release is a published release with what opens its ledger leaf.
type Release struct {
	release.Published
	Payload []byte
	Nonce   ledger.Hash
}

// PublishedRelease returns one release, or release.ErrNotFound.
func (s *Store) PublishedRelease(ctx context.Context, id string) (Release, error) {
	var r Release
	err := scanOne(ctx, s.read, release.ErrNotFound,
		[]any{&r.ID, &r.Product, &r.Day, &r.Body, &r.Signature, &r.PublicKey, &r.LeafIndex, &r.Payload, fixed(r.Nonce[:])},
		`SELECT r.id, r.product, r.day, r.body, r.signature, r.public_key, r.leaf_index, p.payload, p.nonce
		 FROM releases r JOIN tlog_private p ON p.idx = r.leaf_index WHERE r.id = $1`, id)
	return r, s.reading("a release", err)
}

// ListReleases returns up to limit releases, newest day first, without their
// bodies and signatures, and the token of the next page; see ListConsents.
func (s *Store) ListReleases(ctx context.Context, page string, limit int) (releases []release.Published, next string, err error) {
	before, id, err := parsePage(page)
	if err != nil {
		return nil, "", err
	}
	releases, err = scanAll(ctx, s.read, func(row *sql.Rows) (p release.Published, err error) {
		return p, row.Scan(&p.ID, &p.Product, &p.Day, &p.LeafIndex)
	}, `SELECT id, product, day, leaf_index FROM releases WHERE (day, id) < (CAST($1 AS bigint), $2) ORDER BY day DESC, id DESC LIMIT $3`,
		before, id, limit+1)
	if err != nil {
		return nil, "", s.reading("releases", err)
	}
	if len(releases) > limit {
		releases = releases[:limit]
		last := releases[limit-1]
		next = pageAfter(int64(last.Day), last.ID)
	}
	return releases, next, nil
}

// Charge is one reservation, with what opens its ledger leaf. One that was made
// before reservations were recorded has none, and a LeafIndex of 0.
type Charge struct {
	release.Reservation // without its cap
	Payload             []byte
	Nonce               ledger.Hash
}

// maxCharges bounds one answer: far more than the days of a year.
const maxCharges = 10_000

var errCharges = fmt.Errorf("store: more than %d charges in a year", maxCharges)

// ChargesOf returns all reservations of a calendar year, by day and attempt. Those
// that were never used count like the others.
func (s *Store) ChargesOf(ctx context.Context, year int) ([]Charge, error) {
	charges, err := scanAll(ctx, s.read, func(row *sql.Rows) (c Charge, err error) {
		return c, row.Scan(&c.ID, &c.Product, &c.Day, &c.Year, &c.Rho, &c.LeafIndex, &c.Payload, orZero(c.Nonce[:]))
	}, `SELECT b.id, b.product, b.block_day, b.year, b.rho_nano, coalesce(b.leaf_index, 0), p.payload, p.nonce
		FROM budget_spends b LEFT JOIN tlog_private p ON p.idx = b.leaf_index AND p.kind = 'budget.spend'
		WHERE b.year = $1 ORDER BY b.block_day, length(b.id), b.id LIMIT $2`, year, maxCharges+1) // ledger.KindBudgetSpend
	if err == nil && len(charges) > maxCharges {
		charges, err = nil, errCharges
	}
	return charges, s.reading("the budget", err)
}
