package plain_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/server/store/plain"
)

// A read of the plain table returns what was loaded for that usage point and time, and
// all of it. It would catch a baseline that is fast because it leaves something out.
func TestReadings(t *testing.T) {
	for engine, url := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "readings.db") },
		"postgres": pgtestDatabase,
	} {
		t.Run(engine, func(t *testing.T) {
			r, err := plain.OpenReadings(t.Context(), url(t), 2)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			if err := r.Load(t.Context(), []plain.Series{
				{UsagePoint: "a", Start: 0, Length: 900, Values: []int64{1, 2, 3}}, {UsagePoint: "b", Start: 900, Length: 900, Values: []int64{9}},
			}); err != nil {
				t.Fatal(err)
			}
			if err := r.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := r.Read(t.Context(), "a", 900, 2700)
			if want := []plain.Reading{{900, 2}, {1800, 3}}; err != nil || !slices.Equal(got, want) {
				t.Errorf("read %v, %v; want %v", got, err, want)
			}
		})
	}
}
