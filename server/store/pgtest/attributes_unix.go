//go:build unix && !linux

package pgtest

import "syscall"

// attributes makes a process run as user, nil for whoever runs the test. Only
// Linux can tie it to the life of the test binary: elsewhere one that is killed
// leaves its server behind.
func attributes(user *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: user}
}
