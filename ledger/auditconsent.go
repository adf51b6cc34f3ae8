package ledger

import "slices"

// auditConsent is a consent as the leaves so far have it.
type auditConsent struct {
	state   Kind // the newest leaf of its life
	granted bool
	terms   Payload // of the newest grant or narrowing
	asked   Payload
}

// consentLife says what may follow what. The empty kind is before the request.
var consentLife = map[Kind][]Kind{
	"":                 {KindConsentRequest},
	KindConsentRequest: {KindConsentGrant, KindConsentDeny, KindConsentExpire},
	KindConsentGrant:   {KindConsentNarrow, KindConsentRevoke, KindConsentExpire},
	KindConsentNarrow:  {KindConsentNarrow, KindConsentRevoke, KindConsentExpire},
}

// consent takes in a step in the life of a consent.
func (a *audit) consent(index uint64, p Payload) {
	c := a.consents[p.Consent]
	switch {
	case !slices.Contains(consentLife[c.state], p.Kind):
		a.find(index, AuditConsent, "%s follows %q", p.Kind, c.state)
	case p.Kind != KindConsentRequest && (p.Recipient != c.asked.Recipient || p.Subject != c.asked.Subject):
		a.find(index, AuditConsent, "%s names others than the request", p.Kind)
	case p.Kind == KindConsentGrant && !within(p, c.asked):
		a.find(index, AuditConsent, "more was granted than asked")
	case p.Kind == KindConsentNarrow && !(within(p, c.terms) && subset(p.UsagePoints, c.terms.UsagePoints)):
		a.find(index, AuditConsent, "a grant was widened")
	}
	c.state = p.Kind
	switch p.Kind {
	case KindConsentRequest:
		c.asked = p
	case KindConsentGrant, KindConsentNarrow:
		c.granted, c.terms = true, p
	default:
	}
	a.consents[p.Consent] = c
}

// granularities, the finer first.
var granularities = []string{"interval", "hour", "day", "month"}

// within reports whether the terms of p allow no more than those of whole, usage
// points aside: a request names the one that was asked about, a grant all that are
// the household's.
func within(p, whole Payload) bool {
	return p.Purpose == whole.Purpose && subset(p.Registers, whole.Registers) &&
		p.From >= whole.From && p.Until <= whole.Until && p.PermissionUntil <= whole.PermissionUntil &&
		slices.Index(granularities, p.Granularity) >= slices.Index(granularities, whole.Granularity)
}

func subset(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

// access checks a read against the consent as it stood at that leaf.
func (a *audit) access(index uint64, p Payload) {
	if p.Recipient == "" {
		if p.Purpose != purposeSelf || p.Consent != "" || p.Subject == "" || p.Session == (Hash{}) {
			a.find(index, AuditNoGrant, "it names no recipient, and is not a household's own")
		}
		return
	}
	by := a.report.Accesses[p.Recipient]
	if by == nil {
		by = make(map[string]uint64)
		a.report.Accesses[p.Recipient] = by
	}
	by[p.Purpose]++
	c := a.consents[p.Consent]
	t := c.terms
	switch {
	case !c.granted || t.Recipient != p.Recipient || t.Subject != p.Subject:
		a.find(index, AuditNoGrant, "no consent of its household to its recipient was granted before it")
	case c.state == KindConsentRevoke:
		a.find(index, AuditRevoked, "its consent was revoked before it")
	case c.state == KindConsentExpire || p.Time >= t.PermissionUntil*1e6:
		a.find(index, AuditExpired, "its consent had ended")
	case p.Purpose != t.Purpose || p.Granularity != t.Granularity || p.Terms != t.Terms ||
		!subset(p.UsagePoints, t.UsagePoints) || !subset(p.Registers, t.Registers) || p.From < t.From || p.Until > t.Until:
		a.find(index, AuditWider, "it reaches beyond the terms that were granted")
	}
}

// purposeSelf is the purpose of a household's reading of its own data.
const purposeSelf = "self"
