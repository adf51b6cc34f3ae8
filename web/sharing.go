package web

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// sharingPage answers: who may see my data, who asks to, and until when?
type sharingPage struct {
	Asking  []permission
	Allowed []permission
	Ended   []permission
}

// permission is a consent in words.
type permission struct {
	ID      string
	Name    string
	Purpose string // the asker's own words
	What    []string
	Meters  []string // none: all of the home's
	Detail  detail
	Data    period
	Past    bool // covers readings from before it was asked
	Ends    moment
	Asked   moment
	Decided moment
	Stopped moment
	Future  bool   // meters that come to the home later too
	Once    bool   // for one reading
	Held    bool   // on hold
	Outcome string // of a permission that is over or was refused
	Form    string // random, so that a double click is harmless
}

// standings of a permission as a household sees it.
type standingKind int

const (
	ended standingKind = iota
	asking
	allowed
)

// standing says how a consent stands. One whose time is up has ended, whether
// or not the hub has written that down yet.
func standing(c *wattveilv1.Consent, now int64) standingKind {
	switch {
	case c.GetTerms().GetPermissionUntil() <= now || c.GetEndsAt() != 0 && c.GetEndsAt() <= now:
		return ended
	case c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_REQUESTED:
		return asking
	case c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_GRANTED, c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_SUSPENDED:
		return allowed
	default:
		return ended
	}
}

// maxPages bounds the permissions of one home, in pages of pageSize.
const (
	maxPages = 20
	pageSize = 500
)

// permissions returns all consents of the visitor's home, newest first.
func (p *portal) permissions(ctx context.Context) ([]*wattveilv1.Consent, error) {
	var all []*wattveilv1.Consent
	req := &wattveilv1.ListConsentsRequest{PageSize: pageSize}
	for range maxPages {
		resp, err := p.consents.ListConsents(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, resp.GetConsents()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
	return nil, errTooMany
}

// zone returns the zone of the visitor's home.
func (p *portal) zone(ctx context.Context) (*time.Location, error) {
	h, err := p.sessions.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
	if err != nil {
		return nil, err
	}
	return zoneOf(h), nil
}

func (p *portal) sharing(ctx context.Context, _ *http.Request) (answer, error) {
	zone, err := p.zone(ctx)
	if err != nil {
		return nil, err
	}
	all, err := p.permissions(ctx)
	if err != nil {
		return nil, err
	}
	var page sharingPage
	now := p.now().Unix()
	for _, c := range all {
		switch standing(c, now) {
		case asking:
			page.Asking = append(page.Asking, inWords(c, zone))
		case allowed:
			page.Allowed = append(page.Allowed, inWords(c, zone))
		case ended:
			page.Ended = append(page.Ended, inWords(c, zone))
		}
	}
	return show("sharing", "Who may see it", "sharing", page), nil
}

// inWords describes a consent, in the times of the home's zone.
func inWords(c *wattveilv1.Consent, zone *time.Location) permission {
	t := c.GetTerms()
	w := permission{
		ID: c.GetId(), Name: nameOf(c.GetRecipientName(), c.GetRecipient()), Purpose: t.GetPurpose().GetText(),
		Meters: t.GetUsagePoints(), Detail: detailOf(t.GetGranularity()),
		Data: during(t.GetDataFrom(), t.GetDataUntil(), zone), Past: t.GetDataFrom() < c.GetRequestedAt(),
		Ends: through(t.GetPermissionUntil(), zone), Asked: at(c.GetRequestedAt(), zone),
		Future: t.GetFutureUsagePoints(), Once: t.GetOnce(), Held: c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_SUSPENDED,
		Form: rand.Text(),
	}
	for _, register := range t.GetRegisters() {
		w.What = append(w.What, directionOf(register))
	}
	if c.GetDecidedAt() != 0 {
		w.Decided = at(c.GetDecidedAt(), zone)
	}
	if c.GetEndedAt() != 0 {
		w.Stopped = at(c.GetEndedAt(), zone)
	}
	switch c.GetState() {
	case wattveilv1.ConsentState_CONSENT_STATE_DENIED:
		w.Outcome = "You did not allow it, " + w.Decided.Text + "."
	case wattveilv1.ConsentState_CONSENT_STATE_REVOKED:
		w.Outcome = "You stopped sharing, " + w.Stopped.Text + "."
	case wattveilv1.ConsentState_CONSENT_STATE_FULFILLED:
		w.Outcome = "It was for one reading, which is over, " + w.Stopped.Text + "."
	case wattveilv1.ConsentState_CONSENT_STATE_TERMINATED, wattveilv1.ConsentState_CONSENT_STATE_INVALID:
		w.Outcome = endedBy[c.GetCause()] + ", " + w.Stopped.Text + "."
	case wattveilv1.ConsentState_CONSENT_STATE_REQUESTED:
		w.Outcome = "Nobody decided before it ended, " + w.Ends.Text + "."
	default:
		w.Outcome = "It ended by itself, " + w.Ends.Text + "."
	}
	return w
}

// endedBy says who ended a permission that neither the home nor time did.
var endedBy = map[string]string{
	"third_party":     "The company gave it up",
	"operator":        "The operator of this hub ended it",
	"regulator":       "The regulator ended it",
	"occupant_change": "It ended when you moved out",
}
