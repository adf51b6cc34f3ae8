package plain

import "testing"

// The plain alternative adds up what was stored, on every level. It would catch a
// baseline that is fast because it leaves something out.
func TestDaysAddUp(t *testing.T) {
	d, err := OpenDays(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	day := func(v int64) []int64 {
		out := make([]int64, Slots)
		out[0], out[Slots-1] = v, 1
		return out
	}
	if err := d.Load(t.Context(), []Day{{"a", 0, day(1 << 31)}, {"b", 0, day(2)}, {"c", 3, day(4)}}); err != nil {
		t.Fatal(err)
	}
	sums, err := d.Sum(t.Context(), 4, []int{4, 2, 1})
	if err != nil {
		t.Fatal(err)
	}
	for l, want := range [][]int64{{1<<31 + 6}, {1<<31 + 2, 4}, {1<<31 + 2, 0, 0, 4}} {
		for node, v := range want {
			if got := sums[l][node*Slots]; got != v {
				t.Errorf("level %d, node %d: %d, want %d", l, node, got, v)
			}
		}
	}
	if sums[0][Slots-1] != 3 {
		t.Errorf("the last half-hour is %d, want 3", sums[0][Slots-1])
	}
}
