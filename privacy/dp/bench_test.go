package dp_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
)

// BenchmarkDrawGaussian reports the time of one draw; the goal is 3 µs at
// σ = 10^4 Wh.
func BenchmarkDrawGaussian(b *testing.B) {
	for _, text := range []string{"1/3", "100", "100000000", "1000000000000", "50000000000000000/6000001", "1208925819614629174706176"} {
		b.Run("variance="+text, func(b *testing.B) {
			variance := mustVariance(b, text)
			draws := make([]int64, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if err := dp.DrawGaussian(draws, variance); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(draws)), "ns/draw")
		})
	}
}

// BenchmarkClipL2 reports the time of one household-day of 48 half hours,
// clipped and added: one that is cut and one that is not.
func BenchmarkClipL2(b *testing.B) {
	for _, c := range []int64{1500, 20000} {
		b.Run(fmt.Sprintf("c=%d", c), func(b *testing.B) {
			day, x, sum := make([]int64, 48), make([]int64, 48), make([]int64, 48)
			for i := range day {
				day[i] = int64(200 + 37*i%900)
			}
			b.ReportAllocs()
			for b.Loop() {
				copy(x, day)
				clear(sum)
				if err := dp.ClipL2(x, c); err != nil {
					b.Fatal(err)
				}
				if err := dp.Add(sum, x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCausalClip reports the time of one interval: one that fits what is
// left of the norm, and one that is cut to it, which takes a square root.
func BenchmarkCausalClip(b *testing.B) {
	for _, c := range []struct {
		name string
		x    int64
	}{{"fits", 300}, {"cut", 10000}} {
		b.Run(c.name, func(b *testing.B) {
			k := mustCausalClip(b, 3000)
			b.ReportAllocs()
			for b.Loop() {
				k.Admit(c.x)
				k.Reset()
			}
		})
	}
}

// BenchmarkFilterSpend reports the time of one spend by as many goroutines as
// there are processors.
func BenchmarkFilterSpend(b *testing.B) {
	f := dp.NewFilter(math.MaxUint64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f.Spend(1); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkBasisMeasure reports the time of one household-day of 48 half hours,
// in plain integers and, for readings no meter has, in wide ones.
func BenchmarkBasisMeasure(b *testing.B) {
	basis := mustBasis(b, one(48), 32, 28)
	for _, scale := range []int64{1, 1 << 20} {
		b.Run(fmt.Sprintf("scale=%d", scale), func(b *testing.B) {
			day := make([]int64, 48)
			for i := range day {
				day[i] = scale * int64(200+37*i%900)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := basis.Measure(day); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStrategyAdd reports the time of one household in the first, longest
// column; what a new strategy takes is about half of n such.
func BenchmarkStrategyAdd(b *testing.B) {
	for _, bins := range []int{64, 17520} {
		b.Run(fmt.Sprintf("bins=%d", bins), func(b *testing.B) {
			s := mustStrategy(b, bins, 30)
			sum := make([]int64, bins)
			b.ReportAllocs()
			for b.Loop() {
				clear(sum)
				if err := s.Add(sum, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
