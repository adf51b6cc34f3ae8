package release_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
)

// stated is a release of a product with some raw sums or other.
func stated(t *testing.T, w *world, p release.Product) release.Body {
	t.Helper()
	body, err := w.engine.Stated(t.Context(), p, today, grid, func(sums map[string][]int64) {
		for id, s := range sums {
			hash := sha256.Sum256([]byte(id))
			for j := range s {
				s[j] = int64(hash[j%len(hash)])*1000 - 20_000
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// asVerified is a body as whoever verified its signature reads it.
func asVerified(t *testing.T, body release.Body) (release.Body, error) {
	t.Helper()
	encoded, err := body.Encode()
	if err != nil {
		t.Fatal(err)
	}
	seed := sha256.Sum256([]byte("hub"))
	key := ed25519.NewKeyFromSeed(seed[:])
	return release.Verify(key.Public().(ed25519.PublicKey), encoded, release.Sign(key, encoded))
}

// everyKind are products of all kinds, spans, bases and levels.
func everyKind() []release.Product {
	products := release.DefaultCatalogue().Products
	inBasis := products[1]
	inBasis.Name, inBasis.Basis = "basis-curve", flatBasis(48)
	biased := goldenPlan.Products[0]
	tariffs := products[4]
	tariffs.Name, tariffs.Levels = "tariff-households", []release.LevelPlan{{Kind: "tariff", Rho: 1000}}
	return append(products, inBasis, biased, tariffs)
}

// What a hub states is what anybody makes of its raw integers, for every kind of
// product. It would catch an estimate that depends on something that is not in the
// release, or on the order of a map.
func TestAnybodyMakesTheSameStatement(t *testing.T) {
	plan := release.DefaultCatalogue()
	plan.Tariffs = []string{"flat", "day-night"}
	w := newWorld(t, plan)
	for _, p := range everyKind() {
		body, err := asVerified(t, stated(t, w, p))
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		if err := body.Check(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if !body.Of(release.Catalogue{Products: everyKind()}) {
			t.Errorf("%s is not of the catalogue that it was made by", p.Name)
		}
		p.Levels = slices.Clone(p.Levels)
		p.Levels[0].Rho++
		if body.Of(release.Catalogue{Products: []release.Product{p}}) {
			t.Errorf("%s is of a catalogue that spends more", p.Name)
		}
	}
}

// A hub that signs what does not follow from its own integers is found out, by whoever
// reads the release and has nothing else. It would catch a price, a noise or an
// estimate that flatters, in a release that verifies.
func TestWhatDoesNotFollowIsFound(t *testing.T) {
	w := newWorld(t, release.DefaultCatalogue())
	lies := map[string]func(b *release.Body){
		"another name":            func(b *release.Body) { b.ID = b.Product + "/2018-11-06" },
		"another product's name":  func(b *release.Body) { b.ID = "x" + b.ID },
		"another unit":            func(b *release.Body) { b.Unit = "kWh" },
		"days of another span":    func(b *release.Body) { b.Days = shifted(t, b.Days, 62) },
		"a day that is none":      func(b *release.Body) { b.Days = append(slices.Clone(b.Days[1:]), "2018-11-31") },
		"a cheaper level":         func(b *release.Body) { b.Levels[0].RhoNano-- },
		"a wider clip":            func(b *release.Body) { b.Levels[0].ClipWh++ },
		"less noise for people":   func(b *release.Body) { b.Levels[0].Sigma-- },
		"a cheaper release":       func(b *release.Body) { b.Guarantee.RhoNano-- },
		"a cheaper day":           func(b *release.Body) { b.Guarantee.DayRhoNano-- },
		"a smaller epsilon":       func(b *release.Body) { b.Guarantee.Epsilon -= 0.0001 },
		"a smaller one so far":    func(b *release.Body) { b.Guarantee.SoFar[0].Epsilon -= 0.0001 },
		"a larger delta":          func(b *release.Body) { b.Guarantee.Delta = "1e-3" },
		"no delta":                func(b *release.Body) { b.Guarantee.Delta = "0" },
		"another statement":       func(b *release.Body) { b.Guarantee.Statement += " Trust us." },
		"another mechanism":       func(b *release.Body) { b.Guarantee.Mechanism = "exact" },
		"another method":          func(b *release.Body) { b.Estimates.Method = "guessed" },
		"more confidence":         func(b *release.Body) { b.Estimates.Confidence = 0.99 },
		"raw, and no estimate":    func(b *release.Body) { b.Nodes[0].Raw[0] += 1 << 40 },
		"an estimate":             func(b *release.Body) { b.Nodes[0].Estimate[0] += 2 },
		"an estimate far beyond":  func(b *release.Body) { b.Nodes[0].Estimate[0] = farFrom(b.Nodes[0].Estimate[0]) },
		"a narrower interval":     func(b *release.Body) { b.Nodes[0].Low[0] += 2 },
		"a node twice":            func(b *release.Body) { b.Nodes[1] = b.Nodes[0] },
		"a node on another level": func(b *release.Body) { b.Nodes[1].Level++ },
		"a node of no kind":       func(b *release.Body) { b.Nodes[0].Kind = "street" },
		"a node dropped":          func(b *release.Body) { b.Nodes = b.Nodes[1:] },
		"parents in a circle":     func(b *release.Body) { b.Nodes[0].Parent = b.Nodes[len(b.Nodes)-1].ID },
	}
	for _, p := range []int{1, 3, 5, 6} { // a curve, energy, a histogram, quantiles
		for lie, tell := range lies {
			body := stated(t, w, release.DefaultCatalogue().Products[p])
			tell(&body)
			read, err := asVerified(t, body)
			if err == nil {
				err = read.Check()
			}
			if !errors.Is(err, release.ErrMisstated) && !errors.Is(err, release.ErrFormat) {
				t.Errorf("%s, %s: %v", body.Product, lie, err)
			}
		}
	}
}

// shifted are the same number of days, some days later.
func shifted(t *testing.T, days []string, by meter.Day) []string {
	t.Helper()
	var out []string
	for _, text := range days {
		d, err := meter.ParseDay(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, (d + by).String())
	}
	return out
}

// farFrom is so far from a number that their difference does not fit.
func farFrom(v int64) int64 {
	if v < 0 {
		return math.MaxInt64
	}
	return math.MinInt64
}

// The last digit is a matter of machines: one unit either way passes, two do not. It
// would catch a check that calls a release false on another processor.
func TestCheckLeavesTheLastDigitToMachines(t *testing.T) {
	w := newWorld(t, plain())
	for off, want := range map[int64]error{-2: release.ErrMisstated, -1: nil, 1: nil, 2: release.ErrMisstated} {
		body := stated(t, w, plain().Products[0])
		body.Nodes[0].High[3] += off
		if err := body.Check(); !errors.Is(err, want) {
			t.Errorf("off by %d: %v", off, err)
		}
	}
}

// No signed text makes Check stop the program: what a hub signs is not to be trusted
// with that either.
func FuzzCheck(f *testing.F) {
	body := goldenBody(f)
	f.Add(int64(7), uint8(0), "region", "f-1")
	f.Add(int64(math.MaxInt64), uint8(1), "f-1", "region")
	f.Fuzz(func(t *testing.T, raw int64, node uint8, parent, id string) {
		b := body
		b.Nodes = slices.Clone(body.Nodes)
		n := &b.Nodes[int(node)%len(b.Nodes)]
		n.Raw = slices.Clone(n.Raw)
		n.Raw[int(node)%len(n.Raw)], n.Parent, n.ID, n.UsagePointsPublic = raw, parent, id, uint64(raw)
		if err := b.Check(); err != nil && !errors.Is(err, release.ErrMisstated) {
			t.Errorf("%v", err)
		}
	})
}
