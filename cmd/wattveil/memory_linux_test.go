package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A running hub leaves no core file and opens its memory to root alone. It would catch a
// hub whose keys lie in a file after a crash.
func TestServeKeepsItsMemory(t *testing.T) {
	dir := t.TempDir()
	s, err := newSite(t.Context(), dir, "sqlite:"+filepath.Join(dir, "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	h := s.start(t)
	proc := fmt.Sprintf("/proc/%d/", h.cmd.Process.Pid)
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (f[4] != "0" || f[5] != "0") {
			t.Errorf("core files are limited to %s and %s bytes", f[4], f[5])
		}
	}
	// Of a process that is not dumpable proc(5) shows the files as root's. Whoever runs
	// these tests as root sees that from nothing: then the flag is checked below.
	info, err := os.Stat(proc + "mem")
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		t.Errorf("its memory belongs to user %d", owner)
	}
	if os.Geteuid() != 0 {
		if f, err := os.Open(proc + "mem"); err == nil {
			_ = f.Close()
			t.Error("its memory opens to its own user")
		}
	}
}

// The flag itself: the process that asked for it is not dumpable. It would catch a call
// that the system took for another.
func TestRefuseDumps(t *testing.T) {
	before, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	defer func() {
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, before, 0)
	}()
	if err := keepMemory(); err != nil {
		t.Fatal(err)
	}
	if now, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0); errno != 0 || now != 0 {
		t.Errorf("dumpable is %d, %v", now, errno)
	}
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &l); err != nil || l.Cur != 0 || l.Max != 0 {
		t.Errorf("core files are limited to %d and %d bytes, %v", l.Cur, l.Max, err)
	}
}
