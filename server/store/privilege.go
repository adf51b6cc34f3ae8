package store

import (
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// privileged names the error of a statement that the database user may not run; any
// other error, and nil, comes back as it is.
func privileged(err error) error {
	if pq.As(err, pqerror.InsufficientPrivilege) == nil || errors.Is(err, ErrPrivilege) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrPrivilege, err)
}
