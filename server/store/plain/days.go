package plain

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"path/filepath"

	_ "modernc.org/sqlite" // the engine
)

// Slots are the half-hours of a day.
const Slots = 48

// Day is one household's day of energy by half-hour, where it is connected.
type Day struct {
	Household string
	Feeder    uint32
	Wh        []int64 // Slots of them, below 2^32
}

// Days is a day of many households in SQLite: a row each, unsealed and in the order in
// which they arrived, its half-hours packed into 4 bytes each. It is the least that can
// be stored of a day to add it up.
type Days struct{ db *sql.DB }

// OpenDays makes the table in a directory.
func OpenDays(ctx context.Context, dir string) (*Days, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "plain.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, fmt.Errorf("opening plain days: %w", err)
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE plain_days (household text NOT NULL, feeder integer NOT NULL, wh blob NOT NULL) STRICT`); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("making plain days: %w", err)
	}
	return &Days{db}, nil
}

// Close closes the database.
func (d *Days) Close() error { return d.db.Close() }

// Load stores days in one transaction.
func (d *Days) Load(ctx context.Context, days []Day) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("loading plain days: %w", err)
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, `INSERT INTO plain_days (household, feeder, wh) VALUES (?, ?, ?)`)
	if err != nil {
		return fmt.Errorf("loading plain days: %w", err)
	}
	defer stmt.Close()
	for _, day := range days {
		packed := make([]byte, 0, 4*Slots)
		for _, v := range day.Wh {
			packed = binary.LittleEndian.AppendUint32(packed, uint32(v))
		}
		if _, err := stmt.ExecContext(ctx, day.Household, day.Feeder, packed); err != nil {
			return fmt.Errorf("loading plain days: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("loading plain days: %w", err)
	}
	return nil
}

// Sum adds the days up by feeder and half-hour, and the feeders level by level: sums[l]
// holds the nodes of level l in a row, the feeders last. sizes are the feeders below a
// node of each level.
func (d *Days) Sum(ctx context.Context, feeders int, sizes []int) (sums [][]int64, err error) {
	sums = make([][]int64, len(sizes))
	for l, size := range sizes {
		sums[l] = make([]int64, (feeders+size-1)/size*Slots)
	}
	rows, err := d.db.QueryContext(ctx, `SELECT feeder, wh FROM plain_days`)
	if err != nil {
		return nil, fmt.Errorf("summing plain days: %w", err)
	}
	defer rows.Close()
	var packed sql.RawBytes
	for rows.Next() {
		var feeder int
		if err := rows.Scan(&feeder, &packed); err != nil {
			return nil, fmt.Errorf("summing plain days: %w", err)
		}
		for l, size := range sizes {
			row := sums[l][feeder/size*Slots:][:Slots]
			for i := range row {
				row[i] += int64(binary.LittleEndian.Uint32(packed[4*i:]))
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("summing plain days: %w", err)
	}
	return sums, nil
}
