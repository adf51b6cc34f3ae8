package seal_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
)

// What a read pays for each day it opens.
func BenchmarkUnwrapDayKey(b *testing.B) {
	household, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	w, err := seal.NewWriter(rand.Reader, func() time.Time { return time.Unix(0, 0) })
	if err != nil {
		b.Fatal(err)
	}
	wrap, _, err := w.Wrap(seal.Target{Household: "hh-1", Key: household.Public()}, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := seal.UnwrapDayKey(household, wrap); err != nil {
			b.Fatal(err)
		}
	}
}
