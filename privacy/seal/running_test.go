package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
)

// closing is what the closing of a day has to do with running sums.
type closing struct {
	hub    ed25519.PrivateKey
	window seal.PrivateKey // of the day that takes them up
	random io.Reader
}

func newClosing(t testing.TB) *closing {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(&stream{label: t.Name() + " hub"}, seed); err != nil {
		t.Fatal(err)
	}
	return &closing{
		hub:    ed25519.NewKeyFromSeed(seed),
		window: must(seal.NewPrivateKey(&stream{label: t.Name() + " window"})),
		random: &stream{label: t.Name() + " sealer"},
	}
}

func (c *closing) public() ed25519.PublicKey { return c.hub.Public().(ed25519.PublicKey) }

// set seals the contents as one set.
func (c *closing) set(t testing.TB, contents ...[]byte) ([]seal.RunningRecord, seal.RunningKeyWrap) {
	t.Helper()
	s := must(seal.NewRunningSealer(c.random, day))
	var records []seal.RunningRecord
	for _, content := range contents {
		records = append(records, must(s.Seal(content)))
	}
	return records, must(s.Wrap(day+1, c.window.Public(), c.hub))
}

// opener goes the whole way to a set: through its wrap.
func (c *closing) opener(t testing.TB, w seal.RunningKeyWrap) *seal.RunningOpener {
	t.Helper()
	key, err := seal.OpenRunningKey(c.window, w, c.public())
	if err != nil {
		t.Fatal(err)
	}
	return key.Opener()
}

// What goes into a set comes out, in whatever order the store gives it back, and
// as often as it is read. Sizes are those at which pages begin.
func TestRunningRoundTrip(t *testing.T) {
	c := newClosing(t)
	var contents [][]byte
	for _, size := range []int{0, 1, 4091, 4092, 4093, 8188, seal.MaxRunning} {
		content := make([]byte, size)
		if _, err := io.ReadFull(&stream{label: "sums"}, content); err != nil {
			t.Fatal(err)
		}
		contents = append(contents, content)
	}
	records, wrap := c.set(t, contents...)
	if wrap.From != day || wrap.Window != day+1 || wrap.Records != uint32(len(contents)) {
		t.Fatalf("the wrap says from %v to %v, %d records", wrap.From, wrap.Window, wrap.Records)
	}
	key, err := seal.OpenRunningKey(c.window, wrap, c.public())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o := key.Opener()
		for _, r := range slices.Backward(records) {
			if err := o.Complete(); !errors.Is(err, seal.ErrOpen) {
				t.Errorf("complete before record %d: %v", r.Seq, err)
			}
			got, err := o.Open(r)
			if err != nil || !bytes.Equal(got, contents[r.Seq-1]) {
				t.Errorf("record %d: %d bytes, %v", r.Seq, len(got), err)
			}
		}
		if err := o.Complete(); err != nil {
			t.Error(err)
		}
		slices.Reverse(records)
	}
}

// A set of nothing is one: the hub said that there were no sums.
func TestRunningEmptySet(t *testing.T) {
	c := newClosing(t)
	_, wrap := c.set(t)
	if err := c.opener(t, wrap).Complete(); err != nil {
		t.Error(err)
	}
}

// A record's length tells pages. If it told one byte, or what the bytes are,
// that would show here.
func TestRunningLength(t *testing.T) {
	c := newClosing(t)
	for size, pages := range map[int]int{0: 1, 1: 1, 4092: 1, 4093: 2, 8188: 2, 8189: 3, seal.MaxRunning: 257} {
		for _, fill := range []byte{0, 0xff} {
			records, _ := c.set(t, bytes.Repeat([]byte{fill}, size))
			if got, want := len(records[0].Ciphertext), 1+4096*pages+16; got != want {
				t.Errorf("%d bytes of %#x: a ciphertext of %d bytes, want %d", size, fill, got, want)
			}
		}
	}
}

// A household's sums that fall out of a set, or count twice, would be in a total
// for good.
func TestRunningSetIsWhole(t *testing.T) {
	c := newClosing(t)
	contents := make([][]byte, 130) // more than two words of what was seen
	records, wrap := c.set(t, contents...)
	foreign, other := c.set(t, contents...)

	for missing := range records {
		o := c.opener(t, wrap)
		for _, r := range slices.Delete(slices.Clone(records), missing, missing+1) {
			if _, err := o.Open(r); err != nil {
				t.Fatal(err)
			}
			if _, err := o.Open(r); !errors.Is(err, seal.ErrOpen) {
				t.Errorf("record %d a second time: %v", r.Seq, err)
			}
		}
		if err := o.Complete(); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("without record %d: %v", missing+1, err)
		}
		if _, err := o.Open(foreign[missing]); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("record %d of another set: %v", missing+1, err)
		}
		if err := o.Complete(); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("with record %d of another set: %v", missing+1, err)
		}
	}

	// A set that was sealed further than its wrap says, or whose wrap was
	// exchanged for one that the hub made for another.
	short := must(seal.NewRunningSealer(&stream{label: "short"}, day))
	first := must(short.Seal(nil))
	second := must(short.Seal(nil))
	seal.UseUpRunning(short, 1)
	o := c.opener(t, must(short.Wrap(day+1, c.window.Public(), c.hub)))
	if _, err := o.Open(second); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a record beyond the wrap's: %v", err)
	}
	if _, err := o.Open(first); err != nil || o.Complete() != nil {
		t.Errorf("a whole set: %v, %v", err, o.Complete())
	}
	if _, err := c.opener(t, other).Open(records[0]); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("under another set's wrap: %v", err)
	}
}

// A record binds its set and its number.
func TestTamperRunningRecord(t *testing.T) {
	c := newClosing(t)
	records, wrap := c.set(t, []byte("a"), []byte("b"))
	foreign, _ := c.set(t, []byte("a"), []byte("b"))
	for name, change := range map[string]func(*seal.RunningRecord){
		"id":                       func(r *seal.RunningRecord) { r.ID[0] ^= 1 },
		"the next number":          func(r *seal.RunningRecord) { r.Seq = 2 },
		"no number":                func(r *seal.RunningRecord) { r.Seq = 0 },
		"a number beyond":          func(r *seal.RunningRecord) { r.Seq = 3 },
		"the last number there is": func(r *seal.RunningRecord) { r.Seq = math.MaxUint32 },
		"another set's content":    func(r *seal.RunningRecord) { r.Ciphertext = foreign[0].Ciphertext },
		"the next one's content":   func(r *seal.RunningRecord) { r.Ciphertext = records[1].Ciphertext },
		"version":                  func(r *seal.RunningRecord) { r.Ciphertext[0] = 2 },
		"content":                  func(r *seal.RunningRecord) { r.Ciphertext[5] ^= 1 },
		"tag":                      func(r *seal.RunningRecord) { r.Ciphertext[len(r.Ciphertext)-1] ^= 1 },
		"a page short":             func(r *seal.RunningRecord) { r.Ciphertext = r.Ciphertext[:17] },
		"version alone":            func(r *seal.RunningRecord) { r.Ciphertext = r.Ciphertext[:1] },
		"nothing":                  func(r *seal.RunningRecord) { r.Ciphertext = nil },
	} {
		r := records[0]
		r.Ciphertext = slices.Clone(r.Ciphertext)
		change(&r)
		o := c.opener(t, wrap)
		if _, err := o.Open(r); !errors.Is(err, seal.ErrOpen) && !errors.Is(err, seal.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		// What was refused did not use up the number of the true one.
		if _, err := o.Open(records[0]); err != nil {
			t.Errorf("%s, then the record: %v", name, err)
		}
	}
}

// The wrap binds the set, both days, the number of records and the recipient,
// by the hub's signature and again by the encryption. A wrap that could be given
// another number of records would let some be taken away; one that could be
// given another day, an old set be taken up anew.
func TestTamperRunningKeyWrap(t *testing.T) {
	c := newClosing(t)
	records, wrap := c.set(t, []byte("a"), []byte("b"))
	for name, change := range map[string]func(*seal.RunningKeyWrap){
		"id":              func(w *seal.RunningKeyWrap) { w.ID[15] ^= 1 },
		"from":            func(w *seal.RunningKeyWrap) { w.From-- },
		"window":          func(w *seal.RunningKeyWrap) { w.Window++ },
		"fewer records":   func(w *seal.RunningKeyWrap) { w.Records-- },
		"more records":    func(w *seal.RunningKeyWrap) { w.Records++ },
		"version":         func(w *seal.RunningKeyWrap) { w.Sealed[0] = 2 },
		"encapsulated":    func(w *seal.RunningKeyWrap) { w.Sealed[100] ^= 1 },
		"ciphertext":      func(w *seal.RunningKeyWrap) { w.Sealed[1121] ^= 1 },
		"cut short":       func(w *seal.RunningKeyWrap) { w.Sealed = w.Sealed[:1168] },
		"nothing in it":   func(w *seal.RunningKeyWrap) { w.Sealed = nil },
		"days exchanged":  func(w *seal.RunningKeyWrap) { w.From, w.Window = w.Window, w.From },
		"days run on":     func(w *seal.RunningKeyWrap) { w.From++; w.Window++ },
		"all of a number": func(w *seal.RunningKeyWrap) { w.Records = math.MaxUint32 },
	} {
		w := wrap
		w.Sealed = slices.Clone(wrap.Sealed)
		change(&w)
		if _, err := seal.OpenRunningKey(c.window, w, c.public()); !errors.Is(err, seal.ErrSignature) {
			t.Errorf("%s: the signature says %v", name, err)
		}
		seal.SignAgain(&w, c.window.Public(), c.hub)
		if _, err := seal.OpenRunningKey(c.window, w, c.public()); !errors.Is(err, seal.ErrOpen) && !errors.Is(err, seal.ErrFormat) {
			t.Errorf("%s: the encryption says %v", name, err)
		}
	}

	stranger := newClosing(t)
	stranger.window = must(seal.NewPrivateKey(&stream{label: "stranger"}))
	writer := newWriter(t, "writer")
	unsigned := wrap
	unsigned.Signature = nil
	for name, open := range map[string]func() (seal.RunningKey, error){
		"unsigned":             func() (seal.RunningKey, error) { return seal.OpenRunningKey(c.window, unsigned, c.public()) },
		"signed by a writer":   func() (seal.RunningKey, error) { return seal.OpenRunningKey(c.window, wrap, writer.PublicKey()) },
		"nobody's key":         func() (seal.RunningKey, error) { return seal.OpenRunningKey(c.window, wrap, nil) },
		"another window's key": func() (seal.RunningKey, error) { return seal.OpenRunningKey(stranger.window, wrap, c.public()) },
		"a writer's wrap of it": func() (seal.RunningKey, error) {
			return seal.OpenRunningKey(c.window, spoolKeyAsRunning(t, c), c.public())
		},
	} {
		if _, err := open(); !errors.Is(err, seal.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := seal.OpenRunningKey(seal.PrivateKey{}, wrap, c.public()); !errors.Is(err, seal.ErrKey) {
		t.Errorf("no private key: %v", err)
	}
	// Signed by the hub for the window of another key, which cannot open it.
	moved := wrap
	seal.SignAgain(&moved, stranger.window.Public(), c.hub)
	if _, err := seal.OpenRunningKey(stranger.window, moved, c.public()); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another recipient: %v", err)
	}
	if _, err := c.opener(t, wrap).Open(records[0]); err != nil {
		t.Error(err)
	}
}

// spoolKeyAsRunning is a spool key of the same window, presented as a running key.
func spoolKeyAsRunning(t *testing.T, c *closing) seal.RunningKeyWrap {
	t.Helper()
	wrap, _, err := newWriter(t, "spool").SpoolKey(day, c.window.Public())
	if err != nil {
		t.Fatal(err)
	}
	return seal.RunningKeyWrap{ID: seal.RunningID(wrap.Writer), From: day, Window: day, Sealed: wrap.Sealed, Signature: wrap.Signature}
}

// Running records and spool records never pass for each other, even under one
// key; nor do the wraps of their keys, even if the hub signs for them.
func TestRunningDomain(t *testing.T) {
	c := newClosing(t)
	records, wrap := c.set(t, []byte("a"))
	key := must(seal.OpenRunningKey(c.window, wrap, c.public()))
	as := seal.SpoolRecord{Day: day, Writer: seal.WriterID(wrap.ID), Seq: 1, Ciphertext: records[0].Ciphertext}
	if _, err := seal.OpenSpool(seal.MakeSpoolKey([32]byte(seal.RunningBytes(key))), as); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a running record as a spool record: %v", err)
	}
	spool := spoolKeyAsRunning(t, c)
	seal.SignAgain(&spool, c.window.Public(), c.hub)
	if _, err := seal.OpenRunningKey(c.window, spool, c.public()); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a spool-key wrap as a running-key wrap: %v", err)
	}
}

// Once a set is wrapped, the sealer holds nothing: a record that came after
// would be in no wrap, and a second wrap would be a set with two lengths.
func TestRunningSealerEnds(t *testing.T) {
	c := newClosing(t)
	for name, end := range map[string]func(*seal.RunningSealer){
		"wrap":                        func(s *seal.RunningSealer) { must(s.Wrap(day+1, c.window.Public(), c.hub)) },
		"erase":                       func(s *seal.RunningSealer) { s.Erase(); s.Erase() },
		"a wrap to no key":            func(s *seal.RunningSealer) { refused(t, s, seal.PublicKey{}, c.hub) },
		"a wrap that nobody signs":    func(s *seal.RunningSealer) { refused(t, s, c.window.Public(), nil) },
		"a wrap signed by half a key": func(s *seal.RunningSealer) { refused(t, s, c.window.Public(), c.hub[:32]) },
	} {
		s := must(seal.NewRunningSealer(c.random, day))
		must(s.Seal([]byte("a")))
		key := seal.SealingBytes(s)
		if bytes.Equal(key, make([]byte, 32)) {
			t.Fatalf("%s: there is no key to begin with", name)
		}
		end(s)
		if !bytes.Equal(key, make([]byte, 32)) {
			t.Errorf("%s: the key is still in memory", name)
		}
		if _, err := s.Seal([]byte("b")); !errors.Is(err, seal.ErrWriterSpent) {
			t.Errorf("%s, then a record: %v", name, err)
		}
		if _, err := s.Wrap(day+1, c.window.Public(), c.hub); !errors.Is(err, seal.ErrWriterSpent) {
			t.Errorf("%s, then a wrap: %v", name, err)
		}
	}
}

func refused(t *testing.T, s *seal.RunningSealer, window seal.PublicKey, signer ed25519.PrivateKey) {
	t.Helper()
	if _, err := s.Wrap(day+1, window, signer); !errors.Is(err, seal.ErrKey) {
		t.Errorf("a wrap with half of what it takes: %v", err)
	}
}

// The number is the nonce, so it must neither turn over nor be skipped: one that
// came twice would give away the difference of two households' sums, and one
// that was left out would be missing for ever.
func TestRunningNumbers(t *testing.T) {
	c := newClosing(t)
	s := must(seal.NewRunningSealer(c.random, day))
	if _, err := s.Seal(make([]byte, seal.MaxRunning+1)); !errors.Is(err, seal.ErrRunningSize) {
		t.Errorf("a byte too many: %v", err)
	}
	for want := uint32(1); want <= 3; want++ {
		if r := must(s.Seal(nil)); r.Seq != want {
			t.Errorf("record %d, want %d", r.Seq, want)
		}
	}
	seal.UseUpRunning(s, math.MaxUint32-1)
	last := must(s.Seal([]byte("last")))
	if last.Seq != math.MaxUint32 {
		t.Errorf("the last record has number %d", last.Seq)
	}
	for range 2 {
		if _, err := s.Seal(nil); !errors.Is(err, seal.ErrWriterSpent) {
			t.Errorf("past the last number: %v", err)
		}
	}
	wrap := must(s.Wrap(day+1, c.window.Public(), c.hub))
	if wrap.Records != math.MaxUint32 {
		t.Errorf("the wrap says %d records", wrap.Records)
	}
}

// Sealing the same twice gives two sets that share no id, no key and no
// ciphertext; and it does not touch what it was handed.
func TestRunningSetsAreFresh(t *testing.T) {
	c := newClosing(t)
	content := []byte("the same")
	a, wrapA := c.set(t, content)
	b, wrapB := c.set(t, content)
	keyA := must(seal.OpenRunningKey(c.window, wrapA, c.public()))
	keyB := must(seal.OpenRunningKey(c.window, wrapB, c.public()))
	if wrapA.ID == wrapB.ID || bytes.Equal(seal.RunningBytes(keyA), seal.RunningBytes(keyB)) ||
		bytes.Equal(a[0].Ciphertext, b[0].Ciphertext) || string(content) != "the same" {
		t.Error("two sets have something in common, or sealing changed what it sealed")
	}
}

// A set begins and ends on the randomness that it asks for, or not at all.
func TestRunningRandomSource(t *testing.T) {
	c := newClosing(t)
	const begin, whole = 16 + 32, 16 + 32 + 64
	for _, n := range []int64{0, 15, 16, begin - 1} {
		if _, err := seal.NewRunningSealer(io.LimitReader(c.random, n), day); err == nil {
			t.Errorf("a set begun on %d random bytes", n)
		}
	}
	for _, n := range []int64{begin, whole - 1} {
		s := must(seal.NewRunningSealer(io.LimitReader(c.random, n), day))
		if _, err := s.Wrap(day+1, c.window.Public(), c.hub); err == nil {
			t.Errorf("a wrap made on %d random bytes", n)
		}
	}
	s := must(seal.NewRunningSealer(io.LimitReader(c.random, whole), day))
	must(s.Wrap(day+1, c.window.Public(), c.hub))
}

// An erased key is gone for all who hold it, and no key opens nothing: were it
// 32 zero bytes instead, whoever can write to the store could seal to it.
func TestRunningKeyErased(t *testing.T) {
	c := newClosing(t)
	records, wrap := c.set(t, []byte("a"))
	key := must(seal.OpenRunningKey(c.window, wrap, c.public()))
	copied, secret := key, seal.RunningBytes(key)
	o := copied.Opener()
	key.Erase()
	copied.Erase()
	if !bytes.Equal(secret, make([]byte, 32)) {
		t.Error("the key is still in memory")
	}
	for name, o := range map[string]*seal.RunningOpener{
		"before": o, "after": copied.Opener(), "none": seal.RunningKey{}.Opener(), "zero": {},
	} {
		if _, err := o.Open(records[0]); !errors.Is(err, seal.ErrKey) {
			t.Errorf("an opener of %s: %v", name, err)
		}
		if err := o.Complete(); err == nil {
			t.Errorf("an opener of %s is complete", name)
		}
	}
	seal.RunningKey{}.Erase()
}

// Whatever holds a running key shows nothing of it in a log line or an error text.
func TestRunningKeysPrintNothing(t *testing.T) {
	c := newClosing(t)
	s := must(seal.NewRunningSealer(c.random, day))
	secret := slices.Clone(seal.SealingBytes(s))
	shown := func(v any) {
		t.Helper()
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d", "%s", "%q"} {
			text := strings.ToLower(fmt.Sprintf(verb, v))
			for _, form := range []string{"%x", "%d", "%s", "%q", "%#x"} {
				if strings.Contains(text, strings.Trim(strings.ToLower(fmt.Sprintf(form, secret[:4])), `[]"`)) {
					t.Errorf("%T prints as %s", v, text)
				}
			}
		}
	}
	shown(s)
	key := must(seal.OpenRunningKey(c.window, must(s.Wrap(day+1, c.window.Public(), c.hub)), c.public()))
	if !bytes.Equal(seal.RunningBytes(key), secret) {
		t.Fatal("another key came out")
	}
	for _, v := range []any{key, &key, &struct{ K seal.RunningKey }{key}, struct{ k seal.RunningKey }{key}, key.Opener(), key.LogValue()} {
		shown(v)
	}
	if text := fmt.Sprintf("%#v %s", key, key.LogValue()); text != "[key] [key]" {
		t.Errorf("a running key prints as %s", text)
	}
}
