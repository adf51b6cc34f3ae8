// Package keys holds the roots of the key hierarchy: the two services behind
// seal.Wrapper and seal.Rotator.
//
// Its promise: a named key never leaves its service, wraps nothing that opens
// under another name or another context, and once destroyed stays destroyed,
// across restarts, and whatever call comes next. So does a version of a key that
// was retired.
//
//   - [Keyring] keeps each named key in a file of its own. It is for one machine
//     and one process at a time: demonstrations, tests, a small site. Whoever
//     can read its directory can open everything it wraps.
//   - [Vault] keeps each named key in the transit engine of a HashiCorp Vault
//     (or a server that speaks its API). It is for production.
//
// Both pass the contract suite privacy/seal/wrappertest. In both a destroyed
// name leaves a tombstone, because a name that could be made again would hide
// that its first key is gone. Neither can take a key out of a backup that was
// made while it was alive: backups of a keyring's directory, or snapshots of
// Vault's storage, count as the key for as long as they are kept.
package keys
