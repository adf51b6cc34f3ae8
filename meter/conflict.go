package meter

import (
	"cmp"
	"slices"
	"strings"
)

// RefuseConflicts finds the intervals that one batch states more than once
// with the same usage point, register, start, length and revision. The first
// statement, in the order of the batch, stands. A later one becomes Missing in
// its series: if value and quality are the same it was merely repeated and is
// counted; if either differs it is refused as ConflictingRevision. Missing
// intervals state nothing and neither conflict nor stand.
//
// Call it after [Series.Validate], so that only values that could be stored
// take part; a series whose frame Validate would refuse is passed over. Like Validate it replaces the arrays of a series it changes and
// writes to none it was given, so that two series may share theirs. A batch
// without overlaps costs a sort of its series and no look at their values.
func RefuseConflicts(batch []Series) (refused []Refusal, repeated int) {
	for _, cluster := range overlaps(batch) {
		r, n := refuseWithin(batch, cluster)
		refused, repeated = append(refused, r...), repeated+n
	}
	return refused, repeated
}

// overlaps returns the sets of series, as ascending positions in the batch,
// that share key, length and revision and whose ranges chain into one another.
// Each set has at least two members.
func overlaps(batch []Series) [][]int {
	order := make([]int, 0, len(batch))
	for i := range batch {
		if len(batch[i].Values) > 0 && batch[i].frameFault() == "" {
			order = append(order, i)
		}
	}
	compare := func(i, j int) int {
		if c := compareKey(&batch[i], &batch[j]); c != 0 {
			return c
		}
		return cmp.Compare(batch[i].Start, batch[j].Start)
	}
	if !slices.IsSortedFunc(order, compare) {
		slices.SortFunc(order, compare)
	}

	var clusters [][]int
	for from := 0; from < len(order); {
		end := batch[order[from]].End()
		to := from + 1
		for ; to < len(order); to++ {
			s := &batch[order[to]]
			if s.Start >= end || compareKey(s, &batch[order[from]]) != 0 {
				break
			}
			end = max(end, s.End())
		}
		if to-from > 1 {
			cluster := order[from:to]
			slices.Sort(cluster)
			clusters = append(clusters, cluster)
		}
		from = to
	}
	return clusters
}

// compareKey orders series by everything but time: two of which it finds equal
// state the same interval if they state the same start.
func compareKey(a, b *Series) int {
	if c := strings.Compare(string(a.UsagePoint), string(b.UsagePoint)); c != 0 {
		return c
	}
	if c := slices.Compare(a.Register[:], b.Register[:]); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Length, b.Length); c != 0 {
		return c
	}
	return cmp.Compare(a.Revision, b.Revision)
}

// refuseWithin settles one cluster of overlaps.
func refuseWithin(batch []Series, cluster []int) (refused []Refusal, repeated int) {
	type statement struct {
		value   int64
		quality Quality
	}
	standing := make(map[int64]statement) // by start
	for _, position := range cluster {
		s := &batch[position]
		owned := false
		for i, v := range s.Values {
			said := statement{v, s.QualityAt(i)}
			if said.quality == Missing {
				continue
			}
			first, already := standing[s.StartAt(i)]
			if !already {
				standing[s.StartAt(i)] = said
				continue
			}
			if !owned {
				s.own()
				owned = true
			}
			s.clear(i)
			if said == first {
				repeated++
			} else {
				refused = append(refused, s.refusal(i, ConflictingRevision))
			}
		}
	}
	return refused, repeated
}
