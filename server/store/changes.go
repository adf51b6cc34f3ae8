package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Rows of blocks are only added, in transactions that commit in any order. So a number
// of blocks that was once seen says, whenever it is seen again, that nothing came in
// between; no column that orders commits could, on PostgreSQL, without a lock.

// DayBlocks counts blocks of a UTC day.
type DayBlocks struct {
	Day    meter.Day
	Blocks uint32

	// Of BlocksOnDays alone.
	Intervals uint64 // slots in them
	Until     int64  // end of the last, unix seconds
}

// BlocksByDay counts the blocks of a household on each of the UTC days first to last,
// both included, by day; a day without any has no row. It reads the key of the table
// alone.
func (s *Store) BlocksByDay(ctx context.Context, h consent.Household, first, last meter.Day) ([]DayBlocks, error) {
	days, err := scanAll(ctx, s.kept, func(row *sql.Rows) (d DayBlocks, err error) {
		return d, row.Scan(&d.Day, &d.Blocks)
	}, `SELECT day, count(*) FROM blocks WHERE household = $1 AND day >= $2 AND day <= $3 GROUP BY day ORDER BY day`, h, first, last)
	return days, s.reading("numbers of blocks", err)
}

// BlocksOnDays counts those of the usage points and registers (none: all) on the days
// named, by day, and says how much they hold; a day without any has no row.
func (s *Store) BlocksOnDays(ctx context.Context, h consent.Household, points []meter.UsagePoint, registers []meter.Register, days []meter.Day) ([]DayBlocks, error) {
	if len(days) == 0 {
		return nil, nil
	}
	wanted := make([]int64, len(days))
	first, last := days[0], days[0]
	for i, d := range days {
		wanted[i], first, last = int64(d), min(first, d), max(last, d)
	}
	where, args := blocksOf(s.dialect, h, points, registers, first, last)
	counts, err := scanAll(ctx, s.kept, func(row *sql.Rows) (d DayBlocks, err error) {
		return d, row.Scan(&d.Day, &d.Blocks, &d.Intervals, &d.Until)
	}, fmt.Sprintf(`SELECT day, count(*), sum(intervals), max(start_s + length_s * intervals) FROM blocks WHERE %s AND %s GROUP BY day ORDER BY day`,
		where, s.amongInts("day", len(args)+1)), append(args, s.listInts(wanted))...)
	return counts, s.reading("numbers of blocks", err)
}

// WriterDay names one day key of a household: every block of the day and writer is
// sealed under it.
type WriterDay struct {
	Day    meter.Day
	Writer seal.WriterID
}

// WriterDays returns the day keys under which blocks of a household are stored on the
// UTC days first to last, both included. It reads the key of the table alone.
func (s *Store) WriterDays(ctx context.Context, h consent.Household, first, last meter.Day) (map[WriterDay]bool, error) {
	found, err := scanAll(ctx, s.kept, func(row *sql.Rows) (w WriterDay, err error) {
		return w, row.Scan(&w.Day, fixed(w.Writer[:]))
	}, `SELECT DISTINCT day, writer FROM blocks WHERE household = $1 AND day >= $2 AND day <= $3`, h, first, last)
	if err != nil {
		return nil, s.reading("writers of blocks", err)
	}
	days := make(map[WriterDay]bool, len(found))
	for _, w := range found {
		days[w] = true
	}
	return days, nil
}

// Channel is a register of a usage point, and the first and the last UTC day on which
// blocks of it are stored.
type Channel struct {
	UsagePoint  meter.UsagePoint
	Register    meter.Register
	First, Last meter.Day
}

// Channels returns what is stored of a household at the usage points, in the registers
// (none: all), on the UTC days first to last, both included: by usage point and register.
func (s *Store) Channels(ctx context.Context, h consent.Household, points []meter.UsagePoint, registers []meter.Register, first, last meter.Day) ([]Channel, error) {
	where, args := blocksOf(s.dialect, h, points, registers, first, last)
	channels, err := scanAll(ctx, s.kept, func(row *sql.Rows) (c Channel, err error) {
		return c, row.Scan(&c.UsagePoint, fixed(c.Register[:]), &c.First, &c.Last)
	}, `SELECT usage_point, register, min(day), max(day) FROM blocks WHERE `+where+` GROUP BY usage_point, register ORDER BY usage_point, register`, args...)
	return channels, s.reading("what is stored", err)
}
