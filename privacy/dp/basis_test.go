package dp_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// one is the weight 1, repeated.
func one(n int) []uint64 { return slices.Repeat([]uint64{dp.WeightOne}, n) }

func mustBasis(t testing.TB, weights []uint64, precision, shift uint) *dp.Basis {
	t.Helper()
	b, err := dp.NewBasis(weights, precision, shift)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The matrices another implementation must reproduce, short enough to check by
// hand: cos(π/8)/√2 is 0.65328…, cos(3π/8)/√2 is 0.27059….
func TestBasisMatrix(t *testing.T) {
	const w = dp.WeightOne
	for _, c := range []struct {
		name      string
		weights   []uint64
		precision uint
		want      [][]int64
	}{
		{"one interval", []uint64{w}, 10, [][]int64{{1024}}},
		{"two intervals", []uint64{w, 3 * w}, 10, [][]int64{{724, 724}, {2172, -2172}}},
		{"four intervals", []uint64{w, w, w, w + w/2}, 11, [][]int64{
			{1024, 1024, 1024, 1024},
			{1338, 554, -554, -1338},
			{1024, -1024, -1024, 1024},
			{831, -2007, 2007, -831},
		}},
		{"halves away from zero", []uint64{w + w/2048, w, w + w/2048, w}, 11, [][]int64{
			{1025, 1025, 1025, 1025},
			{1338, 554, -554, -1338},
			{1025, -1025, -1025, 1025},
			{554, -1338, 1338, -554},
		}},
	} {
		got := mustBasis(t, c.weights, c.precision, 0).Matrix()
		if !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Catches a wrong angle, norm, weight or sign, where the matrix is too large to
// write down: every entry is within rounding of the formula.
func TestBasisMatrixIsTheWeightedCosines(t *testing.T) {
	const precision = 32
	for _, n := range []int{1, 2, 3, 5, 24, 48, 96, 100} {
		weights := one(n)
		for j := range weights {
			weights[j] += uint64(j * j * 1000)
		}
		for j, row := range mustBasis(t, weights, precision, 0).Matrix() {
			norm := math.Sqrt(2 / float64(n))
			if j == 0 {
				norm = math.Sqrt(1 / float64(n))
			}
			for k, got := range row {
				angle := math.Pi * float64(j) * float64(2*k+1) / float64(2*n)
				want := math.Ldexp(float64(weights[j])*norm*math.Cos(angle), precision-16)
				if math.Abs(float64(got)-want) > 0.5+0.01 {
					t.Fatalf("T = %d: entry %d, %d is %d, want %v", n, j, k, got, want)
				}
			}
		}
	}
}

// Catches a machine, or a version of this package, that computes another matrix:
// what was measured with one could not be added to what was measured with the
// other. Both hashes were also computed outside Go, from cosines of 400 bits.
func TestBasisIsTheSameEverywhere(t *testing.T) {
	for _, c := range []struct {
		intervals int
		want      string
	}{
		{48, "e9d1e5090b8e1c3b056611d996262e446fb162346f8cdb9b5d6dcc70c459f681"},
		{1440, "b8770a068148bc13deb1c08724af89df07b9e8349ef96e7955b38dc1fd8c95aa"},
	} {
		if testing.Short() && c.intervals > 1000 {
			continue // two million entries
		}
		weights := one(c.intervals)
		for j := range weights {
			weights[j] += uint64(j * 12345)
		}
		hash := sha256.New()
		for _, row := range mustBasis(t, weights, 40, 30).Matrix() {
			for _, v := range row {
				var b [8]byte
				binary.BigEndian.PutUint64(b[:], uint64(v))
				hash.Write(b[:])
			}
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != c.want {
			t.Errorf("T = %d: the matrix has the hash %s, want %s", c.intervals, got, c.want)
		}
	}
}

// The measurements another implementation must reproduce.
func TestBasisMeasure(t *testing.T) {
	b := mustBasis(t, one(4), 11, 8) // 8 lattice units to a Wh
	for _, c := range []struct {
		name string
		x    []int64
		want []int64
	}{
		{"nothing", []int64{0, 0, 0, 0}, []int64{0, 0, 0, 0}},
		{"flat", []int64{500, 500, 500, 500}, []int64{8000, 0, 0, 0}},
		{"rising", []int64{100, 200, 300, 400}, []int64{4000, -1784, 0, -126}},
		{"negated", []int64{-100, -200, -300, -400}, []int64{-4000, 1784, 0, 126}},
		{"towards zero", []int64{1, 0, 0, 0}, []int64{4, 5, 4, 2}},
		{"towards zero, negative", []int64{-1, 0, 0, 0}, []int64{-4, -5, -4, -2}},
	} {
		z, err := b.Measure(c.x)
		if err != nil || !slices.Equal(z, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, z, err, c.want)
		}
	}
	for _, n := range []int{0, 3, 5} {
		if _, err := b.Measure(make([]int64, n)); !errors.Is(err, dp.ErrLength) {
			t.Errorf("%d intervals measured in a basis of 4: %v", n, err)
		}
	}
}

// checkMeasure verifies the definition in unbounded integers: each element is
// the truncated sum if that is an int64, and there is an error if any is not.
func checkMeasure(t *testing.T, b *dp.Basis, x []int64) {
	t.Helper()
	got, err := b.Measure(x)
	fits := true
	for j, row := range b.Matrix() {
		want := new(big.Int)
		for k, m := range row {
			want.Add(want, new(big.Int).Mul(big.NewInt(m), big.NewInt(x[k])))
		}
		want.Quo(want, new(big.Int).Lsh(big.NewInt(1), b.Shift())) // Quo truncates
		switch {
		case new(big.Int).Abs(want).BitLen() > 63:
			fits = false
		case err == nil && want.Cmp(big.NewInt(got[j])) != 0:
			t.Fatalf("shift %d, %v: element %d is %d, want %v", b.Shift(), x, j, got[j], want)
		}
	}
	if fits && err != nil || !fits && (!errors.Is(err, dp.ErrOverflow) || got != nil) {
		t.Fatalf("shift %d, %v: fits %v, measured %v, %v", b.Shift(), x, fits, got, err)
	}
}

// Catches a sum that wraps, a sign lost, and a shift that rounds, over every size
// of element: both in plain integers and in wide ones.
func TestBasisMeasureIsExact(t *testing.T) {
	s := stream{label: "measure"}
	for _, shift := range []uint{0, 1, 20, 32, 62} {
		weights := []uint64{dp.WeightOne, 3 * dp.WeightOne, 65537, 1 << 20, 99999, dp.WeightOne}
		b := mustBasis(t, weights, 36, shift)
		for range 1000 {
			x := make([]int64, 6)
			for i := range x {
				x[i] = s.sized() * int64(1-2*(s.word()%2))
			}
			checkMeasure(t, b, x)
		}
		for _, v := range []int64{math.MinInt64, math.MaxInt64, 1 << 62, -1} {
			checkMeasure(t, b, slices.Repeat([]int64{v}, 6))
			checkMeasure(t, b, []int64{v, -v, v, -v, v, -v})
		}
	}
	// The most that the limits allow at once.
	b := mustBasis(t, append(one(dp.MaxIntervals-1), 1<<28), 40, 62)
	x := slices.Repeat([]int64{math.MinInt64}, dp.MaxIntervals)
	checkMeasure(t, b, x)
	for i := range x {
		if i%2 == 0 {
			x[i] = math.MaxInt64
		}
	}
	checkMeasure(t, b, x)
}

// Catches what TestBasisMeasureIsExact catches, where nobody thought of looking.
func FuzzBasisMeasure(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), uint64(dp.WeightOne), uint(32), uint(28))
	f.Add(slices.Repeat([]byte{0xff, 0, 0x80}, 24), uint64(dp.MaxWeight), uint(36), uint(0))
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<63), uint64(1), uint(40), uint(62))
	f.Fuzz(func(t *testing.T, raw []byte, weight uint64, precision, shift uint) {
		var x []int64
		for ; len(raw) >= 8 && len(x) < 20; raw = raw[8:] {
			x = append(x, int64(binary.LittleEndian.Uint64(raw)))
		}
		weights := one(len(x))
		if len(weights) > 0 {
			weights[len(weights)-1] = weight
		}
		b, err := dp.NewBasis(weights, precision, shift)
		if err != nil {
			return
		}
		checkMeasure(t, b, x)
	})
}

// Catches a basis that could overflow, could not be inverted, or was given by
// mistake.
func TestNewBasisRefuses(t *testing.T) {
	const w = dp.WeightOne
	try := func(want error, weights []uint64, precision, shift uint) {
		t.Helper()
		if _, err := dp.NewBasis(weights, precision, shift); !errors.Is(err, want) {
			t.Errorf("%d weights up to %d, precision %d, shift %d: %v, want %v",
				len(weights), slices.Max(append(weights, 0)), precision, shift, err, want)
		}
	}
	allow := func(weights []uint64, precision, shift uint) { t.Helper(); try(nil, weights, precision, shift) }
	allow(one(1), 9, 0)
	allow(one(48), 15, 62)
	allow([]uint64{1, w}, 26, 0)
	allow([]uint64{w, dp.MaxWeight}, 36, 0)
	allow(one(2), 40, 40)

	try(dp.ErrIntervals, nil, 32, 28)
	try(dp.ErrIntervals, one(dp.MaxIntervals+1), 32, 28)
	try(dp.ErrWeight, []uint64{w, 0}, 32, 28)
	try(dp.ErrWeight, []uint64{w, dp.MaxWeight + 1}, 20, 0)
	try(dp.ErrPrecision, one(1), 8, 0)
	try(dp.ErrPrecision, one(48), 14, 0)
	try(dp.ErrPrecision, []uint64{1, w}, 25, 0)
	try(dp.ErrPrecision, []uint64{w, dp.MaxWeight}, 37, 0)
	try(dp.ErrPrecision, one(2), 41, 0)
	try(dp.ErrPrecision, one(2), math.MaxUint, 0)
	try(dp.ErrPrecision, one(2), 32, 63)
}

// Catches weights that are not the inverse fourth roots of the moments: wᵢ is
// the greatest integer with w⁴·moment ≤ WeightOne⁴·max.
func TestNewBasisFromMoments(t *testing.T) {
	const w = dp.WeightOne
	weights := func(moments ...uint64) []uint64 {
		b, err := dp.NewBasisFromMoments(moments, 34, 28)
		if err != nil {
			t.Fatal(err)
		}
		return b.Weights()
	}
	for _, c := range []struct{ moments, want []uint64 }{
		{[]uint64{7, 7, 7}, []uint64{w, w, w}},
		{[]uint64{1 << 40, 1 << 36, 1 << 32}, []uint64{w, 2 * w, 4 * w}},
		{[]uint64{1, 81}, []uint64{3 * w, w}},
		{[]uint64{math.MaxUint64, 1}, []uint64{w, dp.MaxWeight - 1}},
	} {
		if got := weights(c.moments...); !slices.Equal(got, c.want) {
			t.Errorf("moments %v have weights %v, want %v", c.moments, got, c.want)
		}
	}

	fourth := func(v uint64) *big.Int {
		b := new(big.Int).SetUint64(v)
		return b.Exp(b, big.NewInt(4), nil)
	}
	s := stream{label: "moments"}
	for range 300 {
		moments := []uint64{s.word()>>(s.word()%64) | 1, s.word()>>(s.word()%64) | 1}
		limit := fourth(w)
		limit.Mul(limit, new(big.Int).SetUint64(slices.Max(moments)))
		for j, got := range weights(moments...) {
			moment := new(big.Int).SetUint64(moments[j])
			low := new(big.Int).Mul(fourth(got), moment)
			if high := new(big.Int).Mul(fourth(got+1), moment); low.Cmp(limit) > 0 || high.Cmp(limit) <= 0 {
				t.Errorf("moments %v: weight %d is %d", moments, j, got)
			}
		}
	}

	for _, c := range []struct {
		moments []uint64
		want    error
	}{
		{nil, dp.ErrIntervals},
		{make([]uint64, dp.MaxIntervals+1), dp.ErrIntervals},
		{[]uint64{5, 0}, dp.ErrWeight},
	} {
		if _, err := dp.NewBasisFromMoments(c.moments, 32, 28); !errors.Is(err, c.want) {
			t.Errorf("%d moments: %v, want %v", len(c.moments), err, c.want)
		}
	}
}

// Catches a lattice unit that is not what its documentation says: with weights of
// one the norm of z is the norm of the day, in units of 2^(s-k) Wh, to within
// truncation and the rounding of entries; and a weight multiplies.
func TestBasisUnits(t *testing.T) {
	const precision, shift = 32, 28
	plain := mustBasis(t, one(48), precision, shift)
	weights := one(48)
	for j := range weights {
		weights[j] *= uint64(1 + j)
	}
	weighted := mustBasis(t, weights, precision, shift)

	s := stream{label: "units"}
	for range 100 {
		day, norm := make([]int64, 48), 0.0
		for i := range day {
			day[i] = int64(s.word() % 11500)
			norm = math.Hypot(norm, float64(day[i]))
		}
		z, err := plain.Measure(day)
		if err != nil {
			t.Fatal(err)
		}
		measured := 0.0
		for _, v := range z {
			measured = math.Hypot(measured, float64(v))
		}
		if got := math.Ldexp(measured, shift-precision); math.Abs(got-norm) > math.Ldexp(math.Sqrt(48), shift-precision)+0.01 {
			t.Errorf("a day of norm %v Wh measures %v Wh", norm, got)
		}
		heavy, err := weighted.Measure(day)
		if err != nil {
			t.Fatal(err)
		}
		for j := range heavy {
			if off := heavy[j] - int64(j+1)*z[j]; off < int64(-j-2) || off > int64(j+2) {
				t.Errorf("weight %d: coefficient %d became %d", j+1, z[j], heavy[j])
			}
		}
	}
}

// Catches an accessor through which the matrix of a Basis could be changed after
// its noise was planned.
func TestBasisDoesNotShare(t *testing.T) {
	given := one(2)
	b := mustBasis(t, given, 12, 0)
	want := b.Matrix()
	given[0] = 5
	b.Weights()[1] = 5
	b.Matrix()[0][0] = 5
	if !slices.EqualFunc(b.Matrix(), want, slices.Equal) || !slices.Equal(b.Weights(), one(2)) {
		t.Error("a Basis was changed from outside")
	}
	if b.Intervals() != 2 || b.Precision() != 12 || b.Shift() != 0 {
		t.Error("a Basis does not know its parameters")
	}
}
