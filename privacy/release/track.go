package release

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/wattveil/wattveil/meter"
)

// track is one product over one span: the running sums of the households in it, and at
// its end a release.
type track struct {
	trackID
	measure *measure
	blocks  []meter.Day // that the span is made of
	entry   []byte      // the product's canonical JSON

	due  bool // its last day is closing
	sums *sums

	// Of live load: which of the day's intervals, from 1, and its first second.
	part int
	from int64
}

// trackID says which running sums belong together: those of one catalogue entry, as it
// stood when the span began. A changed entry begins anew with its next span.
type trackID struct {
	entry [sha256.Size]byte
	first meter.Day // of the blocks
}

func (t *track) product() Product { return t.measure.product }

func (t *track) last() meter.Day { return t.blocks[len(t.blocks)-1] }

// releaseID names what the track becomes.
func (t *track) releaseID() string {
	if t.part > 0 {
		return t.product().Name + "/" + t.time()
	}
	return t.product().id(t.first)
}

// time writes when a part begins.
func (t *track) time() string { return time.Unix(t.from, 0).UTC().Format(partForm) }

// partForm is how the beginning of an interval is written, in UTC.
const partForm = "2006-01-02T15:04Z"

// schedule is how far each day has come.
type schedule struct {
	first   meter.Day                 // of the schedule
	pending map[meter.Day]WindowState // days that are not closed
}

// over reports whether a day takes part in nothing any more: published, closed, or
// from before the schedule. Days to come are not.
func (s schedule) over(d meter.Day) bool {
	state, pending := s.pending[d]
	return d < s.first || pending && state >= WindowPublished || !pending && d <= s.latest()
}

// latest is the last day that has a window that is not closed: all days up to it have
// had one.
func (s schedule) latest() meter.Day {
	latest := s.first - 1
	for d := range s.pending {
		latest = max(latest, d)
	}
	return latest
}

// tracks are those that the closing of a day works on: spans that the day belongs to
// and that began with it, and those that earlier closings left running. A span whose
// earlier days were closed without it, since the hub or the entry is younger, has none.
func (e *Engine[T]) tracks(day meter.Day, s schedule, running map[trackID]bool) ([]*track, error) {
	var out []*track
	for _, p := range e.Catalogue.Products {
		if p.Kind == Live { // has been published as the day went by
			continue
		}
		entry, hash, err := p.Entry()
		if err != nil {
			return nil, err
		}
		spans := [][]meter.Day{}
		if p.Days.holds(day) {
			spans = append(spans, p.blocks(day))
		}
		for id := range running {
			if id.entry == hash && (len(spans) == 0 || spans[0][0] != id.first) {
				spans = append(spans, p.blocks(id.first))
			}
		}
		for _, blocks := range spans {
			id := trackID{hash, blocks[0]}
			last := blocks[len(blocks)-1]
			if last != day && s.over(last) {
				continue // published: what comes now is too late
			}
			earlier := blocks[:max(0, slices.Index(blocks, day))]
			if !running[id] && (slices.ContainsFunc(earlier, s.over) || !slices.Contains(blocks, day)) {
				continue
			}
			m, err := newMeasure(p, blocks)
			if err != nil {
				return nil, err
			}
			out = append(out, &track{trackID: id, measure: m, blocks: blocks, entry: entry, due: last == day})
		}
	}
	return out, nil
}

// block is which of the track's blocks a day is, or -1.
func (t *track) block(d meter.Day) int { return slices.Index(t.blocks, d) }
