package releasetest

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// set is a set of running sums that the closing of a day made.
type set struct {
	id      seal.RunningID
	from    meter.Day
	records []seal.RunningRecord
	wrap    *seal.RunningKeyWrap // nil as long as it does not count
}

// set returns the set of that name, made if it is new.
func (m *Memory) set(id seal.RunningID, from meter.Day) *set {
	at := slices.IndexFunc(m.running, func(s set) bool { return s.id == id })
	if at < 0 {
		at = len(m.running)
		m.running = append(m.running, set{id: id, from: from})
	}
	return &m.running[at]
}

// PutRunning implements release.Store.
func (m *Memory) PutRunning(_ context.Context, from meter.Day, records []seal.RunningRecord) error {
	return m.do(PutRunning, func() error {
		if m.windows[from].State != release.WindowClosing {
			return release.ErrWindowClosed
		}
		for i, r := range records {
			taken := func(other seal.RunningRecord) bool { return other.ID == r.ID && other.Seq == r.Seq }
			if slices.ContainsFunc(records[:i], taken) || slices.ContainsFunc(m.set(r.ID, from).records, taken) {
				return errTaken
			}
		}
		for _, r := range records {
			r.Ciphertext = slices.Clone(r.Ciphertext)
			s := m.set(r.ID, from)
			s.records = append(s.records, r)
		}
		return nil
	})
}

// replaceRunning deletes the sets, which must be all that count, and lets another count,
// if any.
func (m *Memory) replaceRunning(wrap *seal.RunningKeyWrap, replaced []seal.RunningID) error {
	counting := 0
	for _, s := range m.running {
		if s.wrap == nil {
			continue
		}
		if counting++; !slices.Contains(replaced, s.id) {
			return release.ErrWindowClosed
		}
	}
	switch {
	case counting != len(replaced):
		return release.ErrWindowClosed
	case wrap != nil && slices.Contains(replaced, wrap.ID):
		return errTaken
	}
	m.running = slices.DeleteFunc(m.running, func(s set) bool { return slices.Contains(replaced, s.id) })
	if wrap == nil {
		return nil
	}
	if state := m.windows[wrap.Window].State; state != release.WindowOpen && state != release.WindowClosing {
		return release.ErrWindowClosed
	}
	s := m.set(wrap.ID, wrap.From)
	if s.wrap != nil {
		return errTaken
	}
	counts := *wrap
	counts.Sealed, counts.Signature = slices.Clone(wrap.Sealed), slices.Clone(wrap.Signature)
	s.wrap = &counts
	return nil
}

// RunningSets implements release.Store.
func (m *Memory) RunningSets(context.Context) (wraps []seal.RunningKeyWrap, err error) {
	err = m.do(RunningSets, func() error {
		for _, s := range m.running {
			if s.wrap != nil {
				wraps = append(wraps, *s.wrap)
			}
		}
		slices.SortFunc(wraps, func(a, b seal.RunningKeyWrap) int {
			return cmp.Or(cmp.Compare(a.From, b.From), bytes.Compare(a.ID[:], b.ID[:]))
		})
		return nil
	})
	return wraps, err
}

// RunningRecords implements release.Store.
func (m *Memory) RunningRecords(_ context.Context, id seal.RunningID, yield func(seal.RunningRecord) error) error {
	var records []seal.RunningRecord
	err := m.do(RunningRecords, func() error {
		if at := slices.IndexFunc(m.running, func(s set) bool { return s.id == id }); at >= 0 {
			records = slices.Clone(m.running[at].records)
		}
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

// liveSet is the state of a day's live load.
type liveSet struct {
	wrap    seal.RunningKeyWrap
	records []seal.RunningRecord
}

// PutLive implements release.Store.
func (m *Memory) PutLive(_ context.Context, day meter.Day, before seal.RunningID, wrap seal.RunningKeyWrap, records []seal.RunningRecord) error {
	return m.do(PutLive, func() error {
		if _, ok := m.windows[day]; !ok {
			return release.ErrNotFound
		}
		if m.windows[day].State != release.WindowOpen || m.live[day].wrap.ID != before {
			return release.ErrWindowClosed
		}
		m.live[day] = liveSet{wrap, slices.Clone(records)}
		return nil
	})
}

// Live implements release.Store.
func (m *Memory) Live(_ context.Context, day meter.Day) (wrap seal.RunningKeyWrap, records []seal.RunningRecord, err error) {
	err = m.do(ReadLive, func() error {
		l, ok := m.live[day]
		if !ok {
			return release.ErrNotFound
		}
		wrap, records = l.wrap, slices.Clone(l.records)
		return nil
	})
	return wrap, records, err
}
