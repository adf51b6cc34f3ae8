package ledger

// chains puts a leaf at the end of its household's and its recipient's chain, and
// says where it does not fit.
func (a *audit) chains(index uint64, leaf Leaf, p Payload, nonce, mapKey Hash) {
	if p.Subject != "" {
		a.household(index, leaf, p, nonce, mapKey)
	}
	if p.Recipient == "" {
		return
	}
	c := a.recipients[p.Recipient]
	if c == nil {
		c = &auditChain{}
		a.recipients[p.Recipient] = c
	}
	switch {
	case p.RecipientSeq > c.link.Seq+1:
		// Missing numbers may have been erased: later leaves say so.
		a.gaps = append(a.gaps, auditGap{index, p.Recipient, c.link.Seq + 1, p.RecipientSeq - 1, p.RecipientPrev})
	case p.RecipientSeq != c.link.Seq+1:
		a.find(index, AuditRecipient, "it is number %d in its recipient's chain, after %d", p.RecipientSeq, c.link.Seq)
	case p.RecipientPrev != c.link.Head:
		a.find(index, AuditRecipient, "it does not follow the event before it in its recipient's chain")
	}
	c.link.Seq, c.link.Head = p.RecipientSeq, leaf.Hash()
}

func (a *audit) household(index uint64, leaf Leaf, p Payload, nonce, mapKey Hash) {
	c := a.households[p.Subject]
	if c == nil {
		c = &auditChain{}
		a.households[p.Subject] = c
	}
	a.changed(chainChange{index, p.Subject, *c})
	switch {
	case p.SubjectSeq != c.link.Seq+1:
		a.find(index, AuditHousehold, "it is number %d in its household's chain, after %d", p.SubjectSeq, c.link.Seq)
	case p.SubjectPrev != c.link.Head:
		a.find(index, AuditHousehold, "it does not follow the event before it in its household's chain")
	}
	if c.link.Seq > 0 && (mapKey != c.mapKey) != (p.Kind == KindRekey) {
		a.find(index, AuditMapKey, "its household's key in the map changes where its secret does not")
	}
	c.link.Seq, c.link.Head, c.link.Nonce, c.mapKey = p.SubjectSeq, leaf.Hash(), nonce, mapKey
	if p.Kind == KindAccess && p.Recipient != "" {
		c.link.Accesses++
	}
}

// changed remembers the end of a chain before a leaf.
func (a *audit) changed(c chainChange) {
	if len(a.recent) == keptChanges {
		half := keptChanges / 2
		a.dropped = a.recent[half-1].index + 1
		a.recent = append(a.recent[:0], a.recent[half:]...)
	}
	a.recent = append(a.recent, c)
}

// checkGaps holds the gaps in recipients' chains against what erasures name.
func (a *audit) checkGaps() {
	type place struct {
		recipient string
		seq       uint64
	}
	erased := make(map[place]erasedAt)
	for index, e := range a.covered {
		if index >= a.report.Log.Size {
			a.find(e.leaf, AuditErasure, "it names leaf %d, which there is not", index)
			continue
		}
		if e.Recipient == "" {
			continue
		}
		if other, twice := erased[place{e.Recipient, e.RecipientSeq}]; twice {
			a.find(e.leaf, AuditErasure, "it names the same event of a recipient as leaf %d", other.leaf)
		}
		erased[place{e.Recipient, e.RecipientSeq}] = e
	}
	for _, g := range a.gaps {
		for seq := g.from; seq <= g.to; seq++ {
			e, ok := erased[place{g.recipient, seq}]
			if !ok {
				a.find(g.index, AuditRecipient, "number %d of its recipient's chain is missing, and was not erased", seq)
				break
			}
			delete(erased, place{g.recipient, seq})
			if seq == g.to && a.absent[e.Index] != g.prev {
				a.find(g.index, AuditRecipient, "it does not follow leaf %d, which was erased, in its recipient's chain", e.Index)
			}
		}
	}
	// What was erased at the end of a recipient's chain has no event after it.
	for p, e := range erased {
		if c := a.recipients[p.recipient]; c != nil && p.seq <= c.link.Seq {
			a.find(e.leaf, AuditErasure, "it names number %d of a recipient's chain, where another event is", p.seq)
		}
	}
}

// snapshot takes down the map as the events have it at the leaves that the newest
// map head covers.
func (a *audit) snapshot(head Payload) {
	a.head = &head
	a.expected = make(map[Hash]Hash)
	if head.MapUntil < a.dropped {
		a.find(a.mapHead, AuditMapRoot, "it covers only leaves before %d, too far back", head.MapUntil)
		return
	}
	earlier := make(map[string]auditChain)
	for i := len(a.recent) - 1; i >= 0 && a.recent[i].index >= head.MapUntil; i-- {
		earlier[a.recent[i].household] = a.recent[i].before
	}
	for name, c := range a.households {
		end, moved := earlier[name]
		if !moved {
			end = *c
		}
		if end.link.Seq > 0 {
			a.expected[end.mapKey] = MapValue(end.link)
		}
	}
	for key, leaf := range a.tombstones {
		if leaf < head.MapUntil {
			a.expected[key] = MapTombstone(key)
		}
	}
}

// checkMap rebuilds the root from the published list, and holds every entry against
// the events.
func (a *audit) checkMap() {
	if !a.mapped {
		return
	}
	if a.head == nil {
		a.find(a.mapHead, AuditMapRoot, "the newest map head does not open")
		return
	}
	root, n, err := MapRoot(func(yield func(Hash, Hash) bool) {
		for _, e := range a.mapEntries {
			if !yield(e.Key, e.Value) {
				return
			}
		}
	})
	a.report.MapSize = n
	if err != nil || root != a.head.Digest || n != a.head.MapSize {
		a.find(a.mapHead, AuditMapRoot, "the published list does not lead to the root that is recorded")
		return
	}
	for _, e := range a.mapEntries {
		want, ok := a.expected[e.Key]
		delete(a.expected, e.Key)
		_, erased := a.tombstones[e.Key]
		switch {
		case !ok && !erased: // one that was erased after the head opens no more
			a.find(a.mapHead, AuditMapKey, "an entry of the map belongs to no household")
		case ok && want != e.Value:
			a.find(a.mapHead, AuditMapValue, "the map ends a household's chain elsewhere than its events do")
		}
	}
	if len(a.expected) > 0 {
		a.find(a.mapHead, AuditMapKey, "%d households are not in the map", len(a.expected))
	}
}
