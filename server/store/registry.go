package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
)

// Utility meters homes.
type Utility struct {
	ID   meter.Utility
	Name string // shown to people
}

// Recipient is a third party.
type Recipient struct {
	ID   consent.Recipient
	Name string // shown to households
}

// GridNode is a node of the public grid tree; its UsagePoints are ignored when
// it is put.
type GridNode = release.Node

// UsagePoint is a place of metering.
type UsagePoint struct {
	ID       meter.UsagePoint
	Utility  meter.Utility
	Node     string // leaf of the grid tree
	CapWatts int64  // physical limit
	Zone     string // IANA
	Tariff   string // public tariff group, or ""
}

// register runs a change of the registry, one at a time: what it reads before it
// writes stays true.
func (s *Store) register(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		if err := tx.lock(ctx, tx.sql, lockRegistry); err != nil {
			return fmt.Errorf("locking the registry: %w", err)
		}
		return fn(ctx, tx)
	})
}

// PutUtilities adds or renames utilities, all or none.
func (s *Store) PutUtilities(ctx context.Context, us []Utility) error {
	return s.putNames(ctx, "utilities", len(us), func(i int, v []any) { v[0], v[1] = us[i].ID, us[i].Name })
}

// PutRecipients adds or renames recipients, all or none.
func (s *Store) PutRecipients(ctx context.Context, rs []Recipient) error {
	return s.putNames(ctx, "recipients", len(rs), func(i int, v []any) { v[0], v[1] = rs[i].ID, rs[i].Name })
}

func (s *Store) putNames(ctx context.Context, table string, n int, row func(i int, values []any)) error {
	return s.register(ctx, func(ctx context.Context, tx *Tx) error {
		for i := range n { // one by one: a list may name the same twice
			values := make([]any, 2)
			row(i, values)
			_, err := tx.sql.ExecContext(ctx,
				`INSERT INTO `+table+` (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name`, values...)
			if err != nil {
				return fmt.Errorf("storing %s: %w", table, err)
			}
		}
		return nil
	})
}

// PutGridNodes adds nodes to the grid tree, all or none, parents first. A node
// that is there already must be the same: ErrConflict, as for one whose level
// does not follow its parent's. A parent that does not exist is ErrNotFound.
func (s *Store) PutGridNodes(ctx context.Context, nodes []GridNode) error {
	return s.register(ctx, func(ctx context.Context, tx *Tx) error {
		tree, err := gridNodes(ctx, tx.sql)
		if err != nil {
			return fmt.Errorf("reading the grid tree: %w", err)
		}
		known := make(map[string]GridNode, len(tree)+len(nodes))
		for _, n := range tree {
			known[n.ID] = n
		}
		var fresh []GridNode
		for _, n := range nodes {
			n.UsagePoints = 0
			if old, ok := known[n.ID]; ok {
				if old != n {
					return fmt.Errorf("adding a grid node: %w", ErrConflict)
				}
				continue
			}
			level := 0
			if n.Parent != "" {
				parent, ok := known[n.Parent]
				if !ok {
					return fmt.Errorf("adding a grid node below another: %w", ErrNotFound)
				}
				level = parent.Level + 1
			}
			if n.Level != level {
				return fmt.Errorf("adding a grid node: its level: %w", ErrConflict)
			}
			known[n.ID] = n
			fresh = append(fresh, n)
		}
		err = tx.insert(ctx, tx.sql, "grid_nodes", []string{"id", "parent", "level", "kind"}, "",
			len(fresh), func(i int, v []any) {
				n := fresh[i]
				v[0], v[1], v[2], v[3] = n.ID, sql.NullString{String: n.Parent, Valid: n.Parent != ""}, n.Level, n.Kind
			})
		return doing("adding grid nodes", err)
	})
}

// gridNodes returns the tree, parents first, without its usage points.
func gridNodes(ctx context.Context, q querier) ([]GridNode, error) {
	return scanAll(ctx, q, func(row *sql.Rows) (n GridNode, err error) {
		return n, row.Scan(&n.ID, &n.Parent, &n.Level, &n.Kind)
	}, `SELECT id, coalesce(parent, ''), level, kind FROM grid_nodes ORDER BY level, id`)
}

// Nodes returns the whole grid tree, parents first, with the number of usage
// points registered at or below each node. It implements release.Store.
func (s *Store) Nodes(ctx context.Context) ([]GridNode, error) {
	nodes, err := gridNodes(ctx, s.read)
	if err != nil {
		return nil, s.reading("the grid tree", err)
	}
	type count struct {
		node string
		n    uint64
	}
	counts, err := scanAll(ctx, s.read, func(row *sql.Rows) (c count, err error) {
		return c, row.Scan(&c.node, &c.n)
	}, `SELECT node, count(*) FROM usage_points GROUP BY node`)
	if err != nil {
		return nil, s.reading("the grid tree", err)
	}
	at := make(map[string]int, len(nodes))
	for i := range nodes {
		at[nodes[i].ID] = i
	}
	for _, c := range counts {
		if i, ok := at[c.node]; ok { // a node made since the tree was read
			nodes[i].UsagePoints = c.n
		}
	}
	for i := len(nodes) - 1; i >= 0; i-- { // parents first, so backwards children first
		if p := nodes[i].Parent; p != "" {
			nodes[at[p]].UsagePoints += nodes[i].UsagePoints
		}
	}
	return nodes, nil
}

// KnowsUtility reports whether the utility is registered.
func (s *Store) KnowsUtility(ctx context.Context, id meter.Utility) (bool, error) {
	return s.knows(ctx, "utilities", string(id))
}

// KnowsRecipient reports whether the third party is registered.
func (s *Store) KnowsRecipient(ctx context.Context, id consent.Recipient) (bool, error) {
	return s.knows(ctx, "recipients", string(id))
}

func (s *Store) knows(ctx context.Context, table, id string) (bool, error) {
	err := scanOne(ctx, s.kept, ErrNotFound, []any{&id}, `SELECT id FROM `+table+` WHERE id = $1`, id)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, s.reading("the register", err)
}

// PutUsagePoints adds usage points or changes their cap, zone and tariff group,
// all or none. A usage point keeps its utility and its node: ErrConflict. Those
// must exist: ErrNotFound.
func (s *Store) PutUsagePoints(ctx context.Context, points []UsagePoint) error {
	return s.register(ctx, func(ctx context.Context, tx *Tx) error {
		if err := tx.mustExist(ctx, "utilities", points, func(p UsagePoint) string { return string(p.Utility) }); err != nil {
			return err
		}
		if err := tx.mustExist(ctx, "grid_nodes", points, func(p UsagePoint) string { return p.Node }); err != nil {
			return err
		}
		for _, p := range points { // one by one: a list may name the same twice
			put, err := execOne(ctx, tx.sql,
				`INSERT INTO usage_points (id, utility, node, cap_watts, zone, tariff) VALUES ($1, $2, $3, $4, $5, $6)
				 ON CONFLICT (id) DO UPDATE SET cap_watts = excluded.cap_watts, zone = excluded.zone, tariff = excluded.tariff
				 WHERE usage_points.utility = excluded.utility AND usage_points.node = excluded.node`,
				p.ID, p.Utility, p.Node, p.CapWatts, p.Zone, p.Tariff)
			if err == nil && !put {
				err = ErrConflict
			}
			if err != nil {
				return fmt.Errorf("storing a usage point: %w", err)
			}
		}
		return nil
	})
}

// mustExist returns ErrNotFound unless every usage point's reference is the id of
// a row of table.
func (t *Tx) mustExist(ctx context.Context, table string, points []UsagePoint, reference func(UsagePoint) string) error {
	wanted := map[string]bool{}
	var ids []string
	for _, p := range points {
		if id := reference(p); !wanted[id] {
			wanted[id] = true
			ids = append(ids, id)
		}
	}
	var n int
	err := t.sql.QueryRowContext(ctx, `SELECT count(*) FROM `+table+` WHERE `+t.among("id", 1), t.list(ids)).Scan(&n)
	if err == nil && n != len(ids) {
		err = ErrNotFound
	}
	return doing("looking up "+table+" of usage points", err)
}
