package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

var (
	upOne      = []meter.UsagePoint{"up-1"}
	importOnly = []meter.Register{meter.ActiveImport}
	always     = []consent.Occupancy{lived(0, 0)}
)

// A block comes out as it went in, through the wrap, the household's private
// key, and a permit.
func TestSealAndOpen(t *testing.T) {
	h := newHouse(t)
	s := series(day.Start(), 96)
	s.Revision = 3
	s.Quality = make([]meter.Quality, 96)
	s.Values[5], s.Quality[5], s.Quality[6] = 0, meter.Missing, meter.Estimated
	batch := h.writer.Begin()
	b, err := batch.Seal(h.target, s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := seal.Open(permit(t, always, upOne, importOnly), clock, seal.KeyedBlock{Block: b, Key: h.blockKey(t, b), WriterKey: h.writer.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	want := []seal.Opened{{Series: s, AcceptedAt: batch.AcceptedAt(), Writer: h.writer.ID(), Seq: b.Seq}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("opened %+v, want %+v", got, want)
	}
}

// The policy of opening: who holds the right key still needs the right permit.
// Any case that opened would be a reading that left without a record.
func TestOpenNeedsPermit(t *testing.T) {
	h := newHouse(t)
	b := h.seal(t, series(noon, 4))
	key := h.blockKey(t, b)
	good := permit(t, always, upOne, importOnly)
	other := func(change func(*seal.Block)) seal.Block {
		c := b
		change(&c)
		return c
	}
	for _, c := range []struct {
		name   string
		permit consent.Permit
		now    time.Time
		block  seal.Block
		want   error
	}{
		{"the permit that was granted", good, clock, b, nil},
		{"the same, a moment before it runs out", good, clock.Add(consent.PermitLifetime - 1), b, nil},
		{"no permit", consent.Permit{}, clock, b, consent.ErrNoPermit},
		{"a permit that has run out", good, clock.Add(consent.PermitLifetime), b, consent.ErrPermitExpired},
		{"another household's block", good, clock, other(func(b *seal.Block) { b.Household = "hh-2" }), seal.ErrPermit},
		{"another usage point", good, clock, other(func(b *seal.Block) { b.UsagePoint = "up-2" }), seal.ErrPermit},
		{"another register", good, clock, other(func(b *seal.Block) { b.Register = meter.ActiveExport }), seal.ErrPermit},
		{"a day before the range", good, clock, other(func(b *seal.Block) { b.Day -= 2 }), seal.ErrPermit},
		{"a day after the range", good, clock, other(func(b *seal.Block) { b.Day += 2 }), seal.ErrPermit},
		{"a permit for export", permit(t, always, upOne, []meter.Register{meter.ActiveExport}), clock, b, seal.ErrPermit},
		{"a household that moved out the day before", permit(t, []consent.Occupancy{lived(0, day.Start())}, upOne, importOnly), clock, b, seal.ErrPermit},
		{"a household that moved in the day after", permit(t, []consent.Occupancy{lived(day.End(), 0)}, upOne, importOnly), clock, b, seal.ErrPermit},
	} {
		got, err := seal.Open(c.permit, c.now, seal.KeyedBlock{Block: c.block, Key: key, WriterKey: h.writer.PublicKey()})
		if !errors.Is(err, c.want) || (c.want == nil) != (len(got) == 1) {
			t.Errorf("%s: %d series, %v; want %v", c.name, len(got), err, c.want)
		}
		if c.want != nil && !errors.Is(err, seal.ErrPermit) {
			t.Errorf("%s: %v is not ErrPermit", c.name, err)
		}
	}
}

// Blocks are opened by whole days, but who moved at noon sees half of it: what
// leaves Open is cut to the permit.
func TestOpenTrims(t *testing.T) {
	h := newHouse(t)
	b := h.seal(t, series(day.Start(), 96))
	key := h.blockKey(t, b)
	for _, c := range []struct {
		name  string
		lives []consent.Occupancy
		want  [][2]int // first and last interval of each series
	}{
		{"lives there", always, [][2]int{{0, 95}}},
		{"moved in at noon", []consent.Occupancy{lived(noon, 0)}, [][2]int{{48, 95}}},
		{"moved out at noon", []consent.Occupancy{lived(0, noon)}, [][2]int{{0, 47}}},
		{"moved out a second into an interval", []consent.Occupancy{lived(0, noon+1)}, [][2]int{{0, 48}}},
		{"was away for two hours", []consent.Occupancy{lived(0, noon-3600), lived(noon+3600, 0)}, [][2]int{{0, 43}, {52, 95}}},
		{"was there for a moment between two starts", []consent.Occupancy{lived(noon+1, noon+899)}, nil},
	} {
		got, err := seal.Open(permit(t, c.lives, upOne, importOnly), clock, seal.KeyedBlock{Block: b, Key: key, WriterKey: h.writer.PublicKey()})
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %d series, %v", c.name, len(got), err)
			continue
		}
		for i, w := range c.want {
			s := got[i].Series
			first, last := s.Values[0]-1, s.Values[len(s.Values)-1]-1
			if first != int64(w[0]) || last != int64(w[1]) || s.Start != day.Start()+first*900 {
				t.Errorf("%s: intervals %d to %d from %d, want %d to %d", c.name, first, last, s.Start, w[0], w[1])
			}
			if len(s.Values) != cap(s.Values) {
				t.Errorf("%s: what was cut off can be reached behind the end", c.name)
			}
		}
	}
}

// changes alters every column of a block, one at a time, to something that
// another row might hold.
var changes = map[string]func(*seal.Block){
	"household":     func(b *seal.Block) { b.Household = "hh-2" },
	"generation":    func(b *seal.Block) { b.Generation++ },
	"usage point":   func(b *seal.Block) { b.UsagePoint = "up-2" },
	"register":      func(b *seal.Block) { b.Register = meter.ActiveExport },
	"start":         func(b *seal.Block) { b.Start += 900 },
	"length":        func(b *seal.Block) { b.Length = 1800 },
	"count":         func(b *seal.Block) { b.Count-- },
	"revision":      func(b *seal.Block) { b.Revision++ },
	"day":           func(b *seal.Block) { b.Day++; b.Start += 86400 },
	"day alone":     func(b *seal.Block) { b.Day++ },
	"writer":        func(b *seal.Block) { b.Writer[15] ^= 1 },
	"sequence":      func(b *seal.Block) { b.Seq++ },
	"first byte":    func(b *seal.Block) { b.Ciphertext[1] ^= 1 },
	"tag":           func(b *seal.Block) { b.Ciphertext[len(b.Ciphertext)-1] ^= 0x80 },
	"version":       func(b *seal.Block) { b.Ciphertext[0]++ },
	"cut short":     func(b *seal.Block) { b.Ciphertext = b.Ciphertext[:len(b.Ciphertext)-1] },
	"made longer":   func(b *seal.Block) { b.Ciphertext = append(b.Ciphertext, 0) },
	"nothing there": func(b *seal.Block) { b.Ciphertext = nil },
}

// Every column is bound twice: to the encryption, which holds against whoever
// can write to the store, and to the signature, which holds against the holder
// of the block key as well. A column left out of either fails here.
func TestTamper(t *testing.T) {
	h := newHouse(t)
	b := h.seal(t, series(noon, 8))
	key := h.blockKey(t, b)
	if _, err := seal.OpenWhole(key, b); err != nil {
		t.Fatal(err)
	}
	for name, change := range changes {
		c := b
		c.Ciphertext = slices.Clone(b.Ciphertext)
		change(&c)
		if _, err := seal.OpenWhole(key, c); !errors.Is(err, seal.ErrOpen) && !errors.Is(err, seal.ErrFormat) {
			t.Errorf("%s: the encryption says %v", name, err)
		}
		if err := c.Verify(h.writer.PublicKey()); !errors.Is(err, seal.ErrSignature) {
			t.Errorf("%s: the signature says %v", name, err)
		}
	}
	for i := range b.Signature {
		c := b
		c.Signature = slices.Clone(b.Signature)
		c.Signature[i] ^= 4
		if err := c.Verify(h.writer.PublicKey()); !errors.Is(err, seal.ErrSignature) {
			t.Errorf("byte %d of the signature: %v", i, err)
		}
	}
}

// A ciphertext opens in its own row alone, even among rows of one key.
func TestMovedBlock(t *testing.T) {
	h := newHouse(t)
	morning, evening := h.seal(t, series(noon-3600, 4)), h.seal(t, series(noon+3600, 4))
	key := h.blockKey(t, morning)
	if !bytes.Equal(seal.BytesOf(key), seal.BytesOf(h.blockKey(t, evening))) {
		t.Fatal("two blocks of a point, register and day have two keys")
	}
	morning.Ciphertext, evening.Ciphertext = evening.Ciphertext, morning.Ciphertext
	morning.Signature, evening.Signature = evening.Signature, morning.Signature
	for _, b := range []seal.Block{morning, evening} {
		if _, err := seal.OpenWhole(key, b); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("a moved block opens: %v", err)
		}
	}
}

// A block key opens its usage point and register and nothing else of the day.
func TestBlockKeyIsNarrow(t *testing.T) {
	h := newHouse(t)
	one := series(noon, 4)
	two, export := one, one
	two.UsagePoint, export.Register = "up-2", meter.ActiveExport
	blocks := []seal.Block{h.seal(t, one), h.seal(t, two), h.seal(t, export), h.seal(t, series(noon+86400, 4))}
	for i, holder := range blocks {
		key := h.blockKey(t, holder)
		for j, b := range blocks {
			if _, err := seal.OpenWhole(key, b); (err == nil) != (i == j) {
				t.Errorf("the key of block %d at block %d: %v", i, j, err)
			}
		}
	}
}

// Who holds a block key could encrypt another block under it. The signature
// tells it from the writer's.
func TestForgedBlock(t *testing.T) {
	h := newHouse(t)
	b := h.seal(t, series(noon, 4))
	key := h.blockKey(t, b)
	p := permit(t, always, upOne, importOnly)

	_, forger, err := ed25519.GenerateKey(&stream{label: "forger"})
	if err != nil {
		t.Fatal(err)
	}
	b.Signature = ed25519.Sign(forger, append([]byte("wattveil/seal/signature"), append(digest(seal.Bound(b)), digest(b.Ciphertext)...)...))
	if _, err := seal.Open(p, clock, seal.KeyedBlock{Block: b, Key: key, WriterKey: h.writer.PublicKey()}); !errors.Is(err, seal.ErrSignature) {
		t.Errorf("a forged block: %v", err)
	}
	if _, err := seal.Open(p, clock, seal.KeyedBlock{Block: b, Key: key}); !errors.Is(err, seal.ErrSignature) {
		t.Errorf("a writer without a key: %v", err)
	}
}

// The length of a ciphertext is a function of cap, length and count. A value or
// a quality that showed in it would show here.
func TestCiphertextLength(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		register    meter.Register
		cap, length int64
		count       int
		most        int64
		want        int
	}{
		{meter.ActiveImport, 69000, 900, 96, 17250, 26 + 96*19/8},
		{meter.ActiveImport, 69000, 900, 1, 17250, 26 + 3},
		{meter.ActiveExport, 69000, 3600, 24, 69000, 26 + 24*21/8},
		{meter.ActiveImport, 3680, 900, 96, 920, 26 + 96*14/8},
		{meter.Register{1, 0, 16, 29, 0, 255}, 69000, 900, 96, 17250, 26 + 96*20/8},
		{meter.Register{1, 0, 1, 8, 0, 255}, 69000, 900, 96, 1 << 62, 26 + 96*68/8},
	} {
		target := h.target
		target.CapWatts = c.cap
		s := meter.Series{UsagePoint: "up-1", Register: c.register, Start: day.Start(), Length: c.length}
		for name, fill := range map[string]func(i int) (int64, meter.Quality){
			"zero":    func(int) (int64, meter.Quality) { return 0, meter.Measured },
			"cap":     func(int) (int64, meter.Quality) { return c.most, meter.Measured },
			"mixed":   func(i int) (int64, meter.Quality) { return int64(i) % 2 * c.most, meter.Quality(i % 4) },
			"missing": func(int) (int64, meter.Quality) { return 0, meter.Missing },
		} {
			s.Values, s.Quality = nil, nil
			for i := range c.count {
				v, q := fill(i)
				s.Values, s.Quality = append(s.Values, v), append(s.Quality, q)
			}
			b, err := h.writer.Begin().Seal(target, s)
			if err != nil || len(b.Ciphertext) != c.want {
				t.Errorf("%v, cap %d, length %d, count %d, %s: %d bytes, want %d (%v)", c.register, c.cap, c.length, c.count, name, len(b.Ciphertext), c.want, err)
			}
		}
	}
}
