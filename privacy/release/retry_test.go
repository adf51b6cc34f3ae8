package release_test

import (
	"sync/atomic"
	"testing"

	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/privacy/release/releasetest"
)

// Days that failed to move on do not put back running sums that a later day has taken
// up since. It would catch a day that counts in two sets, and with it a day whose
// presence decides what becomes of another's.
func TestARetriedDayPutsNoSumsBack(t *testing.T) {
	w := begun(t, spans())
	w.home("a", "feeder-1", "up-a")
	w.day(t, today, halves("a", "up-a", today, 0, 1))
	day := today
	for _, wh := range []int64{10, 100, 1000} {
		day = day.Next()
		w.take(t, day, halves("a", "up-a", day, 0, wh))
	}
	w.due(today + 3)
	var failed atomic.Int64
	w.store.OnStep(func(s releasetest.Step) ledgertest.Fault {
		if s == releasetest.EndPublishing && failed.Add(1) <= 2 {
			return ledgertest.Failed
		}
		return ledgertest.None
	})
	if _, err := w.engine.CloseDue(t.Context()); err == nil {
		t.Fatal("the faults were not met")
	}
	w.store.OnStep(nil)
	for range 4 { // a set that was taken up meanwhile is made anew
		_, _ = w.engine.CloseDue(t.Context())
	}
	if sets, err := w.store.RunningSets(t.Context()); err != nil || len(sets) != 1 {
		t.Errorf("%d sets count, %v; want 1", len(sets), err)
	}
	for d := today + 4; d < today+6; d++ {
		w.day(t, d)
	}
	w.take(t, today+6)
	if got := w.last(t, today+6)["week-energy/2018-W45"]["feeder-1"][0]; got != 1111 {
		t.Errorf("the week's energy is %d, want 1111", got)
	}
}
