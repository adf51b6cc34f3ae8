//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package server

import "os"

// tryLock does nothing where there is no flock: one process at a time is the operator's
// to keep.
func tryLock(*os.File) error { return nil }
