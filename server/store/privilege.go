package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// ErrPrivilege says that the database user may not do what was asked, today or when
// it is asked again. It wraps the database's own words, which name a table and no row.
var ErrPrivilege = errors.New("store: the database user may not do this: it is in no group of a role that may, or migrate has not granted it")

// ActsAs says whether the database user is in the group of a role: ErrPrivilege if not,
// and nothing where there are no users. A process that starts asks for each of its roles,
// rather than fail at the first call that needs a grant.
func (s *Store) ActsAs(ctx context.Context, r Role) error {
	if s.Engine() != "postgres" {
		return nil
	}
	var member bool
	err := scanOne(ctx, s.read, ErrGroups, []any{&member}, `SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = $1`, r.Group())
	if err == nil && !member {
		err = fmt.Errorf("%w: it is not in %s", ErrPrivilege, r.Group())
	}
	return s.reading("groups of roles", err)
}

// privileged names the error of a statement that the database user may not run; any
// other error, and nil, comes back as it is.
func privileged(err error) error {
	if pq.As(err, pqerror.InsufficientPrivilege) == nil || errors.Is(err, ErrPrivilege) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrPrivilege, err)
}
