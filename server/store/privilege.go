package store

import (
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// ErrPrivilege says that the database user may not do what was asked, today or when
// it is asked again. It wraps the database's own words, which name a table and no row.
var ErrPrivilege = errors.New("store: the database user may not do this: it is in no group of a role that may, or migrate has not granted it")

// privileged names the error of a statement that the database user may not run; any
// other error, and nil, comes back as it is.
func privileged(err error) error {
	if pq.As(err, pqerror.InsufficientPrivilege) == nil || errors.Is(err, ErrPrivilege) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrPrivilege, err)
}
