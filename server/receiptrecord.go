package server

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

// receiptSchema names the fields of a consent receipt and the edition they are from.
const receiptSchema = "ISO/IEC TS 27560:2023; wattveil 1"

// consentRecord is a consent with the fields of ISO/IEC TS 27560:2023, clause 6: header,
// processing, parties, events. What that has no field for stands in members of our own
// beside them: what a smart meter's reader may see, to the interval, and where the record
// can be checked.
type consentRecord struct {
	Schema      string        `json:"schema_version"`
	ReceiptID   string        `json:"receipt_id"` // the consent and the entry that made it stand as it does
	RecordID    string        `json:"record_id"`
	PrincipalID string        `json:"pii_principal_id"` // the household's, random
	IssuedAt    time.Time     `json:"timestamp"`
	Status      string        `json:"status"` // of EDDIE's permission process and our additions to it
	Processing  processing    `json:"pii_processing"`
	Parties     []recordParty `json:"party_identification"`
	Events      []recordEvent `json:"events"`
	Ledger      recordProof   `json:"ledger"`
}

type processing struct {
	Purposes []recordPurpose `json:"purposes"`
}

type recordPurpose struct {
	Purpose     string    `json:"purpose"`
	Text        string    `json:"purpose_text"` // the very words that were shown
	Basis       string    `json:"lawful_basis"`
	Information []piiInfo `json:"pii_information"`
	Controllers []string  `json:"pii_controllers"` // by party_id
	Collection  string    `json:"collection_method"`
	Method      string    `json:"processing_method"`
	ThirdParty  []string  `json:"recipient_third_parties"` // none: a consent is for one recipient
	Withdrawal  string    `json:"withdrawal_method"`
	Rights      []string  `json:"privacy_rights"`

	DataFrom        time.Time `json:"data_from"`
	DataUntil       time.Time `json:"data_until"`
	PermissionUntil time.Time `json:"permission_until"`
	Future          bool      `json:"future_usage_points"`
	Once            bool      `json:"once"`
}

type piiInfo struct {
	Type        string   `json:"pii_type"`
	Attribute   string   `json:"pii_attribute_id"` // OBIS
	Optional    bool     `json:"pii_optional"`     // the household may take it out
	UsagePoints []string `json:"usage_points"`
	Granularity string   `json:"granularity"`
}

type recordParty struct {
	ID   string `json:"party_id"`
	Name string `json:"party_name,omitempty"`
	Role string `json:"party_role"`
}

type recordEvent struct {
	Time     time.Time `json:"event_time"`
	Type     string    `json:"event_type"`  // kind of the ledger's entry
	State    string    `json:"event_state"` // that it led to
	Entity   string    `json:"entity_id"`   // who brought it about: a party, or the cause
	Validity string    `json:"validity_duration,omitempty"`
	Entry    uint64    `json:"ledger_index"`
	Terms    string    `json:"terms_sha256"`
}

// recordProof proves the newest of the events.
type recordProof struct {
	Origin  string `json:"origin"`
	Index   uint64 `json:"index"`
	Payload []byte `json:"payload"` // canonical, base64
	Nonce   []byte `json:"nonce"`   // of the leaf's commitment, base64
	Proof   string `json:"proof"`   // c2sp.org/tlog-proof@v1
}

// eventStates are what a kind of entry leads to, in the words of the standard's life
// cycle of a consent.
var eventStates = map[ledger.Kind]string{
	ledger.KindConsentRequest: "requested", ledger.KindConsentGrant: "given", ledger.KindConsentDeny: "refused",
	ledger.KindConsentNarrow: "given", ledger.KindConsentExtend: "given", ledger.KindConsentResume: "given",
	ledger.KindConsentSuspend: "suspended", ledger.KindConsentRevoke: "withdrawn", ledger.KindConsentTerminate: "terminated",
	ledger.KindConsentExpire: "expired", ledger.KindConsentFulfil: "expired", ledger.KindConsentInvalidate: "invalidated",
}

// newConsentRecord states a consent as it stands after the events.
func newConsentRecord(c store.ConsentRow, origin string, entries []ledger.Entry, payloads []ledger.Payload, at time.Time) consentRecord {
	last := entries[len(entries)-1]
	r := consentRecord{
		Schema: receiptSchema, ReceiptID: fmt.Sprintf("%s/%d", c.ID, last.Index), RecordID: string(c.ID), PrincipalID: string(c.Household),
		IssuedAt: at.UTC().Truncate(time.Second), Status: c.Status().Name,
		Processing: processing{[]recordPurpose{purposeOf(c.Terms, string(c.Recipient))}},
		Parties: []recordParty{
			{ID: string(c.Recipient), Name: c.RecipientName, Role: "pii_controller"},
			{ID: origin, Role: "hub"},
		},
	}
	for i, p := range payloads {
		e := recordEvent{
			Time: time.UnixMicro(p.Time).UTC(), Type: string(p.Kind), State: eventStates[p.Kind], Entity: string(entity(p)),
			Entry: entries[i].Index, Terms: hex.EncodeToString(p.Terms[:]),
		}
		if valid := p.PermissionUntil - p.Time/1e6; p.Kind.Agrees() && valid > 0 {
			e.Validity = fmt.Sprintf("PT%dS", valid)
		}
		r.Events = append(r.Events, e)
	}
	return r
}

func purposeOf(t consent.Terms, controller string) recordPurpose {
	p := recordPurpose{
		Purpose: t.Purpose.Code, Text: t.Purpose.Text, Basis: "consent",
		Controllers: []string{controller}, ThirdParty: []string{},
		Collection: "smart meter, through the grid's utility", Method: "read from the hub, each reading on record before it is opened",
		Withdrawal: "at any time, at the address of this receipt or in the household's pages; effective for the very next reading",
		Rights:     []string{"withdraw", "narrow", "see every access", "download", "erase"},
		DataFrom:   time.Unix(t.DataFrom, 0).UTC(), DataUntil: time.Unix(t.DataUntil, 0).UTC(), PermissionUntil: time.Unix(t.PermissionUntil, 0).UTC(),
		Future: t.Future, Once: t.Once,
	}
	points := []string{}
	for _, up := range t.UsagePoints {
		points = append(points, string(up))
	}
	for _, register := range t.Registers {
		p.Information = append(p.Information, piiInfo{"meter reading", register.String(), len(t.Registers) > 1, points, t.Granularity.String()})
	}
	return p
}

// entity is who brought an event about.
func entity(p ledger.Payload) consent.Cause {
	switch {
	case p.Reason != "":
		return consent.Cause(p.Reason)
	case p.Kind == ledger.KindConsentRequest:
		return consent.ByRecipient
	case p.Kind == ledger.KindConsentResume:
		return "hub"
	}
	return consent.ByHousehold
}
