package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/wattveil/wattveil/privacy/plan"
	"github.com/wattveil/wattveil/privacy/population"
)

// cover plans on one generated reference and counts, over fresh populations of as many
// households, how often the stated intervals hold the truth. Means are measured through
// the clips of their days.
func (b *benchRelease) cover(ctx context.Context, progress io.Writer, households int) error {
	if b.populations == 0 {
		b.results.NotRun = append(b.results.NotRun, "interval_coverage: --populations is 0")
		return nil
	}
	designs, err := b.designs(households)
	if err != nil {
		return err
	}
	counted := &counter{covered: map[string]perLevel{}, stated: map[string]perLevel{}}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range b.populations {
		group.Go(func() error {
			if err := b.coverOne(ctx, fmt.Sprintf("coverage %d", i), households, designs, counted); err != nil {
				return err
			}
			if n := counted.population(); n%10 == 0 {
				fmt.Fprintf(progress, "coverage: %d of %d populations\n", n, b.populations)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.results.Coverage, b.results.Populations, b.results.CoverageHomes = counted.coverage(), b.populations, households
	return nil
}

// designs plans all trials on a reference of their own, with the splits that were found
// on the other one.
func (b *benchRelease) designs(households int) ([]*plan.Design, error) {
	reference, err := b.fresh("coverage reference", households)
	if err != nil {
		return nil, err
	}
	studies := map[plan.Product]*plan.Study{}
	designs := make([]*plan.Design, len(trials))
	for i, t := range trials {
		if studies[t.product] == nil {
			if studies[t.product], err = plan.NewStudy(reference.means(t), t.product, sizesOf(households)); err != nil {
				return nil, err
			}
		}
		if designs[i], err = studies[t.product].Design(b.rhos[t.name]); err != nil {
			return nil, err
		}
	}
	return designs, nil
}

// coverOne tries all designs on one fresh population, of which no curve is kept.
func (b *benchRelease) coverOne(ctx context.Context, name string, households int, designs []*plan.Design, counted *counter) error {
	day, err := b.generate(name+" day", households)
	if err != nil {
		return err
	}
	mean, err := b.generate(name+" mean", households)
	if err != nil {
		return err
	}
	for i, t := range trials {
		if err := ctx.Err(); err != nil {
			return err
		}
		var fresh plan.Source = day.Day(0)
		if t.product != plan.Day {
			fresh = mean.Span(population.MeanDays)
		}
		outcomes, err := designs[i].Try(fresh)
		if err != nil {
			return err
		}
		counted.add(t.name, outcomes)
	}
	return nil
}

// counter counts intervals. Safe for concurrent use.
type counter struct {
	mu              sync.Mutex
	covered, stated map[string]perLevel
	populations     int
}

func (c *counter) add(trial string, outcomes []plan.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.covered[trial] == nil {
		c.covered[trial], c.stated[trial] = perLevel{}, perLevel{}
	}
	for l, o := range outcomes {
		c.covered[trial][levelNames[l]] += float64(o.Covered)
		c.stated[trial][levelNames[l]] += float64(o.Stated)
	}
}

// population counts one more, and returns how many there are.
func (c *counter) population() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.populations++
	return c.populations
}

func (c *counter) coverage() map[string]perLevel {
	shares := map[string]perLevel{}
	for trial, levels := range c.stated {
		shares[trial] = perLevel{}
		for level, n := range levels {
			shares[trial][level] = c.covered[trial][level] / n
		}
	}
	return shares
}
