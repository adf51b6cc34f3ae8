package release_test

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
)

// norm2 is the squared L2 norm of what lies between two sets of sums, over all
// nodes of one kind.
func norm2(a, b map[string][]int64, tree []release.Node, kind string) *big.Int {
	sum := new(big.Int)
	for _, n := range tree {
		if n.Kind != kind {
			continue
		}
		for i := range a[n.ID] {
			d := new(big.Int).Sub(big.NewInt(a[n.ID][i]), big.NewInt(b[n.ID][i]))
			sum.Add(sum, d.Mul(d, d))
		}
	}
	return sum
}

func cloned(m map[string][]int64) map[string][]int64 {
	out := map[string][]int64{}
	for k, v := range m {
		out[k] = slices.Clone(v)
	}
	return out
}

// However extreme its day, a household moves the sums of a whole level, all nodes
// together, by at most that level's C: the sensitivity that the noise is made
// for. It would catch a reading that is clipped by itself, a negative or extreme
// one that passes the clip by, a household that is in two nodes of a level, and
// one level that is clipped to another's bound.
func TestNoHouseholdMovesALevelByMoreThanItsBound(t *testing.T) {
	plan := plain()
	for name, x := range map[string][]int64{
		"flat":           repeated(5_000, 48),
		"at the bound":   at(map[int]int64{7: 8_000}),
		"one above":      at(map[int]int64{7: 8_001}),
		"one spike":      at(map[int]int64{47: 1 << 50}),
		"negative":       repeated(-5_000, 48),
		"both ways":      append(repeated(20_000, 24), repeated(-20_000, 24)...),
		"most":           repeated(math.MaxInt64, 48),
		"least":          repeated(math.MinInt64, 48),
		"many ones":      repeated(1, 48),
		"rounds badly":   append(repeated(3_333, 47), 1),
		"nothing":        repeated(0, 48),
		"a single least": at(map[int]int64{0: math.MinInt64}),
	} {
		c, err := release.NewSums(plan.Products[0], today, grid)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // others, before
			if err := c.Add(release.Place{Node: "feeder-1"}, repeated(300, 48)); err != nil {
				t.Fatal(err)
			}
		}
		before, given := cloned(c.Raw()), slices.Clone(x)
		if err := c.Add(release.Place{Node: "feeder-1"}, x); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(x, given) {
			t.Errorf("%s: adding a day changed it", name)
		}
		for _, l := range plan.Products[0].Levels {
			bound := new(big.Int).Mul(big.NewInt(l.ClipWh), big.NewInt(l.ClipWh))
			if moved := norm2(c.Raw(), before, grid, l.Kind); moved.Cmp(bound) > 0 {
				t.Errorf("%s: the %s level moved by √%d, more than %d", name, l.Kind, moved, l.ClipWh)
			}
		}
	}
}

// A household is in exactly one node of each level, whichever leaf it hangs from,
// and a day that needs no clip arrives whole in each. It would catch a tree that
// is walked past a level, or a node that takes its sibling's day.
func TestEveryLeafCountsOncePerLevel(t *testing.T) {
	for _, leaf := range grid {
		c, err := release.NewSums(wide().Products[0], today, grid)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Add(release.Place{Node: leaf.ID}, at(map[int]int64{5: 77})); err != nil {
			t.Fatal(err)
		}
		in := map[string]int{}
		for _, n := range grid {
			if sums := c.Raw()[n.ID]; sums[5] != 0 {
				in[n.Kind]++
				if !slices.Equal(sums, at(map[int]int64{5: 77})) {
					t.Errorf("a day at %s is %v in %s", leaf.ID, sums, n.ID)
				}
			}
		}
		for level, kind := range []string{"region", "substation", "feeder"} {
			want := 0
			if level <= leaf.Level {
				want = 1
			}
			if in[kind] != want {
				t.Errorf("a day at %s is in %d nodes of kind %s, want %d", leaf.ID, in[kind], kind, want)
			}
		}
	}
}

// A node that is not in the tree adds nothing, rather than something elsewhere.
func TestAnUnknownNodeAddsNothing(t *testing.T) {
	c, err := release.NewSums(wide().Products[0], today, grid)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "feeder-9"} {
		if err := c.Add(release.Place{Node: id}, repeated(5, 48)); err != nil {
			t.Fatal(err)
		}
	}
	for id, sums := range c.Raw() {
		if !slices.Equal(sums, repeated(0, 48)) {
			t.Errorf("%s is %v", id, sums)
		}
	}
}

// A tree in which a household could count twice on a level, or for ever, is
// refused before anything is summed.
func TestTreesThatAreNone(t *testing.T) {
	node := func(id, parent string, level int, kind string) release.Node {
		return release.Node{ID: id, Parent: parent, Level: level, Kind: kind}
	}
	for name, tree := range map[string][]release.Node{
		"one kind on two levels":     {node("a", "", 0, "region"), node("b", "a", 1, "region")},
		"one kind below itself":      {node("a", "", 0, "region"), node("b", "a", 0, "region")},
		"one kind at two depths":     {node("a", "", 0, "region"), node("f", "a", 1, "feeder"), node("s", "a", 1, "substation"), node("g", "s", 2, "feeder")},
		"a child before its parent":  {node("b", "a", 1, "substation"), node("a", "", 0, "region")},
		"its own parent":             {node("a", "a", 0, "region")},
		"a circle":                   {node("a", "b", 0, "region"), node("b", "a", 1, "substation")},
		"two nodes of one name":      {node("a", "", 0, "region"), node("f", "a", 1, "feeder"), node("f", "a", 1, "feeder")},
		"a node without a name":      {node("", "", 0, "region")},
		"a parent that is not there": {node("f", "gone", 1, "feeder")},
	} {
		if _, err := release.NewSums(wide().Products[0], today, tree); !errors.Is(err, release.ErrCatalogue) {
			t.Errorf("%s: %v, want ErrPlan", name, err)
		}
	}
	for name, tree := range map[string][]release.Node{
		"nothing":                nil,
		"two regions":            {node("a", "", 0, "region"), node("b", "", 0, "region")},
		"levels left out":        {node("a", "", 0, "region"), node("f", "a", 1, "feeder")},
		"kinds nobody publishes": {node("a", "", 0, "country"), node("b", "a", 1, "region"), node("c", "b", 2, "street")},
	} {
		if _, err := release.NewSums(wide().Products[0], today, tree); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Raw sums leave once, with noise, and nothing is left behind. It would catch a
// second result under the same noise, or under none.
func TestSumsAreTakenOnce(t *testing.T) {
	c, err := release.NewSums(plain().Products[0], today, grid)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Add(release.Place{Node: "feeder-1"}, repeated(100, 48)); err != nil {
		t.Fatal(err)
	}
	raw := c.Raw()
	before := cloned(raw)
	levels, nodes, err := c.Take()
	if err != nil || len(levels) != 3 || len(nodes) != len(grid) {
		t.Fatalf("taking: %d levels, %d nodes, %v", len(levels), len(nodes), err)
	}
	for _, n := range nodes {
		// 48 draws with a σ of thousands are all zero with odds below 1e-150.
		if slices.Equal(n.Raw, before[n.ID]) {
			t.Errorf("%s left without noise", n.ID)
		}
		if !slices.Equal(n.Raw, raw[n.ID]) { // the memory of the raw sums is that of the noisy ones
			t.Errorf("the raw sums of %s are still in memory", n.ID)
		}
	}
	if levels, nodes, err := c.Take(); !errors.Is(err, dp.ErrSpent) || levels != nil || nodes != nil {
		t.Errorf("taking again: %d nodes, %v; want ErrSpent", len(nodes), err)
	}
	if err := c.Add(release.Place{Node: "feeder-1"}, repeated(100, 48)); !errors.Is(err, dp.ErrSpent) {
		t.Errorf("adding to what was taken: %v, want ErrSpent", err)
	}
	if len(c.Raw()) != 0 {
		t.Error("sums are left after they were taken")
	}

	// An attempt that is dropped leaves zeros.
	c, err = release.NewSums(plain().Products[0], today, grid)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Add(release.Place{Node: "feeder-1"}, repeated(100, 48)); err != nil {
		t.Fatal(err)
	}
	raw = c.Raw()
	c.Erase()
	for id, sums := range raw {
		if !slices.Equal(sums, repeated(0, 48)) {
			t.Errorf("the raw sums of %s are still in memory", id)
		}
	}
	if _, _, err := c.Take(); !errors.Is(err, dp.ErrSpent) {
		t.Errorf("taking what was erased: %v, want ErrSpent", err)
	}
}
