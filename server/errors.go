package server

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// errorDomain is the domain of every ErrorInfo.
const errorDomain = "wattveil"

// inputError is an error of the caller's making: reason is stable, words are for
// people. Neither holds a reading, key or name.
type inputError struct {
	code   codes.Code
	reason string
	words  string
}

func (e *inputError) Error() string { return "server: " + e.words }

func invalid(reason, words string) error {
	return &inputError{codes.InvalidArgument, reason, words}
}

// errorTable turns core errors into what callers see; the first match wins.
// What is not in it is internal: callers get no detail, the log does.
var errorTable = []struct {
	core   error
	code   codes.Code
	reason string
	words  string
}{
	{errBadCertificate, codes.Unauthenticated, "unknown_certificate", "the client certificate names no known caller"},
	{errBadSession, codes.Unauthenticated, "session_ended", "the session is unknown or has ended"},
	{consent.ErrNotFound, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{consent.ErrTransition, codes.FailedPrecondition, "wrong_state", "the consent is not in a state that allows this"},
	{consent.ErrTerms, codes.InvalidArgument, "bad_terms", "the terms are incomplete or contradict themselves"},
	{consent.ErrWider, codes.InvalidArgument, "wider_than_asked", "a grant may narrow what was asked, never widen it"},
	{consent.ErrReplayed, codes.AlreadyExists, "request_id_used", "this request id was used before, for something else or for a read that was answered"},
	{consent.ErrTooManyRequests, codes.ResourceExhausted, "too_many_requests", "too many requests of this third party wait for an answer"},
	{consent.ErrNothingToGrant, codes.FailedPrecondition, "nothing_to_grant", "the request names no usage point of this household"},
	{consent.ErrAccess, codes.InvalidArgument, "bad_access", "the access is not well formed"},
	{consent.ErrIdentifier, codes.InvalidArgument, "bad_name", "a name is not well formed"},
	{ledger.ErrUnsigned, codes.Unavailable, "recorded_not_signed", "the event is recorded but its checkpoint is not signed yet; repeat the request with the same id"},
	{ledger.ErrClosed, codes.Unavailable, "closing", "the hub is stopping"},
	{keyguard.ErrSpent, codes.AlreadyExists, "access_spent", "this access was answered before; ask again with a new request id"},
	{keyguard.ErrStale, codes.FailedPrecondition, "access_stale", "this access was recorded too long ago; ask again with a new request id"},
	{release.ErrNotFound, codes.NotFound, "not_found", "there is no such release"},
	{seal.ErrUnavailable, codes.Unavailable, "key_service_unavailable", "the key service cannot be reached; try again later"},
	{seal.ErrKeyGone, codes.NotFound, "key_gone", "the key of this data is destroyed"},
	{store.ErrNotFound, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{store.ErrConflict, codes.FailedPrecondition, "conflict", "this contradicts what is already registered"},
	{store.ErrUnavailable, codes.Unavailable, "store_unavailable", "the store cannot be reached; try again later"},
	{context.DeadlineExceeded, codes.DeadlineExceeded, "deadline", "the call took too long"},
	{context.Canceled, codes.Canceled, "canceled", "the call was cancelled"},
}

// toStatus turns any error into a gRPC status with an ErrorInfo, and reports
// whether it was unexpected and belongs into the log.
func toStatus(err error) (out error, internal bool) {
	if err == nil {
		return nil, false
	}
	var in *inputError
	if errors.As(err, &in) {
		return withReason(in.code, in.reason, in.words), false
	}
	var refused *consent.Refused
	if errors.As(err, &refused) {
		return withReason(codes.PermissionDenied, string(refused.Reason), "the read is refused; the refusal is in the ledger"), false
	}
	for _, row := range errorTable {
		if errors.Is(err, row.core) {
			return withReason(row.code, row.reason, row.words), row.code == codes.Unavailable
		}
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return err, false
	}
	return withReason(codes.Internal, "internal", "the hub could not do this; its log says why"), true
}

func withReason(code codes.Code, reason, words string) error {
	s := status.New(code, words)
	d, err := s.WithDetails(&errdetails.ErrorInfo{Domain: errorDomain, Reason: reason})
	if err != nil { // an ErrorInfo always marshals
		return s.Err()
	}
	return d.Err()
}
