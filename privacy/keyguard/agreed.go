package keyguard

import (
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// agreed checks that the access of a third party lies within the terms that the
// leaf of its consent states: a leaf of the same log, before the access, of the
// same consent of the same household to the same recipient for the same purpose,
// and of the very terms that the access names. As every narrowing changes the
// terms, those name one leaf. A household's own access has no consent.
//
// That no revocation stands between the two leaves is not in either of them. The
// gate has seen to it, and whoever opens the household's chain sees it
// (ledger.AuditRevoked).
func agreed(access ledger.Verified, proved []ledger.Verified) error {
	a := access.Payload
	if a.Purpose == consent.PurposeSelf {
		if len(proved) > 0 {
			return ErrConsent
		}
		return nil
	}
	if len(proved) == 0 {
		return ErrConsent
	}
	c := proved[0].Payload
	switch {
	case !c.Kind.Agrees(),
		proved[0].Index >= access.Index,
		c.Consent != a.Consent || c.Subject != a.Subject || c.Recipient != a.Recipient,
		c.Purpose != a.Purpose || c.PurposeText != a.PurposeText,
		c.Terms == (ledger.Hash{}) || c.Terms != a.Terms,
		c.Granularity != a.Granularity || c.PermissionUntil != a.PermissionUntil,
		a.Time/1e6 >= c.PermissionUntil,
		!within(a.UsagePoints, c.UsagePoints) || !within(a.Registers, c.Registers),
		a.From < c.From || a.Until > c.Until || a.From >= a.Until,
		meter.Day(a.KeyFrom) < meter.DayOf(a.From) || meter.Day(a.KeyUntil) > meter.DayOf(a.Until-1):
		return ErrConsent
	}
	return nil
}

// within reports whether all of part is in whole.
func within[E comparable](part, whole []E) bool {
	return !slices.ContainsFunc(part, func(e E) bool { return !slices.Contains(whole, e) })
}
