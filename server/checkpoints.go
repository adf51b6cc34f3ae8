package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

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
	// cosigned returns a checkpoint over a leaf that is cosigned as the policy demands.
	cosigned func(ctx context.Context, index uint64) ([]byte, error)
}

// Cover signs what is committed.
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
	all := resp.GetKeys().GetGenerations()
	next := len(all) // the generation after the newest that is known
	for next > 0 && !strings.Contains(n.verifier.Keys(), all[next-1].GetVerifierKeys()) {
		next--
	}
	if next == 0 {
		return errStrangeKeys
	}
	newer := n.verifier
	for _, g := range all[next:] {
		r := g.GetBinding()
		if len(r.GetNonce()) != len(ledger.Hash{}) {
			return errStrangeKeys
		}
		newer, _, err = newer.Succeed(g.GetVerifierKeys(), []byte(g.GetStatement()), ledger.Opening{Payload: r.GetPayload(), Nonce: ledger.Hash(r.GetNonce()), Proof: []byte(r.GetProof())})
		if err != nil {
			return fmt.Errorf("%w: %w", errStrangeKeys, err)
		}
	}
	if err := n.verifier.Replace(newer.Keys()); err != nil {
		return err
	}
	n.strange.CompareAndSwap(met, 0)
	return nil
}
