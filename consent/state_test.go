package consent

import (
	"errors"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// The machine, written out a second time as a table of every pair. It would
// catch a transition that was added, lost or bent, a time that is not set, an end
// without its cause, and a cause that stays when the hold ends.
func TestTransitions(t *testing.T) {
	const no = State(0)
	kinds := []ledger.Kind{
		ledger.KindConsentRequest, ledger.KindConsentGrant, ledger.KindConsentDeny, ledger.KindConsentRevoke,
		ledger.KindConsentExpire, ledger.KindConsentNarrow, ledger.KindConsentExtend, ledger.KindConsentSuspend, ledger.KindConsentResume,
		ledger.KindConsentTerminate, ledger.KindConsentFulfil, ledger.KindConsentInvalidate,
		ledger.KindAccess, ledger.KindAccessDenied, ledger.KindRelease, "",
	}
	for _, row := range []struct {
		from State
		to   [16]State
	}{
		//           request    grant    deny    revoke   expire   narrow   extend   suspend    resume   terminate   fulfil     invalidate
		{0, [16]State{Requested}},
		{Requested, [16]State{no, Granted, Denied, no, Expired, no, no, no, no, no, no, Invalid}},
		{Granted, [16]State{no, no, no, Revoked, Expired, Granted, Granted, Suspended, no, Terminated, Fulfilled, no}},
		{Suspended, [16]State{no, no, no, Revoked, Expired, no, no, no, Granted, Terminated, Fulfilled, no}},
		{Denied, [16]State{}},
		{Revoked, [16]State{}},
		{Expired, [16]State{}},
		{Terminated, [16]State{}},
		{Fulfilled, [16]State{}},
		{Invalid, [16]State{}},
		{10, [16]State{}},
	} {
		for i, kind := range kinds {
			c, err := Consent{ID: "c", State: row.from, Cause: ByRegulator}.step(kind, 7, ByOperator)
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
			if requested != (kind == ledger.KindConsentRequest) || decided != (kind == ledger.KindConsentGrant || kind == ledger.KindConsentDeny) || ended != (c.State.Ended() && c.State != Denied) {
				t.Errorf("%v × %q sets the wrong time: %+v", row.from, kind, c)
			}
			if want := c.State.Ended() || c.State == Suspended; (c.Cause == ByOperator) != want || (c.Cause == "") == want {
				t.Errorf("%v × %q has the cause %q", row.from, kind, c.Cause)
			}
		}
	}
}

// Every state has its name in EDDIE's process, and every leaf leads there without a
// state left out, from the state it leads away from. It would catch a name that a
// connector does not know, and a jump that it refuses.
func TestStatus(t *testing.T) {
	eddie := map[string][]string{ // docs/parts/permission-process-model.md, what of it can happen where the hub is the administrator
		"": {"CREATED"}, "CREATED": {"VALIDATED"}, "VALIDATED": {"SENT_TO_PERMISSION_ADMINISTRATOR"},
		"SENT_TO_PERMISSION_ADMINISTRATOR": {"ACCEPTED", "REJECTED", "TIMED_OUT", "INVALID"},
		"ACCEPTED":                         {"REVOKED", "FULFILLED", "TERMINATED", "UNFULFILLABLE"},
	}
	terms := Terms{UsagePoints: []meter.UsagePoint{"p"}, Registers: []meter.Register{meter.ActiveImport}, Granularity: Day, DataUntil: 9, PermissionUntil: 9}
	for from, steps := range transitions {
		before := Consent{State: from, Asked: terms, Terms: terms}
		if from == Granted || from == Suspended {
			before.DecidedAt = 1
		}
		for kind := range steps {
			after, err := before.step(kind, 7, ByOperator)
			if err != nil {
				t.Fatal(err)
			}
			at := before.Status().Outer
			for _, name := range Passes(kind, after) {
				if !slices.Contains(eddie[at], name) {
					t.Errorf("%v × %s: %s follows %q", from, kind, name, at)
				}
				at = name
			}
			if at != after.Status().Outer {
				t.Errorf("%v × %s ends at %s, and the consent is at %s", from, kind, at, after.Status().Outer)
			}
			if s := after.Status(); s.Name == "" || s.CIM == "" || (s.ESPI == 1) != (after.State == Granted) {
				t.Errorf("%v has the status %+v", after.State, s)
			}
		}
	}
}

// Less than was asked is partial, all of it is not, however it was asked for. It would
// catch a narrowed grant that a third party takes for the whole.
func TestPartial(t *testing.T) {
	asked := Terms{Registers: []meter.Register{meter.ActiveImport}, Granularity: Interval, DataUntil: 9, PermissionUntil: 9}
	named := asked
	named.UsagePoints = []meter.UsagePoint{"p", "q"}
	for name, row := range map[string]struct {
		asked  Terms
		change func(*Terms)
		want   string
	}{
		"as asked":           {named, func(*Terms) {}, "ACCEPTED"},
		"all, named":         {asked, func(t *Terms) { t.UsagePoints = []meter.UsagePoint{"p"} }, "ACCEPTED"},
		"fewer points":       {named, func(t *Terms) { t.UsagePoints = []meter.UsagePoint{"p"} }, "PARTIAL"},
		"coarser":            {named, func(t *Terms) { t.Granularity = Day }, "PARTIAL"},
		"shorter":            {named, func(t *Terms) { t.DataFrom = 1 }, "PARTIAL"},
		"once":               {named, func(t *Terms) { t.Once = true }, "PARTIAL"},
		"ends before":        {asked, func(t *Terms) { t.UsagePoints, t.PermissionUntil = []meter.UsagePoint{"p"}, 8 }, "PARTIAL"},
		"without the future": {Terms{Future: true, DataUntil: 9}, func(t *Terms) { t.UsagePoints, t.Future = []meter.UsagePoint{"p"}, false }, "PARTIAL"},
		"with the future":    {Terms{Future: true, DataUntil: 9}, func(t *Terms) { t.UsagePoints = []meter.UsagePoint{"p"} }, "ACCEPTED"},
	} {
		c := Consent{State: Granted, Asked: row.asked, Terms: row.asked}
		if row.change(&c.Terms); c.Status().Name != row.want {
			t.Errorf("%s: %s, want %s", name, c.Status().Name, row.want)
		}
	}
}

// A request waits 30 days at most, a grant as long as it says, an end is the end.
// It would catch a request that waits for ever, and an ended consent that ends again.
func TestDeadline(t *testing.T) {
	long, short := Terms{PermissionUntil: 1000 + 2*RequestLifetime}, Terms{PermissionUntil: 1500}
	once := long
	once.Once = true
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
		{Consent{State: Terminated, RequestedAt: 1000, Terms: short}, 0},
		{Consent{State: Fulfilled, RequestedAt: 1000, Terms: short}, 0},
		{Consent{State: Invalid, RequestedAt: 1000, Terms: short}, 0},
		{Consent{State: Suspended, RequestedAt: 1000, Terms: short}, 1500},
		{Consent{State: Requested, RequestedAt: 1000, VacatedAt: 1200, Terms: short}, 1200},
		{Consent{State: Granted, RequestedAt: 1000, VacatedAt: 1200, Terms: long}, 1200},
		{Consent{State: Granted, RequestedAt: 1000, VacatedAt: 2000, Terms: short}, 1500},
		{Consent{State: Revoked, RequestedAt: 1000, VacatedAt: 1200, Terms: short}, 0},
		{Consent{State: Granted, FirstReadAt: 1100, Terms: once}, 1100 + ledger.OnceWindow},
		{Consent{State: Granted, Terms: once}, 1000 + 2*RequestLifetime},
	} {
		if got := test.c.Deadline(); got != test.want {
			t.Errorf("%v: %d, want %d", test.c.State, got, test.want)
		}
		if test.c.due(test.want-1) || test.c.due(test.want) != (test.want != 0) {
			t.Errorf("%v is not due from its deadline on, exactly", test.c.State)
		}
	}
}
