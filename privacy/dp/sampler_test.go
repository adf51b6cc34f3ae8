package dp_test

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// Catches random bytes that outlive their call: whoever reads them later knows
// the noise.
func TestRandomBytesAreCleared(t *testing.T) {
	s := stream{label: "cleared"}
	draws := make([]int64, 10)
	if left, err := dp.DrawGaussianFrom(s.read, draws, mustVariance(t, "10000")); left || err != nil {
		t.Errorf("gaussian: bytes left %v, %v", left, err)
	}
	if left, err := dp.DrawLaplaceFrom(s.read, draws, 100, 1); left || err != nil {
		t.Errorf("laplace: bytes left %v, %v", left, err)
	}
}

// Catches a sampler that keeps state of its own, or takes randomness from
// elsewhere: the same bytes give the same noise, other bytes other noise.
func TestNoiseComesFromItsSourceOnly(t *testing.T) {
	draw := func(label string) []int64 {
		s := stream{label: label}
		draws := make([]int64, 20)
		if _, err := dp.DrawGaussianFrom(s.read, draws, mustVariance(t, "100000000")); err != nil {
			t.Fatal(err)
		}
		return draws
	}
	if a, b := draw("a"), draw("a"); !slices.Equal(a, b) {
		t.Errorf("one stream, two results: %v, %v", a, b)
	}
	if a, b := draw("a"), draw("b"); slices.Equal(a, b) {
		t.Errorf("two streams, one result: %v", a)
	}
}

// Catches a sampler that returns what it cannot represent. A source whose coins
// of exp(-1) always show heads (words that make below(2) zero and below(3) not)
// drives a draw outward for ever; it must become an error, with nothing drawn.
func TestTailIsAnError(t *testing.T) {
	const zeroBelow2, twoBelow3 = 2, math.MaxUint64
	outward := func() func([]byte) {
		// For scale 1: u = below(1), then the coin of exp(-0).
		next := []uint64{zeroBelow2, zeroBelow2}
		return func(b []byte) {
			for ; len(b) > 0; b = b[8:] {
				if len(next) == 0 {
					next = []uint64{zeroBelow2, twoBelow3}
				}
				binary.LittleEndian.PutUint64(b, next[0])
				next = next[1:]
			}
		}
	}
	draws := []int64{1, 2}
	if left, err := dp.DrawLaplaceFrom(outward(), draws, 1, 1); !errors.Is(err, dp.ErrTail) || left || !slices.Equal(draws, []int64{0, 0}) {
		t.Errorf("laplace: %v, %v", draws, err)
	}
	draws = []int64{1, 2}
	if left, err := dp.DrawGaussianFrom(outward(), draws, mustVariance(t, "1/3")); !errors.Is(err, dp.ErrTail) || left || !slices.Equal(draws, []int64{0, 0}) {
		t.Errorf("gaussian: %v, %v", draws, err)
	}
}

// Catches a Laplace scale that would mean no noise, or more than fits.
func TestDrawLaplaceScale(t *testing.T) {
	for _, scale := range [][2]uint64{{0, 1}, {1, 0}, {1<<50 + 1, 1}} {
		draws := []int64{1, 2}
		if err := dp.DrawLaplace(draws, scale[0], scale[1]); !errors.Is(err, dp.ErrScale) || !slices.Equal(draws, []int64{0, 0}) {
			t.Errorf("scale %d/%d: %v, %v", scale[0], scale[1], draws, err)
		}
		if n, err := dp.DrawLaplaceNoise(1, scale[0], scale[1]); !errors.Is(err, dp.ErrScale) || n != nil {
			t.Errorf("noise of scale %d/%d: %v, %v", scale[0], scale[1], n, err)
		}
	}
	if err := dp.DrawLaplace(make([]int64, 100), 1<<50, 1); err != nil {
		t.Errorf("greatest scale: %v", err)
	}
}

// Catches a zero Variance, as left by a forgotten error, that acts as a small
// one: no noise may come of it.
func TestZeroVarianceDrawsNothing(t *testing.T) {
	var none dp.Variance
	draws := []int64{5, 5}
	if err := dp.DrawGaussian(draws, none); !errors.Is(err, dp.ErrVariance) || draws[0] != 0 || draws[1] != 0 {
		t.Errorf("DrawGaussian: %v, %v", draws, err)
	}
	if n, err := dp.DrawNoise(1, none); !errors.Is(err, dp.ErrVariance) || n != nil {
		t.Errorf("DrawNoise: %v, %v", n, err)
	}
	if rho, err := dp.RhoOf(1, none); !errors.Is(err, dp.ErrVariance) {
		t.Errorf("RhoOf: %v, %v", rho, err)
	}
	if text, err := none.MarshalText(); !errors.Is(err, dp.ErrVariance) {
		t.Errorf("MarshalText: %q, %v", text, err)
	}
	if none.Rat().Sign() != 0 || none.Sigma() != 0 {
		t.Errorf("not zero: %v", none.Rat())
	}
}
