package pgtest

import "syscall"

// attributes makes a process run as user, nil for whoever runs the test, and
// quit at once when the test binary ends in whatever way: SIGQUIT is
// PostgreSQL's immediate shutdown.
func attributes(user *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: user, Pdeathsig: syscall.SIGQUIT}
}
