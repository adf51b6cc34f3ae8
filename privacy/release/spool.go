package release

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// inputs is what a day is summed from.
type inputs struct {
	day   meter.Day
	homes map[consent.Household]string // the leaf that each household counts in
	keys  map[seal.WriterID]seal.SpoolKey
}

// inputs reads the day's register and opens its spool keys.
func (e *Engine[T]) inputs(ctx context.Context, w Window) (inputs, error) {
	in := inputs{day: w.Day}
	var err error
	if in.homes, err = e.Store.HouseholdNodes(ctx, w.Day); err != nil {
		return inputs{}, reading("households", err)
	}
	private, err := e.open(ctx, w)
	if err != nil {
		return inputs{}, err
	}
	wraps, err := e.Store.SpoolKeys(ctx, w.Day)
	if err != nil {
		return inputs{}, reading("spool keys", err)
	}
	writers := make([]seal.WriterID, len(wraps))
	for i, k := range wraps {
		writers[i] = k.Writer
	}
	registered, err := e.Store.WriterKeys(ctx, writers)
	if err != nil {
		return inputs{}, reading("writers", err)
	}
	in.keys = make(map[seal.WriterID]seal.SpoolKey, len(wraps))
	for _, k := range wraps {
		if _, open := in.keys[k.Writer]; open {
			continue
		}
		// One copy that opens is enough. A writer none of whose copies does has
		// no key here, and its records end the closing.
		if key, err := seal.OpenSpoolKey(private, k, registered[k.Writer]); err == nil {
			in.keys[k.Writer] = key
		}
	}
	return in, nil
}

// records opens the window's spool, record by record.
func (e *Engine[T]) records(ctx context.Context, in inputs, yield func([]seal.Spooled)) error {
	err := e.Store.SpoolRecords(ctx, in.day, func(r seal.SpoolRecord) error {
		key, ok := in.keys[r.Writer]
		if !ok { // unregistered, or its wrap is damaged
			return seal.ErrKey
		}
		spooled, err := seal.OpenSpool(key, r)
		if err != nil {
			return err
		}
		yield(spooled)
		return nil
	})
	if err != nil {
		return fmt.Errorf("opening spool: %w", err)
	}
	return nil
}

// rehearse opens every record and keeps nothing.
func (e *Engine[T]) rehearse(ctx context.Context, in inputs) error {
	return e.records(ctx, in, func(spooled []seal.Spooled) {
		for _, s := range spooled {
			clear(s.Series.Values)
		}
	})
}

// sum adds every household's day to the curves, and returns how many intervals
// of which usage points were stated twice with different values. Contributions of
// households that are not on the register, erased since or unknown, are dropped.
//
// Since the records of a household may lie anywhere, its contributions are held
// until the spool is read to its end. Where there are more than atOnce
// households, the spool is read once for each share of them.
func (e *Engine[T]) sum(ctx context.Context, in inputs, c *curves) (map[meter.UsagePoint]int, error) {
	conflicts := map[meter.UsagePoint]int{}
	shares := uint64(max(1, (len(in.homes)+e.atOnce-1)/e.atOnce))
	for share := range shares {
		held := map[consent.Household][]seal.Opened{}
		err := e.records(ctx, in, func(spooled []seal.Spooled) {
			for _, s := range spooled {
				_, lives := in.homes[s.Household]
				if lives && Contributes(s.Series) && maphash.String(e.seed, string(s.Household))%shares == share {
					held[s.Household] = append(held[s.Household], s.Opened)
				} else {
					clear(s.Series.Values)
				}
			}
		})
		if err != nil {
			return nil, err
		}
		for household, opened := range held {
			x := vector(in.day, opened, conflicts)
			err := c.add(x, in.homes[household])
			clear(x)
			if err != nil {
				return nil, err
			}
		}
	}
	return conflicts, nil
}

// vector merges what one household contributed and adds it up to its day. It
// clears what it was given.
func vector(day meter.Day, opened []seal.Opened, conflicts map[meter.UsagePoint]int) []int64 {
	slices.SortStableFunc(opened, func(a, b seal.Opened) int { return cmp.Compare(a.Series.UsagePoint, b.Series.UsagePoint) })
	x := make([]int64, Intervals)
	for rest := opened; len(rest) > 0; {
		point := rest[0].Series.UsagePoint
		n := 1
		for n < len(rest) && rest[n].Series.UsagePoint == point {
			n++
		}
		series, differing := seal.Merge(rest[:n])
		rest = rest[n:]
		for _, s := range series {
			addTo(x, day, s)
			clear(s.Values)
		}
		if differing > 0 {
			conflicts[point] += differing
		}
	}
	for i := range opened {
		clear(opened[i].Series.Values)
	}
	return x
}
