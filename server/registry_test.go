package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// A usage point's tariff group arrives where households are counted, and the last
// one put holds, none included; a name that no catalogue can publish is refused,
// with all of its call. It would catch a group that is lost on the way, and one that
// reads as a path or as two.
func TestTariffGroups(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		put := func(tariff string) error {
			_, err := w.operator.PutUsagePoints(t.Context(), &wattveilv1.PutUsagePointsRequest{Points: []*wattveilv1.UsagePoint{
				{Id: home, Utility: utility, Node: "feeder", Zone: "Europe/Zurich", Tariff: tariff},
			}})
			return err
		}
		group := func() string {
			day := meter.DayOf(yesterday.Unix())
			places, err := placesOf(t, w.store, day)
			ok(t, err)
			return places[consent.Household(w.homes[home].GetHousehold())].Tariff
		}
		for _, tariff := range []string{"flat", "Day-night_2.0", strings.Repeat("x", 64), ""} {
			ok(t, put(tariff))
			if got := group(); got != tariff {
				t.Errorf("the household counts in group %q, want %q", got, tariff)
			}
		}
		ok(t, put("flat"))
		for _, tariff := range []string{"day:night", "day/night", "day night", "Tagtarif\u00e4", "flat\x00", strings.Repeat("x", 65)} {
			refused(t, put(tariff), codes.InvalidArgument, "bad_name")
		}
		if got := group(); got != "flat" {
			t.Errorf("after refusals the household counts in group %q, want as before", got)
		}
	})
}

func placesOf(t *testing.T, s *store.Store, day meter.Day) (map[consent.Household]release.Place, error) {
	t.Helper()
	places := map[consent.Household]release.Place{}
	err := s.HouseholdPlaces(t.Context(), day, day, func(h consent.Household, p release.Place) { places[h] = p })
	return places, err
}
