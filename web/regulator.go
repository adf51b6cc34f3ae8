package web

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// regulatorPage answers: how does the record stand, and which events does it hold?
type regulatorPage struct {
	Newest   newest
	Search   search
	Outcomes []outcome
	Events   []recorded
	Older    string // token of the page of older entries, "" on the last
	Later    bool   // this page is not the newest
	Short    bool   // the search stopped before the end of the record
}

// newest is the newest checkpoint of the record and what a check of it said.
type newest struct {
	Fits        bool
	Contradicts bool
	Origin      string
	Size        string // "48,213 entries"
	Root        string // hex
}

// search is what a regulator has filled in, as it was.
type search struct {
	Recipient, Purpose, Outcome string
	From, Until                 string // dates in UTC, the last one included
	Any                         bool   // something is filled in
}

// outcome is a kind of events in words.
type outcome struct {
	Kind ledger.Kind
	Name string
}

// outcomes are all kinds, those that are looked for most first.
var outcomes = []outcome{
	{ledger.KindAccess, "Read"},
	{ledger.KindAccessDenied, "Read refused"},
	{ledger.KindConsentRequest, "Permission asked for"},
	{ledger.KindConsentGrant, "Permission given"},
	{ledger.KindConsentDeny, "Permission not given"},
	{ledger.KindConsentNarrow, "Permission made smaller"},
	{ledger.KindConsentRevoke, "Permission taken back"},
	{ledger.KindConsentExpire, "Permission or request ended by time"},
	{ledger.KindConsentTerminate, "Permission ended by another than the household"},
	{ledger.KindConsentFulfil, "Permission for one reading used up"},
	{ledger.KindConsentSuspend, "Permission put on hold"},
	{ledger.KindConsentResume, "Permission taken off hold"},
	{ledger.KindConsentExtend, "Permission extended to a new usage point"},
	{ledger.KindConsentInvalidate, "Request taken back or without anybody to decide"},
	{ledger.KindBudgetSpend, "Totals paid for with budget"},
	{ledger.KindRelease, "Totals published"},
	{ledger.KindErasure, "Erased for good"},
	{ledger.KindRekey, "Secret of a household replaced"},
	{ledger.KindMapHead, "Map of all households"},
	{ledger.KindAdmin, "Keys and rules"},
}

func outcomeOf(kind ledger.Kind, purpose string) string {
	if kind == ledger.KindAccess && purpose == purposeSelf {
		return "Read by the household itself"
	}
	for _, o := range outcomes {
		if o.Kind == kind {
			return o.Name
		}
	}
	return "Entry of kind " + string(kind)
}

// recorded is an event as a regulator sees it.
type recorded struct {
	Entry, Number   string
	When            moment
	What            string
	Reason          string // of a refusal
	Name, Recipient string // as registered, and identifier
	Purpose         string // code
	Household       string
	Data            string // the range asked for, its end not included
	Amount          string
}

// maxLooks bounds the calls that fill one page: the hub looks at a part of the
// record in each, and what is searched for may be far back.
const maxLooks = 20

func (p *portal) regulatorEvents(ctx context.Context, r *http.Request) (answer, error) {
	asked := r.URL.Query()
	page := regulatorPage{Outcomes: outcomes, Search: searchOf(asked), Later: asked.Get("before") != ""}
	req, err := page.Search.request()
	if err != nil {
		return nil, err
	}
	req.PageToken = asked.Get("before")
	for range maxLooks {
		req.PageSize = int32(perPage - len(page.Events))
		resp, err := p.audit.ListEvents(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, e := range resp.GetEvents() {
			page.Events = append(page.Events, recordedOf(e))
		}
		req.PageToken = resp.GetNextPageToken()
		if req.PageToken == "" || len(page.Events) >= perPage {
			break
		}
	}
	page.Older = req.PageToken
	page.Short = page.Older != "" && len(page.Events) < perPage
	page.Newest = p.newest(ctx)
	return show("regulator", "The record", "regulator", page), nil
}

// newest fetches the newest checkpoint and checks its signatures under the key
// that the hub names.
func (p *portal) newest(ctx context.Context) newest {
	resp, err := p.audit.GetCheckpoint(ctx, &wattveilv1.GetCheckpointRequest{})
	if err != nil {
		return newest{}
	}
	verifier, err := verifierOf(resp)
	if err != nil {
		return newest{}
	}
	size, root, err := verifier.Checkpoint([]byte(resp.GetCheckpoint()))
	if err != nil {
		return newest{Contradicts: true}
	}
	return newest{Fits: true, Origin: verifier.Origin(), Size: many(size, "entry", "entries"), Root: hex.EncodeToString(root[:])}
}

func searchOf(v url.Values) search {
	field := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	s := search{Recipient: field("recipient"), Purpose: field("purpose"), Outcome: field("outcome"), From: field("from"), Until: field("until")}
	s.Any = s != search{}
	return s
}

// request turns a search into the call that makes it. Dates are of UTC: the
// record has no other.
func (s search) request() (*wattveilv1.ListEventsRequest, error) {
	req := &wattveilv1.ListEventsRequest{Kind: s.Outcome, Recipient: s.Recipient, Purpose: s.Purpose}
	for _, f := range []struct {
		text string
		to   *int64
		plus int // days
	}{{s.From, &req.RecordedFrom, 0}, {s.Until, &req.RecordedUntil, 1}} {
		if f.text == "" {
			continue
		}
		d, ok := parseDate(f.text)
		if !ok {
			return nil, errBadForm
		}
		*f.to = d.add(f.plus).start(time.UTC)
	}
	return req, nil
}

func recordedOf(e *wattveilv1.Event) recorded {
	r := recorded{
		When: inUTC(e.GetTime()), What: outcomeOf(ledger.Kind(e.GetKind()), e.GetPurpose()), Reason: strings.ReplaceAll(e.GetReason(), "_", " "),
		Name: nameOf(e.GetRecipientName(), e.GetRecipient()), Recipient: e.GetRecipient(), Purpose: e.GetPurpose(), Household: e.GetHousehold(),
	}
	r.Entry, r.Number = entryName(e.GetIndex())
	if e.GetUntil() > e.GetFrom() {
		r.Data = edge(e.GetFrom()) + " to " + edge(e.GetUntil())
	}
	if ledger.Kind(e.GetKind()) == ledger.KindAccess {
		r.Amount = count(e.GetIntervals())
	}
	return r
}

// inUTC names an instant to the minute in a form that sorts.
func inUTC(t int64) moment {
	u := time.Unix(t, 0).UTC()
	return moment{u.Format(time.RFC3339), u.Format("2006-01-02 15:04")}
}

// edge names the first or the last instant of a range: a day's first by its date.
func edge(t int64) string { return strings.TrimSuffix(inUTC(t).Text, " 00:00") }
