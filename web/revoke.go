package web

import (
	"context"
	"net/http"
	"net/url"
)

// revokePage asks once, and says what stopping does and does not do.
type revokePage struct{ Permission permission }

func (p *portal) revokeConfirm(ctx context.Context, r *http.Request) (answer, error) {
	_, page, err := p.onePermission(ctx, r)
	if err != nil {
		return nil, err
	}
	if !page.Allowed {
		return seeOther{to: "/sharing/" + url.PathEscape(page.Permission.ID)}, nil
	}
	return show("revoke", "Stop sharing", "sharing", revokePage{page.Permission}), nil
}
