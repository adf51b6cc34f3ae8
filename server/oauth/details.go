package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// DetailsType is the one type of authorization_details that is known (RFC 9396).
const DetailsType = "wattveil_readings"

// maxDetails bounds authorization_details in bytes: the longest purpose, 256 usage points
// and 64 registers.
const maxDetails = 32 << 10

// details is one element of authorization_details. What is left out of a request has a
// default: see ParseDetails.
type details struct {
	Type            string       `json:"type"`
	Purpose         *purpose     `json:"purpose,omitempty"`
	UsagePoints     []string     `json:"usage_points,omitempty"`
	Registers       []string     `json:"registers,omitempty"`
	Granularity     string       `json:"granularity"`
	DataFrom        *json.Number `json:"data_from,omitempty"`
	DataUntil       *json.Number `json:"data_until,omitempty"`
	PermissionUntil *json.Number `json:"permission_until,omitempty"`
	Future          bool         `json:"include_future_usage_points,omitempty"`
	Once            bool         `json:"once,omitempty"`
}

type purpose struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// asked returns terms if they are well formed. It is the one place through which what a
// request says becomes terms.
func asked(t consent.Terms, code string) (consent.Terms, error) {
	t = t.Normalize()
	if err := t.Validate(); err != nil {
		return consent.Terms{}, problem(code, "what is asked for is not well formed: ", fieldOf(err))
	}
	if t.Future && len(t.UsagePoints) > 0 {
		return consent.Terms{}, problem(code, "usage points are named though future ones are included")
	}
	return t, nil
}

// fieldOf returns the words of an error of terms, which name a field and repeat nothing.
func fieldOf(err error) string {
	if errors.Is(err, consent.ErrTerms) {
		return err.Error()
	}
	return "terms"
}

// ParseDetails reads authorization_details: an array of one object of the type
// wattveil_readings. Times are unix seconds. An unknown field is an error, since a
// misspelt limit must not be none.
//
// A purpose that is left out is the registered one, registers are what is drawn from the
// grid, readings begin with the day of the request, a permission lasts a year, and readings
// end with it. The granularity has no default. Errors are an [*Error] of the code
// invalid_authorization_details that names the field.
func ParseDetails(text string, registered consent.Purpose, at int64) (consent.Terms, error) {
	bad := func(words ...string) (consent.Terms, error) {
		return consent.Terms{}, problem(CodeInvalidDetails, words...)
	}
	if len(text) > maxDetails {
		return bad("authorization_details is longer than 32768 bytes")
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	var all []details
	if err := decoder.Decode(&all); err != nil {
		return bad("authorization_details is not an array of objects with the fields of ", DetailsType)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return bad("authorization_details is more than one JSON value")
	}
	if len(all) != 1 || all[0].Type != DetailsType {
		return bad("authorization_details is not one object of the type ", DetailsType)
	}
	d := all[0]
	today := time.Unix(at-at%dayLength, 0).UTC()
	t := consent.Terms{Purpose: registered, Registers: []meter.Register{meter.ActiveImport}, Future: d.Future, Once: d.Once}
	if d.Purpose != nil {
		t.Purpose = consent.Purpose{Code: d.Purpose.Code, Text: d.Purpose.Text}
	}
	for _, text := range d.UsagePoints {
		p, err := meter.ParseUsagePoint(text)
		if err != nil {
			return bad("usage_points: one is not well formed")
		}
		t.UsagePoints = append(t.UsagePoints, p)
	}
	if d.Registers != nil {
		t.Registers = nil
	}
	for _, text := range d.Registers {
		r, err := meter.ParseRegister(text)
		if err != nil {
			return bad("registers: one is not an OBIS code such as 1-0:1.29.0*255")
		}
		t.Registers = append(t.Registers, r)
	}
	var err error
	if t.Granularity, err = consent.ParseGranularity(d.Granularity); err != nil {
		return bad("granularity is not interval, hour, day or month")
	}
	end := today.AddDate(yearAhead, 0, 0).Unix()
	for _, f := range []struct {
		name      string
		given     *json.Number
		into      *int64
		otherwise *int64
	}{
		{"data_from", d.DataFrom, &t.DataFrom, new(today.Unix())},
		{"permission_until", d.PermissionUntil, &t.PermissionUntil, &end},
		{"data_until", d.DataUntil, &t.DataUntil, &t.PermissionUntil},
	} {
		if f.given == nil {
			*f.into = *f.otherwise
		} else if *f.into, err = f.given.Int64(); err != nil {
			return bad(f.name, " is not a number of unix seconds")
		}
	}
	if t.PermissionUntil <= at {
		return bad("permission_until is past")
	}
	return asked(t, CodeInvalidDetails)
}

// FormatDetails writes terms as authorization_details, whole: what a household has agreed
// to, for the answer to a token request (RFC 9396, section 7).
func FormatDetails(t consent.Terms) json.RawMessage {
	number := func(n int64) *json.Number {
		text, _ := json.Marshal(n) // an integer always marshals
		return new(json.Number(text))
	}
	d := details{
		Type: DetailsType, Purpose: &purpose{t.Purpose.Code, t.Purpose.Text}, Granularity: t.Granularity.String(),
		DataFrom: number(t.DataFrom), DataUntil: number(t.DataUntil), PermissionUntil: number(t.PermissionUntil), Future: t.Future, Once: t.Once,
	}
	for _, p := range t.UsagePoints {
		d.UsagePoints = append(d.UsagePoints, string(p))
	}
	for _, r := range t.Registers {
		d.Registers = append(d.Registers, r.String())
	}
	text, err := json.Marshal([]details{d})
	if err != nil { // texts, numbers and booleans always marshal
		return nil
	}
	return text
}
