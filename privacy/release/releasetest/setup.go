package releasetest

import (
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
)

// AddNodes adds nodes to the grid tree, parents first.
func (m *Memory) AddNodes(nodes ...release.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range nodes {
		n.UsagePoints = 0 // counted, not told
		m.nodes = append(m.nodes, n)
	}
}

// AddPoint registers a usage point at a node and in a tariff group.
func (m *Memory) AddPoint(point meter.UsagePoint, at release.Place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.points[point] = at
}

// Occupy records an occupancy of a registered usage point; only its usage point,
// household and times matter here.
func (m *Memory) Occupy(o consent.Occupancy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.occupancies = append(m.occupancies, o)
}

// Erase erases a household.
func (m *Memory) Erase(h consent.Household) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erased[h] = true
}

// AddWriter registers a writer's public key.
func (m *Memory) AddWriter(id seal.WriterID, key []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writers[id] = slices.Clone(key)
}

// AddSpool stores what one batch contributes to one window, if that is open, and
// reports whether it was.
func (m *Memory) AddSpool(keys []seal.SpoolKeyWrap, r seal.SpoolRecord) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.windows[r.Day].State != release.WindowOpen {
		return false
	}
	m.spoolKeys[r.Day] = append(m.spoolKeys[r.Day], keys...)
	m.spool[r.Day] = append(m.spool[r.Day], r)
	return true
}

// Damage lets change alter what is stored of a window.
func (m *Memory) Damage(day meter.Day, change func(w *release.Window, keys []seal.SpoolKeyWrap, records []seal.SpoolRecord)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.windows[day]
	change(&w, m.spoolKeys[day], m.spool[day])
	m.windows[day] = w
}

// Published returns a release, and whether there is one of that ID.
func (m *Memory) Published(id string) (release.Published, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.releases[id]
	return p, ok
}

// Releases returns how many releases there are.
func (m *Memory) Releases() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.releases)
}

// Reservations returns what was reserved, in order.
func (m *Memory) Reservations() []release.Reservation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.spends)
}

// Conflicts returns how many intervals were reported for a usage point and day.
func (m *Memory) Conflicts(c Conflict) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conflicts[c]
}

// DamageRunning lets change alter the sets of running sums that count.
func (m *Memory) DamageRunning(change func(wrap *seal.RunningKeyWrap, records []seal.RunningRecord) []seal.RunningRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.running {
		if s := &m.running[i]; s.wrap != nil {
			s.records = change(s.wrap, s.records)
		}
	}
}
