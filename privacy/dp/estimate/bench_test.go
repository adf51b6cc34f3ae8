package estimate_test

import (
	"testing"

	"github.com/wattveil/wattveil/privacy/dp/estimate"
)

func benchmark(b *testing.B, intervals int, fanouts ...int) (*estimate.Tree, estimate.Curves) {
	b.Helper()
	parents := regular(fanouts...)
	m := estimate.Curves{Intervals: intervals, Values: make([]float64, len(parents)*intervals), Variance: equal(len(parents), 1e6)}
	for i := range m.Values {
		m.Values[i] = float64(i % 10_007)
	}
	return newTree(b, parents), m
}

// BenchmarkLeastSquares measures a day of 1 111 nodes and 48 intervals, and one
// value of a million leaves.
func BenchmarkLeastSquares(b *testing.B) {
	for _, c := range []struct {
		name      string
		intervals int
		fanouts   []int
	}{
		{"nodes=1111/intervals=48", 48, []int{10, 10, 10}},
		{"leaves=1000000/intervals=1", 1, []int{10, 10, 100, 100}},
		{"children=1000000/intervals=1", 1, []int{1_000_000}},
	} {
		b.Run(c.name, func(b *testing.B) {
			tree, m := benchmark(b, c.intervals, c.fanouts...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tree.LeastSquares(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCommonMode measures the correction and the least squares after it.
func BenchmarkCommonMode(b *testing.B) {
	tree, m := benchmark(b, 48, 10, 10, 10)
	b.ReportAllocs()
	for b.Loop() {
		a, err := tree.CommonMode(m, nil)
		if err != nil {
			b.Fatal(err)
		}
		a.LeastSquares()
	}
}

// BenchmarkNewTree measures the builder on a million leaves.
func BenchmarkNewTree(b *testing.B) {
	parents := regular(10, 10, 100, 100)
	b.ReportAllocs()
	for b.Loop() {
		newTree(b, parents)
	}
}
