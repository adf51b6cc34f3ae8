package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// CheckpointStore is what a Cosigner needs of a store.
type CheckpointStore interface {
	Reader
	PutCheckpoint(ctx context.Context, size uint64, root Hash, note []byte) error
}

// CosignerConfig is what a Cosigner is made of.
type CosignerConfig struct {
	Store    CheckpointStore
	Verifier *Verifier // of the log's own keys
	Policy   *Policy   // whose witnesses are asked
	Client   *http.Client
	Logger   *slog.Logger // nil means none
	// Fail hears that a witness has seen a larger log than the store holds
	// (ErrRollback), or another (ErrFork): see Sequencer.Fail.
	Fail func(error)
	// Retry is how long to wait before a witness that did not answer is asked
	// again, doubled each time up to sixteen times that; 1 s if zero.
	Retry time.Duration
}

// Cosigner carries new checkpoints to the witnesses of a policy and their
// cosignatures back into the store. It asks all witnesses at once, always for the
// newest checkpoint, and never holds up the sequencer: a witness that is away costs
// nothing but its signature. Its first question tells whether a witness has seen
// more of the log than the store holds. It is safe for concurrent use.
type Cosigner struct {
	cfg    CosignerConfig
	prover *Prover
	peers  []*peer
	wake   chan struct{}

	mu     sync.Mutex
	size   uint64        // of the newest checkpoint that satisfies the policy
	note   []byte        // nil for none
	newest chan struct{} // closed when size grows
}

// peer is one witness's address, with all the keys that cosign there.
type peer struct {
	url   string
	keys  []note.Verifier
	size  uint64 // of the newest checkpoint it has cosigned, as far as we know
	asked bool   // whether size is its own word
}

// NewCosigner returns a cosigner; Run does its work.
func NewCosigner(cfg CosignerConfig) *Cosigner {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Retry <= 0 {
		cfg.Retry = time.Second
	}
	c := &Cosigner{cfg: cfg, prover: NewProver(cfg.Store), wake: make(chan struct{}, 1), newest: make(chan struct{})}
	byURL := make(map[string]*peer)
	for _, w := range cfg.Policy.witnesses {
		if w.url == "" {
			continue
		}
		p := byURL[w.url]
		if p == nil {
			p = &peer{url: w.url}
			byURL[w.url] = p
			c.peers = append(c.peers, p)
		}
		p.keys = append(p.keys, w.key)
	}
	return c
}

// Notify says that a checkpoint may have been published. It does not block.
func (c *Cosigner) Notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run asks witnesses until ctx ends.
func (c *Cosigner) Run(ctx context.Context) {
	wait := c.cfg.Retry
	for {
		all := c.round(ctx)
		var again <-chan time.Time
		if wait = min(2*wait, 16*c.cfg.Retry); all {
			wait = c.cfg.Retry
		} else {
			again = time.After(wait / 2)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-again:
		}
	}
}

// round brings the newest checkpoint to every witness, and reports whether all of
// them have cosigned it.
func (c *Cosigner) round(ctx context.Context) bool {
	signed, err := c.cfg.Store.Checkpoint(ctx)
	if errors.Is(err, ErrNoCheckpoint) {
		return true
	}
	var cp checkpoint
	if err == nil {
		cp, err = readCheckpoint(signed)
	}
	if err != nil {
		c.log(ctx, "reading the newest checkpoint", "", err)
		return false
	}
	lines := make([][]byte, len(c.peers))
	errs := make([]error, len(c.peers))
	var wg sync.WaitGroup
	for i, p := range c.peers {
		wg.Go(func() { lines[i], errs[i] = c.ask(ctx, p, signed, cp) })
	}
	wg.Wait()
	all := true
	for i, err := range errs {
		switch {
		case errors.Is(err, ErrRollback), errors.Is(err, ErrFork):
			c.cfg.Fail(fmt.Errorf("witness %s: %w", c.peers[i].url, err))
			return false
		case err != nil:
			all = false
			c.log(ctx, "asking a witness", c.peers[i].url, err)
		}
	}
	if err := c.keep(ctx, signed, cp, lines); err != nil {
		c.log(ctx, "storing cosignatures", "", err)
		return false
	}
	return all
}

func (c *Cosigner) log(ctx context.Context, what, witness string, err error) {
	if ctx.Err() == nil {
		c.cfg.Logger.WarnContext(ctx, "cosigning", slog.String("doing", what), slog.String("witness", witness), slog.Any("error", err))
	}
}

// ask brings a checkpoint to one witness and returns its verified lines.
func (c *Cosigner) ask(ctx context.Context, p *peer, signed []byte, cp checkpoint) ([]byte, error) {
	for range 3 {
		var proof []Hash
		if p.size > 0 && p.size < cp.size {
			var err error
			if proof, err = c.prover.Consistency(ctx, p.size, cp.size); err != nil {
				return nil, err
			}
		}
		lines, err := addCheckpoint(ctx, c.cfg.Client, p.url, p.size, proof, signed)
		var conflict *conflictError
		switch {
		case err == nil:
			p.size, p.asked = cp.size, true
			return c.verified(p, cp, lines)
		case !errors.As(err, &conflict):
			return nil, err
		case conflict.size > cp.size:
			return nil, c.behind(ctx, conflict.size)
		case conflict.size == p.size && p.asked:
			// It is as far as we say, and does not take what we bring: another
			// root of the same size.
			return nil, fmt.Errorf("size %d: %w", cp.size, ErrFork)
		}
		p.size, p.asked = conflict.size, true
	}
	return nil, errors.New("ledger: witness keeps changing its mind")
}

// behind says what it means that a witness has cosigned a larger size than the
// newest checkpoint had a moment ago.
func (c *Cosigner) behind(ctx context.Context, witnessed uint64) error {
	signed, err := c.cfg.Store.Checkpoint(ctx)
	if err != nil {
		return err
	}
	newest, err := readCheckpoint(signed)
	if err != nil {
		return err
	}
	if newest.size >= witnessed {
		return errors.New("ledger: another process was faster") // the next round brings that
	}
	return fmt.Errorf("newest checkpoint of size %d, witnessed %d: %w", newest.size, witnessed, ErrRollback)
}

// verified returns those of the lines that the witness's keys have signed; it must
// be at least one.
func (c *Cosigner) verified(p *peer, cp checkpoint, lines []byte) ([]byte, error) {
	text := cp.text()
	n, err := note.Open(append([]byte(text+"\n"), lines...), note.VerifierList(p.keys...))
	if err != nil {
		return nil, fmt.Errorf("ledger: witness's answer: %w", err)
	}
	var out []byte
	for _, s := range n.Sigs {
		out = fmt.Appendf(out, "\u2014 %s %s\n", s.Name, s.Base64)
	}
	return out, nil
}

// keep adds cosignatures to the stored checkpoint, and tells who waits.
func (c *Cosigner) keep(ctx context.Context, signed []byte, cp checkpoint, lines [][]byte) error {
	whole := bytes.Clone(signed)
	for _, l := range lines {
		for line := range bytes.Lines(l) {
			if !bytes.Contains(whole, line) {
				whole = append(whole, line...)
			}
		}
	}
	if !bytes.Equal(whole, signed) {
		if err := c.cfg.Store.PutCheckpoint(ctx, cp.size, cp.root, whole); err != nil {
			return err
		}
	}
	if _, _, err := c.cfg.Verifier.WithPolicy(c.cfg.Policy).Checkpoint(whole); err != nil {
		if errors.Is(err, ErrNotCosigned) {
			return nil
		}
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.note == nil || cp.size > c.size {
		c.size, c.note = cp.size, whole
		close(c.newest)
		c.newest = make(chan struct{})
	}
	return nil
}

// Await returns a checkpoint over the leaf at index that satisfies the policy, as
// soon as there is one. It returns ErrNotCosigned when ctx ends before that.
func (c *Cosigner) Await(ctx context.Context, index uint64) ([]byte, error) {
	for {
		c.mu.Lock()
		size, signed, grows := c.size, c.note, c.newest
		c.mu.Unlock()
		if signed != nil && index < size {
			return signed, nil
		}
		select {
		case <-grows:
		case <-ctx.Done():
			return nil, fmt.Errorf("leaf %d: %w: %w", index, ErrNotCosigned, ctx.Err())
		}
	}
}
