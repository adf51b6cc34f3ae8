package main

import "syscall"

// refuseDumps sets both limits of core files to nothing, and marks the process as not
// dumpable: prctl(2), PR_SET_DUMPABLE. That holds also for a core pattern that is a pipe,
// which does not ask the limit, and gives /proc/PID/mem and its like to root.
func refuseDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return err
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
