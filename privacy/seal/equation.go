package seal

import (
	"crypto/ed25519"
	"crypto/sha512"
	"io"

	"filippo.io/edwards25519"
)

// maxEquation is how many signatures one equation takes. More would save next to
// nothing, each takes 2 KiB while it is worked out, and where it fails all of them
// are checked one by one.
const maxEquation = 64

// coefficientSize is the length of a coefficient in bytes: a wrong signature
// passes with a probability of 2⁻¹²⁸.
const coefficientSize = 16

// holds says whether all signatures are good, by one equation; of none it does.
//
// A signature (R, S) by A over M is good if S is less than the order L of the
// base point B, R and A decode to points of the curve, and
//
//	[8]([S]B − R − [k]A) = 0    where k = SHA-512(R ‖ A ‖ M) mod L.
//
// This is the equation of RFC 8032, section 5.1.7, with points decoded as in
// ZIP 215, which has it for the same reason: many can be checked at once and
// give the same answer as each alone. For with a random coefficient z of 128 bits
// for each of them,
//
//	[8](Σ[zS]B − Σ[z]R − Σ[zk]A) = 0
//
// holds if all are good, and otherwise by chance alone (Bernstein, Duif, Lange,
// Schwabe, Yang: High-speed high-security signatures, section 5). Signatures of
// one writer share the point A. Who knew the coefficients could make wrong
// signatures that cancel out, so they are drawn once the signatures stand.
//
// crypto/ed25519 checks without the factor 8, which leaves out what B does not
// generate: eight points of small order. Without it the answer for many would
// depend on the coefficients; so where the standard library says no, the equation
// has the last word, see [Check.good], and a signature is good or not whatever
// is checked beside it. The two differ only over a signature whose R, or whose
// writer's key, has such a point in it, or is one of the few points that have a
// second encoding. k depends on R and A as they are encoded, so nobody can make
// one from a good signature; it takes the writer's private key, whose holder can
// sign as everybody does, or a key registered with nothing but a point of small
// order, for which anybody can sign by either rule.
func holds(random io.Reader, checks []Check) bool {
	coefficients := make([]byte, len(checks)*coefficientSize)
	if _, err := io.ReadFull(random, coefficients); err != nil {
		return false // crypto/rand never fails
	}
	terms := make(sum, 0, 2*len(checks)+1)
	writers := make(map[[ed25519.PublicKeySize]byte]*term, 1)
	var base, z, s, k edwards25519.Scalar
	var wide [32]byte // a coefficient, little endian
	for i, c := range checks {
		if len(c.signer) != ed25519.PublicKeySize || len(c.signature) != ed25519.SignatureSize {
			return false
		}
		copy(wide[:], coefficients[i*coefficientSize:][:coefficientSize])
		if _, err := z.SetCanonicalBytes(wide[:]); err != nil {
			return false // 128 bits are less than L
		}
		if _, err := s.SetCanonicalBytes(c.signature[32:]); err != nil {
			return false
		}
		base.MultiplyAdd(&z, &s, &base)

		r, ok := terms.term(c.signature[:32])
		if !ok {
			return false
		}
		r.scalar = z

		name := [ed25519.PublicKeySize]byte(c.signer)
		a := writers[name]
		if a == nil {
			if a, ok = terms.term(c.signer); !ok {
				return false
			}
			writers[name] = a
		}
		c.challenge(&k)
		a.scalar.MultiplyAdd(&z, &k, &a.scalar)
	}
	terms = append(terms, term{*base.Negate(&base), *edwards25519.NewGeneratorPoint()})
	return terms.vanishes()
}

// challenge sets k. The signature has its length.
func (c Check) challenge(k *edwards25519.Scalar) {
	h := sha512.New()
	h.Write(c.signature[:32])
	h.Write(c.signer)
	h.Write(c.message)
	var digest [sha512.Size]byte
	if _, err := k.SetUniformBytes(h.Sum(digest[:0])); err != nil {
		panic("seal: reducing a challenge: " + err.Error()) // only another length
	}
}

// sum is a sum of multiples of points. It is made with room for all its terms,
// which then stay where they are.
type sum []term

type term struct {
	scalar edwards25519.Scalar
	point  edwards25519.Point
}

// term adds the zeroth multiple of an encoded point, unless it is none.
func (s *sum) term(encoded []byte) (*term, bool) {
	*s = append(*s, term{})
	t := &(*s)[len(*s)-1]
	_, err := t.point.SetBytes(encoded)
	return t, err == nil
}

// vanishes says whether eight times the sum is the neutral element. Its time
// depends on the terms, of which none is secret.
func (s sum) vanishes() bool {
	scalars, points := make([]*edwards25519.Scalar, len(s)), make([]*edwards25519.Point, len(s))
	for i := range s {
		scalars[i], points[i] = &s[i].scalar, &s[i].point
	}
	var p edwards25519.Point
	p.VarTimeMultiScalarMult(scalars, points).MultByCofactor(&p)
	return p.Equal(edwards25519.NewIdentityPoint()) == 1
}
