package store

import (
	"cmp"
	"context"
	"crypto/subtle"
	"database/sql"
	"fmt"
	"slices"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Batch is what a utility sent at once, sealed, with the key wraps that its
// transaction carries.
type Batch struct {
	Utility    meter.Utility
	ID         string   // the utility's name for it
	MAC        [32]byte // keyed hash of its content
	AnswerMAC  [32]byte // keyed hash of what it is answered
	AcceptedAt int64    // unix µs
	Intervals  int      // in Blocks, missing ones not counted
	Refused    int      // intervals named to the sender and not stored

	Blocks    []seal.Block
	Wraps     []seal.DayKeyWrap
	SpoolKeys []seal.SpoolKeyWrap
	Spool     []seal.SpoolRecord // at most one per window
}

// Result is what became of a batch.
type Result uint8

const (
	// Stored: the batch is new, and in the database.
	Stored Result = 1
	// Duplicate: a batch of this name and content is in the database already, or
	// comes earlier in the same call. Nothing of this one was stored but wraps.
	Duplicate Result = 2
	// Differs: the name is taken by a batch of other content. Nothing of this one
	// was stored but wraps.
	Differs Result = 3
	// Changed: a batch of this name and content is in the database, and its
	// sender was answered otherwise than it would be now. Nothing of this one was
	// stored but wraps.
	Changed Result = 4
	// Late: a window of the batch's spool records takes no more contributions.
	// Nothing of this one was stored but wraps: prepared again, it is sealed to a
	// window that is open.
	Late Result = 5
)

// BatchOutcome answers for one batch.
type BatchOutcome struct {
	Result Result
	// LateDays are the windows, ascending, that made a batch late.
	LateDays []meter.Day
}

// CommitBatches stores several batches in one transaction and answers each, in
// order. When it returns nil everything it says is durable. An error means that
// nothing was stored (ErrRetry: worth another try), or, with ErrUnknownOutcome,
// that everything or nothing was: the same batches again then come back as
// Duplicate or as Stored.
//
// Wraps and spool keys are stored whatever becomes of the batch that carries
// them, since blocks of another batch of the call may need them; a spool key
// whose window takes no more contributions is dropped. Windows that take
// contributions are held open until the transaction ends.
//
// Several calls may run at once. Batches of one utility that are sent in two of
// them are stored once.
func (s *Store) CommitBatches(ctx context.Context, batches []Batch) ([]BatchOutcome, error) {
	if err := s.preparePartitions(ctx, partitionDays(batches)); err != nil {
		return nil, s.beforeCommit(err)
	}
	var outcomes []BatchOutcome
	err := s.Transact(ctx, func(ctx context.Context, tx *Tx) (err error) {
		outcomes, err = tx.commitBatches(ctx, batches)
		return err
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

func partitionDays(batches []Batch) []meter.Day {
	var days []meter.Day
	for i := range batches {
		for j := range batches[i].Blocks {
			days = append(days, batches[i].Blocks[j].Day)
		}
		for j := range batches[i].Wraps {
			days = append(days, batches[i].Wraps[j].Day)
		}
	}
	slices.Sort(days)
	return slices.Compact(days)
}

func (t *Tx) commitBatches(ctx context.Context, batches []Batch) ([]BatchOutcome, error) {
	outcomes, err := t.claim(ctx, batches)
	if err != nil {
		return nil, fmt.Errorf("looking up batches: %w", err)
	}
	open, err := t.holdWindows(ctx, batches)
	if err != nil {
		return nil, fmt.Errorf("holding windows open: %w", err)
	}
	if err := t.giveBackLate(ctx, batches, outcomes, open); err != nil {
		return nil, fmt.Errorf("giving back late batches: %w", err)
	}
	var fresh, again cargo
	for i := range batches {
		b := &batches[i]
		to := &again
		if outcomes[i].Result == Stored {
			to = &fresh
			to.blocks = append(to.blocks, b.Blocks...)
			to.spool = append(to.spool, b.Spool...)
		}
		to.wraps = append(to.wraps, b.Wraps...)
		for _, k := range b.SpoolKeys {
			if open[k.Day] {
				to.spoolKeys = append(to.spoolKeys, k)
			}
		}
	}
	if err := fresh.store(ctx, t.sql, t.bulk); err != nil {
		return nil, err
	}
	// A batch that was stored before may have been so by an earlier attempt of
	// this same call, whose outcome its caller did not learn: then the wraps it
	// carries are there too.
	return outcomes, again.store(ctx, t.sql, t.insertNew)
}

// batchName is what a batch is stored under.
type batchName struct {
	utility meter.Utility
	id      string
}

func (b *Batch) name() batchName { return batchName{b.Utility, b.ID} }

// giveBackLate undoes the claims of batches whose spool records have a window that is
// not open, and of those that share their name.
func (t *Tx) giveBackLate(ctx context.Context, batches []Batch, outcomes []BatchOutcome, open map[meter.Day]bool) error {
	late := map[batchName][]meter.Day{}
	for i := range batches {
		if outcomes[i].Result != Stored {
			continue
		}
		var days []meter.Day
		for _, r := range batches[i].Spool {
			if !open[r.Day] {
				days = append(days, r.Day)
			}
		}
		if len(days) == 0 {
			continue
		}
		slices.Sort(days)
		late[batches[i].name()] = days
		if _, err := t.sql.ExecContext(ctx, `DELETE FROM batches WHERE utility = $1 AND batch_id = $2`, batches[i].Utility, batches[i].ID); err != nil {
			return err
		}
	}
	for i := range batches {
		if days, ok := late[batches[i].name()]; ok {
			outcomes[i] = BatchOutcome{Result: Late, LateDays: days}
		}
	}
	return nil
}

// claim writes a row for every batch that is new and tells which were not.
//
// A batch that another transaction is claiming makes this one wait until that
// one ends. All claim in the same order, so that they do not wait for each
// other in a circle.
func (t *Tx) claim(ctx context.Context, batches []Batch) ([]BatchOutcome, error) {
	first := map[batchName]int{}
	var order []int // the first batch of every name
	for i := range batches {
		n := batches[i].name()
		if _, seen := first[n]; !seen {
			first[n] = i
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &batches[i], &batches[j]
		return cmp.Or(cmp.Compare(a.Utility, b.Utility), cmp.Compare(a.ID, b.ID))
	})
	type macs struct{ content, answer [32]byte }
	stored := make(map[batchName]macs, len(order)) // under which the name is taken
	claimed := map[int]bool{}
	columns := []string{"utility", "batch_id", "mac", "answer_mac", "accepted_us", "intervals", "refused"}
	for chunk := range slices.Chunk(order, t.rowsPerInsert(len(columns))) {
		values := make([]any, 0, len(chunk)*len(columns))
		for _, i := range chunk {
			b := &batches[i]
			values = append(values, b.Utility, b.ID, b.MAC[:], b.AnswerMAC[:], b.AcceptedAt, b.Intervals, b.Refused)
		}
		taken, err := scanAll(ctx, t.sql, func(row *sql.Rows) (n batchName, err error) {
			return n, row.Scan(&n.utility, &n.id)
		}, insertSQL("batches", columns, len(chunk), "ON CONFLICT (utility, batch_id) DO NOTHING RETURNING utility, batch_id"), values...)
		if err != nil {
			return nil, err
		}
		for _, n := range taken {
			claimed[first[n]] = true
			stored[n] = macs{batches[first[n]].MAC, batches[first[n]].AnswerMAC}
		}
	}
	for _, i := range order {
		if claimed[i] {
			continue
		}
		var mac macs
		err := t.sql.QueryRowContext(ctx, `SELECT mac, answer_mac FROM batches WHERE utility = $1 AND batch_id = $2`,
			batches[i].Utility, batches[i].ID).Scan(fixed(mac.content[:]), fixed(mac.answer[:]))
		if err != nil {
			return nil, err
		}
		stored[batches[i].name()] = mac
	}
	outcomes := make([]BatchOutcome, len(batches))
	for i := range batches {
		mac := stored[batches[i].name()]
		switch {
		case claimed[i]:
			outcomes[i].Result = Stored
		case subtle.ConstantTimeCompare(mac.content[:], batches[i].MAC[:]) == 0:
			outcomes[i].Result = Differs
		case subtle.ConstantTimeCompare(mac.answer[:], batches[i].AnswerMAC[:]) == 0:
			outcomes[i].Result = Changed
		default:
			outcomes[i].Result = Duplicate
		}
	}
	return outcomes, nil
}

// holdWindows returns which of the days' windows take contributions, and keeps
// those open until the transaction ends: whoever closes one waits.
func (t *Tx) holdWindows(ctx context.Context, batches []Batch) (map[meter.Day]bool, error) {
	var days []int64
	for i := range batches {
		for _, r := range batches[i].Spool {
			days = append(days, int64(r.Day))
		}
		for _, k := range batches[i].SpoolKeys {
			days = append(days, int64(k.Day))
		}
	}
	slices.Sort(days)
	days = slices.Compact(days)
	open := make(map[meter.Day]bool, len(days))
	if len(days) == 0 {
		return open, nil
	}
	rows, err := scanAll(ctx, t.sql, func(row *sql.Rows) (d meter.Day, err error) {
		return d, row.Scan(&d)
	}, `SELECT day FROM windows WHERE `+t.amongInts("day", 1)+` AND state = $2 ORDER BY day`+t.forShare(),
		t.listInts(days), release.WindowOpen)
	for _, d := range rows {
		open[d] = true
	}
	return open, err
}

// cargo is rows on their way into the tables of readings.
type cargo struct {
	blocks    []seal.Block
	wraps     []seal.DayKeyWrap
	spoolKeys []seal.SpoolKeyWrap
	spool     []seal.SpoolRecord
}

// inserter is dialect.bulk, or Tx.insertNew.
type inserter func(ctx context.Context, tx statements, table string, columns []string, n int, row func(i int, values []any)) error

// insertNew inserts rows and passes over those that are there already.
func (t *Tx) insertNew(ctx context.Context, tx statements, table string, columns []string, n int, row func(i int, values []any)) error {
	return t.insert(ctx, tx, table, columns, "ON CONFLICT DO NOTHING", n, row)
}

func (c *cargo) store(ctx context.Context, tx statements, put inserter) error {
	err := put(ctx, tx, "blocks", []string{
		"start_s", "seq", "revision", "day", "length_s", "intervals", "generation",
		"household", "usage_point", "register", "writer", "ciphertext", "signature",
	}, len(c.blocks), func(i int, v []any) {
		b := &c.blocks[i]
		v[0], v[1], v[2], v[3], v[4], v[5], v[6] = b.Start, b.Seq, b.Revision, b.Day, b.Length, b.Count, b.Generation
		v[7], v[8], v[9], v[10], v[11], v[12] = string(b.Household), string(b.UsagePoint), b.Register[:], b.Writer[:], b.Ciphertext, b.Signature
	})
	if err != nil {
		return fmt.Errorf("storing blocks: %w", err)
	}
	err = put(ctx, tx, "day_keys", []string{"seq", "day", "generation", "household", "writer", "sealed", "signature"},
		len(c.wraps), func(i int, v []any) {
			w := &c.wraps[i]
			v[0], v[1], v[2], v[3], v[4], v[5], v[6] = w.Seq, w.Day, w.Generation, string(w.Household), w.Writer[:], w.Sealed, w.Signature
		})
	if err != nil {
		return fmt.Errorf("storing day keys: %w", err)
	}
	err = put(ctx, tx, "spool_keys", []string{"day", "writer", "seq", "sealed", "signature"},
		len(c.spoolKeys), func(i int, v []any) {
			k := &c.spoolKeys[i]
			v[0], v[1], v[2], v[3], v[4] = k.Day, k.Writer[:], k.Seq, k.Sealed, k.Signature
		})
	if err != nil {
		return fmt.Errorf("storing spool keys: %w", err)
	}
	err = put(ctx, tx, "spool", []string{"day", "writer", "seq", "ciphertext"},
		len(c.spool), func(i int, v []any) {
			r := &c.spool[i]
			v[0], v[1], v[2], v[3] = r.Day, r.Writer[:], r.Seq, r.Ciphertext
		})
	return doing("storing the spool", err)
}
