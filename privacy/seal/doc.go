// Package seal keeps households' readings shut: it seals them as they arrive
// and opens them only under a permit.
//
// Its promise has three parts. What is stored can be opened with the
// household's private key alone, and that key lives in keyguard, wrapped by a
// service outside the store. [Open] gives nothing without a [consent.Permit],
// which exists only after the access was recorded, and gives nothing outside
// that permit's scope. And whoever seals cannot open what an earlier process
// sealed: a [Writer] holds households' public keys and the keys it made itself.
//
// The rest of this comment is the format of what is stored, version 1. It is
// complete: testdata/v1.json and, for running sums, testdata/running-v1.json
// hold an example of everything below, and stranger_test.go opens them with a language's standard library and nothing of
// this package. A format never changes; another one gets another version byte.
//
// # Notation
//
// Integers are big endian and at the width given in bits, times are unix
// seconds, a day counts from 1970-01-01 in UTC. ‖ joins. A field list
//
//	F(a, b, …)
//
// is each field as length (16 bits) ‖ bytes: text as its ASCII bytes, integers
// at their width, registers as their 6 OBIS value groups A to F, writers as
// their 16 bytes. Signatures are Ed25519 (RFC 8032) and, for identifiers B (a
// field list) and a ciphertext column C, are made over
//
//	"wattveil/seal/signature" ‖ SHA-256(B) ‖ SHA-256(C)
//
// and are good by the equation of RFC 8032, section 5.1.7, with its factor of 8.
// Whoever checks without it refuses no signature that a [Writer] makes.
//
// # Keys
//
//	household key pair (X-Wing)        private half: 32-byte seed; public half: 1216 bytes
//	  day key (32 bytes, random)       one per household, key generation, UTC day and writer
//	    block key (AES-256)            one per usage point and register
//	window key pair (X-Wing)           one per UTC day that totals are made of
//	  spool key (AES-256, random)      one per window and writer
//	  running key (AES-256, random)    one per set of running sums
//
// A writer is 16 random bytes and an Ed25519 key pair, new with every start of a
// process. It numbers everything it seals from 1, across all its keys; a number
// is used up when something is sealed under it, stored or not. The nonce of
// every AES-256-GCM encryption is that number in 96 bits. The records of a set
// of running sums are numbered by themselves.
//
// # Day-key wrap and spool-key wrap
//
// HPKE (RFC 9180), base mode, KEM 0x647a (X-Wing, draft-connolly-cfrg-xwing-kem),
// KDF 0x0001 (HKDF-SHA-256), AEAD 0x0002 (AES-256-GCM), empty aad. With R the
// SHA-256 of the recipient's 1216-byte public key, info is
//
//	F("wattveil/seal/day-key-wrap", version (8), household, generation (32), day (32), writer, R)
//	F("wattveil/seal/spool-key-wrap", version (8), day (32), writer, R)
//
// The column Sealed is version (8, = 1) ‖ enc (1120 bytes) ‖ ct (48 bytes), the
// encryption of the 32-byte key. Signature covers info and Sealed. The column
// Seq only tells copies of one wrap apart and is bound to nothing.
//
// # Block
//
// The block key is HKDF-SHA-256 (RFC 5869) of the day key, without salt, with
//
//	info = F("wattveil/seal/block-key", version (8), usage point, register)
//
// The associated data is
//
//	F("wattveil/seal/block", version (8), household, generation (32), usage point, register,
//	  first start (64), interval length (64), count (32), revision (32), day (32), writer, sequence (64))
//
// The column Ciphertext is version (8, = 1) ‖ AES-256-GCM(block key, nonce,
// associated data, plaintext), and Signature covers the associated data and
// Ciphertext. The plaintext is
//
//	accepted (64, unix µs) ‖ packing (8) ‖ intervals
//
// The low 7 bits of packing are the width W of a value, 1 to 64; its top bit
// says that values are in two's complement. Each interval is W bits of value
// and 4 bits of quality ([meter.Quality]; 15 is Missing, with value 0), most
// significant bit first, one after the other; zero bits fill the last byte.
//
// A writer chooses W from what is public. A register of energy within an
// interval ([meter.Register.PerInterval]) takes the bits of the largest value
// that the usage point's cap allows in one interval (cap in W × length in s /
// 3600, rounded down; at least 1 bit), and one more, in two's complement, if it
// is signed. Every other register takes 64 bits in two's complement. So the
// length of Ciphertext,
//
//	26 + ⌈count × (W + 4) / 8⌉ bytes,
//
// is a function of cap, length and count alone. A reader takes W from packing:
// a cap that changes later changes nothing.
//
// # Spool record
//
// All that one batch contributes to one window, under the spool key itself. The
// associated data is
//
//	F("wattveil/seal/spool-record", version (8), day (32), writer, sequence (64))
//
// and the column Ciphertext is version (8, = 1) ‖ AES-256-GCM. The plaintext is
//
//	accepted (64, unix µs) ‖ number of contributions (32) ‖ contributions ‖ zero bytes
//
// up to a multiple of 256 bytes, each contribution being
//
//	household ‖ usage point ‖ register (48) ‖ first start (64) ‖ interval length (32) ‖
//	revision (32) ‖ count (32) ‖ packing (8) ‖ intervals as in a block
//
// Household and usage point are names: the number (32) of a name written out
// before in this record, from 1 on; or 0, and then the name itself as length (8)
// ‖ bytes. A name is written out once. Records bear no signature: only the
// writer and the holder of the window's private key know the spool key, and the
// signature of its wrap says whose it is.
//
// # Running sums
//
// What a product over several days keeps of each household between two
// closings: a set of records, made at the closing of day from, and taken up at
// the closing of day window, whose key pair it is sealed to. A set is named by
// 16 random bytes, its id, and has a key of its own, 32 random bytes. Its records
// are numbered from 1 to the number of its records, without gaps.
//
// The running-key wrap is HPKE as above, with
//
//	info = F("wattveil/seal/running-key-wrap", version (8), id, from (32), window (32), records (32), R)
//
// where records is their number. The column Sealed is as above. Signature covers
// info and Sealed, and is made with the key that signs the hub's releases. A set
// without a wrap is none.
//
// The associated data of a record is
//
//	F("wattveil/seal/running-record", version (8), id, from (32), number (32))
//
// and the column Ciphertext is version (8, = 1) ‖ AES-256-GCM(key, nonce,
// associated data, plaintext), the nonce being the record's number in 96 bits.
// The plaintext is
//
//	length (32) ‖ content ‖ zero bytes
//
// up to a multiple of 4096 bytes, and no more of them than it takes; length is
// that of content in bytes, at most 2²⁰. So the length of Ciphertext tells the
// length of content in pages. What content is, is not this package's affair.
//
// # Message
//
// What one process tells another, and nobody stores. It is HPKE as above, to a
// public key that is made for the one message, with
//
//	info = F("wattveil/seal/message", version (8), SHA-256 of the question, R)
//
// and is version (8, = 1) ‖ enc (1120 bytes) ‖ ct (length of content + 16 bytes).
package seal
