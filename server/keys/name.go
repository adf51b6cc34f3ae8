package keys

import (
	"fmt"

	"github.com/wattveil/wattveil/privacy/seal"
)

// Limits on what both services take.
const (
	maxName   = 64      // bytes of a key's name
	maxSecret = 4 << 10 // bytes of one secret, as seal.Item says
)

// checkName refuses every key name but [a-z0-9-]{1,64} that neither begins nor
// ends with a hyphen. Such a name is a file name and a URL segment as it stands,
// and no suffix that begins with a dot can be mistaken for one. (Vault takes no
// key name that ends with a hyphen.)
func checkName(name string) error {
	if len(name) < 1 || len(name) > maxName || name[0] == '-' || name[len(name)-1] == '-' {
		return fmt.Errorf("%w: malformed key name", seal.ErrRefused)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%w: malformed key name", seal.ErrRefused)
		}
	}
	return nil
}

// checkSecrets refuses secrets that are too long to be keys.
func checkSecrets(items []seal.Item) error {
	for i := range items {
		if len(items[i].Data) > maxSecret {
			return fmt.Errorf("%w: secret longer than %d bytes", seal.ErrRefused, maxSecret)
		}
	}
	return nil
}
