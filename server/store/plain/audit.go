package plain

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// Audit is what audit logs usually are, beside which the ledger is measured: rows of
// a table without proofs, one commit each or many in one, and rows that each hold the
// hash of the one before. Safe for concurrent use.
type Audit struct {
	db     *sql.DB
	sqlite bool
	one    *sql.Stmt
	queue  chan *auditEvent
	done   chan struct{}
}

// AuditSchema is the tables, on either engine.
const AuditSchema = `
CREATE TABLE audit_rows (id {{id}} PRIMARY KEY, at_us bigint NOT NULL, payload {{bytes}} NOT NULL);
CREATE TABLE audit_chain (idx bigint PRIMARY KEY, at_us bigint NOT NULL, payload {{bytes}} NOT NULL, hash {{bytes}} NOT NULL);
CREATE TABLE audit_head (one smallint PRIMARY KEY, idx bigint NOT NULL, hash {{bytes}} NOT NULL);
INSERT INTO audit_head VALUES (1, 0, {{zero}});`

// OpenAudit makes the tables in an empty database: sqlite:PATH, WAL and FULL as the
// hub's own, or postgres:// with as many connections as there are callers, up to 64.
func OpenAudit(ctx context.Context, storeURL string) (*Audit, error) {
	a := &Audit{queue: make(chan *auditEvent, 4096), done: make(chan struct{})}
	words := strings.NewReplacer("{{id}}", "bigserial", "{{bytes}}", "bytea", "{{zero}}", `'\x00'`)
	driver, dsn, connections := "postgres", storeURL, 64
	if path, ok := strings.CutPrefix(storeURL, "sqlite:"); ok {
		a.sqlite = true
		u := url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-8192)&_pragma=wal_autocheckpoint(4000)"}
		driver, dsn, connections = "sqlite", u.String(), 1
		words = strings.NewReplacer("{{id}}", "integer", "{{bytes}}", "blob", "{{zero}}", "x'00'")
	} else if strings.Contains(dsn, "?") {
		dsn += "&binary_parameters=yes"
	} else {
		dsn += "?binary_parameters=yes"
	}
	var err error
	if a.db, err = sql.Open(driver, dsn); err != nil {
		return nil, fmt.Errorf("opening audit tables: %w", err)
	}
	a.db.SetMaxOpenConns(connections)
	a.db.SetMaxIdleConns(connections)
	for _, stmt := range strings.Split(strings.TrimSuffix(words.Replace(AuditSchema), ";"), ";") {
		if _, err := a.db.ExecContext(ctx, stmt); err != nil {
			return nil, errors.Join(fmt.Errorf("making audit tables: %w", err), a.db.Close())
		}
	}
	if a.one, err = a.db.PrepareContext(ctx, `INSERT INTO audit_rows (at_us, payload) VALUES ($1, $2)`); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing: %w", err), a.db.Close())
	}
	go a.group()
	return a, nil
}

// Close ends group commit and closes the connections. No call may be under way.
func (a *Audit) Close() error {
	close(a.queue)
	<-a.done
	return a.db.Close()
}

// Row stores one event with a commit of its own.
func (a *Audit) Row(ctx context.Context, at time.Time, payload []byte) error {
	_, err := a.one.ExecContext(ctx, at.UnixMicro(), payload)
	return err
}

type auditEvent struct {
	at      time.Time
	payload []byte
	done    chan error
}

// Group stores one event together with whatever else waits: while one transaction
// commits, the next group gathers, without a timer.
func (a *Audit) Group(ctx context.Context, at time.Time, payload []byte) error {
	e := &auditEvent{at, payload, make(chan error, 1)}
	select {
	case a.queue <- e:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-e.done
}

// groupRows is how many events one transaction holds at most.
const groupRows = 512

func (a *Audit) group() {
	defer close(a.done)
	for e := range a.queue {
		events := []*auditEvent{e}
	gather:
		for len(events) < groupRows {
			select {
			case more, ok := <-a.queue:
				if !ok {
					break gather
				}
				events = append(events, more)
			default:
				break gather
			}
		}
		err := a.insert(events)
		for _, e := range events {
			e.done <- err
		}
	}
}

// insert stores events with one statement, which is a transaction by itself.
func (a *Audit) insert(events []*auditEvent) error {
	var b strings.Builder
	b.WriteString(`INSERT INTO audit_rows (at_us, payload) VALUES `)
	args := make([]any, 0, 2*len(events))
	for i, e := range events {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "($%d,$%d)", 2*i+1, 2*i+2)
		args = append(args, e.at.UnixMicro(), e.payload)
	}
	_, err := a.db.ExecContext(context.Background(), b.String(), args...)
	return err
}

// Chain stores one event with the hash of the one before it: lock the head, insert,
// move the head, commit.
func (a *Audit) Chain(ctx context.Context, at time.Time, payload []byte) error {
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	lock := " FOR UPDATE"
	if a.sqlite {
		lock = "" // the transaction began IMMEDIATE
	}
	var idx int64
	var prev []byte
	if err := tx.QueryRowContext(ctx, `SELECT idx, hash FROM audit_head WHERE one = 1`+lock).Scan(&idx, &prev); err != nil {
		return err
	}
	hash := sha256.Sum256(append(prev, payload...))
	if _, err := tx.ExecContext(ctx, `INSERT INTO audit_chain (idx, at_us, payload, hash) VALUES ($1, $2, $3, $4)`, idx+1, at.UnixMicro(), payload, hash[:]); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE audit_head SET idx = $1, hash = $2 WHERE one = 1`, idx+1, hash[:]); err != nil {
		return err
	}
	return tx.Commit()
}

// Count returns how many events the tables hold.
func (a *Audit) Count(ctx context.Context) (rows, chained int64, err error) {
	err = a.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM audit_rows), (SELECT count(*) FROM audit_chain)`).Scan(&rows, &chained)
	return rows, chained, err
}
