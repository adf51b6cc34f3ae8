package store_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// A receipt as a hub serves it, payload, nonce and proof, from a log of
// WATTVEIL_BENCH_LEAVES leaves, 1,000,000 if it is not set; and its check offline,
// under both signatures. Every proof that is timed is checked.
func BenchmarkProof(b *testing.B) {
	leaves := 1_000_000
	if n, err := strconv.Atoi(os.Getenv("WATTVEIL_BENCH_LEAVES")); err == nil {
		leaves = n
	}
	for engine, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(b.TempDir(), "log.db") },
		"postgres": func() string { return pgtest.Database(b) },
	} {
		b.Run(engine, func(b *testing.B) {
			ctx := b.Context()
			s, err := store.Open(ctx, url(), store.Options{Migrate: true})
			must(b, err)
			b.Cleanup(func() { _ = s.Close() })
			v := fillLog(b, s, leaves)
			prover := ledger.NewProver(s) // kept, as a hub keeps it
			var served, checked []time.Duration
			began := time.Now()
			e, err := s.ReadEntry(ctx, 0)
			must(b, err)
			_, err = prover.TLogProof(ctx, 0, e.Leaf)
			must(b, err)
			first := time.Since(began)
			for b.Loop() {
				at, err := rand.Int(rand.Reader, big.NewInt(int64(leaves)))
				must(b, err)
				began := time.Now()
				e, err := s.ReadEntry(ctx, at.Uint64())
				must(b, err)
				proof, err := prover.TLogProof(ctx, e.Index, e.Leaf)
				must(b, err)
				served = append(served, time.Since(began))
				began = time.Now()
				if got, err := v.WithPolicy(nil).Proof(e.Payload, e.Nonce, proof); err != nil || got.Index != e.Index {
					b.Fatal(err)
				}
				checked = append(checked, time.Since(began))
			}
			for what, took := range map[string][]time.Duration{"serve": served, "check": checked} {
				slices.Sort(took)
				b.ReportMetric(took[len(took)/2].Seconds()*1000, what+"-p50-ms")
				b.ReportMetric(took[len(took)*99/100].Seconds()*1000, what+"-p99-ms")
			}
			b.ReportMetric(first.Seconds()*1000, "first-ms") // after a start
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fillLog records so many leaves and returns who checks them.
func fillLog(b *testing.B, s *store.Store, leaves int) *ledger.Verifier {
	b.Helper()
	const name = "bench.example/ledger"
	must(b, s.CreateLedger(b.Context(), name))
	seeds := make([]byte, 64)
	_, err := rand.Read(seeds)
	must(b, err)
	signer, ed, err := ledger.NewSigner(name, seeds[:32])
	must(b, err)
	pq, err := signer.AddMLDSA(seeds[32:], time.Now)
	must(b, err)
	v, err := ledger.NewVerifier(ed + "\n" + pq)
	must(b, err)
	seq := ledger.NewSequencer(ledger.Store[*store.Tx](s), signer, ledger.Options{Now: time.Now, Rand: rand.Reader, MaxBatch: 8192})
	defer seq.Close()
	fn := func(context.Context, *store.Tx, ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: "filling"}, nil
	}
	for done := 0; done < leaves; {
		batch := make([]ledger.Proposal[*store.Tx], min(8192, leaves-done))
		for i := range batch {
			batch[i] = ledger.Proposal[*store.Tx]{RequestID: fmt.Sprint("fill-", done+i), Func: fn}
		}
		for _, o := range seq.ProposeAll(b.Context(), batch) {
			must(b, o.Err)
		}
		done += len(batch)
	}
	return v
}
