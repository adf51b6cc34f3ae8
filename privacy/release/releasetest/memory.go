package releasetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
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
	years       map[int]budget
	spends      []release.Reservation
	releases    map[string]release.Published
	conflicts   map[Conflict]int
	spoolKeys   map[meter.Day][]seal.SpoolKeyWrap
	spool       map[meter.Day][]seal.SpoolRecord
	writers     map[seal.WriterID][]byte
	nodes       []release.Node
	points      map[meter.UsagePoint]string // the node that feeds each
	occupancies []consent.Occupancy
	erased      map[consent.Household]bool
}

type budget struct{ limit, spent dp.Rho }

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
		years:     map[int]budget{},
		releases:  map[string]release.Published{},
		conflicts: map[Conflict]int{},
		spoolKeys: map[meter.Day][]seal.SpoolKeyWrap{},
		spool:     map[meter.Day][]seal.SpoolRecord{},
		writers:   map[seal.WriterID][]byte{},
		points:    map[meter.UsagePoint]string{},
		erased:    map[consent.Household]bool{},
	}
}

var (
	_ release.Store     = (*Memory)(nil)
	_ release.Tx        = (*Tx)(nil)
	_ ledger.Store[*Tx] = (*Memory)(nil)
)

// Tx is a transaction of Memory.
type Tx struct {
	*ledgertest.Tx
	m *Memory
}

// Transact implements ledger.Store. fn must not use the Memory itself.
func (m *Memory) Transact(ctx context.Context, fn func(context.Context, *Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Memory.Transact(ctx, func(ctx context.Context, tx *ledgertest.Tx) error { return fn(ctx, &Tx{tx, m}) })
}

// do performs one call outside a transaction, with the fault that is ordered
// for it.
func (m *Memory) do(step Step, effect func() error) error {
	return m.orders.do(step, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		return effect()
	})
}

// Reserve implements release.Tx.
func (tx *Tx) Reserve(_ context.Context, r release.Reservation) error {
	m := tx.m
	return m.orders.do(Reserve, func() error {
		before, known := m.years[r.Year]
		year := before
		if !known {
			year.limit = r.Cap
		}
		limit := min(year.limit, r.Cap)
		w := m.windows[r.Day]
		switch {
		case r.Rho == 0:
			return errors.New("releasetest: a reservation of nothing")
		case year.spent > limit || r.Rho > limit-year.spent:
			return release.ErrOverBudget
		case slices.ContainsFunc(m.spends, func(s release.Reservation) bool { return s.ID == r.ID }):
			return errTaken
		case w.State != release.WindowClosing:
			return release.ErrWindowClosed
		}
		n := len(m.spends)
		tx.Undo(func() {
			m.windows[r.Day], m.years[r.Year], m.spends = w, before, m.spends[:n]
			if !known {
				delete(m.years, r.Year)
			}
		})
		year.spent += r.Rho
		m.years[r.Year] = year
		m.spends = append(m.spends, r)
		counted := w
		counted.Attempts++
		m.windows[r.Day] = counted
		return nil
	})
}

// PutRelease implements release.Tx.
func (tx *Tx) PutRelease(_ context.Context, p release.Published) error {
	return tx.m.orders.do(PutRelease, func() error {
		if _, taken := tx.m.releases[p.ID]; taken {
			return errTaken
		}
		p.Body, p.Signature, p.PublicKey = slices.Clone(p.Body), slices.Clone(p.Signature), slices.Clone(p.PublicKey)
		tx.m.releases[p.ID] = p
		tx.Undo(func() { delete(tx.m.releases, p.ID) })
		return nil
	})
}

// MoveWindow implements release.Tx.
func (tx *Tx) MoveWindow(_ context.Context, day meter.Day, from, to release.WindowState) error {
	return tx.m.orders.do(MoveWindow, func() error {
		before := tx.m.windows[day]
		if err := tx.m.move(day, from, to); err != nil {
			return err
		}
		tx.Undo(func() { tx.m.windows[day] = before })
		return nil
	})
}

var errTaken = errors.New("releasetest: taken already")

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
		return nil
	})
}

// GiveUp implements release.Store.
func (m *Memory) GiveUp(_ context.Context, day meter.Day) error {
	return m.do(GiveUp, func() error { return m.move(day, release.WindowClosing, release.WindowPublished) })
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
		for _, node := range m.points {
			for id := node; id != ""; id = nodes[at[id]].Parent {
				nodes[at[id]].UsagePoints++
			}
		}
		return nil
	})
	return nodes, err
}

// HouseholdNodes implements release.Store.
func (m *Memory) HouseholdNodes(_ context.Context, day meter.Day) (homes map[consent.Household]string, err error) {
	err = m.do(ReadHouseholds, func() error {
		first := map[consent.Household]meter.UsagePoint{}
		for _, o := range m.occupancies {
			p, seen := first[o.Household]
			if o.From < day.End() && (o.Until == 0 || o.Until > day.Start()) && !m.erased[o.Household] && (!seen || o.UsagePoint < p) {
				first[o.Household] = o.UsagePoint
			}
		}
		homes = make(map[consent.Household]string, len(first))
		for h, p := range first {
			homes[h] = m.points[p]
		}
		return nil
	})
	return homes, err
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
