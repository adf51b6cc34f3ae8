package release

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// Body is what a release says: the raw noisy integers of every node, what can be
// estimated from them, and everything needed to judge them. Its canonical form is the
// JSON that Encode writes; the signature and the ledger's digest are over those bytes.
type Body struct {
	Version int      `json:"version"`
	ID      string   `json:"id"`
	Origin  string   `json:"origin"`
	Product string   `json:"product"`
	Kind    Kind     `json:"kind"`
	Days    []string `json:"days"`           // UTC, that it is made of
	From    string   `json:"from,omitempty"` // of live load: when its interval begins, UTC
	// Unit is what estimates count in; those of a curve are of a mean day.
	Unit      string      `json:"unit"`
	Guarantee Guarantee   `json:"guarantee"`
	Levels    []LevelBody `json:"levels"`
	Estimates Estimates   `json:"estimates"`
	Nodes     []NodeBody  `json:"nodes"`

	// Entry is the product as the catalogue has it, in canonical form, and EntrySHA256
	// its hash in hex.
	Entry       json.RawMessage `json:"catalogue_entry"`
	EntrySHA256 string          `json:"catalogue_entry_sha256"`
}

// Guarantee is the privacy statement of a release.
type Guarantee struct {
	PrivacyUnit string `json:"privacy_unit"`
	Neighbours  string `json:"neighbours"`
	Mechanism   string `json:"mechanism"`
	Delta       string `json:"delta"`
	// Of this release: to a household over all its days, and to one of them alone.
	RhoNano    uint64  `json:"rho_nano"`
	Epsilon    float64 `json:"epsilon"`
	DayRhoNano uint64  `json:"day_rho_nano"`
	DayEpsilon float64 `json:"day_epsilon"`
	// Of everything that the hub has published or paid for, this release included.
	SoFar            []SoFar `json:"year_so_far"`
	DaySoFarRhoNano  uint64  `json:"last_day_so_far_rho_nano"`
	DaySoFarEpsilon  float64 `json:"last_day_so_far_epsilon"`
	DailyCapRhoNano  uint64  `json:"daily_cap_rho_nano"`
	YearlyCapRhoNano uint64  `json:"yearly_cap_rho_nano"`
	YearlyCapEpsilon float64 `json:"yearly_cap_epsilon"`
	Statement        string  `json:"statement"`
}

// SoFar is what a calendar year, UTC, has been charged.
type SoFar struct {
	Year    int     `json:"year"`
	RhoNano uint64  `json:"rho_nano"`
	Epsilon float64 `json:"epsilon"`
}

// LevelBody says how a level was measured.
type LevelBody struct {
	Level   int    `json:"level"`
	Kind    string `json:"kind"`
	RhoNano uint64 `json:"rho_nano"`
	ClipWh  int64  `json:"clip_wh,omitempty"`
	// Bound is what a household adds to a node's raw integers at most, in L2.
	Bound int64 `json:"bound"`
	// Sigma2 is the variance of the discrete Gaussian on each raw integer, as a
	// fraction, and Sigma its root rounded up, for people.
	Sigma2 dp.Variance `json:"sigma2"`
	Sigma  int64       `json:"sigma"`
}

// NodeBody is one node: sums of what its households added plus noise, unbiased for
// those sums, and what they say.
type NodeBody struct {
	ID                string  `json:"id"`
	Parent            string  `json:"parent,omitempty"`
	Kind              string  `json:"kind"`
	Level             int     `json:"level"`
	UsagePointsPublic uint64  `json:"usage_points_public"`
	Raw               []int64 `json:"raw"`
	// Estimate is made of all nodes' Raw, and adds up along the tree but for rounding;
	// Low and High enclose the truth with the confidence that the release states, each
	// number for itself. Of quantiles they are those that Estimates lists.
	Estimate []int64 `json:"estimate"`
	Low      []int64 `json:"low"`
	High     []int64 `json:"high"`
}

const statement = "For any single household (one occupancy of one home, all its usage points together): what this release tells of it is " +
	"rho-zCDP with the rho above, add/remove neighbours, whatever it did on all days of the release; of its readings on any one of these UTC days " +
	"alone, with the day's rho. Everything this hub ever publishes that depends on one UTC day's readings is within the daily cap, and everything of " +
	"a calendar year within the yearly cap. Released without noise: the grid tree, its registered usage points, tariff groups, the catalogue and the schedule."

// signatureLabel separates a release's signature from every other.
const signatureLabel = "wattveil release v1\x00"

// version is that of Body. Versions 1 and 2 are LegacyBody's.
const version = 3

var (
	// ErrSignature says that a release is not what its hub signed.
	ErrSignature = errors.New("release: signature does not verify")
	// ErrFormat says that a release is signed but not of the form that this
	// version writes.
	ErrFormat = errors.New("release: malformed or unknown format")
)

// Encode returns the canonical form: the one JSON text of a Body.
func (b Body) Encode() ([]byte, error) { return encode(b) }

func encode(body any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return nil, fmt.Errorf("encoding release: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Sign signs a release's canonical form: Ed25519 (RFC 8032) over
// "wattveil release v1", a zero byte, and the form.
func Sign(key ed25519.PrivateKey, body []byte) []byte {
	return ed25519.Sign(key, append([]byte(signatureLabel), body...))
}

// Verify checks a signed release and returns what it says. It takes nothing but
// what Encode writes, so that one release has one text: no unknown or repeated
// field, no other order, nothing after the end. The error is ErrSignature or
// ErrFormat.
func Verify(key ed25519.PublicKey, body, signature []byte) (Body, error) {
	if err := verifySignature(key, body, signature); err != nil {
		return Body{}, err
	}
	var b Body
	if err := json.Unmarshal(body, &b); err != nil {
		return Body{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if canonical, err := b.Encode(); err != nil || b.Version != version || !b.whole() || !bytes.Equal(canonical, body) {
		return Body{}, ErrFormat
	}
	return b, nil
}

func verifySignature(key ed25519.PublicKey, body, signature []byte) error {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(signatureLabel), body...), signature) {
		return ErrSignature
	}
	return nil
}

// whole reports whether a release has its own catalogue entry, and for every node as
// many numbers as that says.
func (b Body) whole() bool {
	p, err := b.product()
	if err != nil || len(b.Days) == 0 || p.Name != b.Product || p.Kind != b.Kind || (p.Kind == Live) != (b.From != "") || fmt.Sprintf("%x", sha256.Sum256(b.Entry)) != b.EntrySHA256 {
		return false
	}
	m, err := newMeasure(p, make([]meter.Day, len(b.Days)))
	if err != nil || len(b.Levels) != len(m.levels) {
		return false
	}
	for i, l := range b.Levels {
		if l.Kind != m.levels[i].plan.Kind || l.Bound != m.levels[i].bound || l.Sigma2 != m.levels[i].variance {
			return false
		}
	}
	for _, n := range b.Nodes {
		stated := m.dim()
		if p.Kind == Quantiles {
			stated = len(b.Estimates.Quantiles)
		}
		if len(n.Raw) != m.dim() || len(n.Estimate) != stated || len(n.Low) != stated || len(n.High) != stated {
			return false
		}
	}
	return true
}

// product reads the catalogue entry of a release; it must be canonical.
func (b Body) product() (Product, error) {
	var p Product
	if err := json.Unmarshal(b.Entry, &p); err != nil {
		return Product{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if canonical, _, err := p.Entry(); err != nil || !bytes.Equal(canonical, b.Entry) {
		return Product{}, ErrFormat
	}
	return p, p.validate(true)
}

// body states the noisy sums of a track.
func (e *Engine[T]) body(ctx context.Context, t *track, levels []LevelBody, nodes []NodeBody) (Body, error) {
	p := t.product()
	b := Body{
		Version: version, ID: t.releaseID(), Origin: e.Origin, Product: p.Name, Kind: p.Kind, Unit: p.unit(),
		Levels: levels, Nodes: nodes, Entry: t.entry, EntrySHA256: fmt.Sprintf("%x", t.trackID.entry),
	}
	for _, d := range t.blocks {
		b.Days = append(b.Days, d.String())
	}
	if t.part > 0 {
		b.From = t.time()
	}
	var err error
	if b.Guarantee, err = e.guarantee(ctx, t); err != nil {
		return Body{}, err
	}
	if err := b.addEstimates(t.measure); err != nil {
		return Body{}, fmt.Errorf("estimating: %w", err)
	}
	return b, nil
}

// guarantee states what a release costs, and what was spent with it.
func (e *Engine[T]) guarantee(ctx context.Context, t *track) (Guarantee, error) {
	g := Guarantee{Delta: e.Catalogue.Delta, DailyCapRhoNano: uint64(e.Catalogue.DailyCap), YearlyCapRhoNano: uint64(e.Catalogue.YearlyCap)}
	for _, year := range yearsOf(t.blocks) {
		spent, onDay, err := e.Store.Spent(ctx, year, t.last())
		if err != nil {
			return Guarantee{}, reading("budget", err)
		}
		g.SoFar = append(g.SoFar, SoFar{Year: year, RhoNano: uint64(spent)})
		g.DaySoFarRhoNano = uint64(onDay)
	}
	if err := g.state(t.product()); err != nil {
		return Guarantee{}, err
	}
	return g, nil
}

// state states what follows from a product's price and from the accounts and caps that
// are there already: terms and every ε.
func (g *Guarantee) state(p Product) error {
	rho, err := p.Rho()
	if err != nil {
		return fmt.Errorf("pricing a release: %w", err)
	}
	dayRho, err := p.DayRho()
	if err != nil {
		return fmt.Errorf("pricing a release: %w", err)
	}
	g.PrivacyUnit, g.Neighbours = "household over all days of the release, and any one of its days (UTC)", "add/remove"
	g.Mechanism, g.Statement = p.mechanism(), statement
	g.RhoNano, g.DayRhoNano = uint64(rho), uint64(dayRho)
	stated := map[*float64]uint64{
		&g.Epsilon: g.RhoNano, &g.DayEpsilon: g.DayRhoNano, &g.DaySoFarEpsilon: g.DaySoFarRhoNano, &g.YearlyCapEpsilon: g.YearlyCapRhoNano,
	}
	for i := range g.SoFar {
		stated[&g.SoFar[i].Epsilon] = g.SoFar[i].RhoNano
	}
	at := Catalogue{Delta: g.Delta}
	for epsilon, nano := range stated {
		if *epsilon, err = at.Epsilon(dp.Rho(nano)); err != nil {
			return fmt.Errorf("stating epsilon: %w", err)
		}
	}
	return nil
}

// yearsOf lists the calendar years, UTC, that days touch.
func yearsOf(days []meter.Day) []int {
	years := []int{yearOf(days[0])}
	if last := yearOf(days[len(days)-1]); last != years[0] {
		years = append(years, last)
	}
	return years
}

// unit is what a product's estimates count in.
func (p Product) unit() string {
	switch p.Kind {
	case Households, Histogram, PeakTime:
		return "households"
	default:
		return "Wh"
	}
}

func (p Product) mechanism() string {
	switch {
	case p.Kind == Quantiles:
		return "discrete Gaussian on sums of one column per household of a normalised square-root factorisation"
	case p.unit() == "households":
		return "discrete Gaussian on counts of one bin per household"
	case p.Kind == Live:
		return "discrete Gaussian on the intervals of a day as they end, each household clipped causally to one L2 bound for the day"
	case p.Basis != nil:
		return "discrete Gaussian on L2-clipped integer coefficients of a weighted cosine transform"
	default:
		return "discrete Gaussian on L2-clipped integer vectors"
	}
}

func ratio(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

// rootUp is the least integer whose square is at least r, which is not negative.
func rootUp(r *big.Rat) int64 {
	n := new(big.Int).Add(r.Num(), r.Denom())
	n.Sub(n, big.NewInt(1)).Quo(n, r.Denom()) // r rounded up
	root := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(root, root).Cmp(n) < 0 {
		root.Add(root, big.NewInt(1))
	}
	return root.Int64()
}
