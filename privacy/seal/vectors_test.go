package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"flag"
	"io"
	"os"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// update writes the files in testdata anew. Version 1 is stored in the world: a
// byte that changes belongs to a version 2, in a file beside it.
var update = flag.Bool("update", false, "write testdata anew")

// stream is a reader of SHA-256(label ‖ 0), SHA-256(label ‖ 1), …: the same
// bytes in every run, so that what is sealed from them is too.
type stream struct {
	label string
	n     uint64
	rest  []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for read := 0; read < len(p); {
		if len(s.rest) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.label), s.n))
			s.n++
			s.rest = h[:]
		}
		n := copy(p[read:], s.rest)
		s.rest, read = s.rest[n:], read+n
	}
	return len(p), nil
}

// The stored formats, byte for byte, from fixed randomness and a fixed clock.
// This would catch any change of what is written.
func TestVectors(t *testing.T) {
	checkGolden(t, "testdata/v1.json", sealGolden(t))
	checkGolden(t, "testdata/running-v1.json", sealGoldenRunning(t))
}

func checkGolden(t *testing.T, file string, got any) {
	t.Helper()
	text, err := json.MarshalIndent(got, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(want) {
		t.Errorf("what is sealed differs from %s; it is now:\n%s", file, text)
	}
}

func sealGolden(t *testing.T) golden {
	household := must(seal.NewPrivateKey(&stream{label: "household"}))
	window := must(seal.NewPrivateKey(&stream{label: "window"}))
	accepted := time.Date(2018, 11, 2, 0, 5, 0, 123456000, time.UTC)
	w := must(seal.NewWriter(&stream{label: "writer"}, func() time.Time { return accepted }))
	target := seal.Target{Household: "4f1c", Generation: 3, Key: household.Public(), CapWatts: 69000}

	const day = meter.Day(17836) // 2018-11-01
	estimated := meter.Series{
		UsagePoint: "CH-0001", Register: meter.ActiveImport, Start: day.Start() + 6*3600, Length: 900, Revision: 0,
		Values:  []int64{0, 1, 17250, 0, 42},
		Quality: []meter.Quality{meter.Measured, meter.Estimated, meter.Substituted, meter.Missing, meter.Suspect},
	}
	net := meter.Series{
		UsagePoint: "CH-0001", Register: meter.Register{1, 0, 16, 29, 0, 255}, Start: day.Start() + 23*3600, Length: 3600, Revision: 7,
		Values: []int64{-69000},
	}
	counter := meter.Series{
		UsagePoint: "CH-0002", Register: meter.Register{1, 0, 1, 8, 0, 255}, Start: day.Start(), Length: 43200, Revision: 1,
		Values: []int64{123456789012, -1},
	}

	g := golden{
		About:     "Everything the hub stores of readings, version 1; the comment of package seal is its specification. Bytes are hexadecimal.",
		Household: keyPair{household.Seed(), household.Public().Bytes()},
		Window:    keyPair{window.Seed(), window.Public().Bytes()},
	}
	id := w.ID()
	g.Writer = writerInfo{id[:], hexBytes(w.PublicKey())}

	batch := w.Begin()
	for _, c := range []struct {
		comment string
		series  meter.Series
		packing byte
	}{
		{"quarter hours of every quality, 15 bits a value", estimated, 15},
		{"an hour of net energy, 17 bits and a sign", net, 0x80 | 18},
		{"a counter state, 64 bits", counter, 0x80 | 64},
	} {
		b := must(batch.Seal(target, c.series))
		dayKey := seal.DayKeyOf(w, target, b)
		key := dayKey.BlockKey(b.UsagePoint, b.Register)
		g.DayKey = seal.BytesOf(dayKey)
		g.Blocks = append(g.Blocks, block{
			Comment: c.comment, Generation: b.Generation, Day: int32(b.Day), Seq: b.Seq,
			Ciphertext: b.Ciphertext, Signature: b.Signature, Key: seal.BytesOf(key),
			Plain: contentOf("4f1c", c.series, c.packing, batch),
		})
	}
	wrap, _, err := w.Wrap(target, day)
	if err != nil {
		t.Fatal(err)
	}
	g.DayKeyWrap = wrapRow{string(wrap.Household), wrap.Generation, int32(wrap.Day), wrap.Seq, wrap.Sealed, wrap.Signature}

	record := must(batch.Spool(day, window.Public(), []seal.Contribution{
		{Household: "4f1c", CapWatts: 69000, Series: estimated},
		{Household: "4f1c", CapWatts: 69000, Series: net},
		{Household: "a0", CapWatts: 1000, Series: meter.Series{
			UsagePoint: "CH-0003", Register: meter.ActiveExport, Start: day.Start(), Length: 86400, Values: []int64{24000},
		}},
	}))
	g.Spool = spoolRow{int32(record.Day), record.Seq, record.Ciphertext}
	g.Contributed = []content{
		contentOf("4f1c", estimated, 15, batch),
		contentOf("4f1c", net, 0x80|18, batch),
		contentOf("a0", meter.Series{
			UsagePoint: "CH-0003", Register: meter.ActiveExport, Start: day.Start(), Length: 86400, Values: []int64{24000},
		}, 15, batch),
	}
	spoolWrap, _, err := w.SpoolKey(day, window.Public())
	if err != nil {
		t.Fatal(err)
	}
	spoolKey := must(seal.OpenSpoolKey(window, spoolWrap, w.PublicKey()))
	g.SpoolKey = seal.BytesOf(spoolKey)
	g.SpoolKeyWrap = wrapRow{Day: int32(spoolWrap.Day), Seq: spoolWrap.Seq, Sealed: spoolWrap.Sealed, Signature: spoolWrap.Signature}
	return g
}

func sealGoldenRunning(t *testing.T) goldenRunning {
	const from, window = meter.Day(17836), meter.Day(17837) // 2018-11-01 and the day after
	private := must(seal.NewPrivateKey(&stream{label: "next window"}))
	hub := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	s := must(seal.NewRunningSealer(&stream{label: "running sums"}, from))
	g := goldenRunning{
		About:  "A set of running sums, version 1; the comment of package seal is its specification. Bytes are hexadecimal.",
		Window: keyPair{private.Seed(), private.Public().Bytes()},
		Hub:    hexBytes(hub.Public().(ed25519.PublicKey)),
	}
	pages := make([]byte, 4093) // and their length: a byte more than a page
	if _, err := io.ReadFull(&stream{label: "content"}, pages); err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{[]byte("what this is, the release knows"), pages} {
		r := must(s.Seal(content))
		g.Records = append(g.Records, runningRow{r.Seq, r.Ciphertext, content})
	}
	w := must(s.Wrap(window, private.Public(), hub))
	g.Wrap = runningWrap{w.ID[:], int32(w.From), int32(w.Window), w.Records, w.Sealed, w.Signature}
	g.Key = seal.RunningBytes(must(seal.OpenRunningKey(private, w, hub.Public().(ed25519.PublicKey))))
	return g
}

func contentOf(household string, s meter.Series, packing byte, b seal.Batch) content {
	c := content{
		Household: household, UsagePoint: string(s.UsagePoint), Register: s.Register[:], Start: s.Start, Length: s.Length,
		Revision: s.Revision, Values: s.Values, Packing: packing, AcceptedAt: b.AcceptedAt(),
	}
	for i := range s.Values {
		c.Quality = append(c.Quality, int(s.QualityAt(i)))
	}
	return c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
