package notify

import (
	"encoding/xml"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// events are one of each sort, and what is told twice.
func someEvents() []Event {
	day := func(d meter.Day) int64 { return d.Start() }
	return []Event{
		{Seq: 1, Kind: "consent.granted", Consent: "a", At: 100, Leaf: 7},
		{Seq: 2, Kind: ReadingsAvailable, Consent: "a", At: 200, From: day(20000), Until: day(20001)},
		{Seq: 3, Kind: ReadingsAvailable, Consent: "b", At: 200, From: day(20000), Until: day(20001)},
		{Seq: 4, Kind: ReadingsAvailable, Consent: "a", At: 300, From: day(20001), Until: day(20003)},
		{Seq: 5, Kind: ReadingsAvailable, Consent: "a", At: 300, From: day(20010), Until: day(20011)},
		{Seq: 6, Kind: "consent.revoked", Consent: "a", Cause: consent.ByHousehold, At: 400, Leaf: 9},
	}
}

// A webhook's body is what pulling gives, and a BatchList is what the standard has: the
// address of each thing that changed, once.
func TestCompose(t *testing.T) {
	c := Composer{Origin: "hub.example/ledger", PublicURL: func() string { return "https://hub.example" }}
	m, err := c.Compose(Webhook, someEvents()[:2])
	ok(t, err)
	const hook = `{"hub":"hub.example/ledger","notifications":[` +
		`{"sequence":"1","kind":"consent.granted","consentId":"a","cause":"","at":"100","leafIndex":"7","from":"0","until":"0"},` +
		`{"sequence":"2","kind":"readings.available","consentId":"a","cause":"","at":"200","leafIndex":"0","from":"1728000000","until":"1728086400"}]}`
	if m.ContentType != "application/json" || string(m.Body) != hook {
		t.Errorf("webhook %s:\n%s", m.ContentType, m.Body)
	}
	m, err = c.Compose(GreenButton, someEvents())
	ok(t, err)
	const list = xml.Header + `<BatchList xmlns="http://naesb.org/espi">` +
		`<resources>https://hub.example/espi/1_1/resource/Authorization/a</resources>` +
		`<resources>https://hub.example/espi/1_1/resource/Batch/Subscription/a?published-max=2024-10-07T00%3A00%3A00Z&amp;published-min=2024-10-04T00%3A00%3A00Z</resources>` +
		`<resources>https://hub.example/espi/1_1/resource/Batch/Subscription/b?published-max=2024-10-05T00%3A00%3A00Z&amp;published-min=2024-10-04T00%3A00%3A00Z</resources>` +
		`<resources>https://hub.example/espi/1_1/resource/Batch/Subscription/a?published-max=2024-10-15T00%3A00%3A00Z&amp;published-min=2024-10-14T00%3A00%3A00Z</resources></BatchList>` + "\n"
	if m.ContentType != "application/xml" || string(m.Body) != list {
		t.Errorf("BatchList %s:\n%s", m.ContentType, m.Body)
	}
	m, err = c.Compose(GreenButton, []Event{{Kind: Ping}})
	ok(t, err)
	if want := xml.Header + `<BatchList xmlns="http://naesb.org/espi"><resources>https://hub.example/espi/1_1/resource/ReadServiceStatus</resources></BatchList>` + "\n"; string(m.Body) != want {
		t.Errorf("a ping:\n%s", m.Body)
	}
	if _, err := c.Compose(Pull, someEvents()); err == nil {
		t.Error("something is sent to who pulls")
	}
}
