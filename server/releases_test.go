package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Anybody can ask what is published at what price, and finds the entry of each release
// in the answer by its hash. It would catch a catalogue that is told otherwise than it
// is kept to.
func TestTheCatalogueInForce(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keep(batch("b-1", day(home, yesterday, 1)))
	w.clock.set(pastWatermark)
	ok(t, w.hub.Tend(t.Context()))
	c, err := w.public().GetCatalogue(t.Context(), &wattveilv1.GetCatalogueRequest{})
	ok(t, err)
	want := release.DefaultCatalogue()
	if c.GetYearlyCapNanoRho() != uint64(want.YearlyCap) || c.GetDailyCapNanoRho() != uint64(want.DailyCap) || c.GetDelta() != want.Delta ||
		c.GetWatermarkSeconds() != 36*3600 || c.GetWorstYearNanoRho() != 891_000_000 || c.GetWorstDayNanoRho() != 41_500_000 || len(c.GetEntries()) != len(want.Products) {
		t.Errorf("catalogue %v", c)
	}
	entries := map[string]bool{}
	for _, e := range c.GetEntries() {
		if sum := sha256.Sum256([]byte(e.GetEntry())); hex.EncodeToString(sum[:]) != e.GetSha256() {
			t.Errorf("the hash of %s is another's", e.GetProduct())
		}
		entries[e.GetSha256()] = true
	}
	got, err := w.public().GetRelease(t.Context(), &wattveilv1.GetReleaseRequest{Id: "day-curve/" + meter.DayOf(yesterday.Unix()).String()})
	ok(t, err)
	var body struct {
		Hash string `json:"catalogue_entry_sha256"`
	}
	ok(t, json.Unmarshal([]byte(got.GetBody()), &body))
	if !entries[body.Hash] {
		t.Errorf("a release is of entry %s, which the catalogue does not have", body.Hash)
	}

	for product, want := range map[string]bool{"day-curve": true, "week-energy": false, "": true} {
		list, err := w.public().ListReleases(t.Context(), &wattveilv1.ListReleasesRequest{Product: product})
		if err != nil || (len(list.GetReleases()) > 0) != want {
			t.Errorf("%d releases of %q, %v", len(list.GetReleases()), product, err)
		}
	}
	_, err = w.public().ListReleases(t.Context(), &wattveilv1.ListReleasesRequest{Product: "day curve\x00"})
	refused(t, err, codes.InvalidArgument, "bad_name")
}
