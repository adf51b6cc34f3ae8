package store

import (
	"context"
	"database/sql"
)

// NotifyKey is a generation of the key that signs what third parties are sent. Times are
// unix seconds, 0 for what has not happened.
type NotifyKey struct {
	Generation  uint32
	CreatedAt   int64
	SignsAt     int64 // from here on, until the next does
	WithdrawnAt int64 // not to be believed any more
}

// NotifySecret names the seeds of these keys among the hub's secrets.
const NotifySecret = "notify-signing"

// NotifyKeys returns all generations, oldest first.
func (s *Store) NotifyKeys(ctx context.Context) ([]NotifyKey, error) {
	all, err := scanAll(ctx, s.read, func(row *sql.Rows) (k NotifyKey, err error) {
		return k, row.Scan(&k.Generation, &k.CreatedAt, &k.SignsAt, &k.WithdrawnAt)
	}, `SELECT generation, created_s, signs_s, coalesce(withdrawn_s, 0) FROM notify_keys ORDER BY generation`)
	return all, s.reading("the keys that sign notifications", err)
}

// NewNotifyKey is a generation to be stored.
type NewNotifyKey struct {
	NotifyKey
	Wrapped    []byte // seed, wrapped by the key service
	Key        string // of the key service, that wraps it
	KeyVersion uint64 // of that key
	Withdraw   bool   // all generations before
}

// PutNotifyKey stores a generation and its seed, all or nothing. Whoever comes first wins: if
// the generation is there, nothing changes, and the caller reads it. ErrKeyRetired asks for
// a seed that is wrapped anew.
func (s *Store) PutNotifyKey(ctx context.Context, k NewNotifyKey) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		return doing("storing a key that signs notifications", tx.putNotifyKey(ctx, k))
	})
}

func (t *Tx) putNotifyKey(ctx context.Context, k NewNotifyKey) error {
	if err := t.lock(ctx, t.sql, lockRegistry); err != nil { // as BeginRetiring does
		return err
	}
	if err := t.mustStay(ctx, k.Key, k.KeyVersion); err != nil {
		return err
	}
	first, err := execOne(ctx, t.sql, `INSERT INTO notify_keys (generation, created_s, signs_s) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, k.Generation, k.CreatedAt, k.SignsAt)
	if err != nil || !first {
		return err
	}
	_, err = t.sql.ExecContext(ctx, `INSERT INTO hub_secrets (name, generation, wrapped, created_s) VALUES ($1, $2, $3, $4)`, NotifySecret, k.Generation, k.Wrapped, k.CreatedAt)
	if err == nil && k.Withdraw {
		_, err = t.sql.ExecContext(ctx, `UPDATE notify_keys SET withdrawn_s = $2 WHERE generation < $1 AND withdrawn_s IS NULL`, k.Generation, k.CreatedAt)
	}
	return err
}
