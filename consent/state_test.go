package consent

import (
	"errors"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// The machine, written out a second time as a table of every pair. It would
// catch a transition that was added, lost or bent, and a time that is not set.
func TestTransitions(t *testing.T) {
	const no = State(0)
	kinds := []ledger.Kind{
		ledger.KindConsentRequest, ledger.KindConsentGrant, ledger.KindConsentDeny, ledger.KindConsentRevoke,
		ledger.KindConsentExpire, ledger.KindConsentNarrow, ledger.KindAccess, ledger.KindAccessDenied, ledger.KindRelease, "",
	}
	for _, row := range []struct {
		from State
		//       request    grant    deny    revoke   expire   narrow  access denied release none
		to [10]State
	}{
		{0, [10]State{Requested, no, no, no, no, no, no, no, no, no}},
		{Requested, [10]State{no, Granted, Denied, no, Expired, no, no, no, no, no}},
		{Granted, [10]State{no, no, no, Revoked, Expired, Granted, no, no, no, no}},
		{Denied, [10]State{}},
		{Revoked, [10]State{}},
		{Expired, [10]State{}},
		{6, [10]State{}},
	} {
		for i, kind := range kinds {
			c, err := Consent{ID: "c", State: row.from}.step(kind, 7)
			if row.to[i] == no {
				if !errors.Is(err, ErrTransition) {
					t.Errorf("%v × %q: %v, want ErrTransition", row.from, kind, err)
				}
				continue
			}
			if err != nil || c.State != row.to[i] {
				t.Errorf("%v × %q: %v, %v, want %v", row.from, kind, c.State, err, row.to[i])
			}
			requested, decided, ended := c.RequestedAt == 7, c.DecidedAt == 7, c.EndedAt == 7
			if requested != (kind == ledger.KindConsentRequest) || decided != (kind == ledger.KindConsentGrant || kind == ledger.KindConsentDeny) || ended != (c.State == Revoked || c.State == Expired) {
				t.Errorf("%v × %q sets the wrong time: %+v", row.from, kind, c)
			}
		}
	}
}

// A request waits 30 days at most, a grant as long as it says, an end is the end.
// It would catch a request that waits for ever, and an ended consent that ends again.
func TestDeadline(t *testing.T) {
	long, short := Terms{PermissionUntil: 1000 + 2*RequestLifetime}, Terms{PermissionUntil: 1500}
	for _, test := range []struct {
		c    Consent
		want int64
	}{
		{Consent{State: Requested, RequestedAt: 1000, Terms: long}, 1000 + RequestLifetime},
		{Consent{State: Requested, RequestedAt: 1000, Terms: short}, 1500},
		{Consent{State: Granted, RequestedAt: 1000, Terms: long}, 1000 + 2*RequestLifetime},
		{Consent{State: Denied, RequestedAt: 1000, Terms: short}, 0},
		{Consent{State: Revoked, RequestedAt: 1000, Terms: short}, 0},
		{Consent{State: Expired, RequestedAt: 1000, Terms: short}, 0},
	} {
		if got := test.c.Deadline(); got != test.want {
			t.Errorf("%v: %d, want %d", test.c.State, got, test.want)
		}
		if test.c.due(test.want-1) || test.c.due(test.want) != (test.want != 0) {
			t.Errorf("%v is not due from its deadline on, exactly", test.c.State)
		}
	}
}
