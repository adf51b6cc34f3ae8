package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// checkpointService implements CheckpointService: the parts of the hub that record
// have what they have committed signed here.
type checkpointService struct {
	wattveilv1.UnimplementedCheckpointServiceServer
	sequencer *ledger.Sequencer[*store.Tx]
	cosigner  *ledger.Cosigner // or nil, without a policy
	patience  time.Duration    // with witnesses
}

// Cover signs what is committed, and waits for witnesses where that is asked: whatever
// this part itself demands, ErrNotCosigned without them.
func (c *checkpointService) Cover(ctx context.Context, req *wattveilv1.CoverRequest) (*wattveilv1.CoverResponse, error) {
	note, err := c.sequencer.Cover(ctx, req.GetSize())
	if err == nil && req.GetCosigned() {
		note, err = c.cosigned(ctx, max(req.GetSize(), 1)-1)
	}
	if err != nil {
		return nil, err
	}
	return &wattveilv1.CoverResponse{Checkpoint: note}, nil
}

// cosigned returns a checkpoint over a leaf that is cosigned as the policy demands.
func (c *checkpointService) cosigned(ctx context.Context, index uint64) ([]byte, error) {
	if c.cosigner == nil {
		return nil, ledger.ErrNotCosigned
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	return c.cosigner.Await(ctx, index)
}

// remoteNotary is a ledger.Notary that asks CheckpointService of the part that signs.
// It believes what the ledger's keys have signed, which its process was given in a
// file of its own, and the keys that follow them by their word. Safe for concurrent use.
type remoteNotary struct {
	checkpoints wattveilv1.CheckpointServiceClient
	audit       wattveilv1.AuditServiceClient
	verifier    *ledger.Verifier // follows

	following sync.Mutex    // one at a time
	strange   atomic.Uint64 // checkpoints met that carry keys which are not known
}

func newRemoteNotary(conn grpc.ClientConnInterface, verifier *ledger.Verifier) *remoteNotary {
	return &remoteNotary{checkpoints: wattveilv1.NewCheckpointServiceClient(conn), audit: wattveilv1.NewAuditServiceClient(conn), verifier: verifier}
}

// notaryFaults are the errors that cross the wire by name.
var notaryFaults = []error{
	ledger.ErrUnsigned, ledger.ErrNotCosigned, ledger.ErrRollback, ledger.ErrFork, ledger.ErrCorrupt, store.ErrUnavailable, store.ErrRetry,
}

// Cover implements ledger.Notary. While nobody answers it waits until ctx ends.
func (n *remoteNotary) Cover(ctx context.Context, size uint64) ([]byte, error) {
	return n.cover(ctx, size, false)
}

// cosigned returns a checkpoint over a leaf that is cosigned as the policy demands.
func (n *remoteNotary) cosigned(ctx context.Context, index uint64) ([]byte, error) {
	return n.cover(ctx, index+1, true)
}

func (n *remoteNotary) cover(ctx context.Context, size uint64, cosigned bool) ([]byte, error) {
	resp, err := n.checkpoints.Cover(ctx, &wattveilv1.CoverRequest{Size: size, Cosigned: cosigned}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("asking who signs: %w", partError(err, notaryFaults...))
	}
	note := resp.GetCheckpoint()
	if n.verifier.Strange(note) {
		n.strange.Add(1)
	}
	_, _, err = n.verifier.Checkpoint(note)
	if errors.Is(err, ledger.ErrCheckpoint) {
		if followed := n.follow(ctx); followed != nil {
			return nil, fmt.Errorf("checking what was signed: %w: %w", err, followed)
		}
		_, _, err = n.verifier.Checkpoint(note)
	}
	if err != nil {
		return nil, fmt.Errorf("checking what was signed: %w", err)
	}
	return note, nil
}

// errStrangeKeys says that the part that signs does so with keys that do not follow from
// those that this process believes.
var errStrangeKeys = errors.New("server: the ledger's keys do not follow from those of ledger.verifier_keys")

// follow takes up the ledger's keys that follow those it knows, each by the word of the
// one before and the leaf that binds it. It does nothing while no checkpoint was met that
// carries others.
func (n *remoteNotary) follow(ctx context.Context) error {
	n.following.Lock()
	defer n.following.Unlock()
	met := n.strange.Load()
	if met == 0 {
		return nil
	}
	resp, err := n.audit.GetLedgerKeys(ctx, &wattveilv1.GetLedgerKeysRequest{})
	if err != nil {
		return fmt.Errorf("asking for the ledger's keys: %w", partError(err, notaryFaults...))
	}
	newer, _, err := n.verifier.Follow(KeyGenerations(resp.GetKeys()))
	if err != nil {
		return fmt.Errorf("%w: %w", errStrangeKeys, err)
	}
	if err := n.verifier.Replace(newer.Keys()); err != nil {
		return err
	}
	n.strange.CompareAndSwap(met, 0)
	return nil
}

// KeyGenerations reads the generations of the ledger's keys, oldest first. One whose leaf
// is no opening has none, which proves nothing.
func KeyGenerations(keys *wattveilv1.LedgerKeys) []ledger.Generation {
	var all []ledger.Generation
	for _, g := range keys.GetGenerations() {
		r := g.GetBinding()
		next := ledger.Generation{VerifierKeys: g.GetVerifierKeys(), Statement: []byte(g.GetStatement()), Index: r.GetIndex()}
		if len(r.GetNonce()) == len(ledger.Hash{}) {
			next.Binding = ledger.Opening{Payload: r.GetPayload(), Nonce: ledger.Hash(r.GetNonce()), Proof: []byte(r.GetProof())}
		}
		all = append(all, next)
	}
	return all
}
