package store

import "context"

// Exec runs a statement as it is, for tests that set up what no method does.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) error {
	_, err := t.sql.ExecContext(ctx, query, args...)
	return err
}
