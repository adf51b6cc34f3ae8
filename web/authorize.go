package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// authorizePath is where third parties send households' browsers (RFC 6749, section 3.1).
const authorizePath = "/oauth/authorize"

// maxAuthorization bounds the query of an authorization request: in a form it is encoded
// once more. What is longer is pushed (RFC 9126).
const maxAuthorization = 8 << 10

// authorizePage asks a household whether it agrees to what a third party asks for.
type authorizePage struct {
	Less      narrowPage // what is asked for, and what of it can be left out
	Place     string     // where the browser goes afterwards: a host, or the scheme of a program
	NotTheirs bool       // no usage point asked about is the household's
	Query     string
	Checked   string // when it was read, unix seconds
	Problem   string // why nothing was allowed
}

// What stood in the way of a decision, in words.
const (
	nothingToAllow = "Nothing would be left. Leave at least one meter and one kind of figures, or do not allow it."
	moreThanAsked  = "These choices would allow more than it asks for, or nothing at all. Choose days inside those it asks for, and leave some between them."
)

// onwardPage leads on in the portal.
type onwardPage struct{ To string }

// authorizeAsk shows a household what is asked for. The session cookie is kept from every
// request that another site has a browser make, and so from the one that leads here: a
// browser that says so is sent here once more, by this page.
func (p *portal) authorizeAsk(ctx context.Context, r *http.Request) (answer, error) {
	if len(r.URL.RawQuery) > maxAuthorization {
		return nil, errBadForm
	}
	token := p.token(r)
	if token == "" {
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
			v := show("onward", "One moment", "", onwardPage{To: r.URL.RequestURI()})
			v.onward = r.URL.RequestURI()
			return v, nil
		}
		return signInFor(r, indexPage{SignInFirst: true}), nil
	}
	a, err := p.authorize(asVisitor(ctx, token), r.URL.RawQuery, 0, "")
	if status.Code(err) == codes.Unauthenticated {
		v := signInFor(r, indexPage{Ended: true})
		v.cookie = p.cookie("", 0)
		return v, nil
	}
	return a, err
}

// signInFor asks a visitor to sign in and then go on to the page that was asked for.
func signInFor(r *http.Request, page indexPage) view {
	page.Back = wayBack(r.URL.RequestURI())
	v := signInPage(http.StatusUnauthorized, page)
	v.guest = true
	return v
}

// wayBack accepts where to go on to after signing in: this page alone, and so never
// another site.
func wayBack(to string) string {
	query, ok := strings.CutPrefix(to, authorizePath+"?")
	if !ok || len(query) > maxAuthorization || strings.ContainsFunc(query, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return to
}

// asking reads a request, as of when it was first shown, or of now if checked is 0, and
// whose home it is shown to.
func (p *portal) asking(ctx context.Context, query string, checked int64) (*wattveilv1.CheckAuthorizationResponse, *wattveilv1.GetHouseholdResponse, error) {
	resp, err := p.authorizations.CheckAuthorization(ctx, &wattveilv1.CheckAuthorizationRequest{Query: query, CheckedAt: checked})
	if err != nil {
		return nil, nil, err
	}
	home, err := p.sessions.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
	return resp, home, err
}

// authorize draws the page for a request; problem says what was wrong with a decision on it.
func (p *portal) authorize(ctx context.Context, query string, checked int64, problem string) (answer, error) {
	resp, home, err := p.asking(ctx, query, checked)
	if err != nil {
		return nil, err
	}
	if wrong := resp.GetError(); wrong != nil {
		return badAuthorization(wrong), nil
	}
	zone, now := zoneOf(home), p.now().Unix()
	c := askedOf(resp, home, now)
	page := authorizePage{
		Less: narrowable(c, zone, now), NotTheirs: len(c.GetTerms().GetUsagePoints()) == 0,
		Place: placeOf(resp.GetRedirectOrigin()), Query: query, Checked: strconv.FormatInt(resp.GetCheckedAt(), 10),
	}
	page.Less.Before, page.Problem = "It asks for", problem
	v := show("authorize", "Someone asks to see your data", "sharing", page)
	v.formEnds = resp.GetRedirectOrigin()
	if page.Problem != "" {
		v.status = http.StatusBadRequest
	}
	return v, nil
}

// askedOf is a request as a consent that waits for its decision: of the usage points that it
// asks about, those that the grant would be for.
func askedOf(resp *wattveilv1.CheckAuthorizationResponse, home *wattveilv1.GetHouseholdResponse, now int64) *wattveilv1.Consent {
	t := resp.GetAsked()
	about := t.GetUsagePoints()
	t.UsagePoints = nil
	for _, o := range home.GetOccupancies() {
		over := o.GetUntil() != 0 && o.GetUntil() <= t.GetDataFrom()
		if o.GetFrom() <= now && o.GetFrom() < t.GetDataUntil() && !over && !slices.Contains(t.GetUsagePoints(), o.GetUsagePoint()) &&
			(len(about) == 0 || slices.Contains(about, o.GetUsagePoint())) {
			t.UsagePoints = append(t.UsagePoints, o.GetUsagePoint())
		}
	}
	return &wattveilv1.Consent{
		Recipient: resp.GetClientId(), RecipientName: resp.GetClientName(), State: wattveilv1.ConsentState_CONSENT_STATE_REQUESTED,
		Terms: t, RequestedAt: resp.GetCheckedAt(),
	}
}

// placeOf is an origin in words: its host, or the scheme of a program.
func placeOf(origin string) string {
	if _, host, ok := strings.Cut(origin, "://"); ok {
		return host
	}
	return strings.TrimSuffix(origin, ":")
}

// badAuthorization answers a request with a mistake: its client is told, or, where it is
// not known whether the address is the client's, the household.
func badAuthorization(wrong *wattveilv1.AuthorizationError) answer {
	if to := wrong.GetRedirectTo(); to != "" {
		return seeOther{to: to}
	}
	v := show("problem", "We cannot show this request", "", problemPage{
		Title: "We cannot show this request", Words: "The service that sent you here made a mistake. Nothing was shared. Go back to it, and tell it what stands below.",
		Reason: wrong.GetCode() + ": " + wrong.GetDescription(),
	})
	v.status = http.StatusBadRequest
	return v
}

// authorizeDecide sends the household's decision, and its browser back to who asked.
func (p *portal) authorizeDecide(ctx context.Context, r *http.Request) (answer, error) {
	request, query, decision := r.PostFormValue("request"), r.PostFormValue("query"), r.PostFormValue("decision")
	checked, err := strconv.ParseInt(r.PostFormValue("checked"), 10, 64)
	if err != nil || request == "" || len(request) > 64 || len(query) > maxAuthorization || decision != "allow" && decision != "deny" {
		return nil, errBadForm
	}
	again := func(problem string) (answer, error) { return p.authorize(ctx, query, checked, problem) }
	send := &wattveilv1.DecideAuthorizationRequest{RequestId: request, Query: query, CheckedAt: checked, Allow: decision == "allow"}
	if send.GetAllow() {
		narrowed, problem, err := p.leftOf(ctx, query, checked, r.PostForm)
		if err != nil {
			return nil, err
		}
		if problem != "" { // it is known that something was chosen
			return again(nothingToAllow)
		}
		send.Narrowed = narrowed
	}
	resp, err := p.authorizations.DecideAuthorization(ctx, send)
	switch _, reason := describe(err); {
	case err == nil:
		return seeOther{to: resp.GetRedirectTo()}, nil
	case status.Code(err) == codes.InvalidArgument && (reason == "wider_than_asked" || reason == "bad_terms"):
		return again(moreThanAsked)
	}
	return nil, err
}

// leftOf returns what the form leaves of what is asked for, nil if that is all of it, or
// what is wrong with the choices, in words.
func (p *portal) leftOf(ctx context.Context, query string, checked int64, form url.Values) (*wattveilv1.Terms, string, error) {
	choices := url.Values{}
	for _, field := range []string{"detail", "without-meter", "without-what", "first", "last", "ends"} {
		choices[field] = form[field]
	}
	if !chosen(choices) {
		return nil, "", nil
	}
	resp, home, err := p.asking(ctx, query, checked)
	switch {
	case err != nil:
		return nil, "", err
	case resp.GetError() != nil:
		return nil, "", errBadForm
	}
	about := resp.GetAsked().GetUsagePoints()
	c := askedOf(resp, home, p.now().Unix())
	left, problem, err := remaining(c.GetTerms(), choices, zoneOf(home))
	if left != nil && len(choices["without-meter"]) == 0 { // all that is asked about, whichever the grant finds
		left.UsagePoints = about
	}
	return left, problem, err
}
