package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/wattveil/wattveil/server/store"
)

// errUnknownClient is the one answer to a client that does not exist, whose secret is
// wrong, or that was refused or suspended.
func errUnknownClient() error {
	return op.NewStatusError(oidc.ErrInvalidClient().WithDescription("the client is unknown or its secret is wrong"), http.StatusUnauthorized)
}

// errGrant is the one answer to a code or a refresh token that is not good for this
// client, whatever is wrong with it.
func errGrant() error {
	return oidc.ErrInvalidGrant().WithDescription("the code or refresh token is unknown, was used, has expired, or is of a permission that has ended")
}

// library is the error as the library writes it.
func (e *Error) library() *oidc.Error {
	out := &oidc.Error{Description: e.Description}
	switch e.Code {
	case CodeInvalidRequest:
		out.ErrorType = oidc.InvalidRequest
	case CodeInvalidScope:
		out.ErrorType = oidc.InvalidScope
	case CodeInvalidDetails:
		out.ErrorType = CodeInvalidDetails
	case CodeUnauthorizedClient:
		out.ErrorType = oidc.UnauthorizedClient
	case CodeUnsupportedResponse:
		out.ErrorType = CodeUnsupportedResponse
	case CodeRequestNotSupported:
		out.ErrorType = oidc.RequestNotSupported
	case CodeUnavailable:
		out.ErrorType = CodeUnavailable
	case codeBadMetadata:
		out.ErrorType = codeBadMetadata
	case codeBadRedirect:
		out.ErrorType = codeBadRedirect
	case codeBadToken:
		out.ErrorType = codeBadToken
	default:
		out.ErrorType = oidc.ServerError
	}
	return out
}

// fault turns any error into what a client may see of it. The library logs what it writes,
// and a cause goes into the hub's own log alone.
func (s *Server) fault(ctx context.Context, err error) error {
	var known *Error
	var library *oidc.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known.library()
	case errors.As(err, &library):
		return err
	case errors.Is(err, store.ErrOAuthReplayed):
		return errGrant()
	case errors.Is(err, store.ErrOAuthGone):
		return errGrant()
	case errors.Is(err, store.ErrOAuthTooMany), errors.Is(err, store.ErrNotRoom):
		return op.NewStatusError(problem(CodeUnavailable, "too many in the last hour; try again later").library(), http.StatusTooManyRequests)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrRetry), errors.Is(err, store.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded):
		s.log.LogAttrs(ctx, slog.LevelError, "oauth", slog.String("cause", err.Error()))
		return op.NewStatusError(problem(CodeUnavailable, "the hub cannot answer at the moment; try again").library(), http.StatusServiceUnavailable)
	}
	s.log.LogAttrs(ctx, slog.LevelError, "oauth", slog.String("cause", err.Error()))
	return op.NewStatusError(problem(CodeServerError, "the hub could not do this; its log says why").library(), http.StatusInternalServerError)
}

// fail answers a request with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	op.WriteError(w, r, s.fault(r.Context(), err), nil)
}
