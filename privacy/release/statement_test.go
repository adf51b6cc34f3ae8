package release_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"math/big"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenPlan has one level whose variance is a whole number and one whose is not.
var goldenPlan = release.Catalogue{
	Products: []release.Product{{
		Name: product, Kind: release.Curve, Register: meter.ActiveImport, Span: release.Day, Days: release.AllDays, IntervalSeconds: 1800,
		Levels: []release.LevelPlan{
			{Kind: "region", Rho: 500_000_000, ClipWh: 1000, Bias: &release.Bias{MeanPPM: -10_000, SpreadPPM: 2000}},
			{Kind: "feeder", Rho: 300_000_000, ClipWh: 7},
		},
	}},
	YearlyCap: 2 * dp.RhoUnit, DailyCap: dp.RhoUnit, Delta: "1e-6", Watermark: time.Hour,
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
	body, err := w.engine.Stated(t.Context(), w.plan.Products[0], today, tree, func(sums map[string][]int64) {
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
	const path = "testdata/day-curve-v3.json"
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

// What was signed in earlier forms verifies still.
func TestGoldenReleasesOfEarlierVersions(t *testing.T) {
	for version, path := range map[int]string{1: "testdata/day-curve-v1.json", 2: "testdata/day-curve-v2.json"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var old golden
		if err := json.Unmarshal(text, &old); err != nil {
			t.Fatal(err)
		}
		body, err := release.VerifyLegacy(old.PublicKey, []byte(old.Body), old.Signature)
		if err != nil || body.Version != version || (body.Estimates != nil) != (version == 2) || len(body.Nodes) != 3 {
			t.Errorf("version %d: %d, %d nodes, %v", version, body.Version, len(body.Nodes), err)
		}
		if _, err := release.Verify(old.PublicKey, []byte(old.Body), old.Signature); !errors.Is(err, release.ErrFormat) {
			t.Errorf("version %d passes for version 3: %v", version, err)
		}
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
		"another order":           strings.Replace(good, `"product":"day-curve","kind":"curve"`, `"kind":"curve","product":"day-curve"`, 1),
		"another case":            strings.Replace(good, `"unit"`, `"Unit"`, 1),
		"a space":                 strings.Replace(good, `"unit":`, `"unit": `, 1),
		"a space before":          " " + good,
		"a line feed after":       good + "\n",
		"something after":         good + good,
		"an escaped letter":       strings.Replace(good, `"Wh"`, `"\u0057h"`, 1),
		"a number in other words": strings.Replace(good, `"clip_wh":1000,"bound"`, `"clip_wh":1e3,"bound"`, 1),
		"an empty parent":         strings.Replace(good, `{"id":"region",`, `{"id":"region","parent":"",`, 1),
		"a longer epsilon":        strings.Replace(good, `,"statement"`, `0,"statement"`, 1),
		"a variance not reduced":  strings.Replace(good, `"sigma2":"245/3"`, `"sigma2":"490/6"`, 1),
		"another variance":        strings.Replace(good, `"sigma2":"245/3"`, `"sigma2":"82"`, 1),
		"another bound":           strings.Replace(good, `"bound":7,`, `"bound":8,`, 1),
		"another entry":           strings.Replace(good, `"rho":"0.3"`, `"rho":"0.2"`, 1),
		"another entry's hash":    strings.Replace(good, `"catalogue_entry_sha256":"`, `"catalogue_entry_sha256":"0`, 1),
		"another product":         strings.Replace(good, `"product":"day-curve"`, `"product":"night-curve"`, 1),
		"no days":                 strings.Replace(good, `"days":["2018-11-05"]`, `"days":[]`, 1),
		"a number too few":        strings.Replace(good, `"low":[`, `"low":[],"x":[`, 1),
		"version 4":               strings.Replace(good, `"version":3`, `"version":4`, 1),
		"version 2 of 3":          strings.Replace(good, `"version":3`, `"version":2`, 1),
		"version 0":               strings.Replace(good, `"version":3`, `"version":0`, 1),
		"no version":              strings.Replace(good, `"version":3,`, ``, 1),
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
	for name, plan := range map[string]release.Catalogue{"plain": plain(), "golden": goldenPlan, "capped": capped(3)} {
		w := newWorld(t, plan)
		w.open(t, today)
		w.due(today)
		if _, err := w.engine.CloseDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		body := w.body(t, today)
		levels := plan.Products[0].Levels
		if body.Version != 3 || body.ID != "day-curve/2018-11-05" || !slices.Equal(body.Days, []string{"2018-11-05"}) || body.Origin != origin || body.Unit != "Wh" ||
			body.Kind != release.Curve || body.Product != "day-curve" || len(body.Levels) != len(levels) {
			t.Errorf("%s: the release calls itself %+v", name, body)
		}
		var sum uint64
		for i, l := range body.Levels {
			sum += l.RhoNano
			p := levels[i]
			if l.Kind != p.Kind || l.ClipWh != p.ClipWh || l.RhoNano != uint64(p.Rho) || l.Bound != p.ClipWh {
				t.Errorf("%s: level %s is stated as %+v", name, p.Kind, l)
			}
			// C²/(2ρ) with ρ in 1e-9: C²·1e9 / (2·nano).
			least := new(big.Rat).SetFrac(
				new(big.Int).Mul(big.NewInt(p.ClipWh*p.ClipWh), big.NewInt(1e9)), new(big.Int).SetUint64(2*uint64(p.Rho)))
			if l.Sigma2.Rat().Cmp(least) < 0 {
				t.Errorf("%s: σ² of level %s is %s, less than %s", name, p.Kind, l.Sigma2, least)
			}
			root := new(big.Rat).SetInt64(l.Sigma)
			below := new(big.Rat).SetInt64(l.Sigma - 1)
			if root.Mul(root, root).Cmp(l.Sigma2.Rat()) < 0 || below.Mul(below, below).Cmp(l.Sigma2.Rat()) >= 0 {
				t.Errorf("%s: σ of level %s is printed as %d, σ² as %s", name, p.Kind, l.Sigma, l.Sigma2)
			}
		}
		g := body.Guarantee
		if g.RhoNano != sum || g.DayRhoNano != sum || g.YearlyCapRhoNano != uint64(plan.YearlyCap) || g.DailyCapRhoNano != uint64(plan.DailyCap) ||
			g.Delta != plan.Delta || g.Neighbours != "add/remove" {
			t.Errorf("%s: the guarantee is %+v, its levels spend %d", name, g, sum)
		}
		// A day before was closed, too.
		closed := uint64(len(w.store.Reservations()))
		if len(g.SoFar) != 1 || g.SoFar[0].Year != 2018 || g.SoFar[0].RhoNano != closed*sum || g.DaySoFarRhoNano != sum {
			t.Errorf("%s: so far it says %+v after %d reservations", name, g, closed)
		}
		for _, e := range []struct {
			rho    uint64
			stated float64
		}{{g.RhoNano, g.Epsilon}, {g.YearlyCapRhoNano, g.YearlyCapEpsilon}, {g.DayRhoNano, g.DayEpsilon}, {g.SoFar[0].RhoNano, g.SoFar[0].Epsilon}, {g.DaySoFarRhoNano, g.DaySoFarEpsilon}} {
			want, err := dp.Epsilon(dp.Rho(e.rho), 1e-6)
			exact, err2 := dp.EpsilonGaussian(dp.Rho(e.rho), 1e-6)
			if err != nil || err2 != nil || e.stated != want || e.stated < exact {
				t.Errorf("%s: ε of %d is stated as %v; the bound is %v, and no less than %v holds", name, e.rho, e.stated, want, exact)
			}
		}
		if body.Estimates.Confidence != 0.95 || body.Estimates.Method == "" || body.Estimates.Bias == "" {
			t.Errorf("%s: estimates are stated as %+v", name, body.Estimates)
		}
		for _, n := range body.Nodes {
			for j, v := range n.Estimate {
				if n.Low[j] > v || n.High[j] < v || n.High[j]-n.Low[j] < 2 {
					t.Errorf("%s: %s, half-hour %d: %d in %d to %d", name, n.ID, j, v, n.Low[j], n.High[j])
				}
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
