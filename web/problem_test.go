package web

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// apiErrors are errors of the API and what a page makes of them.
var apiErrors = []struct {
	code   codes.Code
	reason string
	status int
	says   string
}{
	{codes.NotFound, "not_found", 404, "not_found"},
	{codes.PermissionDenied, "not_for_you", 403, "not_for_you"},
	{codes.InvalidArgument, "bad_page_size", 400, "bad_page_size"},
	{codes.FailedPrecondition, "wrong_state", 409, "wrong_state"},
	{codes.ResourceExhausted, "too_many_attempts", 429, "too_many_attempts"},
	{codes.Unavailable, "store_unavailable", 503, "store_unavailable"},
	{codes.DeadlineExceeded, "deadline", 503, "deadline"},
	{codes.Internal, "internal", 500, "internal"},
	{codes.Unauthenticated, "session_ended", 401, "Your session has ended."},
}

// Catches an error without a reason: whatever comes, there is one to quote.
func TestEveryErrorHasAReason(t *testing.T) {
	for _, err := range []error{
		errNoPage, errCrossOrigin, errBadForm, errTooMany, errors.New("anything"),
		fmt.Errorf("wrapped: %w", errNoPage), status.Error(codes.Unavailable, ""), status.Error(codes.DataLoss, ""),
	} {
		if what, reason := describe(err); reason == "" || what.title == "" || what.advice == "" || what.status < 400 {
			t.Errorf("%v: %+v, reason %q", err, what, reason)
		}
	}
}

// Catches a page that tells its visitor that nothing happened when nobody knows:
// a decision that was sent, and no answer.
func TestLostAnswerToADecision(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	hub.set(func() {
		hub.fail[wattveilv1.ConsentService_GrantConsent_FullMethodName] = refusal(codes.Unavailable, "recorded_not_signed")
	})
	body := page(t, household(t, handler).post("/sharing/asked/grant", url.Values{"request": {"r"}}), http.StatusServiceUnavailable)
	says(t, body, "We do not know whether your choice was recorded.", "It cannot count twice.", "recorded_not_signed")
}

// Catches a log line with more in it than the route's pattern, a code and a
// reason: no address, no query, no token, no name.
func TestLogHoldsNothingPersonal(t *testing.T) {
	var lines bytes.Buffer
	hub, handler := newPortal(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&lines, nil)) })
	furnish(t, hub)
	hub.set(func() {
		hub.fail[wattveilv1.ConsentService_GetConsent_FullMethodName] = refusal(codes.Internal, "internal")
		hub.fail[wattveilv1.ReadingService_ReadOwnSeries_FullMethodName] = refusal(codes.Internal, "internal")
	})
	v := household(t, handler)
	page(t, v.get("/sharing/live"), http.StatusInternalServerError)
	page(t, v.get("/home?day=2025-10-26"), http.StatusInternalServerError)
	if n := strings.Count(lines.String(), "page failed"); n != 2 {
		t.Fatalf("%d lines, want 2:\n%s", n, &lines)
	}
	for _, private := range []string{"live", "2025-10-26", token, "Sunwise", homeID, "words for people"} {
		if strings.Contains(lines.String(), private) {
			t.Errorf("the log holds %q:\n%s", private, &lines)
		}
	}
}
