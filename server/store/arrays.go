package store

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"strings"
)

// array holds a column's values on their way to PostgreSQL: as one parameter
// instead of one a row, so that an INSERT has the same text, and the same plan,
// for any number of rows.
type array struct {
	kind  *arrayKind // nil as long as all values are NULL
	nulls bool
	n     int
	b     []byte // the elements, each after its length
}

// arrayKind is a type of PostgreSQL's: its name, and its number in the catalogue
// pg_type, which no release changes.
type arrayKind struct {
	name string
	oid  uint32
}

var (
	bigints = &arrayKind{"bigint", 20}
	texts   = &arrayKind{"text", 25}
	byteas  = &arrayKind{"bytea", 17}
)

// add appends a value: NULL, an integer, a string or bytes, and no two kinds in one
// column.
func (a *array) add(value any) error {
	v, err := driver.DefaultParameterConverter.ConvertValue(value)
	if err != nil {
		return err
	}
	kind := a.kind
	if b, ok := v.([]byte); ok && b == nil {
		v = nil // as every driver has it
	}
	switch v := v.(type) {
	case nil:
		a.nulls = true
		a.b = binary.BigEndian.AppendUint32(a.b, 0xffffffff)
	case int64:
		kind = bigints
		a.b = binary.BigEndian.AppendUint32(a.b, 8)
		a.b = binary.BigEndian.AppendUint64(a.b, uint64(v))
	case string:
		kind = texts
		a.b = binary.BigEndian.AppendUint32(a.b, uint32(len(v)))
		a.b = append(a.b, v...)
	case []byte:
		kind = byteas
		a.b = binary.BigEndian.AppendUint32(a.b, uint32(len(v)))
		a.b = append(a.b, v...)
	default:
		return fmt.Errorf("store: no array of %T", v)
	}
	if a.kind != nil && kind != a.kind {
		return fmt.Errorf("store: %s and %s in one column", a.kind.name, kind.name)
	}
	a.kind = kind
	a.n++
	return nil
}

// bytes returns the array as array_recv reads it: dimensions, whether there are
// NULLs, type of the elements; of the one dimension its length and first index; the
// elements.
func (a *array) bytes() []byte {
	nulls := uint32(0)
	if a.nulls {
		nulls = 1
	}
	b := make([]byte, 0, 20+len(a.b))
	for _, n := range [...]uint32{1, nulls, a.kind.oid, uint32(a.n), 1} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, a.b...)
}

// maxArrays bounds the bytes of one statement's arrays, far below the gigabyte that
// a value may have.
const maxArrays = 64 << 20

// insert sends the rows' columns as arrays. A column that is NULL in all rows is left
// out: it has no type.
func (*postgresDialect) insert(ctx context.Context, tx statements, table string, columns []string, suffix string, n int, row func(i int, values []any)) error {
	return insertArrays(ctx, tx, table, columns, suffix, n, row, maxArrays)
}

func insertArrays(ctx context.Context, tx statements, table string, columns []string, suffix string, n int, row func(i int, values []any), most int) error {
	for done := 0; done < n; {
		arrays := make([]array, len(columns))
		values := make([]any, len(columns))
		for size := 0; done < n && size < most; done++ {
			row(done, values)
			size = 0
			for c := range arrays {
				if err := arrays[c].add(values[c]); err != nil {
					return fmt.Errorf("column %s: %w", columns[c], err)
				}
				size += len(arrays[c].b)
			}
		}
		var names, casts []string
		var args []any
		for c := range arrays {
			if a := &arrays[c]; a.kind != nil {
				names, args = append(names, columns[c]), append(args, a.bytes())
				casts = append(casts, fmt.Sprintf("$%d::%s[]", len(args), a.kind.name))
			}
		}
		query := "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") SELECT * FROM unnest(" + strings.Join(casts, ", ") + ") " + suffix
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}
