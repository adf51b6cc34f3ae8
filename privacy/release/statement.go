package release

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
)

// Product is the name of the day curve.
const Product = "day-curve"

// ID names a day's release.
func ID(day meter.Day) string { return Product + "/" + day.String() }

// Body is what a release says: the raw noisy integers of every node, and
// everything needed to judge them. Its canonical form is the JSON that Encode
// writes; the signature and the ledger's digest are over those bytes.
type Body struct {
	Version         int         `json:"version"`
	ID              string      `json:"id"`
	Origin          string      `json:"origin"`
	Product         string      `json:"product"`
	Day             string      `json:"day"` // UTC
	Unit            string      `json:"unit"`
	IntervalSeconds int         `json:"interval_seconds"`
	Guarantee       Guarantee   `json:"guarantee"`
	Levels          []LevelBody `json:"levels"`
	Nodes           []NodeBody  `json:"nodes"`
	Estimates       *Estimates  `json:"estimates,omitempty"` // from version 2 on; absent where the tree does not allow them
}

// Guarantee is the privacy statement of a release.
type Guarantee struct {
	PrivacyUnit      string  `json:"privacy_unit"`
	Neighbours       string  `json:"neighbours"`
	Mechanism        string  `json:"mechanism"`
	RhoNano          uint64  `json:"rho_nano"`
	Delta            string  `json:"delta"`
	Epsilon          float64 `json:"epsilon"`
	YearlyCapRhoNano uint64  `json:"yearly_cap_rho_nano"`
	YearlyCapEpsilon float64 `json:"yearly_cap_epsilon"`
	Statement        string  `json:"statement"`
}

// LevelBody says how a level was measured.
type LevelBody struct {
	Level   int    `json:"level"`
	Kind    string `json:"kind"`
	RhoNano uint64 `json:"rho_nano"`
	ClipWh  int64  `json:"clip_wh"`
	// Sigma2 is the variance of the discrete Gaussian in Wh², as a fraction.
	Sigma2 dp.Variance `json:"sigma2_wh2"`
	// SigmaWh is its root rounded up to a whole Wh, for people.
	SigmaWh int64 `json:"sigma_wh"`
}

// NodeBody is one node's noisy curve: 48 sums of clipped half-hours in Wh plus
// noise, from 00:00 UTC on, unbiased for the clipped sums; they may be negative.
type NodeBody struct {
	ID                string  `json:"id"`
	Parent            string  `json:"parent,omitempty"`
	Level             int     `json:"level"`
	UsagePointsPublic uint64  `json:"usage_points_public"`
	Wh                []int64 `json:"wh"`
	// EstimateWh are curves that add up along the tree, made of all nodes' Wh, and
	// HalfWidthWh is what each of their numbers may be off to either side, with the
	// confidence that the release states.
	EstimateWh  []int64 `json:"estimate_wh,omitempty"`
	HalfWidthWh int64   `json:"half_width_wh,omitempty"`
}

const statement = "For any single household (one occupancy of one home, all its usage points together) and this UTC day, " +
	"everything this hub publishes that depends on that day's readings is rho-zCDP with the rho above, add/remove neighbours; " +
	"over a calendar year at most the yearly cap. Released without noise: the grid tree, its registered usage points, and the schedule."

// signatureLabel separates a release's signature from every other.
const signatureLabel = "wattveil release v1\x00"

// version is that of Body. Version 1 had no estimates.
const version = 2

var (
	// ErrSignature says that a release is not what its hub signed.
	ErrSignature = errors.New("release: signature does not verify")
	// ErrFormat says that a release is signed but not of the form that this
	// version writes.
	ErrFormat = errors.New("release: malformed or unknown format")
)

// Encode returns the canonical form: the one JSON text of a Body.
func (b Body) Encode() ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(b); err != nil {
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
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(signatureLabel), body...), signature) {
		return Body{}, ErrSignature
	}
	var b Body
	if err := json.Unmarshal(body, &b); err != nil {
		return Body{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if canonical, err := b.Encode(); err != nil || !b.ofItsVersion() || !bytes.Equal(canonical, body) {
		return Body{}, ErrFormat
	}
	return b, nil
}

// ofItsVersion reports whether a version is known, and has what is there.
func (b Body) ofItsVersion() bool {
	estimated := b.Estimates != nil
	for _, n := range b.Nodes {
		estimated = estimated || n.EstimateWh != nil || n.HalfWidthWh != 0
	}
	return b.Version == version || b.Version == 1 && !estimated
}

// body states the noisy curves of a day.
func (e *Engine[T]) body(day meter.Day, levels []LevelBody, nodes []NodeBody) (Body, error) {
	cost, err := e.Plan.DayRho()
	if err != nil {
		return Body{}, fmt.Errorf("pricing a day: %w", err)
	}
	b := Body{
		Version: version, ID: ID(day), Origin: e.Origin, Product: Product, Day: day.String(), Unit: "Wh", IntervalSeconds: IntervalSeconds,
		Guarantee: Guarantee{
			PrivacyUnit: "household-day (UTC)", Neighbours: "add/remove", Mechanism: "discrete Gaussian on L2-clipped integer vectors",
			RhoNano: uint64(cost), Delta: e.Plan.Delta, YearlyCapRhoNano: uint64(e.Plan.YearlyCap), Statement: statement,
		},
		Levels: levels, Nodes: nodes,
	}
	if b.Guarantee.Epsilon, err = e.Plan.Epsilon(cost); err != nil {
		return Body{}, fmt.Errorf("stating epsilon: %w", err)
	}
	if b.Guarantee.YearlyCapEpsilon, err = e.Plan.Epsilon(e.Plan.YearlyCap); err != nil {
		return Body{}, fmt.Errorf("stating epsilon: %w", err)
	}
	if err := b.addEstimates(); err != nil {
		return Body{}, fmt.Errorf("estimating: %w", err)
	}
	return b, nil
}

// state states levels and nodes as they stand. What it returns shares their
// memory.
func state(levels []level) ([]LevelBody, []NodeBody) {
	stated, nodes := make([]LevelBody, 0, len(levels)), []NodeBody{}
	for _, l := range levels {
		stated = append(stated, LevelBody{
			Level: l.depth, Kind: l.plan.Kind, RhoNano: uint64(l.plan.Rho), ClipWh: l.plan.ClipWh, Sigma2: l.variance, SigmaWh: rootUp(l.variance.Rat()),
		})
		for i, n := range l.nodes {
			nodes = append(nodes, NodeBody{
				ID: n.ID, Parent: n.Parent, Level: n.Level, UsagePointsPublic: n.UsagePoints, Wh: l.sums[i*Intervals : (i+1)*Intervals],
			})
		}
	}
	return stated, nodes
}

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
