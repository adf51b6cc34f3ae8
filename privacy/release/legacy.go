package release

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"

	"github.com/wattveil/wattveil/privacy/dp"
)

// LegacyBody is what a release of version 1 or 2 says: a day curve. None is made any
// more; those that were published stay.
type LegacyBody struct {
	Version         int              `json:"version"`
	ID              string           `json:"id"`
	Origin          string           `json:"origin"`
	Product         string           `json:"product"`
	Day             string           `json:"day"` // UTC
	Unit            string           `json:"unit"`
	IntervalSeconds int              `json:"interval_seconds"`
	Guarantee       LegacyGuarantee  `json:"guarantee"`
	Levels          []LegacyLevel    `json:"levels"`
	Nodes           []LegacyNode     `json:"nodes"`
	Estimates       *LegacyEstimates `json:"estimates,omitempty"` // from version 2 on; absent where the tree does not allow them
}

// LegacyGuarantee is the privacy statement of a release.
type LegacyGuarantee struct {
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

// LegacyLevel says how a level was measured.
type LegacyLevel struct {
	Level   int    `json:"level"`
	Kind    string `json:"kind"`
	RhoNano uint64 `json:"rho_nano"`
	ClipWh  int64  `json:"clip_wh"`
	// Sigma2 is the variance of the discrete Gaussian in Wh², as a fraction.
	Sigma2 dp.Variance `json:"sigma2_wh2"`
	// SigmaWh is its root rounded up to a whole Wh, for people.
	SigmaWh int64 `json:"sigma_wh"`
}

// LegacyNode is one node's noisy curve: 48 sums of clipped half-hours in Wh plus
// noise, from 00:00 UTC on, unbiased for the clipped sums; they may be negative.
type LegacyNode struct {
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

// LegacyEstimates says how the estimates of version 2 were made.
type LegacyEstimates struct {
	Method     string  `json:"method"`
	Confidence float64 `json:"confidence"`
	Bias       string  `json:"bias"`
}

// VerifyLegacy checks a signed release of version 1 or 2, as Verify checks others.
func VerifyLegacy(key ed25519.PublicKey, body, signature []byte) (LegacyBody, error) {
	if err := verifySignature(key, body, signature); err != nil {
		return LegacyBody{}, err
	}
	var b LegacyBody
	if err := json.Unmarshal(body, &b); err != nil {
		return LegacyBody{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if canonical, err := encode(b); err != nil || !b.ofItsVersion() || !bytes.Equal(canonical, body) {
		return LegacyBody{}, ErrFormat
	}
	return b, nil
}

// ofItsVersion reports whether a version is known, and has what is there.
func (b LegacyBody) ofItsVersion() bool {
	estimated := b.Estimates != nil
	for _, n := range b.Nodes {
		if has := n.EstimateWh != nil || n.HalfWidthWh != 0; has && (!estimated || len(n.EstimateWh) != len(n.Wh)) {
			return false
		}
	}
	return b.Version == 2 || b.Version == 1 && !estimated
}
