package release

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

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
// noise, unbiased for the clipped sums; they may be negative.
type NodeBody struct {
	ID                string  `json:"id"`
	Parent            string  `json:"parent,omitempty"`
	Level             int     `json:"level"`
	UsagePointsPublic uint64  `json:"usage_points_public"`
	Wh                []int64 `json:"wh"`
}

const statement = "For any single household (one occupancy of one home, all its usage points together) and this UTC day, " +
	"everything this hub publishes that depends on that day's readings is rho-zCDP with the rho above, add/remove neighbours; " +
	"over a calendar year at most the yearly cap. Released without noise: the grid tree, its registered usage points, and the schedule."

// signatureLabel separates a release's signature from every other.
const signatureLabel = "wattveil release v1\x00"

// ErrSignature says that a release is not what its hub signed.
var ErrSignature = errors.New("release: signature does not verify")

// Encode returns the canonical form.
func (b Body) Encode() ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(b); err != nil {
		return nil, fmt.Errorf("encoding release: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Sign signs a release's canonical form.
func Sign(key ed25519.PrivateKey, body []byte) []byte {
	return ed25519.Sign(key, append([]byte(signatureLabel), body...))
}

// Verify checks a signed release and returns what it says.
func Verify(key ed25519.PublicKey, body, signature []byte) (Body, error) {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(signatureLabel), body...), signature) {
		return Body{}, ErrSignature
	}
	var b Body
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return Body{}, fmt.Errorf("reading release: %w", err)
	}
	return b, nil
}
