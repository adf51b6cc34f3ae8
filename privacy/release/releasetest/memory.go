package releasetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Memory is a release.Store and the ledger.Store of its transactions, which
// forgets everything when it is dropped. What a transaction changes is seen by
// others when it has committed. It is safe for concurrent use.
type Memory struct {
	*ledgertest.Memory // the ledger's part; its own lock

	orders orders

	mu          sync.Mutex // held through a transaction, COMMIT included
	windows     map[meter.Day]release.Window
	years       map[int]account
	days        map[meter.Day]account
	spends      []release.Reservation
	releases    map[string]release.Published
	conflicts   map[Conflict]int
	spoolKeys   map[meter.Day][]seal.SpoolKeyWrap
	spool       map[meter.Day][]seal.SpoolRecord
	running     []set // oldest first
	live        map[meter.Day]liveSet
	writers     map[seal.WriterID][]byte
	nodes       []release.Node
	points      map[meter.UsagePoint]release.Place
	occupancies []consent.Occupancy
	erased      map[consent.Household]bool
}

// Conflict names what PutConflict reports.
type Conflict struct {
	Point meter.UsagePoint
	Day   meter.Day
}

// NewMemory returns a store that holds the empty log of that origin and nothing
// else.
func NewMemory(origin string) *Memory {
	return &Memory{
		Memory:    ledgertest.NewMemory(origin),
		windows:   map[meter.Day]release.Window{},
		years:     map[int]account{},
		days:      map[meter.Day]account{},
		releases:  map[string]release.Published{},
		live:      map[meter.Day]liveSet{},
		conflicts: map[Conflict]int{},
		spoolKeys: map[meter.Day][]seal.SpoolKeyWrap{},
		spool:     map[meter.Day][]seal.SpoolRecord{},
		writers:   map[seal.WriterID][]byte{},
		points:    map[meter.UsagePoint]release.Place{},
		erased:    map[consent.Household]bool{},
	}
}

var (
	_ release.Store     = (*Memory)(nil)
	_ release.Tx        = (*Tx)(nil)
	_ ledger.Store[*Tx] = (*Memory)(nil)
)

// do performs one call outside a transaction, with the fault that is ordered
// for it.
func (m *Memory) do(step Step, effect func() error) error {
	return m.orders.do(step, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		return effect()
	})
}

func (m *Memory) move(day meter.Day, from, to release.WindowState) error {
	w, ok := m.windows[day]
	if !ok || w.State != from {
		return release.ErrWindowClosed
	}
	w.State = to
	m.windows[day] = w
	return nil
}

// Window implements release.Store.
func (m *Memory) Window(_ context.Context, day meter.Day) (w release.Window, err error) {
	err = m.do(ReadWindow, func() error {
		var ok bool
		if w, ok = m.windows[day]; !ok {
			return release.ErrNotFound
		}
		w = clone(w)
		return nil
	})
	return w, err
}

func clone(w release.Window) release.Window {
	w.PublicKey, w.WrappedPrivate = slices.Clone(w.PublicKey), slices.Clone(w.WrappedPrivate)
	return w
}

// PutWindow implements release.Store.
func (m *Memory) PutWindow(_ context.Context, w release.Window) error {
	return m.do(PutWindow, func() error {
		if _, ok := m.windows[w.Day]; !ok {
			m.windows[w.Day] = clone(w)
		}
		return nil
	})
}

// Windows implements release.Store.
func (m *Memory) Windows(context.Context) (ws []release.Window, err error) {
	err = m.do(ListWindows, func() error {
		for _, w := range m.windows {
			if w.State < release.WindowClosed {
				ws = append(ws, clone(w))
			}
		}
		slices.SortFunc(ws, func(a, b release.Window) int { return cmp.Compare(a.Day, b.Day) })
		return nil
	})
	return ws, err
}

// LastWindow implements release.Store.
func (m *Memory) LastWindow(context.Context) (last meter.Day, err error) {
	err = m.do(LastWindow, func() error {
		if len(m.windows) == 0 {
			return release.ErrNotFound
		}
		last = slices.Max(slices.Collect(maps.Keys(m.windows)))
		return nil
	})
	return last, err
}

// FirstWindow implements release.Store.
func (m *Memory) FirstWindow(context.Context) (first meter.Day, err error) {
	err = m.do(FirstWindow, func() error {
		if len(m.windows) == 0 {
			return release.ErrNotFound
		}
		first = slices.Min(slices.Collect(maps.Keys(m.windows)))
		return nil
	})
	return first, err
}

// BeginClosing implements release.Store.
func (m *Memory) BeginClosing(_ context.Context, day meter.Day) error {
	return m.do(BeginClosing, func() error {
		switch w, ok := m.windows[day]; {
		case !ok:
			return release.ErrNotFound
		case w.State == release.WindowClosing:
			return nil
		}
		return m.move(day, release.WindowOpen, release.WindowClosing)
	})
}

// CountAttempt implements release.Store.
func (m *Memory) CountAttempt(_ context.Context, day meter.Day) (attempts int, err error) {
	err = m.do(CountAttempt, func() error {
		w := m.windows[day]
		if w.State != release.WindowClosing {
			return release.ErrWindowClosed
		}
		w.Attempts++
		m.windows[day], attempts = w, w.Attempts
		return nil
	})
	return attempts, err
}

// EndPublishing implements release.Store.
func (m *Memory) EndPublishing(_ context.Context, day meter.Day, wrap *seal.RunningKeyWrap, replaced []seal.RunningID) error {
	return m.do(EndPublishing, func() error {
		before, running := m.windows[day], slices.Clone(m.running)
		if err := m.move(day, release.WindowClosing, release.WindowPublished); err != nil {
			return err
		}
		if err := m.replaceRunning(wrap, replaced); err != nil {
			m.windows[day], m.running = before, running
			return err
		}
		return nil
	})
}

// EndClosing implements release.Store.
func (m *Memory) EndClosing(_ context.Context, day meter.Day) error {
	return m.do(EndClosing, func() error {
		w, ok := m.windows[day]
		switch {
		case !ok:
			return release.ErrNotFound
		case w.State == release.WindowClosed:
			return nil
		case w.State != release.WindowPublished:
			return release.ErrWindowClosed
		}
		w.State, w.WrappedPrivate = release.WindowClosed, nil
		m.windows[day] = w
		delete(m.spool, day)
		delete(m.spoolKeys, day)
		delete(m.live, day)
		m.running = slices.DeleteFunc(m.running, func(s set) bool { return s.from == day && s.wrap == nil })
		return nil
	})
}

// SpoolKeys implements release.Store.
func (m *Memory) SpoolKeys(_ context.Context, day meter.Day) (keys []seal.SpoolKeyWrap, err error) {
	err = m.do(SpoolKeys, func() error {
		keys = slices.Clone(m.spoolKeys[day])
		return nil
	})
	return keys, err
}

// SpoolRecords implements release.Store.
func (m *Memory) SpoolRecords(_ context.Context, day meter.Day, yield func(seal.SpoolRecord) error) error {
	var records []seal.SpoolRecord
	err := m.do(SpoolRecords, func() error {
		records = slices.Clone(m.spool[day])
		return nil
	})
	for _, r := range records {
		if err != nil {
			break
		}
		err = yield(r)
	}
	return err
}

// WriterKeys implements release.Store.
func (m *Memory) WriterKeys(_ context.Context, ids []seal.WriterID) (keys map[seal.WriterID][]byte, err error) {
	err = m.do(WriterKeys, func() error {
		keys = map[seal.WriterID][]byte{}
		for _, id := range ids {
			if key, ok := m.writers[id]; ok {
				keys[id] = slices.Clone(key)
			}
		}
		return nil
	})
	return keys, err
}

// Nodes implements release.Store.
func (m *Memory) Nodes(context.Context) (nodes []release.Node, err error) {
	err = m.do(ReadNodes, func() error {
		nodes = slices.Clone(m.nodes)
		at := make(map[string]int, len(nodes))
		for i, n := range nodes {
			at[n.ID] = i
		}
		for _, p := range m.points {
			for id := p.Node; id != ""; id = nodes[at[id]].Parent {
				nodes[at[id]].UsagePoints++
			}
		}
		return nil
	})
	return nodes, err
}

// HouseholdPlaces implements release.Store.
func (m *Memory) HouseholdPlaces(_ context.Context, first, last meter.Day, yield func(consent.Household, release.Place)) error {
	type stay struct {
		reaches meter.Day // its last day among those asked for
		point   meter.UsagePoint
	}
	places := map[consent.Household]release.Place{}
	err := m.do(ReadHouseholds, func() error {
		counts := map[consent.Household]stay{}
		for _, o := range m.occupancies {
			if o.From >= last.End() || o.Until != 0 && o.Until <= first.Start() || m.erased[o.Household] {
				continue
			}
			at := stay{last, o.UsagePoint}
			if o.Until != 0 {
				at.reaches = min(last, meter.DayOf(o.Until-1))
			}
			best, seen := counts[o.Household]
			if !seen || at.reaches > best.reaches || at.reaches == best.reaches && at.point < best.point {
				counts[o.Household] = at
			}
		}
		for h, at := range counts {
			places[h] = m.points[at.point]
		}
		return nil
	})
	if err == nil {
		for h, p := range places {
			yield(h, p)
		}
	}
	return err
}

// PublishedAmong implements release.Store.
func (m *Memory) PublishedAmong(_ context.Context, ids []string) (published map[string]bool, err error) {
	err = m.do(PublishedAmong, func() error {
		published = map[string]bool{}
		for _, id := range ids {
			if _, ok := m.releases[id]; ok {
				published[id] = true
			}
		}
		return nil
	})
	return published, err
}

// PutConflict implements release.Store.
func (m *Memory) PutConflict(_ context.Context, point meter.UsagePoint, day meter.Day, intervals int, _ int64) error {
	return m.do(PutConflict, func() error {
		c := Conflict{point, day}
		m.conflicts[c] = max(m.conflicts[c], intervals)
		return nil
	})
}

// wrap says in whose words an ordered fault speaks.
func wrap(step Step) error { return fmt.Errorf("%s: %w", step, ledgertest.ErrFault) }
