// Command tessera measures Tessera's POSIX log as `wattveil bench ledger` measures
// its own: callers in a closed loop, each waiting until its entry is under a
// published checkpoint. It prints one JSON object. Its settings are flags, so that
// each comparison can use those that suit it best.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tessera:", err)
		os.Exit(2)
	}
}

func run() error {
	dir := flag.String("dir", "", "empty directory for the log")
	callers := flag.Int("callers", 64, "callers in a closed loop")
	length := flag.Duration("for", 5*time.Second, "how long to measure")
	size := flag.Int("bytes", 200, "bytes of an entry")
	batch := flag.Uint("batch", 256, "entries of a batch at most")
	age := flag.Duration("age", 5*time.Millisecond, "how long a batch waits at most")
	publish := flag.Duration("publish", 100*time.Millisecond, "time between checkpoints; 100 ms is the least that POSIX takes")
	flag.Parse()

	ctx := context.Background()
	skey, _, err := note.GenerateKey(rand.Reader, "tessera.example/bench")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: *dir})
	if err != nil {
		return err
	}
	opts := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(*batch, *age).WithCheckpointInterval(*publish).
		WithPushback(uint(max(4096, 4**callers)))
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		return err
	}
	await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 2*time.Millisecond)

	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	began := time.Now()
	for range *callers {
		wg.Go(func() {
			var mine []time.Duration
			for time.Since(began) < *length {
				entry := make([]byte, *size)
				_, _ = rand.Read(entry) // never fails
				start := time.Now()
				if _, _, err := await.Await(ctx, appender.Add(ctx, tessera.NewEntry(entry))); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if failed != nil {
		return failed
	}
	if err := shutdown(ctx); err != nil {
		return err
	}
	slices.Sort(took)
	at := func(part float64) float64 { return took[int(part*float64(len(took)-1))].Seconds() * 1000 }
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"rate": float64(len(took)) / elapsed.Seconds(), "p50_ms": at(0.5), "p99_ms": at(0.99), "events": len(took),
		"settings": fmt.Sprintf("Tessera v1.0.4 POSIX, batches of %d or %s, checkpoints every %s, %d-byte entries", *batch, *age, *publish, *size),
	})
}
