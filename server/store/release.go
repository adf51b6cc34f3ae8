package store

import (
	"context"
	"database/sql"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/release"
)

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

// PublishedAmong implements release.Store.
func (s *Store) PublishedAmong(ctx context.Context, ids []string) (map[string]bool, error) {
	found, err := scanAll(ctx, s.read, func(row *sql.Rows) (id string, err error) {
		return id, row.Scan(&id)
	}, `SELECT id FROM releases WHERE `+s.among("id", 1), s.list(ids))
	published := make(map[string]bool, len(found))
	for _, id := range found {
		published[id] = true
	}
	return published, s.reading("which releases exist", err)
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

// ListReleases returns up to limit releases, of one product or of all, newest day first, without their
// bodies and signatures, and the token of the next page; see ListConsents.
func (s *Store) ListReleases(ctx context.Context, product, page string, limit int) (releases []release.Published, next string, err error) {
	before, id, err := parsePage(page)
	if err != nil {
		return nil, "", err
	}
	releases, err = scanAll(ctx, s.read, func(row *sql.Rows) (p release.Published, err error) {
		return p, row.Scan(&p.ID, &p.Product, &p.Day, &p.LeafIndex)
	}, `SELECT id, product, day, leaf_index FROM releases WHERE (day, id) < (CAST($1 AS bigint), $2) AND (product = $4 OR $4 = '')
		ORDER BY day DESC, id DESC LIMIT $3`, before, id, limit+1, product)
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
