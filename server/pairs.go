package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// pairRotation gives every living household a new key pair, in rounds that somebody asks
// for. What is sealed from then on opens with the new private half alone; what was sealed
// before opens with the old one, which stays.
//
// A round goes a page of households at a time, and each page is one transaction with its
// leaf, so that a crash costs at most the pairs that were made for a page. What is left of
// a round is what the store says is old: nothing else is kept. Nothing stops meanwhile;
// ingest may hold batches that are sealed to the pair before, and they are stored.
type pairRotation struct {
	store     *store.Store
	sequencer *ledger.Sequencer[*store.Tx]
	keys      KeyService
	clock     Clock
	random    io.Reader
	atOnce    int // households a page

	mu sync.Mutex // one round at a time
}

// pairsAtOnce is how many households get a new pair in one transaction. It holds the head
// of the log, and so everyone who records: on PostgreSQL for a tenth of a second.
const pairsAtOnce = 250

// pairsName is what a round is called where keys are named.
const pairsName = "household-pairs"

func newPairRotation(d Deps, sequencer *ledger.Sequencer[*store.Tx]) *pairRotation {
	return &pairRotation{store: d.Store, sequencer: sequencer, keys: d.Keys, clock: d.Clock, random: d.Random, atOnce: pairsAtOnce}
}

// run begins a round, or goes on with one that left households with an old pair, and
// returns its number when none is left. progress hears of each page how many old ones were
// seen so far, and how many of them got a new pair: who was erased meanwhile did not.
// errBusy while another call runs a round, or if households with old pairs keep coming.
func (p *pairRotation) run(ctx context.Context, progress func(seen, renewed int)) (round uint64, err error) {
	fail := func(err error) (uint64, error) { return 0, fmt.Errorf("rotating household key pairs: %w", err) }
	if !p.mu.TryLock() {
		return fail(errBusy)
	}
	defer p.mu.Unlock()
	round, err = p.begin(ctx)
	if err != nil {
		return fail(err)
	}
	seen, renewed := 0, 0
	for range rewrapPasses { // who was being registered as the round began may come behind it
		before := seen
		for after := consent.Household(""); ; {
			old, err := p.store.OldPairs(ctx, round, after, p.atOnce)
			if err != nil {
				return fail(err)
			}
			if len(old) == 0 {
				break
			}
			n, err := p.renew(ctx, round, old)
			if err != nil {
				return fail(err)
			}
			after, seen, renewed = old[len(old)-1], seen+len(old), renewed+n
			progress(seen, renewed)
		}
		if seen == before {
			return round, nil
		}
	}
	return fail(errBusy)
}

// begin returns the round that is under way, or begins the next and writes that down with
// its leaf. Pairs are made after it: whatever came out before opens none of them.
func (p *pairRotation) begin(ctx context.Context) (round uint64, err error) {
	last, err := p.store.LastPairRound(ctx)
	if err != nil {
		return 0, err
	}
	old, err := p.store.OldPairs(ctx, last.Round, "", 1)
	if err != nil {
		return 0, err
	}
	if len(old) > 0 {
		return last.Round, nil
	}
	next := store.PairRound{Round: last.Round + 1, BeganAt: p.clock().Unix()}
	_, err = p.sequencer.Propose(ctx, fmt.Sprintf("pairs/%d", next.Round), func(ctx context.Context, tx *store.Tx, _ ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: fmt.Sprintf("household pairs round %d began", next.Round)}, tx.PutPairRound(ctx, next)
	})
	return next.Round, err
}

// renew gives a page of households new pairs, and returns how many it gave. Private halves
// exist in memory only until they are wrapped.
func (p *pairRotation) renew(ctx context.Context, round uint64, hs []consent.Household) (n int, err error) {
	pairs := make([]store.Pair, len(hs))
	seeds := make([]seal.Item, len(hs))
	defer func() {
		for _, s := range seeds {
			clear(s.Data)
		}
	}()
	for i, h := range hs {
		private, err := seal.NewPrivateKey(p.random)
		if err != nil {
			return 0, fmt.Errorf("making household key: %w", err)
		}
		pairs[i] = store.Pair{Household: h, PublicKey: private.Public().Bytes()}
		seeds[i] = seal.Item{Context: []byte(h), Data: private.Seed()}
		private.Erase()
	}
	n, err = p.put(ctx, round, pairs, seeds)
	if errors.Is(err, store.ErrKeyRetired) { // rotated between wrapping and storing: a version lasts for days
		n, err = p.put(ctx, round, pairs, seeds)
	}
	return n, err
}

// put wraps private halves and stores the pairs, with the leaf that says so.
func (p *pairRotation) put(ctx context.Context, round uint64, pairs []store.Pair, seeds []seal.Item) (n int, err error) {
	wrapped, err := p.keys.Wrap(ctx, keyguard.HouseholdKey, seeds)
	if err != nil {
		return 0, fmt.Errorf("wrapping household keys: %w", err)
	}
	for i := range pairs {
		pairs[i].WrappedPrivate = wrapped[i]
		if pairs[i].KeyVersion, err = p.keys.VersionOf(wrapped[i]); err != nil {
			return 0, fmt.Errorf("wrapping household keys: %w", err)
		}
	}
	id := pairsDigest(round, pairs) // nobody else has made these
	_, err = p.sequencer.Propose(ctx, fmt.Sprintf("pairs/%d/%x", round, id), func(ctx context.Context, tx *store.Tx, _ ledger.Position) (ledger.Payload, error) {
		given, err := tx.PutPairs(ctx, round, pairs)
		if n = len(given); err == nil && n == 0 {
			err = errNobodyOld
		}
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: fmt.Sprintf("household pairs round %d renewed %d", round, n), Digest: pairsDigest(round, given)}, err
	})
	if errors.Is(err, errNobodyOld) {
		return 0, nil
	}
	return n, err
}

// errNobodyOld says that all of a page were erased, or got their pairs from another process.
var errNobodyOld = errors.New("server: nobody of the page has an old pair")

// pairsDigest binds the new public keys of a page in the ledger: SHA-256 of
//
//	"wattveil pairs v1" ‖ 0 ‖ round ‖ for each: length of household ‖ household ‖ generation ‖ SHA-256 of public key
//
// by household, ascending, with numbers of eight bytes, big-endian. Household and key stay
// in the table: the digest tells who has it whether a page is as it was recorded, and
// nobody else anything.
func pairsDigest(round uint64, pairs []store.Pair) ledger.Hash {
	b := binary.BigEndian.AppendUint64([]byte("wattveil pairs v1\x00"), round)
	for _, p := range pairs {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p.Household)))
		b = append(b, p.Household...)
		b = binary.BigEndian.AppendUint64(b, uint64(p.Generation))
		key := sha256.Sum256(p.PublicKey)
		b = append(b, key[:]...)
	}
	return sha256.Sum256(b)
}

// status tells how key pairs stand; all of them are looked through.
func (p *pairRotation) status(ctx context.Context) (*wattveilv1.PairStatus, error) {
	last, err := p.store.LastPairRound(ctx)
	if err != nil {
		return nil, err
	}
	c, err := p.store.CountPairs(ctx, last.Round)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.PairStatus{
		Round: last.Round, BeganAt: last.BeganAt, Households: c.Households, Old: c.Old, Lost: c.Lost, PrivateHalves: c.Private,
	}, nil
}
