package seal

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/wattveil/wattveil/meter"
)

// Merge makes one account of series that may state the same interval (usage
// point, register, start and length) more than once. The newest revision wins;
// at equal revision the one accepted first, then the smaller writer id, then
// the smaller sequence number, then the earlier in opened. A Missing interval
// states nothing: it neither wins nor conflicts.
//
// It is the one rule wherever readings are in plain, at closing and at reading,
// and its result does not depend on the order of opened (but for a sender that
// states an interval twice in one spool record).
//
// The result is sorted by usage point, register, length and start, and states
// no interval twice. Intervals that touch are one series as long as the revision
// stays the same; an interval in between that nobody states is Missing.
// conflicts counts the intervals whose newest revision was stated with
// different values. The result may share the arrays of opened.
//
// Time is O(n log n) in the number of series and linear in their intervals;
// memory is linear in the intervals of the longest run that is stated in more
// than one piece.
func Merge(opened []Opened) (series []meter.Series, conflicts int) {
	order := make([]int, 0, len(opened))
	for i := range opened {
		if s := &opened[i].Series; s.Length > 0 && len(s.Values) > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &opened[i].Series, &opened[j].Series
		return cmp.Or(compareRows(a, b), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Revision, b.Revision), cmp.Compare(i, j))
	})
	series = make([]meter.Series, 0, len(order))
	for len(order) > 0 {
		first := &opened[order[0]].Series
		end, n := first.End(), 1
		for ; n < len(order); n++ {
			s := &opened[order[n]].Series
			if s.Start > end || compareRows(first, s) != 0 {
				break
			}
			end = max(end, s.End())
		}
		if n == 1 {
			series = append(series, *first)
		} else {
			m := merger{opened: opened, frame: *first}
			m.join(order[:n], int((end-first.Start)/first.Length))
			conflicts += m.conflicts()
			series = m.appendRuns(series)
		}
		order = order[n:]
	}
	return series, conflicts
}

// compareRows orders series by what must be equal for two of them to state the
// same interval: usage point, register, length, and where on the clock a length
// begins.
func compareRows(a, b *meter.Series) int {
	return cmp.Or(
		cmp.Compare(a.UsagePoint, b.UsagePoint),
		bytes.Compare(a.Register[:], b.Register[:]),
		cmp.Compare(a.Length, b.Length),
		cmp.Compare(a.Start%a.Length, b.Start%b.Length),
	)
}

// merger is a run of intervals without a gap, stated by several series.
type merger struct {
	opened []Opened
	frame  meter.Series // of the run's first series
	slots  []slot
}

// slot is one interval of the run.
type slot struct {
	value    int64
	from     int32 // index into opened of the one that won so far, plus 1; 0: none
	quality  meter.Quality
	conflict bool // the revision that won so far was stated with another value
}

func (m *merger) join(members []int, intervals int) {
	m.slots = make([]slot, intervals)
	for _, i := range members {
		s := &m.opened[i].Series
		at := m.slots[(s.Start-m.frame.Start)/s.Length:]
		for j, v := range s.Values {
			if q := s.QualityAt(j); q != meter.Missing {
				m.state(&at[j], i, v, q)
			}
		}
	}
}

// state enters that opened[i] gives an interval this value.
func (m *merger) state(t *slot, i int, v int64, q meter.Quality) {
	if t.from == 0 {
		*t = slot{value: v, from: int32(i + 1), quality: q}
		return
	}
	a, b := &m.opened[i], &m.opened[t.from-1]
	switch {
	case a.Series.Revision > b.Series.Revision:
		*t = slot{value: v, from: int32(i + 1), quality: q}
	case a.Series.Revision == b.Series.Revision:
		conflict := t.conflict || v != t.value
		if cmp.Or(compareAcceptance(a, b), cmp.Compare(int32(i+1), t.from)) < 0 {
			*t = slot{value: v, from: int32(i + 1), quality: q}
		}
		t.conflict = conflict
	}
}

func compareAcceptance(a, b *Opened) int {
	return cmp.Or(
		cmp.Compare(a.AcceptedAt, b.AcceptedAt),
		bytes.Compare(a.Writer[:], b.Writer[:]),
		cmp.Compare(a.Seq, b.Seq),
	)
}

func (m *merger) conflicts() int {
	n := 0
	for i := range m.slots {
		if m.slots[i].conflict {
			n++
		}
	}
	return n
}

// appendRuns cuts the run where its revision changes. An interval that nobody
// states goes with the piece before it, and with the first at the beginning.
func (m *merger) appendRuns(series []meter.Series) []meter.Series {
	values := make([]int64, len(m.slots))
	quality := make([]meter.Quality, len(m.slots))
	begin, stated, plain := 0, false, true
	revision := m.frame.Revision
	piece := func(end int) {
		s := m.frame
		s.Start = m.frame.StartAt(begin)
		s.Revision = revision
		s.Values, s.Quality = values[begin:end:end], quality[begin:end:end]
		if plain {
			s.Quality = nil
		}
		series = append(series, s)
		begin, plain = end, true
	}
	for i := range m.slots {
		t := &m.slots[i]
		values[i], quality[i] = t.value, t.quality
		if t.from == 0 {
			quality[i] = meter.Missing
		} else {
			r := m.opened[t.from-1].Series.Revision
			if stated && r != revision {
				piece(i)
			}
			stated, revision = true, r
		}
		plain = plain && quality[i] == meter.Measured
	}
	piece(len(m.slots))
	return series
}
