package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errWidth says that a column of fixed length holds something else.
var errWidth = errors.New("store: a column has the wrong length")

// fixed scans a column of exactly len(f) bytes.
type fixed []byte

func (f fixed) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b) != len(f) {
		return errWidth
	}
	copy(f, b)
	return nil
}

// orZero is fixed for a column that may be NULL, which leaves zeros.
type orZero []byte

func (o orZero) Scan(src any) error {
	if src == nil {
		clear(o)
		return nil
	}
	return fixed(o).Scan(src)
}

// zeroIsNull is what orZero scans back.
func zeroIsNull(h [32]byte) any {
	if h == ([32]byte{}) {
		return nil
	}
	return h[:]
}

// scanOne runs a query of at most one row; where there is none it returns missing.
func scanOne(ctx context.Context, q querier, missing error, dest []any, query string, args ...any) error {
	err := q.QueryRowContext(ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return privileged(err)
}

// doing says what an error interrupted; nil stays nil.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, privileged(err))
}

// nullable keeps an absent byte string NULL whatever the driver makes of nil.
func nullable(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// notNull keeps an absent byte string from becoming NULL.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// stringsOf turns typed identifiers into the strings the drivers take.
func stringsOf[S ~string](ids []S) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// scanAll runs a query and scans every row. With an error it returns the rows
// before it.
func scanAll[R any](ctx context.Context, q querier, scan func(row *sql.Rows) (R, error), query string, args ...any) ([]R, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []R
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// insertSQL writes an INSERT of so many rows; suffix may hold ON CONFLICT.
func insertSQL(table string, columns []string, rows int, suffix string) string {
	var b strings.Builder
	b.WriteString("INSERT INTO ")
	b.WriteString(table)
	b.WriteString(" (")
	b.WriteString(strings.Join(columns, ", "))
	b.WriteString(") VALUES ")
	for r, p := 0, 1; r < rows; r++ {
		if r > 0 {
			b.WriteByte(',')
		}
		for c := range columns {
			if c == 0 {
				b.WriteByte('(')
			} else {
				b.WriteByte(',')
			}
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(p))
			p++
		}
		b.WriteByte(')')
	}
	b.WriteByte(' ')
	b.WriteString(suffix)
	return b.String()
}

func noRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
