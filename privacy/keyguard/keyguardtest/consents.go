package keyguardtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
)

// A third party's access opens only beside the leaf of the very terms that it
// names, and within them. It would catch an access that is recorded for more than
// was granted, or under a consent that was never given, was given to somebody
// else, or had run out.
func otherConsents(t *testing.T, through Through) {
	change := func(f func(consent, access *ledger.Payload)) [2]ledger.Payload {
		a := access()
		c := agreement(a)
		f(&c, &a)
		return [2]ledger.Payload{c, a}
	}
	for name, pair := range map[string][2]ledger.Payload{
		"only asked":              change(func(c, _ *ledger.Payload) { c.Kind = ledger.KindConsentRequest }),
		"denied":                  change(func(c, _ *ledger.Payload) { c.Kind = ledger.KindConsentDeny }),
		"revoked":                 change(func(c, _ *ledger.Payload) { c.Kind = ledger.KindConsentRevoke }),
		"expired":                 change(func(c, _ *ledger.Payload) { c.Kind = ledger.KindConsentExpire }),
		"another access":          change(func(c, a *ledger.Payload) { *c = *a }),
		"another consent":         change(func(c, _ *ledger.Payload) { c.Consent = "c-2" }),
		"another household":       change(func(c, _ *ledger.Payload) { c.Subject = "" }),
		"another recipient":       change(func(c, _ *ledger.Payload) { c.Recipient = "snoop" }),
		"another purpose":         change(func(c, _ *ledger.Payload) { c.Purpose = "research" }),
		"another text of purpose": change(func(c, _ *ledger.Payload) { c.PurposeText = ledger.Hash{1} }),
		"another granularity":     change(func(c, _ *ledger.Payload) { c.Granularity = "day" }),
		"terms since narrowed":    change(func(c, _ *ledger.Payload) { c.Terms = ledger.Hash{1} }),
		"no terms":                change(func(c, a *ledger.Payload) { c.Terms, a.Terms = ledger.Hash{}, ledger.Hash{} }),
		"another end":             change(func(c, _ *ledger.Payload) { c.PermissionUntil-- }),
		"an end that was past":    change(func(c, a *ledger.Payload) { c.PermissionUntil, a.PermissionUntil = Today.Start(), Today.Start() }),
		"another usage point":     change(func(c, _ *ledger.Payload) { c.UsagePoints = []string{string(UP2)} }),
		"a usage point too many":  change(func(_, a *ledger.Payload) { a.UsagePoints = []string{string(UP1), string(UP2)} }),
		"a register too many": change(func(_, a *ledger.Payload) {
			a.Registers = []string{meter.ActiveImport.String(), meter.ActiveExport.String()}
		}),
		"an earlier start":        change(func(_, a *ledger.Payload) { a.From-- }),
		"a later end of data":     change(func(_, a *ledger.Payload) { a.Until++ }),
		"no range":                change(func(_, a *ledger.Payload) { a.Until = a.From }),
		"a day before the range":  change(func(_, a *ledger.Payload) { a.KeyFrom-- }),
		"a day after the range":   change(func(_, a *ledger.Payload) { a.KeyUntil++ }),
		"less than the whole day": change(func(c, a *ledger.Payload) { c.Until -= 86401; a.Until = c.Until }),
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWorld(t, through)
			r, _ := w.record(access())
			r.Consent, _ = w.open(pair[0])
			var index uint64
			r.Access, index = w.open(pair[1])
			w.deny(keyguard.ErrConsent, r)
			if w.Keys.Uses(index) != 0 {
				t.Error("an access without a consent was spent")
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		w := NewWorld(t, through)
		r, _ := w.record(access())
		r.Consent = ledger.Opening{}
		w.deny(keyguard.ErrConsent, r)
	})
	t.Run("granted after the access", func(t *testing.T) {
		w := NewWorld(t, through)
		r, _ := w.record(access())
		r.Consent, _ = w.open(agreement(access()))
		w.deny(keyguard.ErrConsent, r)
	})
	t.Run("beside a household's own", func(t *testing.T) {
		w := NewWorld(t, through)
		r, _ := w.record(own())
		r.Registers = []meter.Register{meter.ActiveImport}
		r.Consent, _ = w.open(agreement(access()))
		w.deny(keyguard.ErrConsent, r)
	})
}

// A narrowing stands for the grant that it replaced, and what is granted may be
// more than what is read. It would catch a guard that knows grants alone.
func consentCovers(t *testing.T, through Through) {
	for name, change := range map[string]func(c *ledger.Payload){
		"as granted":  func(*ledger.Payload) {},
		"as narrowed": func(c *ledger.Payload) { c.Kind = ledger.KindConsentNarrow },
		"more than is read": func(c *ledger.Payload) {
			c.UsagePoints = []string{string(UP1), string(UP2)}
			c.Registers = []string{meter.ActiveImport.String(), meter.ActiveExport.String()}
			c.From, c.Until = (Today - 100).Start(), (Today + 100).Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWorld(t, through)
			c := agreement(access())
			change(&c)
			var r keyguard.Request
			r.Consent, _ = w.open(c)
			r.Access, _ = w.open(access())
			w.opens(w.allow(r), func(b seal.Block) bool {
				return b.UsagePoint == UP1 && b.Register == meter.ActiveImport && b.Day >= Today-3 && b.Day <= Today-2
			})
		})
	}
}

// What store and key service say comes back by its name, before and after the
// access is spent. It would catch a caller that cannot tell what is worth another
// try from what is not.
func faultsKeepTheirNames(t *testing.T, through Through) {
	for _, fault := range []error{seal.ErrUnavailable, seal.ErrKeyGone, seal.ErrRefused, context.Canceled, context.DeadlineExceeded} {
		w := NewWorld(t, through)
		r, index := w.record(access())
		w.Wrapper.Break(fmt.Errorf("asking: %w", fault))
		if _, err := w.Guardian.BlockKeys(t.Context(), r); !errors.Is(err, fault) {
			t.Errorf("the key service says %v, and the caller hears %v", fault, err)
		}
		if w.Keys.Uses(index) != 1 {
			t.Errorf("%v: the access was not spent first", fault)
		}
		broken := w.guard(faulty{w.Keys, fault}, w.Log.Verifier)
		r, index = w.record(access())
		if _, err := broken.BlockKeys(t.Context(), r); !errors.Is(err, fault) {
			t.Errorf("the store says %v, and the caller hears %v", fault, err)
		}
		if w.Keys.Uses(index) != 0 {
			t.Errorf("%v: an access was spent though the store had no wraps to offer", fault)
		}
	}
}

// faulty is a store that cannot look up day keys.
type faulty struct {
	keyguard.Keys
	err error
}

func (f faulty) DayKeyWraps(context.Context, consent.Household, meter.Day, meter.Day) ([]seal.DayKeyWrap, error) {
	return nil, f.err
}
