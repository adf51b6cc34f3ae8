package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"slices"
	"testing"

	"filippo.io/edwards25519"

	"github.com/wattveil/wattveil/privacy/seal"
)

// smallOrder returns every encoding of every point of small order: eight points,
// of which the six last encodings are second ones.
func smallOrder(t testing.TB) [][]byte {
	t.Helper()
	const zeros, ones = "000000000000000000000000000000000000000000000000000000000000", "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	var all [][]byte
	for _, s := range []string{
		"01" + zeros + "00", "ec" + ones + "7f", "00" + zeros + "00", "00" + zeros + "80",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"01" + zeros + "80", "ec" + ones + "ff", "ed" + ones + "7f", "ed" + ones + "ff", "ee" + ones + "7f", "ee" + ones + "ff",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		if p := decoded(t, b); p.MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) != 1 {
			t.Fatalf("%s is not of small order", s)
		}
		all = append(all, b)
	}
	return all
}

func decoded(t testing.TB, b []byte) *edwards25519.Point {
	t.Helper()
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// oddly signs as the holder of a writer's key could and nobody does: with a point
// of small order in R.
func oddly(t *testing.T, seed, message []byte, torsion *edwards25519.Point) signature {
	t.Helper()
	h := sha512.Sum512(seed)
	a, err := new(edwards25519.Scalar).SetBytesWithClamping(h[:32])
	if err != nil {
		t.Fatal(err)
	}
	h = sha512.Sum512(slices.Concat(h[32:], message))
	r, err := new(edwards25519.Scalar).SetUniformBytes(h[:])
	if err != nil {
		t.Fatal(err)
	}
	point := new(edwards25519.Point).ScalarBaseMult(r)
	encoded := point.Add(point, torsion).Bytes()
	signer := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	h = sha512.Sum512(slices.Concat(encoded, signer, message))
	k, err := new(edwards25519.Scalar).SetUniformBytes(h[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature{signer, message, append(encoded, k.MultiplyAdd(k, a, r).Bytes()...)}
}

// A signature that has a point of small order in it is good or not whatever stands
// beside it: one that is good, one that has such a point too and with it none, or
// one that is bad, for which all are checked alone. It would catch the equation
// without its factor, whose answer hangs on the coefficients and comes out wrong
// once in two to eight times, and a second rule for signatures that are checked
// alone; all rounds miss the former once in 2⁸⁵ times.
func TestSmallOrderInSignature(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	for i, point := range smallOrder(t)[:8] {
		torsion := decoded(t, point)
		odd := oddly(t, seed, []byte("odd"), torsion)
		other := oddly(t, seed, []byte("other"), new(edwards25519.Point).Negate(torsion))
		if odd.byStandard() != (i == 0) { // the first is the neutral element
			t.Fatalf("point %d: the standard library says %v", i, odd.byStandard())
		}
		for range 5 {
			all := signatures(t, &stream{label: t.Name()}, 3, 1)
			all = append(all, odd, other)
			if got := seal.VerifyAll(checksOf(all)); slices.Contains(got, false) {
				t.Errorf("point %d beside good ones: %v", i, got)
			}
			all[1].message = []byte("bad")
			if got, want := seal.VerifyAll(checksOf(all)), []bool{true, false, true, true, true}; !slices.Equal(got, want) {
				t.Errorf("point %d beside a bad one: %v, want %v", i, got, want)
			}
		}
		if !seal.Good(odd.check()) {
			t.Errorf("point %d is not good alone", i)
		}
		odd.message = []byte("another")
		if seal.Good(odd.check()) {
			t.Errorf("point %d is good for another message", i)
		}
	}
}

// A key of small order, or R, in all their encodings: ZIP 215 has all of these
// good, and so they are alone, in pairs and all at once. Such a key is a writer's
// only if it was registered as that.
func TestSmallOrderKeys(t *testing.T) {
	points := smallOrder(t)
	var all []signature
	for _, a := range points {
		for _, r := range points {
			all = append(all, signature{a, []byte("Zcash"), slices.Concat(r, make([]byte, 32))})
		}
	}
	if got := seal.VerifyAll(checksOf(all)); slices.Contains(got, false) {
		t.Errorf("together: %v", got)
	}
	good := signatures(t, &stream{label: t.Name()}, 1, 1)[0]
	for _, s := range all {
		if !seal.Good(s.check()) {
			t.Errorf("key %x, R %x: bad", s.signer, s.bytes[:32])
		}
		s.bytes = slices.Clone(s.bytes)
		s.bytes[32] = 1 // S = 1 is no multiple of the order
		if got := seal.VerifyAll([]seal.Check{good.check(), s.check()}); !got[0] || got[1] || seal.Good(s.check()) {
			t.Errorf("key %x, R %x with S = 1: %v", s.signer, s.bytes[:32], got)
		}
	}
}
