package store_test

import (
	"sync/atomic"
	"testing"

	"github.com/wattveil/wattveil/server/store"
)

// What a read waits for until its access is spent, by 64 callers at once.
func BenchmarkSpendAccess(b *testing.B) {
	s, err := store.Open(b.Context(), "sqlite:"+b.TempDir()+"/hub.db", store.Options{Migrate: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var index atomic.Uint64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.SpendAccess(b.Context(), index.Add(1), false); err != nil {
				b.Error(err)
			}
		}
	})
}
