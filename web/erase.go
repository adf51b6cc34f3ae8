package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// erasePage says what an erasure takes and what it leaves, and asks once.
type erasePage struct {
	KeysGone    moment // no copy of the keys is left anywhere, if it is done today
	BackupsGone moment // no copy of the rest
	Unsure      bool   // the box was not ticked
}

func (p *portal) eraseAsk(ctx context.Context, _ *http.Request) (answer, error) {
	return p.eraseForm(ctx, false)
}

func (p *portal) eraseForm(ctx context.Context, unsure bool) (answer, error) {
	h, err := p.sessions.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
	if err != nil {
		return nil, err
	}
	today, terms := dateOf(p.now().Unix(), time.UTC), h.GetErasure()
	until := func(seconds int64) moment { return onDay(today.add(int(seconds/86400) + 1)) } // a day that is begun counts
	return show("erase", "Erase my data", "home", erasePage{until(terms.GetKeysSeconds()), until(terms.GetBackupsSeconds()), unsure}), nil
}

// erase erases the household, and ends the visit with its session.
func (p *portal) erase(ctx context.Context, r *http.Request) (answer, error) {
	if r.PostFormValue("sure") != "yes" {
		return p.eraseForm(ctx, true)
	}
	h, err := p.sessions.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
	if err != nil {
		return nil, err
	}
	done, err := p.sessions.EraseOwnHousehold(ctx, &wattveilv1.EraseOwnHouseholdRequest{Household: h.GetHousehold()})
	if err != nil {
		return nil, err
	}
	to := "/erased"
	if leaves := done.GetIndices(); len(leaves) > 0 {
		to += "?entry=" + strconv.FormatUint(leaves[0], 10)
	}
	return seeOther{to, p.cookie("", 0)}, nil
}

// erasedPage is what is left to say.
type erasedPage struct{ Number string }

func (p *portal) erased(_ context.Context, r *http.Request) (answer, error) {
	page := erasedPage{}
	if n, err := strconv.ParseUint(r.FormValue("entry"), 10, 64); err == nil {
		page.Number = count(n)
	}
	return show("erased", "Your data is erased", "", page), nil
}
