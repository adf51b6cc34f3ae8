package greenbutton

import (
	"encoding/json"
	"strings"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// What EDDIE's connector asks beside ESPI: a small JSON API, whose members it requires to
// the last and of which it takes any other for a block of the meter, so that nothing may
// be added. The hub has no bills, no addresses and no names; those members are empty.
//
// Source: eddie-energy/eddie, region-connector-us-green-button, package client.dtos.

// meterJSON is a usage point of a consent.
type meterJSON struct {
	UID              string         `json:"uid"`
	Authorization    string         `json:"authorization_uid"`
	Created          time.Time      `json:"created"`
	UserEmail        string         `json:"user_email"`
	UserUID          string         `json:"user_uid"`
	IsArchived       bool           `json:"is_archived"`
	IsActivated      bool           `json:"is_activated"`
	IsExpanded       bool           `json:"is_expanded"`
	Notes            []string       `json:"notes"`
	Status           string         `json:"status"`
	StatusMessage    string         `json:"status_message"`
	StatusTS         time.Time      `json:"status_ts"`
	Ongoing          ongoingJSON    `json:"ongoing_monitoring"`
	Utility          string         `json:"utility"`
	BillCount        int            `json:"bill_count"`
	BillCoverage     []string       `json:"bill_coverage"`
	BillSources      []string       `json:"bill_sources"`
	IntervalCount    int            `json:"interval_count"`
	IntervalCoverage [][]time.Time  `json:"interval_coverage"`
	IntervalSources  []string       `json:"interval_sources"`
	Exports          map[string]any `json:"exports"`
	ExportsList      []string       `json:"exports_list"`
	Blocks           []string       `json:"blocks"`
	Base             *blockJSON     `json:"base,omitempty"`
}

type ongoingJSON struct {
	Frequency string     `json:"frequency"`
	Prepay    *time.Time `json:"prepay"`
}

type blockJSON struct {
	Identifier     string   `json:"service_identifier"`
	Tariff         string   `json:"service_tariff"`
	Class          string   `json:"service_class"` // electric
	Address        string   `json:"service_address"`
	Numbers        []string `json:"meter_numbers"`
	BillingContact string   `json:"billing_contact"`
	BillingAddress string   `json:"billing_address"`
	BillingAccount string   `json:"billing_account"`
}

// meterJSON describes a usage point by its name, which no other consent's has.
func (s *subscription) meterJSON(name string, expand bool) meterJSON {
	c := s.consent
	frequency := "daily"
	if c.GetTerms().GetOnce() {
		frequency = "off"
	}
	m := meterJSON{
		UID: name, Authorization: c.GetId(), Created: time.Unix(c.GetDecidedAt(), 0).UTC(), UserUID: c.GetRecipient(),
		IsActivated: false, IsExpanded: expand, Notes: []string{}, Status: "updated", StatusTS: time.Unix(changed(c), 0).UTC(),
		Ongoing: ongoingJSON{Frequency: frequency}, Utility: "wattveil", BillCoverage: []string{}, BillSources: []string{},
		IntervalCoverage: [][]time.Time{}, IntervalSources: []string{}, Exports: map[string]any{}, ExportsList: []string{}, Blocks: []string{"base"},
	}
	if expand {
		m.Base = &blockJSON{Identifier: name, Class: "electric", Numbers: []string{name}}
	}
	return m
}

func (r *request) json(v any) error {
	r.out.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(r.w).Encode(v)
}

// meters lists the usage points of the consents that are named.
func (d *door) meters(r *request) error {
	_, more, err := parseQuery(r.r.URL.RawQuery, "authorizations", "is_activated", "expand_meter_blocks")
	if err != nil {
		return err
	}
	var ids []string
	for _, v := range more["authorizations"] {
		ids = append(ids, strings.Split(v, ",")...)
	}
	if len(ids) > maxLooked {
		return &parameterError{"authorizations", "names more than 1,000"}
	}
	out := struct {
		Meters []meterJSON `json:"meters"`
		Next   *string     `json:"next"`
	}{Meters: []meterJSON{}}
	if truth(more.Get("is_activated")) { // none is: there is nothing to activate
		return r.json(out)
	}
	if len(ids) == 0 {
		all, err := d.granted(r)
		if err != nil {
			return err
		}
		for _, c := range all[:min(len(all), maxLooked)] {
			ids = append(ids, c.GetId())
		}
	}
	for _, id := range ids {
		s, err := d.subscription(r, id)
		if err != nil {
			return err
		}
		for _, p := range s.points {
			out.Meters = append(out.Meters, s.meterJSON(s.Names().UsagePoint(p.UsagePoint), truth(more.Get("expand_meter_blocks"))))
		}
	}
	return r.json(out)
}

func truth(s string) bool { return s == "true" || s == "1" }

// findMeter looks for a usage point by its name among the caller's live consents.
func (d *door) findMeter(r *request, name string) (*subscription, error) {
	all, err := d.granted(r)
	if err != nil {
		return nil, err
	}
	for _, c := range all[:min(len(all), maxLooked)] {
		s, err := d.subscription(r, c.GetId())
		if err != nil {
			return nil, err
		}
		if _, err := s.point(name); err == nil {
			return s, nil
		}
	}
	return nil, errNotThere
}

func (d *door) meter(r *request) error {
	_, more, err := parseQuery(r.r.URL.RawQuery, "expand_meter_blocks")
	if err != nil {
		return err
	}
	s, err := d.findMeter(r, r.value("meter"))
	if err != nil {
		return err
	}
	return r.json(s.meterJSON(r.value("meter"), truth(more.Get("expand_meter_blocks"))))
}

// collect asks for the history of usage points, which is there already as far as the
// utility has sent it.
func (d *door) collect(r *request) error {
	body, err := r.body()
	if err != nil {
		return err
	}
	var in struct {
		Meters []string `json:"meters"`
	}
	if err := json.NewDecoder(body).Decode(&in); err != nil || len(in.Meters) == 0 || len(in.Meters) > 100 {
		return &parameterError{"meters", "is not a list of 1 to 100 meters"}
	}
	for _, name := range in.Meters {
		if _, err := d.findMeter(r, name); err != nil {
			return err
		}
	}
	return r.json(struct {
		Success bool     `json:"success"`
		Meters  []string `json:"meters"`
	}{true, in.Meters})
}

// authorizationJSON is a consent.
type authorizationJSON struct {
	UID           string         `json:"uid"`
	Created       time.Time      `json:"created"`
	CustomerEmail string         `json:"customer_email"`
	IsDeclined    bool           `json:"is_declined"`
	Expires       time.Time      `json:"expires"`
	IsExpired     bool           `json:"is_expired"`
	Exports       map[string]any `json:"exports"`
	IsArchived    bool           `json:"is_archived"`
	IsTest        bool           `json:"is_test"`
	Notes         []string       `json:"notes"`
	Revoked       *time.Time     `json:"revoked"`
	IsRevoked     bool           `json:"is_revoked"`
	Scope         scopeJSON      `json:"scope"`
	Status        string         `json:"status"`
	StatusMessage string         `json:"status_message"`
	StatusTS      time.Time      `json:"status_ts"`
	UserEmail     string         `json:"user_email"`
	UserUID       string         `json:"user_uid"`
	UserStatus    string         `json:"user_status"`
	Utility       string         `json:"utility"`
}

type scopeJSON struct {
	Expires time.Time `json:"expires"`
}

// revoke gives a consent up.
func (d *door) revoke(r *request) error {
	s, err := d.subscribed(r)
	if err != nil {
		return err
	}
	c, err := d.withdraw(r, s.ID)
	if err != nil {
		return err
	}
	ended := time.Unix(c.GetEndedAt(), 0).UTC()
	expired := c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_EXPIRED
	state := "revoked"
	if expired { // before it could be given up
		state = "expired"
	}
	expires := time.Unix(c.GetTerms().GetPermissionUntil(), 0).UTC()
	return r.json(authorizationJSON{
		UID: c.GetId(), Created: time.Unix(c.GetDecidedAt(), 0).UTC(), Expires: expires, Exports: map[string]any{}, Notes: []string{},
		IsExpired: expired, Revoked: &ended, IsRevoked: !expired,
		Scope: scopeJSON{expires}, Status: state, StatusTS: ended, UserUID: c.GetRecipient(), UserStatus: "active", Utility: "wattveil",
	})
}
