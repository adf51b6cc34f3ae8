package store

import (
	"context"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/wattveil/wattveil/meter"
)

// firstSpan is the first partition of its own; all older days share one, so that
// a sender of absurd dates cannot make tables. 343·32 days: 2000-01-20.
const (
	daysPerSpan       = 32
	firstSpan   int32 = 343
)

// preparePartitions makes a table for every 32 UTC days that are asked for.
//
// A day is too narrow (a household's year would touch 365 tables), all days in
// one table can neither be dropped nor vacuumed apart. The tables are made in a
// transaction of their own, ahead of the one that writes, by make_partitions
// (migration 0012): it keeps nobody from reading and writing meanwhile, and belongs
// to the tables' owner, so that whoever stores readings need not own them. An
// advisory lock makes them once however many processes ask.
func (d *postgresDialect) preparePartitions(ctx context.Context, days []meter.Day) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, day := range days {
		span := int32(day) / daysPerSpan
		if span < firstSpan || d.spans[span] {
			continue
		}
		if err := d.makePartitions(ctx, span); err != nil {
			return fmt.Errorf("making the partitions of 32 days: %w", err)
		}
		d.spans[span] = true
	}
	return nil
}

func (d *postgresDialect) makePartitions(ctx context.Context, span int32) error {
	tx, err := d.db.BeginTx(ctx, d.begin())
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := d.lock(ctx, tx, lockPartitions); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `SELECT make_partitions($1)`, span*daysPerSpan); err != nil {
		return err
	}
	return tx.Commit()
}

func (d *postgresDialect) forgetPartitions() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.spans)
}

// noPartition reports a row that found no partition: one that is remembered
// here was removed. Unlike a failed CHECK, that error names no constraint.
func noPartition(err error) bool {
	e := pq.As(err, pqerror.CheckViolation)
	return e != nil && e.Constraint == ""
}
