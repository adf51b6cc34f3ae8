package dp

import (
	"encoding/binary"
	"errors"
)

// CausalClipSize is the length in bytes of a stored [CausalClip].
const CausalClipSize = 1 + 8 + 16

const causalVersion = 1

// ErrCausalState reports bytes that no [CausalClip.AppendBinary] wrote.
var ErrCausalState = errors.New("dp: not the state of a causal clip")

// CausalClip clips one contributor's vector to an L2 norm of at most C while it
// arrives, for sums that are published interval by interval: an individual
// privacy filter (Feldman and Zrnic 2021, arXiv:2008.11193). It keeps the
// squared norm that is left of C² and admits of each element what fits. Where
// [ClipL2] scales a whole vector, this leaves the beginning as it is and cuts
// what comes after the norm is used up; a vector of norm at most C passes
// through both unchanged.
//
// A block is the unit of protection, one UTC day in this hub. One contributor's
// admitted elements of a block have norm at most C, whatever they were before,
// and depend on nothing but that contributor's own elements of the same block.
// So if each interval's sum gets fresh discrete Gaussian noise of one variance
// σ², all that is published of the block is ρ-zCDP for the single
// [RhoOf](C, σ²), which is charged once, before its first interval; even if
// what is summed in later intervals is chosen after seeing earlier ones.
// PROOFS.md, claim 10, also shows why no sliding window can do this.
//
// Keep one CausalClip for each contributor and each published vector that it
// is part of. What is handed to Admit may depend on that contributor's readings
// in this block and on what has been published, on nothing else.
//
// Its state is as sensitive as a reading: after one interval it is that
// reading. Never publish it, log it, or let it decide something that others can
// see; String and GoString do not show it. Between intervals keep
// [CausalClip.AppendBinary] encrypted, bound to its contributor, vector and
// block, and store the new state before the sum it went into is published. A
// crash in between then loses norm; a state put back to an earlier one would
// admit the same norm twice.
//
// The unit of elements and C is the caller's (Wh). A CausalClip belongs to one
// goroutine at a time. The zero CausalClip has C = 0 and admits zeros only.
type CausalClip struct {
	bound int64 // C, 0 … MaxBound
	left  u128  // C² - Σ y² over the block, at most C² ≤ 2^80
}

// NewCausalClip returns the clip to norm c at the beginning of a block. It
// returns [ErrBound] for c outside 0 … [MaxBound].
func NewCausalClip(c int64) (CausalClip, error) {
	if c < 0 || c > MaxBound {
		return CausalClip{}, ErrBound
	}
	k := CausalClip{bound: c}
	k.Reset()
	return k, nil
}

// Admit returns what of the block's next element x may join its sum, and counts
// it: with s the sum of squares admitted so far,
//
//	y = sign(x) · min(|x|, ⌊√(C² - s)⌋),
//
// exactly, for every int64 including the least. Each coordinate of a published
// vector needs an Admit of its own, and an element counts once admitted even if
// nothing is published. Rounding the root down keeps s ≤ C². It panics rather
// than break that. Its running time depends on x and on s.
func (k *CausalClip) Admit(x int64) int64 {
	size := magnitude(x)
	square := mul64(size, size)
	if k.left.less(square) {
		size = isqrt(k.left) // below |x| and at most C
		square = mul64(size, size)
		if k.left.less(square) {
			panic("dp: admitted element exceeds its bound")
		}
	}
	k.left = k.left.sub(square)
	return signed(size, x < 0)
}

// Reset begins a new block with all of C². Call it for every contributor at the
// boundary, which is public and the same for all, and never within a block: each
// call allows another C.
func (k *CausalClip) Reset() { k.left = mul64(uint64(k.bound), uint64(k.bound)) }

// AppendBinary appends the state to b, [CausalClipSize] bytes whatever was
// admitted: a version, 1; C in 8 bytes; C² - s in 16; both big-endian. It
// always succeeds. See the type's comment on how to keep it.
func (k *CausalClip) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, causalVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(k.bound))
	b = binary.BigEndian.AppendUint64(b, k.left.hi)
	return binary.BigEndian.AppendUint64(b, k.left.lo), nil
}

// UnmarshalBinary reads what AppendBinary wrote, or returns [ErrCausalState] and
// leaves k as it was. That some clip could be in a state does not make it the
// latest of this one.
func (k *CausalClip) UnmarshalBinary(b []byte) error {
	if len(b) != CausalClipSize || b[0] != causalVersion {
		return ErrCausalState
	}
	c := binary.BigEndian.Uint64(b[1:])
	left := u128{binary.BigEndian.Uint64(b[9:]), binary.BigEndian.Uint64(b[17:])}
	if c > MaxBound || mul64(c, c).less(left) {
		return ErrCausalState
	}
	*k = CausalClip{bound: int64(c), left: left}
	return nil
}

// String names the type and shows no state.
func (CausalClip) String() string { return "dp.CausalClip" }

// GoString names the type and shows no state.
func (CausalClip) GoString() string { return "dp.CausalClip" }
