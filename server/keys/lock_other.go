//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package keys

import (
	"errors"
	"io/fs"
	"os"
)

// Without flock and Unix permissions a keyring could promise neither that it is
// alone nor that it is private, so it does not open.

func lock(*os.Root) (*os.File, error) {
	return nil, errors.New("the local keyring needs flock, which this system lacks; use vault")
}

func ownedByUs(fs.FileInfo) bool { return false }
