package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// complete lets the household and the regulator check, each with its own keys and
// nobody's help, that nothing was kept from them.
func (d *demo) complete(ctx context.Context) error {
	v, err := ledger.NewVerifier(d.stage.verifierKeys())
	if err != nil {
		return err
	}
	src, err := ledger.HTTPSource(d.stage.record(), http.DefaultClient)
	if err != nil {
		return err
	}
	record := &wattveilv1.GetHouseholdRecordResponse{}
	if err := d.household.call(ctx, http.MethodGet, "/v1/household/record", nil, record); err != nil {
		return fmt.Errorf("fetching the household's record: %w", err)
	}
	rec, err := recordFromWire(record)
	if err != nil {
		return err
	}
	own, err := v.Household(rec)
	if err == nil {
		_, err = ledger.FindOwn(ctx, v, src, rec, ledger.VerifyOptions{})
	}
	if err != nil {
		return fmt.Errorf("checking the household's record: %w", err)
	}
	d.say("The household checked with its own secret that it was shown all %d events of its own, and that none is missing.", own.Events)
	conn, err := d.stage.caller("regulator", demoRegulator)
	if err != nil {
		return err
	}
	audit, err := ledger.AuditLog(ctx, v, src, auditSource{wattveilv1.NewAuditServiceClient(conn)}, d.envelopeKeys,
		ledger.AuditOptions{YearlyCapNano: uint64(d.catalogue.YearlyCap), DailyCapNano: uint64(d.catalogue.DailyCap)})
	if err != nil {
		return fmt.Errorf("auditing: %w", err)
	}
	if len(audit.Findings) > 0 {
		return fmt.Errorf("the regulator's audit found %s at record %d", audit.Findings[0].Code, audit.Findings[0].Index)
	}
	d.say("A regulator opened all %d records with its own key: no read without a consent that stood, and budgets add up.", audit.Opened)
	return nil
}
