package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

const badDaysOrigin = "bad.example/ledger"

// badDaysLog starts a ledger over a store.
func badDaysLog(t *testing.T, s *store.Store) (*ledger.Sequencer[*store.Tx], *ledger.Verifier) {
	t.Helper()
	must(t, s.CreateLedger(t.Context(), badDaysOrigin))
	signer, key, err := ledger.NewSigner(badDaysOrigin, bytes.Repeat([]byte{1}, 32))
	must(t, err)
	v, err := ledger.NewVerifier(key)
	must(t, err)
	seq := ledger.NewSequencer(ledger.Store[*store.Tx](s), signer, ledger.Options{Now: time.Now, Rand: rand.Reader})
	t.Cleanup(seq.Close)
	return seq, v
}

func note(detail string) ledger.ProposeFunc[*store.Tx] {
	return func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: detail}, nil
	}
}

// whole verifies the log and that it has so many leaves.
func whole(t *testing.T, s *store.Store, v *ledger.Verifier, leaves uint64) {
	t.Helper()
	report, err := ledger.VerifyLog(t.Context(), v, ledger.ReaderSource(s), ledger.VerifyOptions{})
	if err != nil || report.Size != leaves {
		t.Errorf("%d leaves verified, want %d: %v", report.Size, leaves, err)
	}
}

// The disk is full: who proposes is told that nothing was recorded, or that it was
// and is not signed, and that is so; when there is room, the same request is recorded
// once. It would catch half a batch that stays, and a sequencer that gives up.
func TestDiskFull(t *testing.T) {
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	seq, v := badDaysLog(t, s)
	writer := store.Pools(s)["writer"]
	var pages int
	must(t, writer.QueryRowContext(t.Context(), `PRAGMA page_count`).Scan(&pages))
	_, err := writer.ExecContext(t.Context(), fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+2))
	must(t, err)
	recorded, refused := uint64(0), ""
	for i := 0; refused == "" && i < 1000; i++ {
		id := fmt.Sprint("note-", i)
		switch _, err := seq.Propose(t.Context(), id, note(strings.Repeat("x", 200))); {
		case err == nil, errors.Is(err, ledger.ErrUnsigned): // room for the leaf, and none for its checkpoint
			recorded++
		case errors.Is(err, ledger.ErrNotRecorded):
			refused = id
		default:
			t.Fatalf("the disk is full: %v, want ErrNotRecorded", err)
		}
	}
	if refused == "" || recorded == 0 {
		t.Fatalf("%d recorded and none refused", recorded)
	}
	_, err = writer.ExecContext(t.Context(), `PRAGMA max_page_count = 1000000`)
	must(t, err)
	for range 2 {
		_, err := seq.Propose(t.Context(), refused, note("y"))
		must(t, err)
	}
	whole(t, s, v, recorded+1)
}

// The database stands still: whoever waits is let go at the end of his patience,
// and when it goes on, the same request is recorded once. It would catch a caller
// who waits for ever, and a request doubled because its first answer was late.
func TestDatabaseFrozen(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		at := url(t)
		s := open(t, at)
		seq, v := badDaysLog(t, s)
		_, err := seq.Propose(t.Context(), "before", note("x"))
		must(t, err)
		held, release := make(chan struct{}), make(chan struct{})
		frozen := make(chan error)
		go func() {
			frozen <- open(t, at).Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.LedgerHead(ctx)
				close(held)
				<-release
				return err
			})
		}()
		<-held
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := seq.Propose(ctx, "late", note("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a database that stands still: %v", err)
		}
		close(release)
		must(t, <-frozen)
		for range 2 {
			_, err := seq.Propose(t.Context(), "late", note("x"))
			must(t, err)
		}
		whole(t, s, v, 2)
	})
}

// A store of the schema before households' proofs keeps its secrets and learns, from
// what it recorded, what the map commits to. It would catch a chain whose map value
// no household could recompute after an update.
func TestProofsOfAnOlderSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, url func(t *testing.T) string) {
		at := url(t)
		bare, err := store.OpenBare(at, store.Options{Migrate: true})
		must(t, err)
		defer bare.Close()
		must(t, bare.MigrateTo(t.Context(), only(t, 5)))
		key, head, first, last := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32), bytes.Repeat([]byte{4}, 32)
		do(t, bare, func(ctx context.Context, tx *store.Tx) error {
			private := `INSERT INTO tlog_private (idx, kind, time_us, subject, recipient, request_id, payload, nonce) VALUES ($1, $2, 1, 'h', $3, $4, $5, $6)`
			return errors.Join(
				tx.Exec(ctx, `INSERT INTO tlog_subject_keys (subject, tag_key) VALUES ('h', $1)`, key),
				tx.Exec(ctx, `INSERT INTO tlog_chains (kind, id, seq, head) VALUES (1, 'h', 2, $1)`, head),
				tx.Exec(ctx, `INSERT INTO tlog_chains (kind, id, seq, head) VALUES (2, 'r', 1, $1)`, head),
				tx.Exec(ctx, private, 0, "access", "r", "a", []byte{1}, first), tx.Exec(ctx, private, 1, "access", "", "b", []byte{1}, last),
			)
		})
		s := open(t, at)
		var ends []ledger.SubjectEnd
		must(t, s.View(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			ends, err = tx.LedgerEnds(ctx, 0)
			return err
		}))
		if len(ends) != 1 {
			t.Fatalf("%d chains, want the household's", len(ends))
		}
		got := ends[0]
		want := ledger.Link{Seq: 2, Head: ledger.Hash(head), Accesses: 1, Nonce: ledger.Hash(last)}
		if got.Subject != "h" || got.Link != want || len(got.TagKeys) != 1 || !bytes.Equal(got.TagKeys[0].Key[:], key) {
			t.Errorf("%+v, want %+v under the key it had", got, want)
		}
	})
}
