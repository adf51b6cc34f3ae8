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
	"github.com/wattveil/wattveil/server/notify"
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

// parameterError is an error that one parameter of a call has brought about, by its
// name in the API, which travels with the reason.
type parameterError struct {
	error
	parameter string
}

func (a *parameterError) Unwrap() error { return a.error }

// about says which parameter err is about; nil stays nil.
func about(parameter string, err error) error {
	if err == nil {
		return nil
	}
	return &parameterError{err, parameter}
}

// errorTable turns core errors into what callers see; the first match wins.
// What is not in it is internal: callers get no detail, the log does.
var errorTable = []tableRow{
	{errBadCertificate, codes.Unauthenticated, "unknown_certificate", "the client certificate names no known caller"},
	{errBadSession, codes.Unauthenticated, "session_ended", "the session is unknown or has ended"},
	{errBadToken, codes.Unauthenticated, reasonBadToken, "the token is unknown, has expired or was revoked, or its client is suspended"},
	{consent.ErrNotFound, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{consent.ErrTransition, codes.FailedPrecondition, "wrong_state", "the consent is not in a state that allows this"},
	{consent.ErrTerms, codes.InvalidArgument, "bad_terms", "the terms are incomplete or contradict themselves"},
	{consent.ErrWider, codes.InvalidArgument, "wider_than_asked", "what was asked or granted may be narrowed, never widened"},
	{consent.ErrSameTerms, codes.FailedPrecondition, "same_terms", "these terms are in force already"},
	{consent.ErrReplayed, codes.AlreadyExists, "request_id_used", "this request id was used before, for something else or for a read that was answered"},
	{consent.ErrTooManyRequests, codes.ResourceExhausted, "too_many_requests", "too many requests of this third party wait for an answer"},
	{consent.ErrNothingToGrant, codes.FailedPrecondition, "nothing_to_grant", "the request names no usage point of this household"},
	{consent.ErrAccess, codes.InvalidArgument, "bad_access", "the access is not well formed"},
	{consent.ErrIdentifier, codes.InvalidArgument, "bad_name", "a name is not well formed"},
	{consent.ErrPermitExpired, codes.FailedPrecondition, "access_stale", "this access was recorded too long ago; ask again with a new request id"},
	{ledger.ErrRollback, codes.DataLoss, "ledger_rolled_back", "the hub's ledger is shorter than what has been signed; it serves nothing until a person has looked"},
	{ledger.ErrFork, codes.DataLoss, "ledger_forked", "the hub's ledger is not the one that has been signed; it serves nothing until a person has looked"},
	{ledger.ErrOrigin, codes.DataLoss, "ledger_forked", "the hub's ledger is not the one that has been signed; it serves nothing until a person has looked"},
	{ledger.ErrCorrupt, codes.DataLoss, "ledger_damaged", "the hub's ledger contradicts itself; it serves nothing until a person has looked"},
	{ledger.ErrNoEnvelopeKey, codes.FailedPrecondition, "no_regulator_key", "no regulator's key is valid, so that nobody could audit this read"},
	{ledger.ErrEnvelopeKey, codes.InvalidArgument, "bad_envelope_key", "the envelope key is not a public key of the kind the hub seals to"},
	{ledger.ErrUnsigned, codes.Unavailable, "recorded_not_signed", "the event is recorded but its checkpoint is not signed yet; repeat the request with the same id"},
	{ledger.ErrUnknownOutcome, codes.Unavailable, "outcome_unknown", "it is not known whether this happened; repeat the request with the same id"},
	{ledger.ErrNotRecorded, codes.Unavailable, "not_recorded", "nothing was recorded; repeat the request"},
	{ledger.ErrClosed, codes.Unavailable, "closing", "the hub is stopping"},
	{ledger.ErrNoEntry, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{ledger.ErrErased, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{ledger.ErrNoSubjectKey, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{ledger.ErrNotCosigned, codes.Unavailable, "not_cosigned", "the read is recorded but too few witnesses have cosigned the record; nothing was opened; try again with a new request id"},
	{ledger.ErrNoMapHead, codes.Unavailable, "no_map_head", "the map of events is not written yet; try again later"},
	{ledger.ErrNoCheckpoint, codes.Unavailable, "recorded_not_signed", "no checkpoint is signed yet; try again later"},
	{keyguard.ErrSpent, codes.AlreadyExists, "access_spent", "this access was answered before; ask again with a new request id"},
	{keyguard.ErrStale, codes.FailedPrecondition, "access_stale", "this access was recorded too long ago; ask again with a new request id"},
	{keyguard.ErrTooMany, codes.ResourceExhausted, "range_too_large", "more keys than one answer may hold; ask for a shorter range"},
	{release.ErrNotFound, codes.NotFound, "not_found", "there is no such release"},
	{seal.ErrUnavailable, codes.Unavailable, "key_service_unavailable", "the key service cannot be reached; try again later"},
	{seal.ErrKeyGone, codes.NotFound, "key_gone", "the key of this data is destroyed"},
	{release.ErrWindowClosed, codes.Unavailable, "store_busy", "nothing was stored; try again"},
	{seal.ErrWriterSpent, codes.Unavailable, "store_busy", "nothing was stored; try again"},
	{errPartAway, codes.Unavailable, "part_unavailable", "a part of the hub cannot be reached; try again later"},
	{store.ErrErased, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{store.ErrNotFound, codes.NotFound, "not_found", "there is no such thing for this caller"},
	{store.ErrConflict, codes.FailedPrecondition, "conflict", "this contradicts what is already registered"},
	{store.ErrPage, codes.InvalidArgument, "bad_page_token", "the page token is not one that this hub gave"},
	{store.ErrCursor, codes.OutOfRange, "cursor_lost", "notifications cannot be told from this number on without a gap; look at your consents and go on from 0"},
	{notify.ErrURL, codes.InvalidArgument, "bad_notify_url", "the URL must be https, on a port that the hub calls, without user or fragment"},
	{notify.ErrAddress, codes.InvalidArgument, "notify_url_refused", "the URL leads to an address that the hub does not call"},
	{notify.ErrName, codes.FailedPrecondition, "notify_url_unresolved", "the URL's name does not resolve"},
	{store.ErrKeyRetired, codes.Unavailable, "store_busy", "nothing was stored; try again"},
	{store.ErrUnavailable, codes.Unavailable, "store_unavailable", "the store cannot be reached; try again later"},
	{store.ErrRetry, codes.Unavailable, "store_busy", "nothing was stored; try again"},
	{context.DeadlineExceeded, codes.DeadlineExceeded, "deadline", "the call took too long"},
	{context.Canceled, codes.Canceled, "canceled", "the call was cancelled"},
}

type tableRow struct {
	core   error
	code   codes.Code
	reason string
	words  string
}

// transport says what gRPC itself and the REST gateway find wrong with a call,
// by their code. Their own words are not passed on: they may quote the message.
var transport = map[codes.Code]struct {
	code   codes.Code
	reason string
	words  string
}{
	codes.ResourceExhausted: {codes.ResourceExhausted, "message_too_large", "the message is larger than the hub takes"},
	codes.Internal:          {codes.InvalidArgument, "malformed_message", "the message does not parse"},
	codes.InvalidArgument:   {codes.InvalidArgument, "malformed_message", "the message does not parse"},
	codes.NotFound:          {codes.NotFound, "no_such_call", "there is no such call or service"},
	codes.Unimplemented:     {codes.Unimplemented, "no_such_call", "there is no such call or service"},
	codes.Canceled:          {codes.Canceled, "canceled", "the call was cancelled"},
	codes.DeadlineExceeded:  {codes.DeadlineExceeded, "deadline", "the call took too long"},
	codes.Unavailable:       {codes.Unavailable, "unavailable", "the connection is gone; try again"},
}

// toStatus turns any error into a gRPC status with an ErrorInfo, and reports
// whether it was unexpected and belongs into the log. A status that is one of
// its own answers already comes back as it is.
func toStatus(err error) (out error, internal bool) {
	if err == nil {
		return nil, false
	}
	var parameter string
	var named *parameterError
	if errors.As(err, &named) {
		parameter = named.parameter
	}
	var in *inputError
	if errors.As(err, &in) {
		return withParameter(in.code, in.reason, in.words, parameter), false
	}
	var refused *consent.Refused
	if errors.As(err, &refused) {
		return withReason(codes.PermissionDenied, string(refused.Reason), "the read is refused; the refusal is in the ledger"), false
	}
	for _, row := range errorTable {
		if errors.Is(err, row.core) {
			return withParameter(row.code, row.reason, row.words, parameter), row.code == codes.Unavailable || row.code == codes.DataLoss
		}
	}
	var carried interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carried) {
		s := carried.GRPCStatus()
		if reasonOf(s) != "" {
			return s.Err(), false
		}
		if t, ok := transport[s.Code()]; ok {
			return withReason(t.code, t.reason, t.words), false
		}
	}
	return withReason(codes.Internal, "internal", "the hub could not do this; its log says why"), true
}

// reasonOf returns the reason of a status that withReason made, or "".
func reasonOf(s *status.Status) string {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return info.GetReason()
		}
	}
	return ""
}

func withReason(code codes.Code, reason, words string) error {
	return withParameter(code, reason, words, "")
}

// withParameter is withReason for what one parameter has brought about: the ErrorInfo
// names it under "parameter".
func withParameter(code codes.Code, reason, words, parameter string) error {
	s := status.New(code, words)
	info := &errdetails.ErrorInfo{Domain: errorDomain, Reason: reason}
	if parameter != "" {
		info.Metadata = map[string]string{"parameter": parameter}
	}
	d, err := s.WithDetails(info)
	if err != nil { // an ErrorInfo always marshals
		return s.Err()
	}
	return d.Err()
}
