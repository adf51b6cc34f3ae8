package greenbutton

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// authorizations is the feed of what the caller was granted or denied; what nobody has
// decided is no Authorization yet.
func (d *door) authorizations(r *request) error {
	q, _, err := parseQuery(r.r.URL.RawQuery)
	if err != nil {
		return err
	}
	all, err := d.list(r)
	if err != nil {
		return err
	}
	client := ""
	var entries []espi.Entry
	for _, c := range all {
		client = c.GetRecipient()
		if wasGranted(c) && q.updated(changed(c)) && within(q, c.GetDecidedAt()) {
			entries = append(entries, d.authorizationEntry(r, c))
		}
	}
	return r.headed(client, "Authorization", r.site.Authorizations(), d.Now(), page(q, entries)...)
}

func (d *door) authorization(r *request) error {
	if _, _, err := parseQuery(r.r.URL.RawQuery); err != nil {
		return err
	}
	s, err := d.subscribed(r)
	if err != nil {
		return err
	}
	return r.entry(d.authorizationEntry(r, s.consent))
}

// authorizationEntry says a consent as an Authorization. Whatever ended it after it was
// granted is its end.
func (d *door) authorizationEntry(r *request, c *wattveilv1.Consent) espi.Entry {
	t := c.GetTerms()
	s := espi.Subscription{Site: r.site, ID: c.GetId(), Published: time.Unix(c.GetDecidedAt(), 0), Updated: time.Unix(changed(c), 0)}
	a := espi.Authorization{
		Authorized: &espi.Period{Start: c.GetDecidedAt(), Duration: max(0, t.GetPermissionUntil()-c.GetDecidedAt())},
		Published:  &espi.Period{Start: t.GetDataFrom(), Duration: t.GetDataUntil() - t.GetDataFrom()},
		Status:     espi.Revoked, ExpiresAt: c.GetEndsAt(), GrantType: "authorization_code", TokenType: "Bearer",
		Scope: scopeOf(t), CustomerURI: r.site.RetailCustomer(c.GetId()),
	}
	if c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_GRANTED {
		a.Status = espi.Active
	}
	return s.Authorization(a)
}

// applications is the feed of the one registration that the caller has.
func (d *door) applications(r *request) error {
	e, client, err := d.applicationEntry(r)
	if err != nil {
		return err
	}
	return r.headed(client, "ApplicationInformation", r.site.Applications(), d.Now(), e)
}

func (d *door) application(r *request) error {
	e, client, err := d.applicationEntry(r)
	if err != nil {
		return err
	}
	if client != r.value("client") {
		return errNotThere
	}
	return r.entry(e)
}

func (d *door) applicationEntry(r *request) (espi.Entry, string, error) {
	if _, _, err := parseQuery(r.r.URL.RawQuery); err != nil {
		return espi.Entry{}, "", err
	}
	resp, err := d.clients.GetOwnClient(r.ctx, &wattveilv1.GetOwnClientRequest{})
	if err != nil {
		return espi.Entry{}, "", err
	}
	c, base := resp.GetClient(), d.PublicURL()
	const reviewed, production = 1, 2
	a := espi.ApplicationInformation{
		DataCustodianID: "wattveil", CustodianStatus: reviewed, NotifyURI: c.GetNotifyUri(),
		AuthorizationServer: base, AuthorizationEndpoint: base + "/oauth/authorize", TokenEndpoint: base + "/oauth/token", RegistrationEndpoint: base + "/oauth/register",
		BulkRequestURI: r.site.Bulk(c.GetId()), ResourceEndpoint: string(r.site), ScopeSelectionURI: base, CustodianScopeURI: base + "/oauth/authorize",
		ClientName: c.GetName(), ClientID: c.GetId(), RedirectURIs: c.GetRedirectUris(), SoftwareID: c.GetId(), SoftwareVersion: "1",
		ClientIssuedAt: c.GetCreatedAt(), Contacts: c.GetContacts(), TokenAuthMethod: c.GetTokenEndpointAuthMethod(),
		GrantTypes: c.GetGrantTypes(), ResponseTypes: "code", RegistrationURI: base + "/oauth/register/" + c.GetId(),
		Scopes: []string{"FB=1_3_4_5_8_13_31_32_35_37_39"},
	}
	if c.GetState() == wattveilv1.ClientState_CLIENT_STATE_APPROVED {
		a.CustodianStatus = production
	}
	return espi.ApplicationEntry(r.site, a, time.Unix(c.GetCreatedAt(), 0), time.Unix(max(c.GetCreatedAt(), c.GetDecidedAt()), 0)), c.GetId(), nil
}

// changed is when a consent changed last, as far as it tells.
func changed(c *wattveilv1.Consent) int64 { return max(c.GetDecidedAt(), c.GetEndedAt()) }

// within reports whether something that was published at the instant t is asked for.
func within(q query, t int64) bool {
	return t >= q.publishedMin && (q.publishedMax == 0 || t < q.publishedMax)
}

// scopeOf says terms as an ESPI scope string, in at most 256 characters. How long the
// intervals are that leave as metered is not known before they are read, and not said.
func scopeOf(t *wattveilv1.Terms) string {
	blocks := []string{"1", "3", "4", "5"}
	for _, register := range t.GetRegisters() {
		if r, err := meter.ParseRegister(register); err == nil && r[2] == 2 {
			blocks = append(blocks, "8") // forward and reverse
			break
		}
	}
	blocks = append(blocks, "13", "31", "32", "37", "39")
	step := ""
	if g := t.GetGranularity(); g != wattveilv1.Granularity_GRANULARITY_INTERVAL {
		step = ";IntervalDuration=" + strconv.FormatInt(stepOf(g, 3600).Length(), 10)
	}
	return "FB=" + strings.Join(blocks, "_") + step + ";BlockDuration=daily;HistoryLength=" +
		strconv.FormatInt(t.GetDataUntil()-t.GetDataFrom(), 10) + ";SubscriptionFrequency=daily"
}

// deleteAuthorization gives a consent up.
func (d *door) deleteAuthorization(r *request) error {
	s, err := d.subscribed(r)
	if err != nil {
		return err
	}
	if _, err := d.withdraw(r, s.ID); err != nil {
		return err
	}
	r.out.WriteHeader(204)
	r.out.begun = true
	return nil
}

// withdraw gives a consent up; one that has ended stays so.
func (d *door) withdraw(r *request, id string) (*wattveilv1.Consent, error) {
	resp, err := d.consents.WithdrawConsent(r.ctx, &wattveilv1.WithdrawConsentRequest{RequestId: r.id, ConsentId: id})
	if status.Code(err) == codes.FailedPrecondition {
		got, err := d.consents.GetConsent(r.ctx, &wattveilv1.GetConsentRequest{ConsentId: id})
		return got.GetConsent(), err
	}
	return resp.GetConsent(), err
}

// putAuthorization takes the one change that a third party can make: status 0, which gives
// the consent up.
func (d *door) putAuthorization(r *request) error {
	s, err := d.subscribed(r)
	if err != nil {
		return err
	}
	body, err := r.body()
	if err != nil {
		return err
	}
	a, err := readAuthorization(body)
	if err != nil {
		return &parameterError{"body", "is not an Authorization"}
	}
	switch {
	case a.Status == espi.Active && s.consent.GetState() == wattveilv1.ConsentState_CONSENT_STATE_GRANTED: // as it is
	case a.Status == espi.Revoked:
		if s.consent, err = d.withdraw(r, s.ID); err != nil {
			return err
		}
	default:
		return &parameterError{"status", "can only be set to 0, which gives the authorization up"}
	}
	return r.entry(d.authorizationEntry(r, s.consent))
}

// readAuthorization reads the one Authorization of a document: a feed, an entry or the
// resource by itself. What is no document, or has none or two, is an error.
func readAuthorization(body io.Reader) (*espi.Authorization, error) {
	d, err := espi.NewDecoder(body)
	if err != nil {
		return nil, err
	}
	var found *espi.Authorization
	for {
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			if found == nil {
				return nil, errNotThere
			}
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		for _, c := range e.Contents {
			a, ok := c.(*espi.Authorization)
			if !ok || found != nil {
				return nil, errNotThere
			}
			found = a
		}
	}
}
