package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// receiptAddresses make the addresses at which a consent can be seen and revoked without
// signing in: its identifier and a keyed hash of it, 144 bits, which only the hub can make.
// Nothing is stored for them.
type receiptAddresses struct{ key hidden }

// receiptPath is where the pages show receipts.
const receiptPath = "/r/"

func (a receiptAddresses) of(id consent.ID) string {
	h := hmac.New(sha256.New, a.key.bytes())
	h.Write([]byte("wattveil consent receipt address v1\x00" + id))
	return string(id) + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// find returns the consent of an address; ErrNotFound for one that the hub did not make.
func (a receiptAddresses) find(address string) (consent.ID, error) {
	i := strings.LastIndexByte(address, '.')
	if i < 0 || len(address) > 128 {
		return "", store.ErrNotFound
	}
	id, err := consent.ParseID(address[:i])
	if err != nil || !hmac.Equal([]byte(a.of(id)), []byte(address)) {
		return "", store.ErrNotFound
	}
	return id, nil
}

// GetConsentReceipt returns the signed record of a consent that was granted.
func (c *consentService) GetConsentReceipt(ctx context.Context, req *wattveilv1.GetConsentReceiptRequest) (*wattveilv1.GetConsentReceiptResponse, error) {
	id, err := consent.ParseID(req.GetConsentId())
	if err != nil {
		return nil, err
	}
	p := caller(ctx)
	row, err := c.store.ConsentOf(ctx, ownerOf(p), id)
	if err != nil {
		return nil, err
	}
	_, _, signed, err := c.receipt(ctx, row)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.GetConsentReceiptResponse{Receipt: signed}
	if p.Kind == HouseholdKind {
		resp.Address = receiptPath + c.addresses.of(id)
	}
	return resp, nil
}

// OpenReceipt shows a consent to whoever has its receipt's address.
func (c *consentService) OpenReceipt(ctx context.Context, req *wattveilv1.OpenReceiptRequest) (*wattveilv1.OpenReceiptResponse, error) {
	row, err := c.addressed(ctx, req.GetAddress())
	if err != nil {
		return nil, err
	}
	entries, payloads, signed, err := c.receipt(ctx, row)
	if err != nil {
		return nil, err
	}
	zone, err := c.zoneOf(ctx, row.Household)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.OpenReceiptResponse{Consent: consentToWire(row), Receipt: signed, Zone: zone}
	for i, p := range payloads {
		resp.Steps = append(resp.Steps, &wattveilv1.ConsentStep{
			Index: entries[i].Index, Kind: string(p.Kind), Time: p.Time / 1e6, Cause: p.Reason, Terms: termsOfLeaf(p),
		})
	}
	return resp, nil
}

// RevokeByReceipt ends a grant in its household's name.
func (c *consentService) RevokeByReceipt(ctx context.Context, req *wattveilv1.RevokeByReceiptRequest) (*wattveilv1.RevokeByReceiptResponse, error) {
	request, err := requestID(req.GetRequestId())
	if err != nil {
		return nil, err
	}
	row, err := c.addressed(ctx, req.GetAddress())
	if err != nil {
		return nil, err
	}
	_, receipt, err := c.consents.Revoke(ctx, request, row.Household, row.ID)
	if err != nil {
		return nil, err
	}
	r, err := receiptToWire(ctx, c.prover, receipt)
	return &wattveilv1.RevokeByReceiptResponse{Receipt: r}, err
}

// addressed returns the consent of a receipt's address.
func (c *consentService) addressed(ctx context.Context, address string) (store.ConsentRow, error) {
	id, err := c.addresses.find(address)
	if err != nil {
		return store.ConsentRow{}, err
	}
	return c.store.ConsentOf(ctx, store.Owner{All: true}, id)
}

// receipt returns the story of a consent that was granted, and the signed record of it.
// One that never was has no receipt.
func (c *consentService) receipt(ctx context.Context, row store.ConsentRow) ([]ledger.Entry, []ledger.Payload, string, error) {
	if row.DecidedAt == 0 || row.State == consent.Denied {
		return nil, nil, "", store.ErrNotFound
	}
	entries, payloads, err := c.store.ConsentLife(ctx, row.Household, row.ID)
	if err != nil {
		return nil, nil, "", err
	}
	if len(entries) == 0 {
		return nil, nil, "", store.ErrNotFound
	}
	last := entries[len(entries)-1]
	proof, err := c.prover.TLogProof(ctx, last.Index, last.Leaf)
	if err != nil {
		return nil, nil, "", fmt.Errorf("proving a receipt: %w", err)
	}
	record := newConsentRecord(row, c.origin, entries, payloads, c.clock())
	record.Ledger = recordProof{c.origin, last.Index, last.Payload, last.Nonce[:], string(proof)}
	signed, err := c.statements.sign(record)
	return entries, payloads, signed, err
}

// zoneOf returns the zone of a household's first usage point.
func (c *consentService) zoneOf(ctx context.Context, h consent.Household) (string, error) {
	o, err := c.store.Occupancies(ctx, h)
	if err != nil || len(o) == 0 {
		return "UTC", err
	}
	return o[0].Zone, nil
}

// termsOfLeaf is what a leaf says of the terms.
func termsOfLeaf(p ledger.Payload) *wattveilv1.Terms {
	g, _ := consent.ParseGranularity(p.Granularity)
	return &wattveilv1.Terms{
		Purpose: &wattveilv1.Purpose{Code: p.Purpose}, UsagePoints: p.UsagePoints, Registers: p.Registers, Granularity: wattveilv1.Granularity(g),
		DataFrom: p.From, DataUntil: p.Until, PermissionUntil: p.PermissionUntil,
		FutureUsagePoints: p.Conditions&ledger.ConditionFuture != 0, Once: p.Conditions&ledger.ConditionOnce != 0,
	}
}
