package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// The leaf of a consent's terms is found by household, consent and terms, and by
// nothing less. It would catch a grant that stands for its narrowing, one household's
// leaf for another's, or the leaf of a read for that of the consent.
func TestConsentLeaf(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.CreateLedger(t.Context(), origin))
		for _, h := range []consent.Household{"h-1", "h-2"} {
			n := store.NewHousehold{ID: h, Generation: 1, PublicKey: []byte{1}, WrappedPrivate: []byte{2}}
			_, _ = rand.Read(n.SubjectKey[:])
			_, _ = rand.Read(n.CodeHash[:])
			must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{n}))
		}
		log := ledgertest.Start(t, ledger.Store[*store.Tx](s))
		record := func(kind ledger.Kind, subject, id string, terms byte) uint64 {
			t.Helper()
			r, err := log.Propose(t.Context(), rand.Text(), func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) {
				return ledger.Payload{Kind: kind, Subject: subject, Recipient: "adviser", Consent: id, Terms: ledger.Hash{terms}}, nil
			})
			must(t, err)
			return r.Index
		}
		record(ledger.KindConsentRequest, "h-1", "c-1", 1)
		grant := record(ledger.KindConsentGrant, "h-1", "c-1", 1)
		record(ledger.KindAccess, "h-1", "c-1", 1)
		other := record(ledger.KindConsentGrant, "h-1", "c-2", 1)
		narrowed := record(ledger.KindConsentNarrow, "h-1", "c-1", 2)
		record(ledger.KindAccess, "h-1", "c-1", 2)
		record(ledger.KindConsentRevoke, "h-1", "c-1", 2)
		for _, c := range []struct {
			h     consent.Household
			id    consent.ID
			terms byte
			want  uint64 // 0: none
		}{
			{"h-1", "c-1", 1, grant},
			{"h-1", "c-1", 2, narrowed},
			{"h-1", "c-2", 1, other},
			{"h-1", "c-1", 3, 0},
			{"h-1", "c-3", 1, 0},
			{"h-2", "c-1", 1, 0},
			{"", "c-1", 1, 0},
		} {
			e, err := s.ConsentLeaf(t.Context(), c.h, c.id, ledger.Hash{c.terms})
			switch {
			case c.want == 0 && !errors.Is(err, store.ErrNotFound):
				t.Errorf("%s %s, terms %d: entry %d, %v, want ErrNotFound", c.h, c.id, c.terms, e.Index, err)
			case c.want != 0 && (err != nil || e.Index != c.want || len(e.Payload) == 0 || e.Nonce == (ledger.Hash{})):
				t.Errorf("%s %s, terms %d: entry %d, %v, want %d", c.h, c.id, c.terms, e.Index, err, c.want)
			}
		}
	})
}

// What the look for a consent's leaf costs, once for each process and consent,
// where a household has been read 100,000 times since it agreed.
func BenchmarkConsentLeaf(b *testing.B) {
	for engine, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(b.TempDir(), "log.db") },
		"postgres": func() string { return pgtest.Database(b) },
	} {
		b.Run(engine, func(b *testing.B) {
			s, err := store.Open(b.Context(), url(), store.Options{Migrate: true})
			must(b, err)
			b.Cleanup(func() { _ = s.Close() })
			must(b, s.CreateLedger(b.Context(), "bench.example/leaf"))
			n := store.NewHousehold{ID: "h-1", Generation: 1, PublicKey: []byte{1}, WrappedPrivate: []byte{2}}
			must(b, s.CreateHouseholds(b.Context(), []store.NewHousehold{n}))
			log := ledgertest.Start(b, ledger.Store[*store.Tx](s))
			p := ledger.Payload{Kind: ledger.KindConsentGrant, Subject: "h-1", Recipient: "adviser", Consent: "c-1", Terms: ledger.Hash{1}}
			fn := func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) { return p, nil }
			r, err := log.Propose(b.Context(), rand.Text(), fn)
			must(b, err)
			p.Kind = ledger.KindAccess
			for range 100 {
				batch := make([]ledger.Proposal[*store.Tx], 1000)
				for i := range batch {
					batch[i] = ledger.Proposal[*store.Tx]{RequestID: rand.Text(), Func: fn}
				}
				for _, o := range log.ProposeAll(b.Context(), batch) {
					must(b, o.Err)
				}
			}
			b.Run("looked for", func(b *testing.B) {
				for b.Loop() {
					_, err := s.ConsentLeaf(b.Context(), "h-1", "c-1", ledger.Hash{1})
					must(b, err)
				}
			})
			b.Run("known", func(b *testing.B) {
				for b.Loop() {
					_, err := s.ReadEntry(b.Context(), r.Index)
					must(b, err)
				}
			})
		})
	}
}
