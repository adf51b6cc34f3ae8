package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"text/template"
)

// Errors of the schema.
var (
	// ErrSchemaPending: the store lacks migrations of this program, and nobody
	// asked to apply them.
	ErrSchemaPending = errors.New("store: schema is older than this program: run migrate")
	// ErrSchemaNewer: a newer program has migrated the store. This one does not
	// know what its rows mean.
	ErrSchemaNewer = errors.New("store: schema is newer than this program")
	// ErrSchemaChanged: a migration that was applied is not the one this
	// program holds under that number.
	ErrSchemaChanged = errors.New("store: an applied migration differs from this program's")
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one numbered step of the schema. Steps are only ever added;
// TestMigrationsAreOnlyAdded holds their checksums.
type migration struct {
	version  int
	name     string // file name
	checksum string // SHA-256 of the file, hexadecimal, the same on both engines
	template *template.Template
}

// Migration describes one step of the schema.
type Migration struct {
	Version int
	Name    string
	Applied bool
}

// loadMigrations reads the steps in fsys, which must be named 0001_…sql, 0002_…sql
// and so on without a gap, and parses their templates.
func loadMigrations(fsys fs.FS) ([]migration, error) {
	names, err := fs.Glob(fsys, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	out := make([]migration, 0, len(names))
	for i, name := range names { // Glob sorts
		base := path.Base(name)
		number, _, ok := strings.Cut(base, "_")
		version, err := strconv.Atoi(number)
		if !ok || err != nil || len(number) != 4 || version != i+1 {
			return nil, fmt.Errorf("store: migration %s is not number %04d", base, i+1)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		// The words are set per engine when it is rendered; here they only
		// have to exist for the template to parse.
		t, err := template.New(base).Funcs(words(sqliteDialect{})).Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("store: migration %s: %w", base, err)
		}
		sum := sha256.Sum256(text)
		out = append(out, migration{version, base, hex.EncodeToString(sum[:]), t})
	}
	return out, nil
}

func words(d dialect) template.FuncMap {
	funcs := template.FuncMap{}
	for word, value := range d.schemaWords() {
		funcs[word] = func() any { return value }
	}
	return funcs
}

// render returns the step's SQL for one engine.
func (m migration) render(d dialect) (string, error) {
	t, err := m.template.Clone()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := t.Funcs(words(d)).Execute(&b, nil); err != nil {
		return "", err
	}
	return b.String(), nil
}

// Migrate applies the migrations that the store lacks, all in one transaction
// and under a lock that keeps other processes from doing the same. Applying
// none is quick and harmless. It refuses a store that is newer than this program
// (ErrSchemaNewer) or that was migrated by other steps (ErrSchemaChanged).
//
// On PostgreSQL it then grants every [Role] what this program's statements need,
// each time, if the roles have groups; ErrGroups if only some have.
func (s *Store) Migrate(ctx context.Context) error {
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		return err
	}
	return s.migrate(ctx, steps, s.grantRoles)
}

// migrate applies the steps that are missing, and runs finish in the same transaction.
func (s *Store) migrate(ctx context.Context, steps []migration, finish func(context.Context, statements) error) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		if err := s.lock(ctx, tx.sql, lockMigrations); err != nil {
			return fmt.Errorf("locking the schema: %w", err)
		}
		applied, err := s.appliedMigrations(ctx, tx.sql)
		if err != nil {
			return err
		}
		if err := compare(steps, applied); err != nil && !errors.Is(err, ErrSchemaPending) {
			return err
		}
		if len(applied) == 0 {
			_, err := tx.sql.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (
				version  integer NOT NULL PRIMARY KEY, -- number of the step
				name     text    NOT NULL,             -- its file
				checksum text    NOT NULL              -- SHA-256 of the file, hexadecimal
			)`)
			if err != nil {
				return fmt.Errorf("making the table of migrations: %w", err)
			}
		}
		for _, m := range steps[len(applied):] {
			if err := s.apply(ctx, tx.sql, m); err != nil {
				return fmt.Errorf("applying migration %s: %w", m.name, err)
			}
		}
		return finish(ctx, tx.sql)
	})
}

func (s *Store) apply(ctx context.Context, tx statements, m migration) error {
	text, err := m.render(s.dialect)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, text); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)`,
		m.version, m.name, m.checksum)
	return err
}

// checkSchema returns nil if the store has exactly this program's migrations.
func (s *Store) checkSchema(ctx context.Context) error {
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		return err
	}
	applied, err := s.appliedMigrations(ctx, s.read)
	if err != nil {
		return err
	}
	return compare(steps, applied)
}

// Migrations lists this program's migrations and which of them the store has.
// It changes nothing. The errors are those of Migrate.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	steps, err := loadMigrations(migrationFiles)
	if err != nil {
		return nil, err
	}
	applied, err := s.appliedMigrations(ctx, s.read)
	if err != nil {
		return nil, err
	}
	if err := compare(steps, applied); err != nil && !errors.Is(err, ErrSchemaPending) {
		return nil, err
	}
	out := make([]Migration, len(steps))
	for i, m := range steps {
		out[i] = Migration{m.version, m.name, i < len(applied)}
	}
	return out, nil
}

// appliedMigrations returns the checksums of the applied steps, in order.
func (s *Store) appliedMigrations(ctx context.Context, q querier) ([]string, error) {
	found, err := s.hasTable(ctx, q, "schema_migrations")
	if err != nil {
		return nil, doing("reading the schema's version", err)
	}
	if !found {
		return nil, nil
	}
	var last int
	sums, err := scanAll(ctx, q, func(row *sql.Rows) (sum string, err error) {
		var version int
		if err := row.Scan(&version, &sum); err != nil {
			return "", err
		}
		if version != last+1 {
			return "", ErrSchemaChanged
		}
		last = version
		return sum, nil
	}, `SELECT version, checksum FROM schema_migrations ORDER BY version`)
	return sums, doing("reading the schema's version", err)
}

// compare holds what was applied against what this program would apply.
func compare(steps []migration, applied []string) error {
	for i, sum := range applied {
		if i == len(steps) {
			return fmt.Errorf("%w: it has %d migrations, this program knows %d", ErrSchemaNewer, len(applied), len(steps))
		}
		if sum != steps[i].checksum {
			return fmt.Errorf("%w: %s", ErrSchemaChanged, steps[i].name)
		}
	}
	if len(applied) < len(steps) {
		return fmt.Errorf("%w: it has %d of %d migrations", ErrSchemaPending, len(applied), len(steps))
	}
	return nil
}
