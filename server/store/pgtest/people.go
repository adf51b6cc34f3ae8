package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"testing"
)

// Run runs statements in a database, as its owner and the server's administrator.
func Run(tb testing.TB, at, statements string) {
	tb.Helper()
	if err := run(context.Background(), at, statements); err != nil {
		tb.Fatalf("preparing the database: %v", err)
	}
}

func run(ctx context.Context, at, statements string) error {
	db, err := sql.Open("postgres", at)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statements)
	return err
}

// User returns the URL under which a new user logs in to a database, who is a member of
// the groups and goes when the test ends.
func User(tb testing.TB, at string, groups ...string) string {
	tb.Helper()
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	name := "test_" + hex.EncodeToString(random[:])
	Run(tb, at, fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD '%[1]s'`, name))
	tb.Cleanup(func() {
		if err := run(context.Background(), at, `DROP ROLE `+name); err != nil {
			tb.Errorf("dropping a user: %v", err)
		}
	})
	for _, g := range groups {
		Run(tb, at, `GRANT `+g+` TO `+name)
	}
	u, err := url.Parse(at)
	if err != nil {
		tb.Fatal("the server's URL does not parse")
	}
	u.User = url.UserPassword(name, name)
	return u.String()
}
