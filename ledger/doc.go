// Package ledger is an append-only, signed, provable record of every decision
// the hub takes: consents, accesses, refusals, releases, erasures.
//
// It keeps one promise: what [Sequencer.Propose] has returned is in the log
// for good. A state change and its leaf commit in one database transaction or
// not at all; the checkpoint over the leaf is signed before the caller hears
// of it; and nobody, the operator included, can later change, drop, reorder or
// insert a leaf without [VerifyLog], or anyone who kept an older checkpoint,
// naming where it happened.
//
// # What is public
//
// A leaf is [LeafSize] bytes whatever it records, so that a stranger who reads
// the whole log learns how many decisions there were, and nothing about whom:
//
//	version(1)=1 | class(1) | tag(32) | commitment(32) | envelope(32)
//
// The commitment is [Commit] of a random nonce and the canonical [Payload];
// both live in erasable rows. Once the nonce is destroyed the commitment can
// no longer be opened, or guessed at, and every proof over it still holds. The
// tag is [SubjectTag] under a key that the household holds too: it can compute
// the tags of its first, second, third … event and find them; to others they
// are random. Leaves of no household carry a random tag. The envelope is the
// SHA-256 of the sealed copy for the regulator, or zero where there is none.
//
// The tree over the leaves is that of RFC 6962 with SHA-256. It is served as
// c2sp.org/tlog-tiles by [TileHandler]; its head is a c2sp.org/tlog-checkpoint,
// a signed note:
//
//	wattveil.example/hub
//	2
//	<base64 of the root hash>
//
//	— wattveil.example/hub <base64 of key hash and Ed25519 signature>
//	— wattveil.example/hub <base64 of key hash, time and ML-DSA-44 signature>
//
// and a receipt is a c2sp.org/tlog-proof whose extra line carries the leaf, so
// that payload, nonce and receipt together can be checked offline, by
// [Verifier.Proof], by someone who knows nothing but the log's public key.
//
// A log's keys change while it goes on: one leaf binds the next generation of keys,
// another retires the one before, and which keys sign a checkpoint follows from the
// leaves that it covers. [NewVerifier] reads what everybody keeps, and
// [Verifier.Succeed] takes the holder of older keys one step further.
//
// # Complete
//
// What somebody is shown proves that it is in the log; that nothing is missing
// takes more. Every payload carries its household's and its recipient's next
// number and the hash of the one before, inside the commitment. How each
// household's chain ends stands in a sparse Merkle map ([Map]) by keys that only
// the household can compute, and [Mapper] makes the map's root a leaf: so
// [Verifier.Household] proves from the household's own secret that it was shown
// everything. A regulator's copy of every payload is sealed to its public key
// ([EnvelopeKey]) when it is recorded, and [AuditLog] opens them all.
//
// # One history
//
// [WitnessFile] remembers outside the store what was signed; [Cosigner] collects
// witnesses' cosignatures, and a [Verifier] with a [Policy] demands them. A log
// that is shorter than what was signed, or another, stops its [Sequencer] for
// good ([Sequencer.Failure]).
//
// # Versions
//
// Leaves and payloads begin with a version byte and are read strictly: what
// this package would not have written, it does not read. A later version adds
// a format beside the first and never changes what version 1 means: a payload is
// of a later version only if it has a kind or a field that those before do not know.
package ledger
