package seal_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

const x = -1 // an interval that states nothing

// stated is a series of up-1's import that begins at interval `at`.
func stated(at int, revision uint32, accepted int64, values ...int64) seal.Opened {
	s := meter.Series{UsagePoint: "up-1", Register: meter.ActiveImport, Start: int64(at) * 900, Length: 900, Revision: revision}
	for i, v := range values {
		if v == x {
			if s.Quality == nil {
				s.Quality = make([]meter.Quality, len(values))
			}
			s.Quality[i], v = meter.Missing, 0
		}
		s.Values = append(s.Values, v)
	}
	return seal.Opened{Series: s, AcceptedAt: accepted, Writer: seal.WriterID{7}, Seq: uint64(accepted)}
}

// expect is what Merge is to return of up-1's import.
type expect struct {
	at       int
	revision uint32
	values   []int64
}

// The rule by which one account is made of many, as policy, and in every order
// of arrival: closing and reading see the same blocks in different orders, and a
// rule that depended on it would publish one number and show another.
func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name      string
		in        []seal.Opened
		want      []expect
		conflicts int
	}{
		{"nothing", nil, nil, 0},
		{"one series", []seal.Opened{stated(0, 0, 1, 5, x, 7)}, []expect{{0, 0, []int64{5, x, 7}}}, 0},
		{
			"the newest revision wins, interval by interval",
			[]seal.Opened{stated(0, 0, 1, 1, 2, 3, 4), stated(1, 1, 2, 20, 30)},
			[]expect{{0, 0, []int64{1}}, {1, 1, []int64{20, 30}}, {3, 0, []int64{4}}},
			0,
		},
		{
			"even if it was accepted first",
			[]seal.Opened{stated(0, 1, 1, 10), stated(0, 0, 2, 1)},
			[]expect{{0, 1, []int64{10}}},
			0,
		},
		{
			"at equal revision the first accepted wins, and it is a conflict",
			[]seal.Opened{stated(0, 0, 1, 1, 2), stated(0, 0, 2, 1, 9)},
			[]expect{{0, 0, []int64{1, 2}}},
			1,
		},
		{
			"the same again is no conflict",
			[]seal.Opened{stated(0, 3, 1, 1, 2), stated(0, 3, 2, 1, 2)},
			[]expect{{0, 3, []int64{1, 2}}},
			0,
		},
		{
			"three that disagree are one conflict",
			[]seal.Opened{stated(0, 0, 1, 1), stated(0, 0, 2, 2), stated(0, 0, 3, 1)},
			[]expect{{0, 0, []int64{1}}},
			1,
		},
		{
			"a conflict that a revision settled is none",
			[]seal.Opened{stated(0, 0, 1, 1), stated(0, 0, 2, 2), stated(0, 1, 3, 4)},
			[]expect{{0, 1, []int64{4}}},
			0,
		},
		{
			"missing does not override",
			[]seal.Opened{stated(0, 0, 1, 1, 2, 3), stated(0, 9, 2, x, x, 30)},
			[]expect{{0, 0, []int64{1, 2}}, {2, 9, []int64{30}}},
			0,
		},
		{
			"missing does not conflict",
			[]seal.Opened{stated(0, 0, 1, x, 2), stated(0, 0, 2, 1, x)},
			[]expect{{0, 0, []int64{1, 2}}},
			0,
		},
		{
			"what nobody states stays missing",
			[]seal.Opened{stated(0, 0, 1, x, 2, x), stated(1, 0, 2, 2, x, 4)},
			[]expect{{0, 0, []int64{x, 2, x, 4}}},
			0,
		},
		{
			"nothing stated at all",
			[]seal.Opened{stated(0, 1, 1, x, x), stated(1, 1, 2, x)},
			[]expect{{0, 1, []int64{x, x}}},
			0,
		},
		{
			"pieces that touch are one",
			[]seal.Opened{stated(0, 0, 1, 1), stated(1, 0, 2, 2), stated(2, 0, 3, 3)},
			[]expect{{0, 0, []int64{1, 2, 3}}},
			0,
		},
		{
			"a gap stays a gap",
			[]seal.Opened{stated(0, 0, 1, 1), stated(2, 0, 2, 3)},
			[]expect{{0, 0, []int64{1}}, {2, 0, []int64{3}}},
			0,
		},
	} {
		permute(c.in, func(in []seal.Opened) {
			got, conflicts := seal.Merge(in)
			want := make([]meter.Series, 0, len(c.want))
			for _, e := range c.want {
				want = append(want, stated(e.at, e.revision, 0, e.values...).Series)
			}
			if !reflect.DeepEqual(got, want) || conflicts != c.conflicts {
				t.Errorf("%s:\n got %v, %d conflicts\nwant %v, %d", c.name, got, conflicts, want, c.conflicts)
			}
		})
	}
}

// permute calls f with in in every order.
func permute(in []seal.Opened, f func([]seal.Opened)) {
	var rec func(k int)
	order := slices.Clone(in)
	rec = func(k int) {
		if k >= len(order) {
			f(slices.Clone(order))
			return
		}
		for i := k; i < len(order); i++ {
			order[k], order[i] = order[i], order[k]
			rec(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	rec(0)
}

// Equal revision and equal time: the writer decides, then the number. Any rule
// will do, but there must be one.
func TestMergeTies(t *testing.T) {
	tie := func(writer byte, seq uint64, value int64) seal.Opened {
		o := stated(0, 0, 5, value)
		o.Writer, o.Seq = seal.WriterID{writer}, seq
		return o
	}
	permute([]seal.Opened{tie(2, 1, 30), tie(1, 9, 20), tie(1, 8, 10)}, func(in []seal.Opened) {
		got, conflicts := seal.Merge(in)
		if len(got) != 1 || got[0].Values[0] != 10 || conflicts != 1 {
			t.Errorf("%v, %d conflicts", got, conflicts)
		}
	})
	got, _ := seal.Merge([]seal.Opened{tie(1, 1, 10), tie(1, 1, 20)}) // stated twice in one record
	if got[0].Values[0] != 10 {
		t.Errorf("%v", got)
	}
}

// Series of another usage point, register, length or clock state other intervals.
func TestMergeKeepsApart(t *testing.T) {
	base := stated(4, 0, 1, 1, 1)
	point, register, length, clock := base, base, base, base
	point.Series.UsagePoint = "up-2"
	register.Series.Register = meter.ActiveExport
	length.Series.Length = 1800
	clock.Series.Start += 450
	all := []seal.Opened{base, point, register, length, clock}
	permute(all, func(in []seal.Opened) {
		got, conflicts := seal.Merge(in)
		want := []meter.Series{base.Series, clock.Series, length.Series, register.Series, point.Series}
		if !reflect.DeepEqual(got, want) || conflicts != 0 {
			t.Errorf("%v, %d conflicts", got, conflicts)
		}
	})
}

// What was given is not written to: it may be read elsewhere.
func TestMergeReadsOnly(t *testing.T) {
	a, b := stated(0, 0, 1, 1, x, 3), stated(1, 1, 2, 20, 30)
	keep := slices.Clone(a.Series.Values)
	seal.Merge([]seal.Opened{a, b})
	if !slices.Equal(a.Series.Values, keep) {
		t.Error("the series given were written to")
	}
}

// Closing merges what it took from the spool, reading what it took from the
// blocks. Two batches that disagree are sealed here in turns, so that numbers
// and calls say one thing and acceptance another: both must publish and show the
// same values.
func TestClosingAndReadingAgree(t *testing.T) {
	h := newHouse(t)
	window := must(seal.NewPrivateKey(&stream{label: "window"}))
	one, two := series(noon, 4), series(noon+1800, 4)
	two.Values = []int64{300, 4, 500, 600} // its first interval disagrees, its second does not
	contribution := func(s meter.Series) []seal.Contribution {
		return []seal.Contribution{{Household: "hh-1", CapWatts: meter.DefaultCapWatts, Series: s}}
	}

	first, second := h.writer.Begin(), h.writer.Begin()
	secondBlock := must(second.Seal(h.target, two))
	firstRecord := must(first.Spool(day, window.Public(), contribution(one)))
	firstBlock := must(first.Seal(h.target, one))
	secondRecord := must(second.Spool(day, window.Public(), contribution(two)))

	var read, closed []seal.Opened
	p := permit(t, always, upOne, importOnly)
	for _, b := range []seal.Block{secondBlock, firstBlock} {
		read = append(read, must(seal.Open(p, clock, seal.KeyedBlock{Block: b, Key: h.blockKey(t, b), WriterKey: h.writer.PublicKey()}))...)
	}
	wrap, _, err := h.writer.SpoolKey(day, window.Public())
	if err != nil {
		t.Fatal(err)
	}
	key := must(seal.OpenSpoolKey(window, wrap, h.writer.PublicKey()))
	for _, r := range []seal.SpoolRecord{firstRecord, secondRecord} {
		for _, s := range must(seal.OpenSpool(key, r)) {
			closed = append(closed, s.Opened)
		}
	}

	shown, shownConflicts := seal.Merge(read)
	published, publishedConflicts := seal.Merge(closed)
	want := series(noon, 6)
	want.Values = []int64{1, 2, 3, 4, 500, 600}
	if !reflect.DeepEqual(shown, []meter.Series{want}) || !reflect.DeepEqual(published, shown) {
		t.Errorf("shown %v, published %v, want %v", shown, published, want)
	}
	if shownConflicts != 1 || publishedConflicts != 1 {
		t.Errorf("%d and %d conflicts, want 1", shownConflicts, publishedConflicts)
	}
}
