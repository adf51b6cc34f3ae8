package store_test

import (
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// Whatever the server does by default (the clusters of these tests do not wait for
// the disk), a transaction of the store does, and one whose process has stopped in
// the middle is ended. It would catch acknowledged readings that power loss takes,
// and a frozen process that holds the log's head for ever.
func TestPostgresSessions(t *testing.T) {
	s := open(t, pgtest.Database(t))
	must(t, s.PutCheckpoint(t.Context(), 1, ledger.Hash{1}, []byte("note"))) // does not wait; what comes after it does
	for setting, want := range map[string]string{"synchronous_commit": "on", "idle_in_transaction_session_timeout": "1min"} {
		var got string
		must(t, s.QueryRow(t.Context(), `SELECT current_setting('`+setting+`')`, nil, &got))
		if got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
	for setting, want := range map[string]string{"synchronous_commit": "off", "idle_in_transaction_session_timeout": "1min"} {
		var got string
		must(t, s.Relaxed().QueryRowContext(t.Context(), `SELECT current_setting('`+setting+`')`).Scan(&got))
		if got != want {
			t.Errorf("for checkpoints %s is %s, want %s", setting, got, want)
		}
	}
}
