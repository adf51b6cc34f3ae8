package seal_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// What ingest pays for a household-day of quarter hours, signature included.
func BenchmarkSeal(b *testing.B) {
	w, target := benchWriter(b)
	s := meter.Series{UsagePoint: "up-1", Register: meter.ActiveImport, Start: 0, Length: 900, Values: make([]int64, 96)}
	batch := w.Begin()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := batch.Seal(target, s); err != nil {
			b.Fatal(err)
		}
	}
}

// What the first block of a household and day pays on top.
func BenchmarkWrap(b *testing.B) {
	w, target := benchWriter(b)
	day := meter.Day(0)
	for b.Loop() {
		day++
		if _, _, err := w.Wrap(target, day); err != nil {
			b.Fatal(err)
		}
	}
}

// What a contribution of a household-day adds to a spool record of a thousand.
func BenchmarkSpool(b *testing.B) {
	w, target := benchWriter(b)
	contributions := make([]seal.Contribution, 1000)
	for i := range contributions {
		contributions[i] = seal.Contribution{Household: target.Household, CapWatts: target.CapWatts, Series: meter.Series{
			UsagePoint: "up-1", Register: meter.ActiveImport, Start: 0, Length: 900, Values: make([]int64, 96),
		}}
	}
	batch := w.Begin()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := batch.Spool(0, target.Key, contributions); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePublicKey(b *testing.B) {
	_, target := benchWriter(b)
	packed := target.Key.Bytes()
	for b.Loop() {
		if _, err := seal.ParsePublicKey(packed); err != nil {
			b.Fatal(err)
		}
	}
}

func benchWriter(b *testing.B) (*seal.Writer, seal.Target) {
	b.Helper()
	household, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	w, err := seal.NewWriter(rand.Reader, func() time.Time { return time.Unix(0, 0) })
	if err != nil {
		b.Fatal(err)
	}
	return w, seal.Target{Household: "hh-1", Key: household.Public(), CapWatts: meter.DefaultCapWatts}
}
