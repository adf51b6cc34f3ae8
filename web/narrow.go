package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// narrowPage asks which part of a permission to take back. Whatever is left empty
// stays as it is.
type narrowPage struct {
	Permission permission
	Before     string // what the terms are called that are there already
	Meters     []part // that can be taken out; none if there is only one
	Whats      []part // likewise
	Details    []part // coarser than what is allowed
	First      limits // of a new first day
	Last       limits // of a new last day
	Ends       limits // of a new last day of the permission
	Problem    string // why nothing was changed
}

// part is one thing to choose, by the name that the form sends.
type part struct{ Value, Name string }

// limits are the first and the last date that can be chosen; Any says whether
// there is one.
type limits struct {
	Any      bool
	Min, Max string
}

// between returns the limits of a date from first to last.
func between(first, last date) limits {
	return limits{Any: !last.before(first), Min: first.String(), Max: last.String()}
}

// level is a level of detail by the name that forms send.
type level struct {
	name        string
	granularity wattveilv1.Granularity
}

// levels are all of them, finest first.
var levels = []level{
	{"interval", wattveilv1.Granularity_GRANULARITY_INTERVAL},
	{"hour", wattveilv1.Granularity_GRANULARITY_HOUR},
	{"day", wattveilv1.Granularity_GRANULARITY_DAY},
	{"month", wattveilv1.Granularity_GRANULARITY_MONTH},
}

// What stood in the way of a narrowing, in words.
const (
	nothingChosen = "You have not chosen anything. Choose at least one thing to change."
	nothingLeft   = "Nothing would be left. Leave at least one meter and one kind of figures, or stop sharing instead."
	notLess       = "These choices would allow more than now, or nothing at all. Choose days inside those it may see now, and leave some between them."
)

// narrowForm is the page for a permission in force; ok is false for any other.
func (p *portal) narrowForm(ctx context.Context, r *http.Request) (c *wattveilv1.Consent, zone *time.Location, page narrowPage, ok bool, err error) {
	if zone, err = p.zone(ctx); err != nil {
		return nil, nil, narrowPage{}, false, err
	}
	resp, err := p.consents.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: r.PathValue("id")})
	if err != nil {
		return nil, nil, narrowPage{}, false, err
	}
	c = resp.GetConsent()
	now := p.now().Unix()
	if standing(c, now) != allowed {
		return nil, nil, narrowPage{}, false, nil
	}
	return c, zone, narrowable(c, zone, now), true, nil
}

// narrowable says what can be taken back of a permission.
func narrowable(c *wattveilv1.Consent, zone *time.Location, now int64) narrowPage {
	t := c.GetTerms()
	page := narrowPage{Permission: inWords(c, zone), Before: "Now"}
	if points := t.GetUsagePoints(); len(points) > 1 {
		for _, point := range points {
			page.Meters = append(page.Meters, part{point, point})
		}
	}
	if registers := t.GetRegisters(); len(registers) > 1 {
		for _, register := range registers {
			page.Whats = append(page.Whats, part{register, directionOf(register)})
		}
	}
	for _, l := range levels {
		if l.granularity > t.GetGranularity() {
			page.Details = append(page.Details, part{l.name, detailOf(l.granularity).Name})
		}
	}
	// The first day is in the range, maybe not whole, and so is the last.
	first, last := dateOf(t.GetDataFrom(), zone), dateOf(t.GetDataUntil()-1, zone)
	page.First = between(first.add(1), last)
	page.Last = between(first, last.add(-1))
	page.Ends = between(dateOf(now, zone), dateOf(t.GetPermissionUntil()-1, zone).add(-1))
	return page
}

func (p *portal) narrowAsk(ctx context.Context, r *http.Request) (answer, error) {
	_, _, page, ok, err := p.narrowForm(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return seeOther{to: "/sharing/" + url.PathEscape(r.PathValue("id"))}, nil
	}
	return show("narrow", "Allow less", "sharing", page), nil
}

func (p *portal) narrow(ctx context.Context, r *http.Request) (answer, error) {
	c, zone, page, ok, err := p.narrowForm(ctx, r)
	if err != nil {
		return nil, err
	}
	if !ok {
		return seeOther{to: "/sharing/" + url.PathEscape(r.PathValue("id"))}, nil
	}
	again := func(problem string) (answer, error) {
		page.Problem = problem
		v := show("narrow", "Allow less", "sharing", page)
		v.status = http.StatusBadRequest
		return v, nil
	}
	if r.PostFormValue("request") == "" { // parses the form
		return nil, errBadForm
	}
	rest, problem, err := remaining(c.GetTerms(), r.PostForm, zone)
	switch {
	case err != nil:
		return nil, err
	case problem != "":
		return again(problem)
	}
	a, err := decide(r, func(request, id string) (*wattveilv1.Receipt, error) {
		resp, err := p.consents.NarrowConsent(ctx, &wattveilv1.NarrowConsentRequest{RequestId: request, ConsentId: id, Narrowed: rest})
		return resp.GetReceipt(), err
	})
	if status.Code(err) == codes.InvalidArgument {
		return again(notLess)
	}
	return a, err
}

// remaining returns what is left of the terms after what the form takes out of
// them, or what is wrong with it in words. Each field says what shall be, not what
// to change: sent once more, after it was done, the form means the same. Whether
// the rest is narrower is the hub's to decide.
func remaining(t *wattveilv1.Terms, form url.Values, zone *time.Location) (rest *wattveilv1.Terms, problem string, err error) {
	rest = proto.CloneOf(t)
	out := func(from []string, field string) []string {
		return slices.DeleteFunc(slices.Clone(from), func(s string) bool { return slices.Contains(form[field], s) })
	}
	rest.UsagePoints, rest.Registers = out(t.GetUsagePoints(), "without-meter"), out(t.GetRegisters(), "without-what")
	// A meter left out of all ends the inclusion of those to come.
	rest.FutureUsagePoints = t.GetFutureUsagePoints() && len(rest.GetUsagePoints()) == len(t.GetUsagePoints())
	if name := form.Get("detail"); name != "" {
		i := slices.IndexFunc(levels, func(l level) bool { return l.name == name })
		if i < 0 {
			return nil, "", errBadForm
		}
		rest.Granularity = levels[i].granularity
	}
	for field, set := range map[string]func(date){
		"first": func(d date) { rest.DataFrom = d.start(zone) },
		"last":  func(d date) { rest.DataUntil = d.add(1).start(zone) },
		"ends":  func(d date) { rest.PermissionUntil = d.add(1).start(zone) },
	} {
		if text := form.Get(field); text != "" {
			d, ok := parseDate(text)
			if !ok {
				return nil, "", errBadForm
			}
			set(d)
		}
	}
	switch {
	case !chosen(form):
		return nil, nothingChosen, nil
	case len(rest.GetUsagePoints()) == 0 || len(rest.GetRegisters()) == 0:
		return nil, nothingLeft, nil
	}
	return rest, "", nil
}

// chosen reports whether a form takes anything back.
func chosen(form url.Values) bool {
	for field, values := range form {
		if field != "request" && slices.ContainsFunc(values, func(v string) bool { return v != "" }) {
			return true
		}
	}
	return false
}
