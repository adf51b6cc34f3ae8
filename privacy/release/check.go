package release

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// ErrMisstated says that a release states what does not follow from its catalogue
// entry and its raw integers. Its text names the part.
var ErrMisstated = errors.New("release: misstated")

// Check makes anew all that follows from a release's catalogue entry, days, accounts
// and raw integers, as anybody can: its name, what it costs, bounds and noise of its
// levels, that each node is on one of them, every estimate. The error is ErrMisstated if
// the release says otherwise. It takes what Verify returned, and looks at nothing else:
// whether the raw integers are sums of anything, and whether the accounts stand so,
// nobody can tell from a release alone.
//
// What version 3 states of given integers is fixed; another estimator is another
// version.
func (b Body) Check() error {
	p, err := b.product()
	if err != nil {
		return err
	}
	days, err := b.blocks()
	if err != nil {
		return err
	}
	if b.ID != b.named(p, days[0]) || b.Unit != p.unit() || !slices.Equal(days, p.blocks(days[0])) {
		return fmt.Errorf("%w: its name, unit or days are not those of a span of its product", ErrMisstated)
	}
	m, err := newMeasure(p, days)
	if err != nil {
		return err
	}
	depths := make(map[string]int, len(b.Levels))
	for i, l := range b.Levels {
		if l != m.levels[i].state(l.Level) {
			return fmt.Errorf("%w: what level %q costs, its clip or its noise", ErrMisstated, l.Kind)
		}
		depths[l.Kind] = l.Level
	}
	seen := make(map[string]bool, len(b.Nodes))
	for _, n := range b.Nodes {
		if depth, measured := depths[n.Kind]; !measured || n.Level != depth || seen[n.ID] {
			return fmt.Errorf("%w: node %q is twice there, or on no level", ErrMisstated, n.ID)
		}
		seen[n.ID] = true
	}
	g := b.Guarantee
	g.SoFar = slices.Clone(g.SoFar)
	if err := g.state(p); err != nil {
		return fmt.Errorf("%w: the guarantee: %w", ErrMisstated, err)
	}
	if !reflect.DeepEqual(g, b.Guarantee) {
		return fmt.Errorf("%w: the guarantee", ErrMisstated)
	}
	return b.checkEstimates(m)
}

// blocks reads the days that a release is made of.
func (b Body) blocks() ([]meter.Day, error) {
	days := make([]meter.Day, len(b.Days))
	for i, text := range b.Days {
		var err error
		if days[i], err = meter.ParseDay(text); err != nil {
			return nil, fmt.Errorf("%w: a day that is none", ErrMisstated)
		}
	}
	return days, nil
}

// slack is how far an estimate may be off, in whole units: machines that fuse a
// multiplication and an addition round another way on the edge between two integers.
const slack = 1

func (b Body) checkEstimates(m *measure) error {
	anew := b
	anew.Nodes = slices.Clone(b.Nodes)
	for i := range anew.Nodes {
		n := &anew.Nodes[i]
		n.Estimate, n.Low, n.High = nil, nil, nil
	}
	if err := anew.addEstimates(m); err != nil {
		return fmt.Errorf("%w: estimates cannot be made of it: %w", ErrMisstated, err)
	}
	if !reflect.DeepEqual(anew.Estimates, b.Estimates) {
		return fmt.Errorf("%w: how estimates were made", ErrMisstated)
	}
	for i, n := range b.Nodes {
		of := anew.Nodes[i]
		if !near(n.Estimate, of.Estimate) || !near(n.Low, of.Low) || !near(n.High, of.High) {
			return fmt.Errorf("%w: the estimates of node %q", ErrMisstated, n.ID)
		}
	}
	return nil
}

func near(a, b []int64) bool {
	return slices.EqualFunc(a, b, func(x, y int64) bool {
		return uint64(max(x, y))-uint64(min(x, y)) <= slack // fits where it does not as a signed number
	})
}

// Of reports whether a release is of one of a catalogue's products, to the byte of its
// entry.
func (b Body) Of(c Catalogue) bool {
	return slices.ContainsFunc(c.Products, func(p Product) bool {
		entry, _, err := p.Entry()
		return err == nil && bytes.Equal(entry, b.Entry)
	})
}

// named is what a release of a product over the span that a day begins is called; of live
// load, which of the day's intervals it is of, or nothing if it is of none.
func (b Body) named(p Product, first meter.Day) string {
	if p.Kind != Live {
		return p.id(first)
	}
	from, err := time.Parse(partForm, b.From)
	at := from.Unix()
	if err != nil || at < first.Start() || at >= first.End() || (at-first.Start())%p.IntervalSeconds != 0 {
		return ""
	}
	return p.Name + "/" + b.From
}
