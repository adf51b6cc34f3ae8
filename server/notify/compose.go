package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter/espi"
)

// Message is what one call carries.
type Message struct {
	ContentType string
	Body        []byte
}

// Composer writes messages.
type Composer struct {
	Origin string // of the ledger: which hub tells
	// PublicURL returns where third parties find the hub, without a slash at the end.
	PublicURL func() string
}

// Compose writes what an endpoint of the form is told of the events, in their order.
//
// A webhook gets JSON: "hub", the origin, and "notifications", each as the REST form of
// NotificationService.ListNotifications has it. Green Button gets a BatchList (NAESB REQ.21,
// espi.xsd): the address of what changed, each once. Neither holds a reading.
func (c Composer) Compose(f Form, events []Event) (Message, error) {
	switch f {
	case Webhook:
		return c.webhook(events)
	case GreenButton:
		return c.batchList(events)
	case Pull:
	}
	return Message{}, fmt.Errorf("notify: nothing is sent to form %d", f)
}

// jsonEvent is an event as protojson writes a Notification: numbers of 64 bits are strings.
type jsonEvent struct {
	Sequence  uint64 `json:"sequence,string"`
	Kind      Kind   `json:"kind"`
	ConsentID string `json:"consentId"`
	Cause     string `json:"cause"`
	At        int64  `json:"at,string"`
	LeafIndex uint64 `json:"leafIndex,string"`
	From      int64  `json:"from,string"`
	Until     int64  `json:"until,string"`
}

func (c Composer) webhook(events []Event) (Message, error) {
	body := struct {
		Hub           string      `json:"hub"`
		Notifications []jsonEvent `json:"notifications"`
	}{Hub: c.Origin}
	for _, e := range events {
		body.Notifications = append(body.Notifications, jsonEvent{e.Seq, e.Kind, string(e.Consent), string(e.Cause), e.At, e.Leaf, e.From, e.Until})
	}
	b, err := json.Marshal(body)
	if err != nil {
		return Message{}, fmt.Errorf("writing notifications: %w", err)
	}
	return Message{"application/json", b}, nil
}

// batchList points at what the events are about.
func (c Composer) batchList(events []Event) (Message, error) {
	var list espi.BatchList
	for _, r := range coalesce(events) {
		list.Resources = append(list.Resources, r.uri(c.PublicURL()))
	}
	var b bytes.Buffer
	err := espi.WriteBatchList(&b, list)
	return Message{"application/xml", b.Bytes()}, err
}

// resource is what a BatchList points at: an authorization, or days of a subscription.
type resource struct {
	consent consent.ID
	kind    Kind // Ping, ReadingsAvailable, or any of a consent
	span    Span
}

// coalesce returns what the events point at, each once, in the order of the events: one
// authorization however often it changed, one span for those that touch.
func coalesce(events []Event) []resource {
	var out []resource
	for _, e := range events {
		r := resource{e.Consent, e.Kind, Span{e.From, e.Until}}
		if r.kind.OfConsent() {
			r.kind = ofConsent
		}
		known := false
		for i := range out {
			if out[i].consent == r.consent && out[i].kind == r.kind && out[i].span.From <= r.span.Until && r.span.From <= out[i].span.Until {
				out[i].span = Span{min(out[i].span.From, r.span.From), max(out[i].span.Until, r.span.Until)}
				known = true
				break
			}
		}
		if !known {
			out = append(out, r)
		}
	}
	return out
}

func (r resource) uri(base string) string {
	base += "/espi/1_1/resource"
	if r.kind == Ping {
		return base + "/ReadServiceStatus"
	}
	if r.kind == ReadingsAvailable {
		q := url.Values{"published-min": {instant(r.span.From)}, "published-max": {instant(r.span.Until)}}
		return base + "/Batch/Subscription/" + url.PathEscape(string(r.consent)) + "?" + q.Encode()
	}
	return base + "/Authorization/" + url.PathEscape(string(r.consent))
}

func instant(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
