package estimate

import (
	"errors"
	"fmt"
)

// NoParent is the parent of a root.
const NoParent = -1

// Errors of a malformed tree.
var (
	ErrParent = errors.New("estimate: parent is not a node")
	ErrCycle  = errors.New("estimate: nodes are their own ancestors")
)

// Tree is a public tree of nodes 0 … Len()-1, or several of them, of any depth and
// fan-out. What is true of a node is the sum of what is true of its children.
// Every estimate of this package relies on that: a tree whose nodes hold energy
// that is in none of their children needs a child for it, measured or not.
type Tree struct {
	parent []int
	depth  []int
	inner  []int // a node's number among those with children, NoParent for a leaf
	order  []int // every node after its children
	inners int
	depths int // the greatest depth
}

// NewTree returns the tree in which node i is a child of parents[i], or a root
// if that is [NoParent]. Nodes may come in any order, and there may be none. It
// returns [ErrParent] or [ErrCycle].
func NewTree(parents []int) (*Tree, error) {
	n := len(parents)
	t := &Tree{
		parent: append([]int(nil), parents...),
		depth:  make([]int, n),
		inner:  make([]int, n),
		order:  make([]int, 0, n),
	}
	waiting := make([]int, n) // children that are not yet in order
	for i, p := range parents {
		if p < NoParent || p >= n {
			return nil, fmt.Errorf("node %d has parent %d of %d: %w", i, p, n, ErrParent)
		}
		if p != NoParent {
			waiting[p]++
		}
	}
	for i, children := range waiting {
		t.inner[i] = NoParent
		if children > 0 {
			t.inner[i] = t.inners
			t.inners++
			continue
		}
		t.order = append(t.order, i)
	}
	for next := 0; next < len(t.order); next++ {
		if p := parents[t.order[next]]; p != NoParent {
			if waiting[p]--; waiting[p] == 0 {
				t.order = append(t.order, p)
			}
		}
	}
	if len(t.order) < n { // a node that waits for itself never comes
		return nil, fmt.Errorf("%d of %d nodes: %w", n-len(t.order), n, ErrCycle)
	}
	for k := n - 1; k >= 0; k-- {
		if i := t.order[k]; parents[i] != NoParent {
			t.depth[i] = t.depth[parents[i]] + 1
			t.depths = max(t.depths, t.depth[i])
		}
	}
	return t, nil
}

// Len returns the number of nodes.
func (t *Tree) Len() int { return len(t.parent) }

// Parent returns the parent of node i, or [NoParent].
func (t *Tree) Parent(i int) int { return t.parent[i] }

// Depth returns the number of steps from node i up to its root.
func (t *Tree) Depth(i int) int { return t.depth[i] }

// Leaf reports whether node i has no children.
func (t *Tree) Leaf(i int) bool { return t.inner[i] == NoParent }
