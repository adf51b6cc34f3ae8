package server

import (
	"context"

	"google.golang.org/grpc"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// GetKeyStatus says how the key service is, how the keys stand that wrap what is stored,
// and how households' key pairs do. A service that is not ready answers no more than its state.
func (r *registryService) GetKeyStatus(ctx context.Context, _ *wattveilv1.GetKeyStatusRequest) (*wattveilv1.GetKeyStatusResponse, error) {
	state, err := r.keys.State(ctx)
	resp := &wattveilv1.GetKeyStatusResponse{State: state.String()}
	if err != nil {
		return resp, nil //nolint:nilerr // the state is the answer
	}
	for _, rotation := range r.rotations {
		s, err := rotation.status(ctx)
		if err != nil {
			return nil, err
		}
		resp.Keys = append(resp.Keys, s)
	}
	resp.Pairs, err = r.pairs.status(ctx)
	return resp, err
}

// RotateKeys rotates all keys that wrap what is stored, one after the other, or finishes
// rotations that are under way, and tells how far it is; or does so with households' key
// pairs. What it has done stays done when its caller goes.
func (r *registryService) RotateKeys(req *wattveilv1.RotateKeysRequest, stream grpc.ServerStreamingServer[wattveilv1.RotateKeysResponse]) error {
	if req.GetPairs() {
		return r.rotatePairs(req, stream)
	}
	for _, rotation := range r.rotations {
		answer := &wattveilv1.RotateKeysResponse{Name: rotation.key}
		version, retires, err := rotation.run(stream.Context(), req.GetRetireNow(), func(seen, old int) {
			answer.Seen, answer.Old = uint64(seen), uint64(old)
			_ = stream.Send(answer) // whoever has gone is noticed by the context
		})
		if err != nil {
			return err
		}
		answer.Version, answer.RetiresAt = version, retires
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

func (r *registryService) rotatePairs(req *wattveilv1.RotateKeysRequest, stream grpc.ServerStreamingServer[wattveilv1.RotateKeysResponse]) error {
	if req.GetRetireNow() {
		return invalid("pairs_do_not_retire", "old private halves stay, as long as something is sealed to them")
	}
	answer := &wattveilv1.RotateKeysResponse{Name: pairsName}
	round, err := r.pairs.run(stream.Context(), func(seen, renewed int) {
		answer.Seen, answer.Old = uint64(seen), uint64(renewed)
		_ = stream.Send(answer) // whoever has gone is noticed by the context
	})
	if err != nil {
		return err
	}
	answer.Version = round
	return stream.Send(answer)
}
