package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store"
)

// claim leases what is due at an instant.
func claim(t testing.TB, s *store.Store, lease byte, now int64, failing bool) []notify.Endpoint {
	t.Helper()
	pace := notify.Quick
	if failing {
		pace = notify.Failing
	}
	es, err := s.ClaimDue(t.Context(), notify.Claim{Lease: notify.Lease{lease}, Now: now, Until: now + 60, Pace: pace, Limit: 10})
	must(t, err)
	return es
}

func called(t testing.TB, s *store.Store, calls ...notify.Settlement) {
	t.Helper()
	undone, err := s.Settle(t.Context(), calls)
	must(t, err)
	if len(undone) != 0 {
		t.Errorf("%d calls are not written down", len(undone))
	}
}

// An endpoint is one caller's until it has written down what became of the call, or its
// lease is over; who comes too late changes nothing. It would catch two processes that call
// one receiver, and a call that is forgotten with the process that made it.
func TestLeases(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		endpointOf(t, s, "r")
		if es := claim(t, s, 1, 10, false); len(es) != 0 {
			t.Errorf("claimed %d with nothing to say", len(es))
		}
		putConsents(t, s, agreedTo("c"))
		first := claim(t, s, 1, 10, false)
		if len(first) != 1 || first[0].Recipient != "r" || first[0].URL != receiver || first[0].Form != notify.Webhook {
			t.Fatalf("claimed %+v", first)
		}
		if es := claim(t, s, 2, 69, false); len(es) != 0 {
			t.Error("claimed under another's lease")
		}
		second := claim(t, s, 2, 70, false) // the first is presumed dead
		if len(second) != 1 {
			t.Fatal("what was leased is never called again")
		}
		taken := notify.Settlement{Lease: notify.Lease{1}, Endpoint: first[0], Taken: []uint64{1}}
		taken.Endpoint.TakenAt = 71
		called(t, s, taken)
		if waiting, err := s.Waiting(t.Context(), "r", 71, 10); err != nil || len(waiting) != 1 {
			t.Errorf("who came too late has taken %v away, %v", waiting, err)
		}
		taken.Lease = notify.Lease{2}
		called(t, s, taken)
		row, err := s.Endpoint(t.Context(), "r")
		must(t, err)
		if row.Waiting != 0 || row.TakenAt != 71 {
			t.Errorf("after it was taken: %+v", row)
		}
		if es := claim(t, s, 3, 1000, false); len(es) != 0 {
			t.Error("claimed with nothing left to say")
		}
		putConsents(t, s, agreedTo("d"))
		slow := notify.Settlement{Lease: notify.Lease{4}, Endpoint: claim(t, s, 4, 1000, false)[0]}
		slow.Endpoint.Slow = true
		called(t, s, slow)
		if es := claim(t, s, 5, 1001, false); len(es) != 0 {
			t.Error("one that is slow counts as one that is quick")
		}
		if es, err := s.ClaimDue(t.Context(), notify.Claim{Now: 1001, Until: 1002, Pace: notify.Slow, Limit: 1}); err != nil || len(es) != 1 || !es[0].Slow {
			t.Errorf("among those that are slow: %+v, %v", es, err)
		}
	})
}

// A failing endpoint waits, and what happens meanwhile does not make it due; what is refused
// waits, and with it what is later of the same consent, and nothing else.
func TestPutOff(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		endpointOf(t, s, "r")
		putConsents(t, s, agreedTo("a"), agreedTo("b"))
		e := claim(t, s, 1, 10, false)[0]
		due := func(now int64) (seqs []uint64) {
			t.Helper()
			events, err := s.Waiting(t.Context(), "r", now, 10)
			must(t, err)
			for _, e := range events {
				seqs = append(seqs, e.Seq)
			}
			return seqs
		}
		failed := notify.Settlement{Lease: notify.Lease{1}, Endpoint: e, Due: 100, Refused: []notify.Event{{Seq: 1, Consent: "a", State: notify.Waiting, Due: 500, TriedAt: 10, Attempts: 1}}}
		failed.Endpoint.Failures, failed.Endpoint.FailingSince, failed.Endpoint.Status, failed.Endpoint.Problem = 1, 10, 404, notify.StatusProblem
		called(t, s, failed)
		over := agreedTo("a")
		over.State, over.EndedAt = consent.Revoked, 9
		putConsents(t, s, over, agreedTo("c"))
		if es := claim(t, s, 2, 99, true); len(es) != 0 {
			t.Error("called before its time")
		}
		if es := claim(t, s, 2, 100, false); len(es) != 0 {
			t.Error("one that fails counts as one that is well")
		}
		es := claim(t, s, 2, 100, true)
		if len(es) != 1 || es[0].Failures != 1 || es[0].Problem != notify.StatusProblem {
			t.Fatalf("at its time: %+v", es)
		}
		if d := cmp.Diff([]uint64{2, 4}, due(100)); d != "" {
			t.Errorf("due before what was refused (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]uint64{1, 2, 3, 4}, due(500)); d != "" {
			t.Errorf("due with what was refused (-want +got):\n%s", d)
		}
		called(t, s, notify.Settlement{Lease: notify.Lease{2}, Endpoint: es[0], Unchanged: true, Due: 130})
		if len(claim(t, s, 3, 129, true)) != 0 || len(claim(t, s, 3, 130, true)) != 1 {
			t.Error("a call that was not made does not wait as it was told")
		}
	})
}

// An endpoint that has stopped, was removed, or is only pulled from is never due. What
// happens is kept for the first and the last; after a removal nobody can go on as if nothing
// had happened meanwhile.
func TestEndpointsThatAreNotCalled(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		endpointOf(t, s, "r")
		putConsents(t, s, agreedTo("a"))
		gone := notify.Settlement{Lease: notify.Lease{1}, Endpoint: claim(t, s, 1, 10, false)[0]}
		gone.Endpoint.State, gone.Endpoint.Failures, gone.Endpoint.Status = notify.Gone, 1, 410
		called(t, s, gone)
		putConsents(t, s, agreedTo("b"))
		idle := func(when string) {
			t.Helper()
			if len(claim(t, s, 9, 1_000_000, false)) != 0 || len(claim(t, s, 9, 1_000_000, true)) != 0 {
				t.Errorf("called %s", when)
			}
		}
		idle("when it is gone")
		if n := len(listed(t, s)); n != 2 {
			t.Errorf("%d notifications are kept, want both", n)
		}
		must(t, s.PutEndpoint(ctx, "r", receiver+"2", notify.GreenButton, 20))
		es := claim(t, s, 2, 20, false)
		if len(es) != 1 || es[0].URL != receiver+"2" || es[0].Form != notify.GreenButton || es[0].Failures != 0 {
			t.Fatalf("put again: %+v", es)
		}
		if waiting, err := s.Waiting(ctx, "r", 20, 10); err != nil || len(waiting) != 2 {
			t.Errorf("%d wait for the new one, %v, want both", len(waiting), err)
		}
		must(t, s.PutEndpoint(ctx, "r", "", notify.Pull, 30))
		putConsents(t, s, agreedTo("c"))
		idle("when it is pulled from")
		for _, e := range listed(t, s) {
			if e.State != notify.Pullable {
				t.Errorf("%s of %s is in state %d", e.Kind, e.Consent, e.State)
			}
		}
		must(t, s.RemoveEndpoint(ctx, "r"))
		if err := s.RemoveEndpoint(ctx, "r"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("removing it twice: %v", err)
		}
		putConsents(t, s, agreedTo("missed"))
		idle("when it is removed")
		_, err := s.Endpoint(ctx, "r")
		_, err2 := s.ListNotifications(ctx, "r", 1, 10)
		if rows, err3 := s.ListEndpoints(ctx, "", 10); !errors.Is(err, store.ErrNotFound) || !errors.Is(err2, store.ErrNotFound) || err3 != nil || len(rows) != 0 {
			t.Errorf("a removed endpoint: %v, %v, %v, %v", err, err2, rows, err3)
		}
		endpointOf(t, s, "r")
		putConsents(t, s, agreedTo("d"))
		if _, err := s.ListNotifications(ctx, "r", 3, 10); !errors.Is(err, store.ErrCursor) {
			t.Errorf("going on over a removal: %v, want ErrCursor", err)
		}
		events := listed(t, s)
		if last := events[len(events)-1]; last.Consent != "d" || last.Seq != 5 {
			t.Errorf("after the removal: %+v", last)
		}
	})
}

// Who calls waits for nobody who changes an endpoint at this moment: it is left for later.
// On PostgreSQL; in SQLite there is one writer. It would catch a circle of waiting between
// the calls and the record.
func TestCallsWaitForNobody(t *testing.T) {
	p := newSplit(t)
	s := p.owner
	endpointOf(t, s, "r")
	endpointOf(t, s, "q")
	for _, r := range []consent.Recipient{"r", "q"} {
		c := agreedTo(consent.ID("of-" + r))
		c.Recipient = r
		putConsents(t, s, c)
	}
	both := claim(t, s, 1, 10, false)
	if len(both) != 2 {
		t.Fatalf("claimed %d", len(both))
	}
	calls := []notify.Settlement{{Lease: notify.Lease{1}, Endpoint: both[0], Unchanged: true}, {Lease: notify.Lease{1}, Endpoint: both[1], Unchanged: true}}
	do(t, s, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.PutConsent(ctx, agreedTo("now")); err != nil {
			return err
		}
		undone, err := s.Settle(ctx, calls)
		if err != nil || len(undone) != 1 || undone[0].Endpoint.Recipient != "r" {
			t.Errorf("settling beside a change: undone %+v, %v", undone, err)
		}
		if es := claim(t, s, 2, 20, false); len(es) != 1 || es[0].Recipient != "q" {
			t.Errorf("claiming beside a change: %+v", es)
		}
		return err
	})
	called(t, s, calls...)
	if es := claim(t, s, 3, 20, false); len(es) != 1 || es[0].Recipient != "r" {
		t.Errorf("after the change: %+v", es)
	}
}
