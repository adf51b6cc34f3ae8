package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
)

// signature is what a check is made of.
type signature struct{ signer, message, bytes []byte }

func (s signature) check() seal.Check { return seal.MakeCheck(s.signer, s.message, s.bytes) }

// byStandard is what crypto/ed25519 says.
func (s signature) byStandard() bool {
	return len(s.signer) == ed25519.PublicKeySize && ed25519.Verify(s.signer, s.message, s.bytes)
}

func checksOf(all []signature) []seal.Check {
	checks := make([]seal.Check, len(all))
	for i, s := range all {
		checks[i] = s.check()
	}
	return checks
}

// signatures returns n good ones, by so many writers in turns.
func signatures(t testing.TB, random io.Reader, n, writers int) []signature {
	t.Helper()
	keys := make([]ed25519.PrivateKey, writers)
	for i := range keys {
		keys[i] = ed25519.NewKeyFromSeed(draw(t, random, ed25519.SeedSize))
	}
	all := make([]signature, n)
	for i := range all {
		key, message := keys[i%writers], draw(t, random, 87)
		all[i] = signature{key.Public().(ed25519.PublicKey), message, ed25519.Sign(key, message)}
	}
	return all
}

func draw(t testing.TB, random io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// wrongs are the ways in which a signature goes wrong; at is any number.
var wrongs = []func(s *signature, at byte){
	func(s *signature, at byte) { s.bytes[at%32] ^= 1 << (at % 8) },
	func(s *signature, at byte) { s.bytes[32+at%32] ^= 1 << (at % 8) },
	func(s *signature, at byte) { s.message[int(at)%len(s.message)] ^= 1 << (at % 8) },
	func(s *signature, at byte) { s.signer[at%32] ^= 1 << (at % 8) },
	func(s *signature, at byte) { s.signer = s.signer[:at%32] },
	func(s *signature, at byte) { s.signer = append(s.signer, at) },
	func(s *signature, at byte) { s.bytes = s.bytes[:at%64] },
	func(s *signature, at byte) { s.bytes = append(s.bytes, at) },
	func(s *signature, _ byte) { s.bytes = make([]byte, ed25519.SignatureSize) },
	func(s *signature, _ byte) { s.signer, s.bytes = nil, nil },
	func(s *signature, _ byte) { s.bytes = append(s.bytes[:32], plusOrder(s.bytes[32:])...) },
}

// plusOrder returns another number that is the same modulo the order of the base
// point, little endian.
func plusOrder(s []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	v := slices.Clone(s)
	slices.Reverse(v)
	v = order.Add(order, new(big.Int).SetBytes(v)).FillBytes(make([]byte, 32))
	slices.Reverse(v)
	return v
}

func (s signature) made(wrong func(*signature, byte), at byte) signature {
	s = signature{bytes.Clone(s.signer), bytes.Clone(s.message), bytes.Clone(s.bytes)}
	wrong(&s, at)
	return s
}

// Good and bad ones, mixed at random: together they get the answers that each gets
// alone, and that the standard library gives. It would catch an equation that
// leaves something out, and a bad one that takes others with it.
func TestVerifyAllAgrees(t *testing.T) {
	random := &stream{label: t.Name()}
	for round := range 120 {
		dice := draw(t, random, 4)
		n, writers, bad := int(dice[0])%80, 1+int(dice[1])%4, dice[2]%3
		good := signatures(t, random, n, writers)
		all := slices.Clone(good)
		for range min(int(bad), n) {
			d := draw(t, random, 3)
			at := int(d[0]) % n
			all[at] = good[at].made(wrongs[int(d[1])%len(wrongs)], d[2])
		}
		got := seal.VerifyAll(checksOf(all))
		if len(got) != n {
			t.Fatalf("round %d: %d answers for %d", round, len(got), n)
		}
		for i, s := range all {
			if alone := seal.Good(s.check()); got[i] != alone || got[i] != s.byStandard() {
				t.Errorf("round %d, %d of %d by %d writers: %v together, %v alone, %v by the standard library", round, i, n, writers, got[i], alone, s.byStandard())
			}
		}
	}
}

// A bad one is found wherever it is and whatever is wrong with it, and the others
// stay good, on both sides of where one equation ends and the next begins.
func TestVerifyAllFindsEach(t *testing.T) {
	random := &stream{label: t.Name()}
	const n = 2*seal.MaxEquation + 2
	all := signatures(t, random, n, 2)
	if slices.Contains(seal.VerifyAll(checksOf(all)), false) {
		t.Fatal("a good one is bad")
	}
	for i, wrong := range wrongs {
		for _, at := range []int{i, seal.MaxEquation - 1, seal.MaxEquation, n - 1} {
			some := slices.Clone(all)
			some[at] = some[at].made(wrong, byte(at))
			for j, good := range seal.VerifyAll(checksOf(some)) {
				if good != (j != at) {
					t.Errorf("fault %d at %d: %d is %v", i, at, j, good)
				}
			}
		}
	}
	for at := range 31 {
		some := slices.Clone(all[:31])
		some[at].bytes = all[at+31].bytes // another's, good in its place
		for j, good := range seal.VerifyAll(checksOf(some)) {
			if good != (j != at) {
				t.Errorf("another's signature at %d: %d is %v", at, j, good)
			}
		}
	}
}

// Of nothing nothing is said, and what checks nothing is not good.
func TestVerifyNothing(t *testing.T) {
	if got := seal.VerifyAll(nil); len(got) != 0 {
		t.Errorf("%v of no check", got)
	}
	if got := seal.VerifyAll(make([]seal.Check, 3)); slices.Contains(got, true) {
		t.Errorf("%v of empty checks", got)
	}
	h := newHouse(t)
	wrap, _, err := h.writer.Wrap(h.target, day)
	if err != nil {
		t.Fatal(err)
	}
	b := h.seal(t, series(noon, 4))
	checks := []seal.Check{
		wrap.Check(h.writer.PublicKey(), h.target.Key), b.Check(h.writer.PublicKey()),
		wrap.Check(h.writer.PublicKey(), seal.PublicKey{}), wrap.Check(nil, h.target.Key), b.Check(nil),
		wrap.Check(newWriter(t, "other").PublicKey(), h.target.Key),
	}
	if got, want := seal.VerifyAll(checks), []bool{true, true, false, false, false, false}; !slices.Equal(got, want) {
		t.Errorf("a wrap and a block, and those without recipient or writer: %v, want %v", got, want)
	}
}

// Two wrong signatures that cancel out under equal coefficients do so under no
// others. It would catch coefficients that are not used, or known beforehand; that
// those drawn here are equal happens once in 2¹²⁸ times.
func TestCoefficients(t *testing.T) {
	all := signatures(t, &stream{label: t.Name()}, 2, 1)
	all[0].bytes, all[1].bytes = shifted(all[0].bytes, 1), shifted(all[1].bytes, -1)
	checks := checksOf(all)
	if !seal.Holds(bytes.NewReader(bytes.Repeat([]byte{1}, 32)), checks) {
		t.Error("equal coefficients do not cancel: the test tests nothing")
	}
	if seal.Holds(bytes.NewReader(slices.Concat(bytes.Repeat([]byte{1}, 31), []byte{2})), checks) {
		t.Error("the last byte of a coefficient is not used")
	}
	if seal.Holds(bytes.NewReader(bytes.Repeat([]byte{1}, 31)), checks[:1]) || seal.Holds(bytes.NewReader(nil), checks) {
		t.Error("a wrong signature, or too few random bytes, and the equation holds")
	}
	if got := seal.VerifyAll(checks); got[0] || got[1] {
		t.Errorf("wrong signatures that cancel out: %v", got)
	}
}

// shifted returns a signature whose S is by so much larger.
func shifted(signature []byte, by int64) []byte {
	s := slices.Clone(signature[32:])
	slices.Reverse(s)
	s = new(big.Int).Add(new(big.Int).SetBytes(s), big.NewInt(by)).FillBytes(make([]byte, 32))
	slices.Reverse(s)
	return append(slices.Clone(signature[:32]), s...)
}

// One forged block among many that are good keeps all of them shut, wherever it
// is. It would catch an answer that is looked at for the first block alone.
func TestForgedAmongMany(t *testing.T) {
	h := newHouse(t)
	p := permit(t, always, upOne, importOnly)
	var blocks []seal.KeyedBlock
	for i := range 40 {
		b := h.seal(t, series(day.Start()+int64(i)*1800, 2))
		blocks = append(blocks, seal.KeyedBlock{Block: b, Key: h.blockKey(t, b), WriterKey: h.writer.PublicKey()})
	}
	opened, err := seal.Open(p, clock, blocks...)
	if err != nil || len(opened) != len(blocks) {
		t.Fatalf("%d opened, %v", len(opened), err)
	}
	for i, o := range opened {
		if o.Seq != blocks[i].Seq || o.Series.Start != blocks[i].Start {
			t.Errorf("block %d came out as %d", i, o.Seq)
		}
	}
	for i := range blocks {
		some := slices.Clone(blocks)
		some[i].Signature = blocks[(i+1)%len(blocks)].Signature
		if opened, err := seal.Open(p, clock, some...); !errors.Is(err, seal.ErrSignature) || opened != nil {
			t.Errorf("block %d with another's signature: %d opened, %v", i, len(opened), err)
		}
	}
	some := slices.Clone(blocks)
	some[39].UsagePoint, some[0].Signature = "up-2", nil
	if _, err := seal.Open(p, clock, some...); !errors.Is(err, seal.ErrPermit) {
		t.Errorf("the last is not covered, and the first not signed: %v, want ErrPermit", err)
	}
}

// Whatever is presented: the same answer alone and beside others, and the standard
// library's yes is a yes.
func FuzzVerifyAll(f *testing.F) {
	beside := checksOf(signatures(f, &stream{label: f.Name()}, 2, 1))
	for _, s := range signatures(f, &stream{label: "seeds"}, 2, 1) {
		f.Add(s.signer, s.message, s.bytes)
	}
	for _, point := range smallOrder(f) {
		f.Add(point, []byte("Zcash"), append(point, make([]byte, 32)...))
	}
	f.Fuzz(func(t *testing.T, signer, message, bytes []byte) {
		s := signature{signer, message, bytes}
		alone := seal.Good(s.check())
		got := seal.VerifyAll([]seal.Check{beside[0], s.check(), beside[1]})
		if want := []bool{true, alone, true}; !slices.Equal(got, want) {
			t.Errorf("%v beside others, %v alone", got, want)
		}
		if s.byStandard() && !alone {
			t.Error("the standard library says yes")
		}
	})
}

// What checking costs, alone and together.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{31, 62} {
		for _, writers := range []int{1, 4} {
			all := signatures(b, &stream{label: b.Name()}, n, writers)
			name := strconv.Itoa(n) + "by" + strconv.Itoa(writers)
			b.Run("standard/"+name, func(b *testing.B) {
				for b.Loop() {
					for _, s := range all {
						if !s.byStandard() {
							b.Fatal("bad")
						}
					}
				}
			})
			b.Run("together/"+name, func(b *testing.B) {
				checks := checksOf(all)
				b.ReportAllocs()
				for b.Loop() {
					if slices.Contains(seal.VerifyAll(checks), false) {
						b.Fatal("bad")
					}
				}
			})
		}
	}
}
