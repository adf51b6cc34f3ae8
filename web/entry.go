package web

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// entryPage answers: is this entry really in the record?
type entryPage struct {
	Entry, Number string
	Readable      bool // the payload could be read
	Own, Read     bool
	Refused       bool
	Why           string
	What          string
	Name          string // of the company or service, as the record knows it
	When          moment
	Purpose       string // in its own words
	Permission    string
	Has           bool
	Data          period
	Amount        string
	Detail        string
	Fits          bool
	Contradicts   bool
	Proof         string
	Payload       string // hex, in groups of four
	Nonce         string
}

// proofFile is a receipt as the API's REST door writes it.
type proofFile struct {
	Index   string `json:"index"` // a decimal string, as protobuf's JSON has it
	Payload []byte `json:"payload"`
	Nonce   []byte `json:"nonce"`
	Proof   string `json:"proof"`
}

func (p *portal) receipt(ctx context.Context, r *http.Request) (uint64, *wattveilv1.Receipt, error) {
	index, err := strconv.ParseUint(r.PathValue("index"), 10, 64)
	if err != nil {
		return 0, nil, errNoPage
	}
	resp, err := p.audit.GetReceipt(ctx, &wattveilv1.GetReceiptRequest{Index: index})
	return index, resp.GetReceipt(), err
}

func (p *portal) entry(ctx context.Context, r *http.Request) (answer, error) {
	zone, err := p.zone(ctx)
	if err != nil {
		return nil, err
	}
	index, receipt, err := p.receipt(ctx, r)
	if err != nil {
		return nil, err
	}
	proved, outcome := p.check(ctx, index, receipt)
	payload := proved.Payload
	page := entryPage{
		Fits: outcome == fits, Contradicts: outcome == contradicts,
		Proof: receipt.GetProof(), Payload: groups(receipt.GetPayload()), Nonce: groups(receipt.GetNonce()),
	}
	page.Entry, page.Number = entryName(index)
	if payload.Kind != "" {
		page.read(payload, zone)
		if err := p.name(ctx, &page); err != nil {
			return nil, err
		}
	}
	return show("entry", "Entry "+page.Number, "seen", page), nil
}

// name replaces the company's identifier, which is all that the record has, by
// its name as registered, and gives its reason in its own words.
func (p *portal) name(ctx context.Context, page *entryPage) error {
	if page.Permission == "" {
		return nil
	}
	resp, err := p.consents.GetConsent(ctx, &wattveilv1.GetConsentRequest{ConsentId: page.Permission})
	switch status.Code(err) {
	case codes.OK:
		page.Name = nameOf(resp.GetConsent().GetRecipientName(), page.Name)
		page.Purpose = resp.GetConsent().GetTerms().GetPurpose().GetText()
		return nil
	case codes.NotFound:
		page.Permission = "" // refused without one, or erased: nothing to link to
		return nil
	default:
		return err
	}
}

// read puts a payload into words.
func (page *entryPage) read(l ledger.Payload, zone *time.Location) {
	page.Readable = true
	page.Own = l.Kind == ledger.KindAccess && l.Purpose == purposeSelf
	page.Read = l.Kind == ledger.KindAccess && !page.Own
	page.Refused = l.Kind == ledger.KindAccessDenied
	page.Why = refusalOf(l.Reason)
	page.What = happenings[l.Kind]
	page.Name, page.Permission = l.Recipient, l.Consent
	page.When = at(l.Time/1_000_000, zone)
	if l.Until > l.From {
		page.Has, page.Data = true, during(l.From, l.Until, zone)
	}
	if l.Kind == ledger.KindAccess {
		page.Amount = many(l.Intervals, "figure", "figures")
	}
	for g, d := range details {
		if strings.EqualFold("granularity_"+l.Granularity, g.String()) {
			page.Detail = d.Name
		}
	}
}

// proof is the receipt as a file, for a checking program from somewhere else.
func (p *portal) proof(ctx context.Context, r *http.Request) (answer, error) {
	index, receipt, err := p.receipt(ctx, r)
	if err != nil {
		return nil, err
	}
	name, _ := entryName(index)
	body, err := json.MarshalIndent(proofFile{name, receipt.GetPayload(), receipt.GetNonce(), receipt.GetProof()}, "", "  ")
	if err != nil {
		return nil, err
	}
	return download{name: proofName(name), mediaType: "application/json", body: append(body, '\n')}, nil
}

// proofName is what the proof of an entry is saved as.
func proofName(entry string) string { return "wattveil-entry-" + entry + ".json" }

// groups writes bytes in hex, four digits at a time.
func groups(b []byte) string {
	digits := hex.EncodeToString(b)
	var s strings.Builder
	for i := 0; i < len(digits); i += 4 {
		if i > 0 {
			s.WriteByte(' ')
		}
		s.WriteString(digits[i:min(i+4, len(digits))])
	}
	return s.String()
}
