package dp

import "math/big"

// fixedBits is the precision of fixed-point numbers: the integer a stands for
// a/2^256. They are what public constants are computed in, so that these are
// the same on every machine; no data is ever held in one.
const fixedBits = 256

// cosines returns cos(πm/(2n)) for m = 0 … n in fixed point. It takes the
// cosine of π/(2n) from its Taylor series and the others from Chebyshev's
// recurrence, cos (m+1)θ = 2·cos θ·cos mθ - cos (m-1)θ, through which an error
// grows by a factor of at most m²: below 2^-230 for n ≤ 1440.
func cosines(n int) []*big.Int {
	c := make([]*big.Int, n+1)
	c[0] = fixedOne()
	theta := fixedPi()
	theta.Quo(theta, big.NewInt(2*int64(n)))
	first := fixedCos(theta)
	for m := 1; m < n; m++ {
		if m == 1 {
			c[m] = first
			continue
		}
		next := fixedMul(first, c[m-1])
		c[m] = next.Lsh(next, 1).Sub(next, c[m-2])
	}
	c[n] = new(big.Int)
	return c
}

func fixedOne() *big.Int { return new(big.Int).Lsh(big.NewInt(1), fixedBits) }

func fixedMul(x, y *big.Int) *big.Int {
	z := new(big.Int).Mul(x, y)
	return z.Rsh(z, fixedBits)
}

// fixedRoot returns √(num/den).
func fixedRoot(num, den int64) *big.Int {
	z := new(big.Int).Lsh(big.NewInt(num), 2*fixedBits)
	return z.Quo(z, big.NewInt(den)).Sqrt(z)
}

// fixedPi returns π = 16·arctan(1/5) - 4·arctan(1/239) (Machin).
func fixedPi() *big.Int {
	a, b := fixedArctan(5), fixedArctan(239)
	a.Lsh(a, 4)
	return a.Sub(a, b.Lsh(b, 2))
}

// fixedArctan returns arctan(1/x) = 1/x - 1/(3x³) + 1/(5x⁵) - …
func fixedArctan(x int64) *big.Int {
	power := fixedOne()
	power.Quo(power, big.NewInt(x))
	sum, square := new(big.Int), big.NewInt(x*x)
	for k := int64(0); power.Sign() != 0; k++ {
		term := new(big.Int).Quo(power, big.NewInt(2*k+1))
		if k%2 == 0 {
			sum.Add(sum, term)
		} else {
			sum.Sub(sum, term)
		}
		power.Quo(power, square)
	}
	return sum
}

// fixedCos returns cos x = 1 - x²/2! + x⁴/4! - …
func fixedCos(x *big.Int) *big.Int {
	square := fixedMul(x, x)
	term, sum := fixedOne(), new(big.Int)
	for k := int64(0); term.Sign() != 0; k += 2 {
		sum.Add(sum, term)
		term = fixedMul(term, square)
		term.Quo(term.Neg(term), big.NewInt((k+1)*(k+2)))
	}
	return sum
}
