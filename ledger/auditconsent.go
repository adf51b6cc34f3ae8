package ledger

import "slices"

// auditConsent is a consent as the leaves so far have it.
type auditConsent struct {
	state   Kind // the newest leaf of its life
	granted bool
	terms   Payload // of the newest leaf that states what holds
	asked   Payload
	read    int64 // unix µs, first read; 0 while it was not
}

// consentLife says what may follow what. The empty kind is before the request.
var consentLife = map[Kind][]Kind{
	"":                 {KindConsentRequest},
	KindConsentRequest: {KindConsentGrant, KindConsentDeny, KindConsentExpire, KindConsentInvalidate},
	KindConsentGrant:   whileGranted,
	KindConsentNarrow:  whileGranted,
	KindConsentExtend:  whileGranted,
	KindConsentResume:  whileGranted,
	KindConsentSuspend: {KindConsentResume, KindConsentRevoke, KindConsentExpire, KindConsentTerminate, KindConsentFulfil},
}

var whileGranted = []Kind{
	KindConsentNarrow, KindConsentExtend, KindConsentRevoke, KindConsentExpire, KindConsentSuspend, KindConsentTerminate, KindConsentFulfil,
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
	case p.Kind == KindConsentExtend && !(within(p, c.terms) && c.terms.Conditions&ConditionFuture != 0):
		a.find(index, AuditConsent, "usage points joined a grant that does not include future ones")
	}
	c.state = p.Kind
	switch {
	case p.Kind == KindConsentRequest:
		c.asked = p
	case p.Kind.Agrees():
		c.granted, c.terms = true, p
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
		slices.Index(granularities, p.Granularity) >= slices.Index(granularities, whole.Granularity) &&
		p.Conditions&ConditionFuture <= whole.Conditions&ConditionFuture && p.Conditions&ConditionOnce >= whole.Conditions&ConditionOnce
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
	case c.state == KindConsentSuspend:
		a.find(index, AuditSuspended, "its consent was on hold")
	case consentLife[c.state] == nil || p.Time >= t.PermissionUntil*1e6:
		a.find(index, AuditExpired, "its consent had ended")
	case t.Conditions&ConditionOnce != 0 && c.read != 0 && p.Time >= c.read+OnceWindow*1e6:
		a.find(index, AuditExpired, "its consent was for one reading, which had been")
	case p.Purpose != t.Purpose || p.Granularity != t.Granularity || p.Terms != t.Terms ||
		!subset(p.UsagePoints, t.UsagePoints) || !subset(p.Registers, t.Registers) || p.From < t.From || p.Until > t.Until:
		a.find(index, AuditWider, "it reaches beyond the terms that were granted")
	}
	if c.granted && c.read == 0 {
		c.read = p.Time
		a.consents[p.Consent] = c
	}
}

// purposeSelf is the purpose of a household's reading of its own data.
const purposeSelf = "self"
