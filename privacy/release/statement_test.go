package release_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/big"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenPlan has one level whose variance is a whole number and one whose is not.
var goldenPlan = release.Plan{
	Levels: []release.LevelPlan{
		{Kind: "region", Rho: 500_000_000, ClipWh: 1000},
		{Kind: "feeder", Rho: 300_000_000, ClipWh: 7},
	},
	YearlyCap: 2 * dp.RhoUnit, Delta: "1e-6", Watermark: time.Hour,
}

// golden is a release as it is stored and served, with what verifies it.
type golden struct {
	Seed      []byte `json:"seed"` // of the Ed25519 key
	PublicKey []byte `json:"public_key"`
	Signature []byte `json:"signature"`
	Body      string `json:"body"`
}

func goldenBody(t testing.TB) release.Body {
	t.Helper()
	w := newWorld(t, goldenPlan)
	tree := []release.Node{
		{ID: "region", Kind: "region", UsagePoints: 3},
		{ID: "f-1", Parent: "region", Level: 1, Kind: "feeder", UsagePoints: 3},
		{ID: "f-2 <&é>", Parent: "region", Level: 1, Kind: "feeder"},
	}
	body, err := w.engine.Stated(today, tree, func(sums map[string][]int64) {
		for i, n := range tree {
			for j := range sums[n.ID] {
				sums[n.ID][j] = int64((j - 20) * (j - 20) * (1 - 2*(i&1)))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// The form of a release is fixed: what is signed today verifies in twenty years,
// with a JSON parser and an Ed25519 library of any language. It would catch a
// field that is renamed, reordered or rounded.
func TestGoldenRelease(t *testing.T) {
	const path = "testdata/day-curve-v2.json"
	body := goldenBody(t)
	encoded, err := body.Encode()
	if err != nil {
		t.Fatal(err)
	}
	seed := sha256.Sum256([]byte("golden release"))
	key := ed25519.NewKeyFromSeed(seed[:])
	got := golden{seed[:], key.Public().(ed25519.PublicKey), release.Sign(key, encoded), string(encoded)}
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want golden
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("a release is now\n%s\nnot\n%s", got.Body, want.Body)
	}
	back, err := release.Verify(want.PublicKey, []byte(want.Body), want.Signature)
	if err != nil || !reflect.DeepEqual(back, body) {
		t.Errorf("the golden release says something else, %v", err)
	}
	// As a stranger would check it.
	if !ed25519.Verify(want.PublicKey, []byte("wattveil release v1\x00"+want.Body), want.Signature) {
		t.Error("the golden signature is not over label and body")
	}
}

// What was signed before there were estimates verifies still.
func TestGoldenReleaseOfVersion1(t *testing.T) {
	text, err := os.ReadFile("testdata/day-curve-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var old golden
	if err := json.Unmarshal(text, &old); err != nil {
		t.Fatal(err)
	}
	body, err := release.Verify(old.PublicKey, []byte(old.Body), old.Signature)
	if err != nil || body.Version != 1 || body.Estimates != nil || len(body.Nodes) != 3 {
		t.Errorf("version %d, %d nodes, %v", body.Version, len(body.Nodes), err)
	}
}

// Whatever is altered, in the body or its signature, or signed by another or for
// another purpose, does not verify.
func TestVerifyRefusesWhatWasAltered(t *testing.T) {
	encoded, err := goldenBody(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	seed := sha256.Sum256([]byte("hub"))
	key := ed25519.NewKeyFromSeed(seed[:])
	public, signature := key.Public().(ed25519.PublicKey), release.Sign(key, encoded)
	if _, err := release.Verify(public, encoded, signature); err != nil {
		t.Fatal(err)
	}
	deny := func(what string, public ed25519.PublicKey, body, signature []byte) {
		t.Helper()
		if got, err := release.Verify(public, body, signature); !errors.Is(err, release.ErrSignature) || got.Nodes != nil {
			t.Errorf("%s: %v, want ErrSignature", what, err)
		}
	}
	flipped := func(b []byte, i int) []byte { c := bytes.Clone(b); c[i] ^= 1; return c }
	for i := 0; i < len(encoded); i += 37 {
		deny("a byte of the body", public, flipped(encoded, i), signature)
	}
	for i := range signature {
		deny("a byte of the signature", public, encoded, flipped(signature, i))
	}
	for i := range public {
		deny("a byte of the key", flipped(public, i), encoded, signature)
	}
	deny("no key", nil, encoded, signature)
	deny("half a key", public[:16], encoded, signature)
	deny("no signature", public, encoded, nil)
	deny("half a signature", public, encoded, signature[:32])
	deny("nothing", public, nil, signature)
	deny("a cut body", public, encoded[:len(encoded)-1], signature)
	deny("a signature without its label", public, encoded, ed25519.Sign(key, encoded))
}

// A release has one text. What a parser would read the same, or pass over, is
// refused even when it is signed. It would catch two texts of one release, with
// two digests, and a statement that a reader does not see.
func TestVerifyTakesOneTextOnly(t *testing.T) {
	encoded, err := goldenBody(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(encoded)
	seed := sha256.Sum256([]byte("hub"))
	key := ed25519.NewKeyFromSeed(seed[:])
	for name, text := range map[string]string{
		"an unknown field":        strings.Replace(good, `{"version"`, `{"note":"","version"`, 1),
		"an unknown node field":   strings.Replace(good, `{"id":"f-1"`, `{"households":3,"id":"f-1"`, 1),
		"a field twice":           strings.Replace(good, `"unit":"Wh"`, `"unit":"Wh","unit":"Wh"`, 1),
		"another order":           strings.Replace(good, `"unit":"Wh","interval_seconds":1800`, `"interval_seconds":1800,"unit":"Wh"`, 1),
		"another case":            strings.Replace(good, `"unit"`, `"Unit"`, 1),
		"a space":                 strings.Replace(good, `"unit":`, `"unit": `, 1),
		"a space before":          " " + good,
		"a line feed after":       good + "\n",
		"something after":         good + good,
		"an escaped letter":       strings.Replace(good, `"Wh"`, `"\u0057h"`, 1),
		"a number in other words": strings.Replace(good, `"interval_seconds":1800`, `"interval_seconds":1.8e3`, 1),
		"an empty parent":         strings.Replace(good, `{"id":"region",`, `{"id":"region","parent":"",`, 1),
		"a longer epsilon":        strings.Replace(good, `,"yearly_cap_rho_nano"`, `0,"yearly_cap_rho_nano"`, 1),
		"a variance not reduced":  strings.Replace(good, `"sigma2_wh2":"245/3"`, `"sigma2_wh2":"490/6"`, 1),
		"version 3":               strings.Replace(good, `"version":2`, `"version":3`, 1),
		"version 1 of 2":          strings.Replace(good, `"version":2`, `"version":1`, 1),
		"version 0":               strings.Replace(good, `"version":2`, `"version":0`, 1),
		"no version":              strings.Replace(good, `"version":2,`, ``, 1),
		"null":                    "null",
		"a list":                  "[]",
		"nothing":                 "",
		"an empty object":         "{}",
	} {
		if text == good {
			t.Errorf("%s: the text was not altered", name)
		}
		if _, err := release.Verify(key.Public().(ed25519.PublicKey), []byte(text), release.Sign(key, []byte(text))); !errors.Is(err, release.ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}

// No signed text makes Verify panic, and what it takes is what Encode writes.
func FuzzVerify(f *testing.F) {
	encoded, err := goldenBody(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"levels":[{"sigma2_wh2":"1/3"}],"nodes":[{"wh":[1,-1]}]}`))
	seed := sha256.Sum256([]byte("hub"))
	key := ed25519.NewKeyFromSeed(seed[:])
	f.Fuzz(func(t *testing.T, text []byte) {
		body, err := release.Verify(key.Public().(ed25519.PublicKey), text, release.Sign(key, text))
		if err != nil {
			return
		}
		if again, err := body.Encode(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q was taken and is written %q, %v", text, again, err)
		}
	})
}

// What a release states of its privacy is what its numbers were made with: for
// every level σ² is at least C²/(2ρ), the levels' ρ add up to the day's, and ε is
// the published bound, rounded up to what is printed. It would catch a statement
// that flatters.
func TestTheStatementIsTrue(t *testing.T) {
	for name, plan := range map[string]release.Plan{"default": release.DefaultPlan(), "golden": goldenPlan, "capped": capped(3)} {
		w := newWorld(t, plan)
		w.open(t, today)
		w.due(today)
		if _, err := w.engine.CloseDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		body := w.body(t, today)
		if body.Version != 2 || body.ID != "day-curve/2018-11-05" || body.Day != "2018-11-05" || body.Origin != origin || body.Unit != "Wh" ||
			body.IntervalSeconds != 1800 || body.Product != "day-curve" || len(body.Levels) != len(plan.Levels) {
			t.Errorf("%s: the release calls itself %+v", name, body)
		}
		var sum uint64
		for i, l := range body.Levels {
			sum += l.RhoNano
			p := plan.Levels[i]
			if l.Kind != p.Kind || l.ClipWh != p.ClipWh || l.RhoNano != uint64(p.Rho) {
				t.Errorf("%s: level %s is stated as %+v", name, p.Kind, l)
			}
			// C²/(2ρ) with ρ in 1e-9: C²·1e9 / (2·nano).
			least := new(big.Rat).SetFrac(
				new(big.Int).Mul(big.NewInt(p.ClipWh*p.ClipWh), big.NewInt(1e9)), new(big.Int).SetUint64(2*uint64(p.Rho)))
			if l.Sigma2.Rat().Cmp(least) < 0 {
				t.Errorf("%s: σ² of level %s is %s, less than %s", name, p.Kind, l.Sigma2, least)
			}
			root := new(big.Rat).SetInt64(l.SigmaWh)
			below := new(big.Rat).SetInt64(l.SigmaWh - 1)
			if root.Mul(root, root).Cmp(l.Sigma2.Rat()) < 0 || below.Mul(below, below).Cmp(l.Sigma2.Rat()) >= 0 {
				t.Errorf("%s: σ of level %s is printed as %d, σ² as %s", name, p.Kind, l.SigmaWh, l.Sigma2)
			}
		}
		g := body.Guarantee
		if g.RhoNano != sum || g.YearlyCapRhoNano != uint64(plan.YearlyCap) || g.Delta != plan.Delta || g.Neighbours != "add/remove" {
			t.Errorf("%s: the guarantee is %+v, its levels spend %d", name, g, sum)
		}
		for _, e := range []struct {
			rho    uint64
			stated float64
		}{{g.RhoNano, g.Epsilon}, {g.YearlyCapRhoNano, g.YearlyCapEpsilon}} {
			want, err := dp.Epsilon(dp.Rho(e.rho), 1e-6)
			exact, err2 := dp.EpsilonGaussian(dp.Rho(e.rho), 1e-6)
			if err != nil || err2 != nil || e.stated != want || e.stated < exact {
				t.Errorf("%s: ε of %d is stated as %v; the bound is %v, and no less than %v holds", name, e.rho, e.stated, want, exact)
			}
		}
		if body.Estimates == nil || body.Estimates.Confidence != 0.95 {
			t.Errorf("%s: estimates are stated as %+v", name, body.Estimates)
		}
		for _, n := range body.Nodes {
			if len(n.Wh) != release.Intervals || len(n.EstimateWh) != release.Intervals || n.HalfWidthWh <= 0 {
				t.Errorf("%s: %d half-hours of %s", name, len(n.Wh), n.ID)
			}
		}
	}
}

// Every node of the tree is published every day, in the order of the levels, with
// what the register says of it and nothing else: nobody's absence shows.
func TestEveryNodeIsPublished(t *testing.T) {
	w := newWorld(t, oneDay())
	w.home("home", "feeder-1", "up-1", "up-2")
	w.home("other", "feeder-3", "up-3")
	w.send(t, today, halves("home", "up-1", today, 0, 5)) // the other's readings never come
	w.due(today)
	w.close(t, today)
	body := w.body(t, today)
	var ids []string
	points := map[string]uint64{}
	for _, n := range body.Nodes {
		ids = append(ids, n.ID)
		points[n.ID] = n.UsagePointsPublic
	}
	var want []string
	for _, n := range grid {
		want = append(want, n.ID)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("%v are published, want %v", ids, want)
	}
	if got := map[string]uint64{"region": 3, "sub-1": 2, "sub-2": 1, "feeder-1": 2, "feeder-2": 0, "feeder-3": 1, "feeder-4": 0}; !reflect.DeepEqual(points, got) {
		t.Errorf("usage points %v, want %v", points, got)
	}
}

// The estimates of a release are what anybody makes of its noisy curves: they add up
// along the tree, are as far from the noisy ones as noise is, and their half-widths
// hold the noise of the node, its level and the region at most. A node whose parent is not published is a root of
// its own, and a tree in which a level cannot be compared has no estimates. It would
// catch estimates of something else than what is published.
func TestEstimatesOfARelease(t *testing.T) {
	w := newWorld(t, oneDay())
	w.home("home", "feeder-1", "up-1", "up-2")
	w.home("other", "feeder-3", "up-3")
	w.send(t, today, halves("home", "up-1", today, 0, 5))
	w.due(today)
	w.close(t, today)
	body := w.body(t, today)
	at := map[string]int{}
	for i, n := range body.Nodes {
		at[n.ID] = i
	}
	sums := map[string][]int64{}
	children := map[string]int{}
	for _, n := range body.Nodes {
		if n.Parent == "" {
			continue
		}
		if sums[n.Parent] == nil {
			sums[n.Parent] = make([]int64, release.Intervals)
		}
		children[n.Parent]++
		for j, v := range n.EstimateWh {
			sums[n.Parent][j] += v
		}
	}
	for parent, sum := range sums {
		for j, v := range body.Nodes[at[parent]].EstimateWh {
			if off := v - sum[j]; off > int64(children[parent]) || -off > int64(children[parent]) { // each is rounded
				t.Errorf("%s, half-hour %d: %d, its children %d", parent, j, v, sum[j])
			}
		}
	}
	square := func(level int) float64 {
		v, _ := body.Levels[level].Sigma2.Rat().Float64()
		return v
	}
	nodes := map[int]float64{}
	for _, n := range body.Nodes {
		nodes[n.Level]++
	}
	for _, n := range body.Nodes {
		// A level's shift carries the noise of the region and of all its nodes.
		sigma := int64(math.Sqrt(square(0) + (nodes[n.Level]+1)*square(n.Level)))
		if n.HalfWidthWh > 2*sigma {
			t.Errorf("%s: ± %d, measured with σ = %d", n.ID, n.HalfWidthWh, sigma)
		}
		for j, v := range n.EstimateWh {
			// Eight σ: once in 10^12 for 336 numbers.
			if off := v - n.Wh[j]; off > 8*sigma || -off > 8*sigma {
				t.Errorf("%s, half-hour %d: estimated %d, measured %d with σ = %d", n.ID, j, v, n.Wh[j], sigma)
			}
		}
	}

	// Levels without nodes state no depth of their own, so that nobody could tell which
	// noise is whose: it would catch a region that is given a feeder's half-width.
	alone, err := w.engine.Stated(today, []release.Node{{ID: "region", Kind: "region"}}, func(map[string][]int64) {})
	if err != nil || alone.Estimates != nil || alone.Nodes[0].HalfWidthWh != 0 {
		t.Errorf("levels that cannot be told apart: %+v, %v", alone.Estimates, err)
	}

	tree := []release.Node{
		{ID: "region", Kind: "region"},
		{ID: "sub", Parent: "region", Level: 1, Kind: "substation"},
		{ID: "f-1", Parent: "sub", Level: 2, Kind: "feeder"},
		{ID: "sub-2", Parent: "region", Level: 1, Kind: "substation"}, // without feeders
	}
	uneven, err := w.engine.Stated(today, tree, func(map[string][]int64) {})
	if err != nil || uneven.Estimates != nil || uneven.Nodes[0].EstimateWh != nil {
		t.Errorf("a level that is not all there: %+v, %v", uneven.Estimates, err)
	}
}
