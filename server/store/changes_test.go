package store_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/store"
)

// Blocks are counted by day, all of a household's or those of some usage points and
// registers, and each committed one once.
func TestBlocksAreCounted(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1", "p2"), family("h2", 0, "p3")}))
		w, v := newWriter(1), newWriter(2)
		w.register(t, s)
		v.register(t, s)
		b := batch("1")
		b.Blocks = append(b.Blocks, w.block("h1", "p1", day0), w.block("h1", "p2", day0), w.block("h1", "p1", day0+2), w.block("h2", "p3", day0))
		exported := v.block("h1", "p1", day0+2)
		exported.Register, exported.Count = meter.ActiveExport, 4
		b.Blocks = append(b.Blocks, exported)
		_, err := s.CommitBatches(t.Context(), []store.Batch{b})
		must(t, err)

		all, err := s.BlocksByDay(t.Context(), "h1", day0-1, day0+9)
		must(t, err)
		if diff := cmp.Diff([]store.DayBlocks{{Day: day0, Blocks: 2}, {Day: day0 + 2, Blocks: 2}}, all); diff != "" {
			t.Error(diff)
		}
		some, err := s.BlocksOnDays(t.Context(), "h1", []meter.UsagePoint{"p1"}, []meter.Register{meter.ActiveImport}, []meter.Day{day0 + 2, day0, day0 + 5})
		must(t, err)
		if diff := cmp.Diff([]store.DayBlocks{{Day: day0, Blocks: 1, Intervals: 96, Until: day0.End()}, {Day: day0 + 2, Blocks: 1, Intervals: 96, Until: (day0 + 2).End()}}, some); diff != "" {
			t.Error(diff)
		}
		one, err := s.BlocksOnDays(t.Context(), "h1", []meter.UsagePoint{"p1", "p2"}, nil, []meter.Day{day0 + 2})
		must(t, err)
		if diff := cmp.Diff([]store.DayBlocks{{Day: day0 + 2, Blocks: 2, Intervals: 100, Until: (day0 + 2).End()}}, one); diff != "" {
			t.Error(diff)
		}
		none, err := s.BlocksOnDays(t.Context(), "h1", []meter.UsagePoint{"p1"}, nil, nil)
		must(t, err)
		if len(none) != 0 {
			t.Errorf("no day holds %v", none)
		}
		writers, err := s.WriterDays(t.Context(), "h1", day0, day0+2)
		must(t, err)
		want := map[store.WriterDay]bool{{Day: day0, Writer: w.id}: true, {Day: day0 + 2, Writer: w.id}: true, {Day: day0 + 2, Writer: v.id}: true}
		if !maps.Equal(writers, want) {
			t.Errorf("writers %v", writers)
		}
		channels, err := s.Channels(t.Context(), "h1", []meter.UsagePoint{"p1", "p2"}, nil, day0, day0+2)
		must(t, err)
		wanted := []store.Channel{
			{UsagePoint: "p1", Register: meter.ActiveImport, First: day0, Last: day0 + 2},
			{UsagePoint: "p1", Register: meter.ActiveExport, First: day0 + 2, Last: day0 + 2},
			{UsagePoint: "p2", Register: meter.ActiveImport, First: day0, Last: day0},
		}
		if !slices.Equal(channels, wanted) {
			t.Errorf("channels %v", channels)
		}
	})
}

// A transaction that began first and commits last is counted when it commits, whatever
// was seen in between. It would catch a mark that follows the order in which rows were
// written.
func TestBlocksAreCountedWhenCommitted(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("h1", 0, "p1")}))
		w := newWriter(1)
		w.register(t, s)
		count := func() (n uint32) {
			t.Helper()
			days, err := s.BlocksByDay(t.Context(), "h1", day0, day0)
			must(t, err)
			for _, d := range days {
				n += d.Blocks
			}
			return n
		}
		first := batch("1")
		first.Blocks = append(first.Blocks, w.block("h1", "p1", day0))
		_, err := s.CommitBatches(t.Context(), []store.Batch{first})
		must(t, err)
		must(t, s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := tx.Exec(ctx, `INSERT INTO blocks SELECT start_s, seq + 1000, revision, day, length_s, intervals, generation, household, usage_point, register, writer, ciphertext, signature FROM blocks`); err != nil {
				return err
			}
			if n := count(); n != 1 {
				t.Errorf("%d blocks before the commit", n)
			}
			return nil
		}))
		if n := count(); n != 2 {
			t.Errorf("%d blocks after it", n)
		}
	})
}
