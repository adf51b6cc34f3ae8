// Package consent says who may read what of a household's readings, for what
// purpose and until when, and is the only gate to them.
//
// It keeps one promise: no permit exists without a leaf. [Gate.Admit] decides
// and records in one call, inside the transaction that sequences the leaf; a
// [Permit] is minted only after that leaf is committed and its checkpoint
// signed, and a refusal is a leaf too.
package consent
