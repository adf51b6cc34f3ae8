// Package keyguard keeps the households' private keys and gives out, against a
// proof, the few keys that one recorded access needs.
//
// Its promise: no key leaves unless the ledger holds, under a checkpoint signed
// with its key, a leaf that says who reads what, and then only the block keys of
// that leaf's usage points, registers and whole UTC days. The guard checks the
// proof itself, offline, and trusts neither the process that asks nor the store:
// a request that was never admitted, is of another log, was refused, has grown
// old, was answered before, or reaches beyond its leaf gets nothing.
//
// An access opens once. The guard writes down, durably, that a leaf is spent, and
// only then touches a private key: a crash in between burns the access, never
// the reverse, and the reader asks again under a new leaf. A household's leaf
// about its own data is for its session and UTC day, so it may come again until
// that day ends, and each use is counted.
//
// What leaves opens no other usage point, register or day: a block key cannot be
// turned back into its day key (see package seal). The private key and the day
// keys are dropped, and zeroed where Go lets them be, before the answer returns.
package keyguard
