// Package store keeps the hub's state in SQL: in one SQLite file by default, in
// PostgreSQL where one machine is not enough. One schema (migrations/), two
// dialects, one contract suite that both pass.
//
// It keeps these promises.
//
// A state change and its ledger leaf are one commit. [Store.Transact] runs a
// function inside one transaction; [Tx] is what packages ledger, consent and
// release ask of it. Rows that decide (the ledger's head, a consent, the
// budget of a year or a day, a window) are locked when read, so concurrent callers wait for each
// other instead of reading what is about to change.
//
// What is acknowledged is on disk. SQLite runs with WAL and synchronous=FULL,
// PostgreSQL with the server's own synchronous_commit; on both this package lowers
// that for one thing only, a checkpoint's signature, which is made again if it is
// lost. When COMMIT neither succeeded nor certainly failed, the error wraps
// [ErrUnknownOutcome] and the caller asks again with the same identifiers:
// batches, proposals and releases are all found again by name.
//
// No reading is here in plain. Readings arrive as sealed blocks and sealed
// spool records, private keys arrive wrapped; the schema says of each column
// what it holds and whether it is sealed. Nothing in an error names a household
// or a key.
//
// Personal rows that the law may order erased (household keys, private ledger
// rows, subject keys) are in tables of their own, so that erasing is a DELETE
// and a backup may treat them apart.
//
// No part of the hub may do more than its statements need, on PostgreSQL: see [Role].
// What must not change whoever asks, leaves first, is kept by triggers in both engines.
//
// A Store is safe for concurrent use, a Tx is not.
package store
