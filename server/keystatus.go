package server

import (
	"context"

	"google.golang.org/grpc"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// GetKeyStatus says how the key service is, and how the keys stand that wrap what is
// stored. A service that is not ready answers no more than its state.
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
	return resp, nil
}

// RotateKeys rotates all keys that wrap what is stored, one after the other, or finishes
// rotations that are under way, and tells how far it is. What it has done stays done when
// its caller goes.
func (r *registryService) RotateKeys(req *wattveilv1.RotateKeysRequest, stream grpc.ServerStreamingServer[wattveilv1.RotateKeysResponse]) error {
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
