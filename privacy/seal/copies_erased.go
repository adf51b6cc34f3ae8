//go:build goexperiment.runtimesecret && linux && (amd64 || arm64)

package seal

import runtime "runtime/secret"

// ErasesCopies says whether copies of keys that lie in dead memory are erased: those on
// stacks and in registers at once, those on the heap at the next garbage collection. It
// takes a program built with GOEXPERIMENT=runtimesecret.
const ErasesCopies = true

// erasing runs f, and has what it leaves in memory erased.
func erasing(f func()) { runtime.Do(f) }
