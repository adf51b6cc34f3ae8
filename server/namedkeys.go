package server

import (
	"context"
	"fmt"

	"github.com/wattveil/wattveil/privacy/keyguard"
)

// namedKeys are the keys of the key service that the roles use, but for those of windows,
// which are the release's own. One role makes each; the others have no right to make it,
// and start after that one.
var namedKeys = []struct {
	name     string
	by, uses roleSet
}{
	{hubKey, onLedger, wrapping},
	{keyguard.HouseholdKey, onKeyguard, onAccess | onKeyguard},
}

// keysReady makes the keys that are made by these roles, and sees that the others which
// they use are there. seal.ErrKeyGone for one that is not, or was destroyed.
func (s roleSet) keysReady(ctx context.Context, keys KeyService) error {
	for _, key := range namedKeys {
		switch {
		case s.has(key.by):
			if err := keys.CreateKey(ctx, key.name); err != nil {
				return fmt.Errorf("making key %s: %w", key.name, err)
			}
		case s.has(key.uses):
			if _, _, err := keys.KeyVersions(ctx, key.name); err != nil {
				return fmt.Errorf("looking for key %s, which the part %s makes at its start: %w", key.name, key.by, err)
			}
		}
	}
	return nil
}
