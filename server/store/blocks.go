package store

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// StoredBlock is a sealed block with the public key that its signature is
// checked with.
type StoredBlock struct {
	seal.Block
	WriterKey ed25519.PublicKey
}

// Blocks returns the sealed blocks of a household at the usage points, in the
// registers (none: all), on the UTC days first to last, both included: by usage
// point, register and start, and for one start the lower revision first. Blocks
// of writers that were never registered are absent.
func (s *Store) Blocks(ctx context.Context, h consent.Household, points []meter.UsagePoint, registers []meter.Register, first, last meter.Day) ([]StoredBlock, error) {
	where, args := blocksOf(s.dialect, h, points, registers, first, last)
	blocks, err := scanAll(ctx, s.kept, func(row *sql.Rows) (b StoredBlock, err error) {
		key := make(ed25519.PublicKey, ed25519.PublicKeySize)
		err = row.Scan(&b.Household, &b.Day, fixed(b.Writer[:]), &b.Seq, &b.Generation, &b.UsagePoint, fixed(b.Register[:]),
			&b.Start, &b.Length, &b.Count, &b.Revision, &b.Ciphertext, &b.Signature, fixed(key))
		b.WriterKey = key
		return b, err
	}, `SELECT household, day, b.writer, seq, generation, usage_point, register,
			start_s, length_s, intervals, revision, ciphertext, signature, w.public_key
		FROM blocks b JOIN writers w ON w.writer = b.writer
		WHERE `+where+` ORDER BY usage_point, register, start_s, revision, b.writer, seq`, args...)
	return blocks, s.reading("blocks", err)
}

// blocksOf is the condition on table blocks for a household's days.
func blocksOf(d dialect, h consent.Household, points []meter.UsagePoint, registers []meter.Register, first, last meter.Day) (where string, args []any) {
	where = `household = $1 AND day >= $2 AND day <= $3 AND ` + d.among("usage_point", 4)
	args = []any{h, first, last, d.list(stringsOf(points))}
	if len(registers) == 0 {
		return where, args
	}
	var b strings.Builder
	b.WriteString(where)
	b.WriteString(" AND register IN (")
	for i, r := range registers {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(len(args)+1))
		args = append(args, r[:])
	}
	b.WriteString(")")
	return b.String(), args
}

// DayKeyWraps returns the wrapped day keys of a household for the UTC days first
// to last, both included, copies too.
func (s *Store) DayKeyWraps(ctx context.Context, h consent.Household, first, last meter.Day) ([]seal.DayKeyWrap, error) {
	wraps, err := scanAll(ctx, s.kept, func(row *sql.Rows) (w seal.DayKeyWrap, err error) {
		return w, row.Scan(&w.Household, &w.Day, fixed(w.Writer[:]), &w.Seq, &w.Generation, &w.Sealed, &w.Signature)
	}, `SELECT household, day, writer, seq, generation, sealed, signature
		FROM day_keys WHERE household = $1 AND day >= $2 AND day <= $3 ORDER BY day, writer, seq`, h, first, last)
	return wraps, s.reading("day keys", err)
}

// DataDays returns the first and the last UTC day for which a household has
// blocks, and whether it has any.
func (s *Store) DataDays(ctx context.Context, h consent.Household) (first, last meter.Day, ok bool, err error) {
	var low, high sql.NullInt32
	err = s.read.QueryRowContext(ctx, `SELECT min(day), max(day) FROM blocks WHERE household = $1`, h).Scan(&low, &high)
	return meter.Day(low.Int32), meter.Day(high.Int32), low.Valid, s.reading("a household's days", err)
}

// DayCompleteness counts what is stored for one usage point, register and UTC day.
type DayCompleteness struct {
	UsagePoint meter.UsagePoint
	Register   meter.Register
	Day        meter.Day
	Slots      uint64 // intervals in blocks, summed over revisions, missing ones too
	Revision   uint32 // highest
}

// Conflict says on how many intervals two batches disagreed at one revision.
type Conflict struct {
	UsagePoint meter.UsagePoint
	Day        meter.Day
	Intervals  uint32
}

// Completeness reports, for those of the usage points that the utility meters,
// what is stored on the UTC days first to last, both included, and which
// conflicts were met. A register and day without blocks has no row.
func (s *Store) Completeness(ctx context.Context, u meter.Utility, points []meter.UsagePoint, first, last meter.Day) ([]DayCompleteness, []Conflict, error) {
	args := []any{u, s.list(stringsOf(points)), first, last}
	days, err := scanAll(ctx, s.read, func(row *sql.Rows) (d DayCompleteness, err error) {
		return d, row.Scan(&d.UsagePoint, fixed(d.Register[:]), &d.Day, &d.Slots, &d.Revision)
	}, fmt.Sprintf(`SELECT b.usage_point, b.register, b.day, sum(b.intervals), max(b.revision)
		FROM (SELECT DISTINCT o.household, o.usage_point FROM occupancies o JOIN usage_points p ON p.id = o.usage_point
		      WHERE p.utility = $1 AND %s) o
		JOIN blocks b ON b.household = o.household AND b.usage_point = o.usage_point
		WHERE b.day >= $3 AND b.day <= $4
		GROUP BY b.usage_point, b.register, b.day ORDER BY b.usage_point, b.day, b.register`, s.among("o.usage_point", 2)), args...)
	if err != nil {
		return nil, nil, s.reading("completeness", err)
	}
	conflicts, err := scanAll(ctx, s.read, func(row *sql.Rows) (c Conflict, err error) {
		return c, row.Scan(&c.UsagePoint, &c.Day, &c.Intervals)
	}, fmt.Sprintf(`SELECT c.usage_point, c.day, c.intervals FROM conflicts c JOIN usage_points p ON p.id = c.usage_point
		WHERE p.utility = $1 AND %s AND c.day >= $3 AND c.day <= $4 ORDER BY c.usage_point, c.day`, s.among("c.usage_point", 2)), args...)
	return days, conflicts, s.reading("conflicts", err)
}

// PutConflict remembers that two batches disagreed on so many intervals of a
// usage point and UTC day. The most that were found at once stand, with the
// time (unix seconds) they were first seen.
func (s *Store) PutConflict(ctx context.Context, p meter.UsagePoint, day meter.Day, intervals int, seenAt int64) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.sql.ExecContext(ctx, `INSERT INTO conflicts (usage_point, day, intervals, seen_s) VALUES ($1, $2, $3, $4)
			ON CONFLICT (usage_point, day) DO UPDATE SET intervals = excluded.intervals WHERE excluded.intervals > conflicts.intervals`,
			p, day, intervals, seenAt)
		return doing("storing a conflict", err)
	})
}
