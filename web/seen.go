package web

import (
	"context"
	"net/http"
	"time"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// purposeSelf marks a household's own look at its readings.
const purposeSelf = "self"

// seenPage answers: who has read my data?
type seenPage struct {
	Reads     []event // by companies and services, answered or refused
	Own       []event // looks from within the home
	Decisions []event // what was asked and decided
	Older     string  // token of the page of older entries, "" on the last
	Later     bool    // this page is not the newest
}

// event is one entry of the record in words.
type event struct {
	Entry, Number string
	When          moment
	Name          string // of the company or service
	Refused       bool
	Why           string // it was refused
	Purpose       string // in the asker's own words where they are at hand
	Permission    string // id
	Stoppable     bool   // the permission is in force
	Has           bool   // there is a range of data
	Data          period
	Amount        string // at most so many figures
	What          string // was decided
}

// happenings say in words what an entry about a permission records, with the
// company's name put in front.
var happenings = map[ledger.Kind]string{
	ledger.KindConsentRequest: "asked to see your data",
	ledger.KindConsentGrant:   "was allowed to see your data",
	ledger.KindConsentDeny:    "was not allowed to see your data",
	ledger.KindConsentNarrow:  "was allowed to see less of your data",
	ledger.KindConsentRevoke:  "was stopped from seeing your data",
	ledger.KindConsentExpire:  "lost its permission, which had ended",

	ledger.KindConsentExtend:     "may see a meter that came to your home later, as you had allowed",
	ledger.KindConsentSuspend:    "was put on hold and sees nothing",
	ledger.KindConsentResume:     "was taken off hold and may see your data again",
	ledger.KindConsentTerminate:  "lost its permission, which somebody else than you ended",
	ledger.KindConsentFulfil:     "has read what it was allowed to read once",
	ledger.KindConsentInvalidate: "asks no longer",
}

// perPage is how many entries of the record one page shows.
const perPage = 200

func (p *portal) seen(ctx context.Context, r *http.Request) (answer, error) {
	zone, err := p.zone(ctx)
	if err != nil {
		return nil, err
	}
	token := r.URL.Query().Get("before")
	resp, err := p.audit.ListEvents(ctx, &wattveilv1.ListEventsRequest{PageSize: perPage, PageToken: token})
	if err != nil {
		return nil, err
	}
	all, err := p.permissions(ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[string]*wattveilv1.Consent, len(all))
	for _, c := range all {
		known[c.GetId()] = c
	}
	page := seenPage{Older: resp.GetNextPageToken(), Later: token != ""}
	now := p.now().Unix()
	for _, e := range resp.GetEvents() {
		c := known[e.GetConsentId()]
		shown := tell(e, c, zone)
		shown.Stoppable = c != nil && standing(c, now) == allowed
		switch kind := ledger.Kind(e.GetKind()); {
		case kind == ledger.KindAccess && e.GetPurpose() == purposeSelf:
			page.Own = append(page.Own, shown)
		case kind == ledger.KindAccess, kind == ledger.KindAccessDenied:
			page.Reads = append(page.Reads, shown)
		default:
			page.Decisions = append(page.Decisions, shown)
		}
	}
	return show("seen", "Who has seen it", "seen", page), nil
}

// tell puts an event into words; c is its consent, or nil where that is unknown.
func tell(e *wattveilv1.Event, c *wattveilv1.Consent, zone *time.Location) event {
	s := event{
		When: at(e.GetTime(), zone), Name: nameOf(e.GetRecipientName(), e.GetRecipient()),
		Refused: ledger.Kind(e.GetKind()) == ledger.KindAccessDenied,
		Purpose: e.GetPurpose(), Permission: e.GetConsentId(),
		Amount: many(e.GetIntervals(), "figure", "figures"),
	}
	s.Entry, s.Number = entryName(e.GetIndex())
	if text := c.GetTerms().GetPurpose().GetText(); text != "" {
		s.Purpose = excerpt(text, 90)
	}
	if c == nil {
		s.Permission = ""
	}
	if s.Refused {
		s.Why = refusalOf(e.GetReason())
	}
	if e.GetUntil() > e.GetFrom() {
		s.Has, s.Data = true, during(e.GetFrom(), e.GetUntil(), zone)
	}
	what, ok := happenings[ledger.Kind(e.GetKind())]
	if !ok {
		what = "entry of kind " + e.GetKind()
	}
	s.What = what
	return s
}
