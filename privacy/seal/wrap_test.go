package seal_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
)

// A wrap binds every one of its identifiers and its recipient. One that opened
// under another name would let a day be passed for another, or a household.
func TestTamperDayKeyWrap(t *testing.T) {
	h := newHouse(t)
	wrap, known, err := h.writer.Wrap(h.target, day)
	if err != nil || known {
		t.Fatal(known, err)
	}
	if _, err := seal.UnwrapDayKey(h.private, wrap); err != nil {
		t.Fatal(err)
	}
	if err := wrap.Verify(h.writer.PublicKey(), h.target.Key); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*seal.DayKeyWrap){
		"household":    func(w *seal.DayKeyWrap) { w.Household = "hh-2" },
		"generation":   func(w *seal.DayKeyWrap) { w.Generation++ },
		"day":          func(w *seal.DayKeyWrap) { w.Day-- },
		"writer":       func(w *seal.DayKeyWrap) { w.Writer[0] ^= 1 },
		"version":      func(w *seal.DayKeyWrap) { w.Sealed[0] = 2 },
		"encapsulated": func(w *seal.DayKeyWrap) { w.Sealed[100] ^= 1 },
		"x25519 part":  func(w *seal.DayKeyWrap) { w.Sealed[1120] ^= 1 },
		"ciphertext":   func(w *seal.DayKeyWrap) { w.Sealed[1121] ^= 1 },
		"tag":          func(w *seal.DayKeyWrap) { w.Sealed[1168] ^= 1 },
		"cut short":    func(w *seal.DayKeyWrap) { w.Sealed = w.Sealed[:1168] },
		"nothing":      func(w *seal.DayKeyWrap) { w.Sealed = nil },
	} {
		w := wrap
		w.Sealed = slices.Clone(wrap.Sealed)
		change(&w)
		if _, err := seal.UnwrapDayKey(h.private, w); !errors.Is(err, seal.ErrOpen) && !errors.Is(err, seal.ErrFormat) {
			t.Errorf("%s: the encryption says %v", name, err)
		}
		if err := w.Verify(h.writer.PublicKey(), h.target.Key); !errors.Is(err, seal.ErrSignature) {
			t.Errorf("%s: the signature says %v", name, err)
		}
	}
	copied := wrap
	copied.Seq += 7
	if _, err := seal.UnwrapDayKey(h.private, copied); err != nil {
		t.Errorf("a copy in another row: %v", err)
	}
	stranger := newHouse(t)
	stranger.private = must(seal.NewPrivateKey(&stream{label: "stranger"}))
	if _, err := seal.UnwrapDayKey(stranger.private, wrap); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another household's private key: %v", err)
	}
	if err := wrap.Verify(h.writer.PublicKey(), stranger.private.Public()); !errors.Is(err, seal.ErrSignature) {
		t.Errorf("as a wrap for another household: %v", err)
	}
	if _, err := seal.UnwrapDayKey(seal.PrivateKey{}, wrap); !errors.Is(err, seal.ErrKey) {
		t.Errorf("no private key: %v", err)
	}
	if err := wrap.Verify(h.writer.PublicKey(), seal.PublicKey{}); !errors.Is(err, seal.ErrKey) {
		t.Errorf("no public key: %v", err)
	}
}

// What the spool opens enters totals, so a spool key is taken only from the
// writer that the row names.
func TestTamperSpoolKeyWrap(t *testing.T) {
	h := newHouse(t)
	window := must(seal.NewPrivateKey(&stream{label: "window"}))
	wrap, known, err := h.writer.SpoolKey(day, window.Public())
	if err != nil || known {
		t.Fatal(known, err)
	}
	if _, err := seal.OpenSpoolKey(window, wrap, h.writer.PublicKey()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*seal.SpoolKeyWrap){
		"day":       func(w *seal.SpoolKeyWrap) { w.Day++ },
		"writer":    func(w *seal.SpoolKeyWrap) { w.Writer[0] ^= 1 },
		"sealed":    func(w *seal.SpoolKeyWrap) { w.Sealed[1168] ^= 1 },
		"signature": func(w *seal.SpoolKeyWrap) { w.Signature[0] ^= 1 },
		"nothing":   func(w *seal.SpoolKeyWrap) { w.Sealed, w.Signature = nil, nil },
	} {
		w := wrap
		w.Sealed, w.Signature = slices.Clone(wrap.Sealed), slices.Clone(wrap.Signature)
		change(&w)
		if _, err := seal.OpenSpoolKey(window, w, h.writer.PublicKey()); !errors.Is(err, seal.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := seal.OpenSpoolKey(window, wrap, newWriter(t, "other").PublicKey()); !errors.Is(err, seal.ErrSignature) {
		t.Errorf("another writer: %v", err)
	}
	if _, err := seal.OpenSpoolKey(h.private, wrap, h.writer.PublicKey()); !errors.Is(err, seal.ErrSignature) {
		t.Errorf("another window's private key: %v", err)
	}
	if _, err := seal.OpenSpoolKey(seal.PrivateKey{}, wrap, h.writer.PublicKey()); !errors.Is(err, seal.ErrKey) {
		t.Errorf("no private key: %v", err)
	}
}

// Day keys and spool keys never pass for each other, even with one recipient,
// one day and one writer; nor do their ciphertexts under one key.
func TestDomains(t *testing.T) {
	h := newHouse(t)
	dayWrap, _, err := h.writer.Wrap(h.target, day)
	if err != nil {
		t.Fatal(err)
	}
	spoolWrap, _, err := h.writer.SpoolKey(day, h.target.Key)
	if err != nil {
		t.Fatal(err)
	}
	asSpool := seal.SpoolKeyWrap{Day: day, Writer: dayWrap.Writer, Sealed: dayWrap.Sealed, Signature: dayWrap.Signature}
	if _, err := seal.OpenSpoolKey(h.private, asSpool, h.writer.PublicKey()); !errors.Is(err, seal.ErrSignature) {
		t.Errorf("a day-key wrap as a spool-key wrap: %v", err)
	}
	asDay := dayWrap
	asDay.Sealed = spoolWrap.Sealed
	if _, err := seal.UnwrapDayKey(h.private, asDay); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a spool-key wrap as a day-key wrap: %v", err)
	}

	b := h.seal(t, series(noon, 4))
	key := h.blockKey(t, b)
	record := seal.SpoolRecord{Day: day, Writer: b.Writer, Seq: b.Seq, Ciphertext: b.Ciphertext}
	if _, err := seal.OpenSpool(seal.MakeSpoolKey([32]byte(seal.BytesOf(key))), record); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a block as a spool record: %v", err)
	}
}

// A record binds its window, writer and number.
func TestTamperSpoolRecord(t *testing.T) {
	h := newHouse(t)
	window := must(seal.NewPrivateKey(&stream{label: "window"}))
	batch := h.writer.Begin()
	record, err := batch.Spool(day, window.Public(), []seal.Contribution{{Household: "hh-1", CapWatts: 69000, Series: series(noon, 4)}})
	if err != nil {
		t.Fatal(err)
	}
	wrap, _, err := h.writer.SpoolKey(day, window.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.OpenSpoolKey(window, wrap, h.writer.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	got, err := seal.OpenSpool(key, record)
	if err != nil || len(got) != 1 || got[0].Household != "hh-1" || got[0].AcceptedAt != batch.AcceptedAt() ||
		got[0].Seq != record.Seq || got[0].Writer != h.writer.ID() || !slices.Equal(got[0].Series.Values, []int64{1, 2, 3, 4}) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, change := range map[string]func(*seal.SpoolRecord){
		"day":     func(r *seal.SpoolRecord) { r.Day++ },
		"writer":  func(r *seal.SpoolRecord) { r.Writer[3] ^= 1 },
		"seq":     func(r *seal.SpoolRecord) { r.Seq++ },
		"version": func(r *seal.SpoolRecord) { r.Ciphertext[0] = 0 },
		"content": func(r *seal.SpoolRecord) { r.Ciphertext[40] ^= 1 },
		"nothing": func(r *seal.SpoolRecord) { r.Ciphertext = nil },
		"version alone": func(r *seal.SpoolRecord) {
			r.Ciphertext = r.Ciphertext[:1]
		},
	} {
		r := record
		r.Ciphertext = slices.Clone(record.Ciphertext)
		change(&r)
		if _, err := seal.OpenSpool(key, r); !errors.Is(err, seal.ErrOpen) && !errors.Is(err, seal.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Keys are parsed strictly and come back as they were.
func TestKeys(t *testing.T) {
	private := must(seal.NewPrivateKey(&stream{label: "a"}))
	again, err := seal.ParsePrivateKey(private.Seed())
	if err != nil || !again.Public().Equal(private.Public()) {
		t.Errorf("a private key from its seed: %v", err)
	}
	public, err := seal.ParsePublicKey(private.Public().Bytes())
	if err != nil || !public.Equal(private.Public()) {
		t.Errorf("a public key from its bytes: %v", err)
	}
	if public.Equal(must(seal.NewPrivateKey(&stream{label: "b"})).Public()) || public.Equal(seal.PublicKey{}) {
		t.Error("two keys are equal")
	}
	unreduced := public.Bytes()
	unreduced[0], unreduced[1] = 0xff, 0xff // a coefficient of 4095, above 3328 (FIPS 203 section 7.2)
	for name, b := range map[string][]byte{
		"nothing": nil, "short": public.Bytes()[:1215], "long": append(public.Bytes(), 0), "not reduced": unreduced,
	} {
		if _, err := seal.ParsePublicKey(b); !errors.Is(err, seal.ErrKey) {
			t.Errorf("public key, %s: %v", name, err)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := seal.ParsePrivateKey(make([]byte, n)); !errors.Is(err, seal.ErrKey) {
			t.Errorf("a private key of %d bytes: %v", n, err)
		}
	}
	if seal.PublicKey.Bytes(seal.PublicKey{}) != nil || seal.PrivateKey.Seed(seal.PrivateKey{}) != nil {
		t.Error("the zero keys have bytes")
	}
}
