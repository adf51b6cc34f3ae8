package store

import (
	"context"
	"database/sql"
	"io/fs"
	"strings"
)

// Exec runs a statement as it is, for tests that set up what no method does.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) error {
	_, err := t.sql.ExecContext(ctx, query, args...)
	return err
}

// QueryRow runs a query as it is and scans its first row.
func (s *Store) QueryRow(ctx context.Context, query string, args []any, dest ...any) error {
	return s.read.QueryRowContext(ctx, query, args...).Scan(dest...)
}

// OpenBare opens a store whose schema nobody looks at.
func OpenBare(url string, opt Options) (*Store, error) {
	return connect(context.Background(), url, opt)
}

// MigrateTo applies the migrations in fsys instead of this program's.
func (s *Store) MigrateTo(ctx context.Context, fsys fs.FS) error {
	steps, err := loadMigrations(fsys)
	if err != nil {
		return err
	}
	return s.migrate(ctx, steps, func(context.Context, statements) error { return nil })
}

// MigrationFiles are this program's migrations.
var MigrationFiles fs.FS = migrationFiles

// Schema returns the SQL of all migrations as each engine is given it, and the
// checksum of every step by name.
func Schema() (sqlite, postgres string, checksums map[string]string, err error) {
	steps, err := loadMigrations(migrationFiles)
	checksums = map[string]string{}
	var texts [2]strings.Builder
	for _, m := range steps {
		checksums[m.name] = m.checksum
		for i, d := range []dialect{sqliteDialect{}, &postgresDialect{}} {
			text, err := m.render(d)
			if err != nil {
				return "", "", nil, err
			}
			texts[i].WriteString(text)
		}
	}
	return texts[0].String(), texts[1].String(), checksums, err
}

// ForgetPartitions drops what the store remembers of partitions.
func (s *Store) ForgetPartitions() { s.forgetPartitions() }

// Array is what an INSERT sends for a column of these values, and the error of the
// first that has no place in it.
func Array(values ...any) (kind string, bytes []byte, err error) {
	var a array
	for _, v := range values {
		if err := a.add(v); err != nil {
			return "", nil, err
		}
	}
	if a.kind == nil {
		return "", nil, nil
	}
	return a.kind.name, a.bytes(), nil
}

// InsertArrays is a PostgreSQL dialect's insert with statements of about so many bytes.
func (t *Tx) InsertArrays(ctx context.Context, table string, columns []string, n int, row func(i int, values []any), most int) error {
	return insertArrays(ctx, t.sql, table, columns, "", n, row, most)
}

// Relaxed is the pool whose commits do not wait for the disk.
func (s *Store) Relaxed() *sql.DB { return s.relaxed }

// Pools are the pools of connections by who uses them.
func Pools(s *Store) map[string]*sql.DB {
	return map[string]*sql.DB{"writer": s.write, "reader": s.read}
}

// LockRegistry takes the lock of whoever changes the registry until tx ends.
func (s *Store) LockRegistry(ctx context.Context, tx *Tx) error {
	return s.lock(ctx, tx.sql, lockRegistry)
}

// Grants are what each role may do, by table.
var Grants = grants

// RowGrants are the rows of tables that roles share.
var RowGrants = rowGrants

// SpendsWaiting returns how many accesses wait to be spent in the next transaction,
// and whether one is under way.
func SpendsWaiting(s *Store) (waiting int, running bool) {
	s.spends.mu.Lock()
	defer s.spends.mu.Unlock()
	return len(s.spends.waiting), s.spends.running
}
