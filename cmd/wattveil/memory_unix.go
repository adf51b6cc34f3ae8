//go:build unix && !linux

package main

import "syscall"

// refuseDumps sets both limits of core files to nothing.
func refuseDumps() error { return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
