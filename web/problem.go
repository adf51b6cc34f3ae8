package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// problemPage says what went wrong and what to do about it.
type problemPage struct {
	Title  string
	Words  string
	Reason string // stable, for whoever helps
	// Unsure: a choice was sent and nobody knows whether it arrived.
	Unsure bool
}

// Errors of the portal's own making.
var (
	errNoPage      = errors.New("web: there is no such page")
	errCrossOrigin = errors.New("web: the form was sent from another site")
	errBadForm     = errors.New("web: the form is not as this portal made it")
	errTooMany     = errors.New("web: more permissions than one page can hold")
	errNoEntry     = errors.New("web: nothing to show for this entry")
)

// problem is how an error looks to a visitor.
type problem struct {
	status        int
	reason        string // where the API gives none
	title, advice string
}

// ownProblems are those of the portal itself; the first match wins.
var ownProblems = []struct {
	err error
	problem
}{
	{errNoPage, problem{http.StatusNotFound, "no_page", "This page does not exist", "Check the address, or go back to the start."}},
	{errCrossOrigin, problem{http.StatusForbidden, "cross_origin", "We did not do this", "The request came from another site. If you wanted it, do it from our own page."}},
	{errBadForm, problem{http.StatusBadRequest, "bad_form", "We could not read this form", "Go back, load the page again and repeat your choice."}},
	{errNoEntry, problem{http.StatusNotFound, "no_entry", "There is nothing to show for this entry", "The record is not that long, or the entry was erased. If it was, a later entry of the kind “erasure” names it."}},
	{errTooMany, problem{http.StatusInternalServerError, "too_many", "There are too many permissions to show", "Tell whoever runs this hub."}},
}

// apiProblems are those of the API by code; others are internal.
var apiProblems = map[codes.Code]problem{
	codes.NotFound:           {http.StatusNotFound, "not_found", "We cannot find this", "It does not exist, or it belongs to another home."},
	codes.PermissionDenied:   {http.StatusForbidden, "not_for_you", "This is not for you to see", "Go back to the start."},
	codes.InvalidArgument:    {http.StatusBadRequest, "bad_request", "We could not understand this", "Go back, load the page again and repeat your choice."},
	codes.FailedPrecondition: {http.StatusConflict, "wrong_state", "This has been decided before", "Load the page again to see how it stands."},
	codes.Aborted:            {http.StatusConflict, "wrong_state", "This has been decided before", "Load the page again to see how it stands."},
	codes.AlreadyExists:      {http.StatusConflict, "wrong_state", "This has been decided before", "Load the page again to see how it stands."},
	codes.ResourceExhausted:  {http.StatusTooManyRequests, "too_many_attempts", "Too many tries", "Wait a minute, then try again."},
	codes.Unavailable:        {http.StatusServiceUnavailable, "unavailable", "We cannot answer at the moment", "Try again in a few minutes. Your readings still arrive."},
	codes.DeadlineExceeded:   {http.StatusServiceUnavailable, "deadline", "This took too long", "Try again in a few minutes. Your readings still arrive."},
	codes.Canceled:           {http.StatusServiceUnavailable, "canceled", "This was interrupted", "Try again."},
}

var internalProblem = problem{http.StatusInternalServerError, "internal", "Something went wrong on our side", "Try again in a few minutes. If it stays so, tell whoever runs this hub."}

// failed turns the error of a page into what its visitor sees.
func (p *portal) failed(ctx context.Context, rt route, r *http.Request, err error) view {
	if status.Code(err) == codes.Unauthenticated {
		v := signInPage(http.StatusUnauthorized, indexPage{Ended: true})
		v.guest, v.cookie = true, p.cookie("", 0)
		return v
	}
	what, reason := describe(err)
	if what.status >= http.StatusInternalServerError {
		p.log.LogAttrs(ctx, slog.LevelWarn, "page failed", slog.String("route", rt.pattern),
			slog.String("code", status.Code(err).String()), slog.String("reason", reason))
	}
	v := show("problem", what.title, "", problemPage{
		Title: what.title, Words: what.advice, Reason: reason,
		Unsure: r.Method == http.MethodPost && what.status >= http.StatusInternalServerError,
	})
	v.status = what.status
	return v
}

// describe returns how an error looks and the stable reason that the API gave
// with it.
func describe(err error) (what problem, reason string) {
	for _, own := range ownProblems {
		if errors.Is(err, own.err) {
			return own.problem, own.reason
		}
	}
	s, _ := status.FromError(err)
	what, ok := apiProblems[s.Code()]
	if !ok {
		what = internalProblem
	}
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return what, info.GetReason()
		}
	}
	return what, what.reason
}

func (p *portal) missing(context.Context, *http.Request) (answer, error) { return nil, errNoPage }

func (p *portal) crossOrigin(context.Context, *http.Request) (answer, error) {
	return nil, errCrossOrigin
}
