package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/store"
)

// Who moves out takes its permissions along: they are due with its last day, wherever
// that lies, and nobody else's are. It would catch a third party that reads on because
// nothing wakes the hub, and a neighbour's permission that ends.
func TestMovingOutBringsForward(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		town(t, s)
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 1000, "p1", "p2"), family("h2", 1000, "p3")}))
		ended := sampleConsent("ended", "h1", 1500)
		ended.State, ended.EndedAt = consent.Terminated, 1600
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.PutConsent(ctx, sampleConsent("live", "h1", 1500)), tx.PutConsent(ctx, ended), tx.PutConsent(ctx, sampleConsent("next door", "h2", 1500)))
		})
		must(t, s.MoveOut(ctx, "h1", 5000))
		for id, want := range map[consent.ID][2]int64{"live": {5000, 5000}, "ended": {0, 0}, "next door": {0, 1500 + consent.RequestLifetime}} {
			c, err := s.ConsentOf(ctx, store.Owner{All: true}, id)
			must(t, err)
			if c.VacatedAt != want[0] || c.Deadline() != want[1] {
				t.Errorf("%s: vacated at %d, due at %d, want %v", id, c.VacatedAt, c.Deadline(), want)
			}
		}
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			if _, err := tx.DueConsent(ctx, 4999); !errors.Is(err, consent.ErrNotFound) {
				t.Errorf("due before: %v", err)
			}
			if c, err := tx.DueConsent(ctx, 5000); err != nil || c.ID != "live" {
				t.Errorf("due then: %s, %v", c.ID, err)
			}
			return nil
		})
	})
}

// A household gets usage points where nobody lives, while it lives somewhere. It would
// catch a meter that is given to two, and one that joins a home that was left.
func TestAddUsagePoints(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		town(t, s)
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 1000, "p1"), family("h2", 1000, "p2")}))
		add := func(h consent.Household, points ...meter.UsagePoint) error {
			return s.AddUsagePoints(ctx, h, points, 2000, 2)
		}
		for name, test := range map[string]struct {
			err  error
			want error
		}{
			"nobody":           {add("nobody", "p3"), store.ErrNotFound},
			"somebody's":       {add("h1", "p2"), store.ErrConflict},
			"unknown":          {add("h1", "p9"), store.ErrNotFound},
			"one twice":        {add("h1", "p3", "p3"), store.ErrConflict},
			"more than can be": {add("h1", "p3", "p4"), store.ErrConflict},
			"free":             {add("h1", "p3"), nil},
			"one's own again":  {add("h1", "p3"), store.ErrConflict},
		} {
			if !errors.Is(test.err, test.want) {
				t.Errorf("%s: %v, want %v", name, test.err, test.want)
			}
		}
		must(t, s.MoveOut(ctx, "h2", 3000))
		if err := add("h2", "p4"); !errors.Is(err, store.ErrConflict) {
			t.Errorf("after moving out: %v", err)
		}
		o, err := s.Occupancies(ctx, "h1")
		must(t, err)
		if len(o) != 2 || o[1].UsagePoint != "p3" || o[1].From != 2000 {
			t.Errorf("occupancies %+v", o)
		}
	})
}
