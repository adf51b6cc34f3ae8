package ledger

import (
	"context"
	"errors"
)

// Errors a Store returns, wrapped or bare.
var (
	// ErrNoHead: the store holds no log. A log is never begun by accident;
	// whoever makes the store writes NewHead once.
	ErrNoHead = errors.New("ledger: no log in this store")
	// ErrFenced: the head is not the one the append was computed from.
	ErrFenced = errors.New("ledger: fenced: the head has moved")
	// ErrUnknownOutcome: COMMIT was sent and its answer never came. The
	// transaction may or may not have happened.
	ErrUnknownOutcome = errors.New("ledger: outcome unknown")
	// ErrNoCheckpoint: no checkpoint, or none of that size, has been stored.
	ErrNoCheckpoint = errors.New("ledger: no such checkpoint")
	// ErrNoTile: the tile is not full yet, or does not exist.
	ErrNoTile = errors.New("ledger: no such tile")
	// ErrNoEntry: the log is not that long.
	ErrNoEntry = errors.New("ledger: no such entry")
	// ErrErased: the entry's private columns have been destroyed.
	ErrErased = errors.New("ledger: entry erased")
	// ErrNoSubjectKey: the household has no tag key: it is not registered, or erased.
	ErrNoSubjectKey = errors.New("ledger: household has no tag key")
	// ErrNoEnvelopeKey: no regulator's envelope key is valid now, so that nobody
	// could audit a third party's access.
	ErrNoEnvelopeKey = errors.New("ledger: no envelope key of a regulator is valid now")
	// ErrFork: two different roots for one size.
	ErrFork = errors.New("ledger: two roots for one size")
)

// Head is the state from which the next leaf is appended.
type Head struct {
	Origin   string // identity of the log, first line of its checkpoints
	Epoch    uint64 // raised to fence off whoever held the log before
	Size     uint64 // number of leaves
	Root     Hash   // RFC 6962 tree head over them
	Frontier []Hash // roots of the perfect subtrees that cover [0, Size), left to right
}

// NewHead returns the head of a log without leaves, in its first epoch. Making
// a store for a log means storing this row once.
func NewHead(origin string) Head {
	return Head{Origin: origin, Epoch: 1, Root: EmptyRoot()}
}

// Entry is a leaf with what the hub alone knows about it.
type Entry struct {
	Index     uint64
	RequestID string // unique over the whole log
	Leaf      Leaf

	// The private columns: an erasure destroys them together.
	Payload   []byte // canonical encoding
	Nonce     Hash
	Envelope  []byte // sealed copy for the regulator; nil if there is none
	Subject   string // household, or ""
	Recipient string // or ""
	Kind      Kind
	Time      int64 // unix µs
}

// TileWidth is the number of hashes in a full tile.
const TileWidth = 256

// Tile is a full tile of c2sp.org/tlog-tiles: the TileWidth hashes of 32 bytes
// at height 8×Level of the tree, from the N×TileWidth-th on. It never changes.
type Tile struct {
	Level int
	N     uint64
	Data  []byte // TileWidth × 32 bytes
}

// ChainKind says whose chain a Link ends.
type ChainKind uint8

// The chains. A household's tells it whether it has been shown everything; a
// recipient's lets its count be held against the household's.
const (
	SubjectChain   ChainKind = 1
	RecipientChain ChainKind = 2
)

// ChainID names a chain: a household's or a recipient's.
type ChainID struct {
	Kind ChainKind
	ID   string
}

// Link is the last event of a chain: its number, counted from 1, and the leaf
// hash of its leaf. The zero Link is the end of an empty chain.
type Link struct {
	Seq  uint64
	Head Hash

	// Of a household's chain only, for the map.
	Accesses uint64 // third parties' accesses among the events
	Nonce    Hash   // of the last event's commitment
}

// TagKey is one generation of a household's secret (K_hh).
type TagKey struct {
	FromSeq uint64 // the first event tagged with it, counted from 1
	Key     Hash
}

// Append is what one transaction adds to the log.
type Append struct {
	From, To  Head // To is From with the entries
	Entries   []Entry
	Tiles     []Tile         // those that the entries complete
	TagKeys   []SubjectKey   // new generations, in order
	Envelopes []EnvelopeHead // of the entries' envelopes
}

// SubjectKey is a tag key with its household.
type SubjectKey struct {
	Subject string
	TagKey
}

// Tx is what the sequencer needs of a store's transaction. It is used by one
// goroutine at a time. What concerns many proposals is asked for once, since a
// round trip for each would be most of what a batch costs.
type Tx interface {
	// LedgerHead reads the head and locks it until the transaction ends, so
	// that transactions which append follow one another. It returns ErrNoHead
	// where there is none and creates nothing. Because it waits for whoever
	// holds the lock, its answer after a COMMIT of unknown outcome is final.
	LedgerHead(ctx context.Context) (Head, error)

	// LedgerAppend stores what a holds: entries, whose indices run from
	// From.Size to To.Size-1, and all that comes with them. It returns
	// ErrFenced, and the transaction is of no further use, if epoch and size
	// of the stored head are not those of From.
	LedgerAppend(ctx context.Context, a Append) error

	// LedgerRequests returns the entries that were recorded under these request
	// ids. Private columns that were erased are zero.
	LedgerRequests(ctx context.Context, requestIDs []string) (map[string]Entry, error)

	// LedgerChains returns the ends of these chains; an empty chain is absent.
	LedgerChains(ctx context.Context, ids []ChainID) (map[ChainID]Link, error)

	// LedgerSetChains replaces the ends of these chains.
	LedgerSetChains(ctx context.Context, ends map[ChainID]Link) error

	// LedgerTagKeys returns the newest tag key (K_hh) of each household; one that
	// is not registered, or erased, is absent. The store keeps them in rows that
	// an erasure destroys.
	LedgerTagKeys(ctx context.Context, subjects []string) (map[string]TagKey, error)

	// LedgerEnvelopeKeys returns the regulators' keys that are valid at an
	// instant, unix seconds.
	LedgerEnvelopeKeys(ctx context.Context, at int64) ([]EnvelopeKey, error)

	// Savepoint marks the state to which RollbackTo returns. A second
	// Savepoint of the same name replaces the first.
	Savepoint(ctx context.Context, name string) error

	// RollbackTo undoes everything done since Savepoint(name), and keeps the
	// savepoint. It returns an error if the transaction can no longer go on;
	// the sequencer then begins again without the proposal that broke it.
	RollbackTo(ctx context.Context, name string) error

	// Release forgets Savepoint(name) and keeps what was done since: what follows
	// is undone with the whole transaction only, and costs less.
	Release(ctx context.Context, name string) error
}

// Store begins transactions and reads what is committed. It is safe for
// concurrent use.
type Store[T Tx] interface {
	// Transact runs fn in a transaction and commits if fn returns nil; then
	// what fn did survives power loss. If fn returns an error or panics,
	// nothing of it remains. The error wraps ErrUnknownOutcome if, and only
	// if, COMMIT was sent and may have happened.
	Transact(ctx context.Context, fn func(ctx context.Context, tx T) error) error

	Reader

	// Head returns the committed head, without waiting for whoever holds its lock,
	// or ErrNoHead.
	Head(ctx context.Context) (Head, error)

	// PutCheckpoint adds a signed checkpoint to the history. The same size
	// and root again replaces the note (cosignatures are added later); the
	// same size with another root is ErrFork. A smaller size than the newest
	// goes into the history and leaves the newest alone. A store may return
	// before the note is on disk: a lost one is signed anew at start-up, or by
	// the next batch.
	PutCheckpoint(ctx context.Context, size uint64, root Hash, note []byte) error
}

// Reader reads what is committed; proofs, tiles and the verifier need no more.
// Its methods are safe for concurrent use and never wait for an open
// transaction: the sequencer calls them while it holds one.
type Reader interface {
	// Checkpoint returns the signed checkpoint of the largest size, or ErrNoCheckpoint.
	Checkpoint(ctx context.Context) (note []byte, err error)

	// CheckpointAt returns the signed checkpoint of exactly that size, or ErrNoCheckpoint.
	CheckpointAt(ctx context.Context, size uint64) ([]byte, error)

	// Checkpoints returns up to limit signed checkpoints of sizes greater
	// than after, ascending.
	Checkpoints(ctx context.Context, after uint64, limit int) ([][]byte, error)

	// ReadTile returns the TileWidth × 32 bytes of a full tile, or ErrNoTile.
	ReadTile(ctx context.Context, level int, n uint64) ([]byte, error)

	// ReadLeaves returns the leaves from index from up to, not including,
	// until. Where the log ends, or a stored leaf is missing or cannot be
	// read as one, it returns what comes before, possibly nothing, and no
	// error: it is VerifyLog that names the leaf.
	ReadLeaves(ctx context.Context, from, until uint64) ([]Leaf, error)

	// ReadEntry returns one entry, ErrNoEntry, or, with Index and Leaf alone
	// filled in, ErrErased.
	ReadEntry(ctx context.Context, index uint64) (Entry, error)
}
