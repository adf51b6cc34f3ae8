package notify

import (
	"testing"

	"github.com/wattveil/wattveil/consent"
)

// What to tell of a consent depends on the states alone: one that is added later is told
// of, too.
func TestKindOf(t *testing.T) {
	terms := consent.Terms{DataFrom: 10, DataUntil: 20, PermissionUntil: 30}
	narrow := terms
	narrow.DataUntil = 15
	other := narrow
	other.Purpose.Text = "x"
	at := func(s consent.State, terms consent.Terms) consent.Consent {
		return consent.Consent{State: s, Terms: terms}
	}
	for _, c := range []struct {
		was, is consent.Consent
		want    Kind
	}{
		{consent.Consent{}, at(consent.Requested, terms), ""},
		{at(consent.Requested, terms), at(consent.Granted, narrow), "consent.granted"},
		{consent.Consent{}, at(consent.Granted, terms), "consent.granted"},
		{at(consent.Granted, terms), at(consent.Granted, terms), ""},
		{at(consent.Granted, terms), at(consent.Granted, narrow), ConsentNarrowed},
		{at(consent.Granted, narrow), at(consent.Granted, terms), ConsentExtended},
		{at(consent.Granted, narrow), at(consent.Granted, other), ConsentChanged},
		{at(consent.Granted, terms), at(consent.Suspended, terms), "consent.suspended"},
		{at(consent.Suspended, terms), at(consent.Granted, terms), ConsentResumed},
		{at(consent.Granted, terms), at(consent.Terminated, terms), "consent.terminated"},
		{at(consent.Granted, terms), at(consent.Fulfilled, terms), "consent.fulfilled"},
		{at(consent.Requested, terms), at(consent.Denied, terms), "consent.denied"},
		{at(consent.Requested, terms), at(consent.Expired, terms), "consent.expired"},
		{at(consent.Requested, terms), at(consent.Invalid, terms), "consent.invalid"},
		{at(consent.Granted, terms), at(200, terms), "consent.state(200)"},
	} {
		got := KindOf(c.was, c.is)
		if got != c.want || got != "" && !got.OfConsent() {
			t.Errorf("from %s to %s: %q, want %q", c.was.State, c.is.State, got, c.want)
		}
	}
}
