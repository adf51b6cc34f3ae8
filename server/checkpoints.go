package server

import (
	"context"
	"fmt"

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
// file of its own. Safe for concurrent use.
type remoteNotary struct {
	checkpoints wattveilv1.CheckpointServiceClient
	verifier    *ledger.Verifier
}

func newRemoteNotary(conn grpc.ClientConnInterface, verifier *ledger.Verifier) *remoteNotary {
	return &remoteNotary{wattveilv1.NewCheckpointServiceClient(conn), verifier}
}

// notaryFaults are the errors that cross the wire by name.
var notaryFaults = []error{
	ledger.ErrUnsigned, ledger.ErrNotRecorded, ledger.ErrClosed, ledger.ErrNotCosigned,
	ledger.ErrRollback, ledger.ErrFork, ledger.ErrCorrupt, store.ErrUnavailable, store.ErrRetry,
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
	if _, _, err := n.verifier.Checkpoint(resp.GetCheckpoint()); err != nil {
		return nil, fmt.Errorf("checking what was signed: %w", err)
	}
	return resp.GetCheckpoint(), nil
}
