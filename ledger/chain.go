package ledger

import (
	"context"
	"fmt"
	"io"
)

// chainEnds are the chains that one batch extends, as they stand while its
// drafts are put into them one after the other.
type chainEnds struct {
	links map[ChainID]Link
	keys  map[string]TagKey // newest, by household
	fresh []SubjectKey      // generations that the batch begins
}

// TagKeyOf returns the key that a household's seq-th event, counted from 1, is
// tagged with, of the generations of its key, oldest first.
func TagKeyOf(generations []TagKey, seq uint64) (key Hash, ok bool) {
	for _, g := range generations {
		if g.FromSeq <= seq {
			key, ok = g.Key, true
		}
	}
	return key, ok
}

// chains reads the ends of the chains that the drafts extend, and the households'
// tag keys. A draft of a household without one is excluded, and the batch begins
// again: it is not registered, or was erased, perhaps a moment ago in this batch.
func (b *batch[T]) chains(ctx context.Context, tx T) (*chainEnds, error) {
	var ids []ChainID
	var subjects []string
	seen := make(map[ChainID]bool)
	for _, d := range b.drafts {
		for _, id := range [...]ChainID{{SubjectChain, d.payload.Subject}, {RecipientChain, d.payload.Recipient}} {
			if id.ID == "" || seen[id] {
				continue
			}
			seen[id] = true
			ids = append(ids, id)
			if id.Kind == SubjectChain {
				subjects = append(subjects, id.ID)
			}
		}
	}
	ends := &chainEnds{links: map[ChainID]Link{}, keys: map[string]TagKey{}}
	if len(ids) == 0 {
		return ends, nil
	}
	var err error
	if ends.links, err = tx.LedgerChains(ctx, ids); err != nil {
		return nil, fmt.Errorf("reading chains: %w", err)
	}
	if len(subjects) == 0 {
		return ends, nil
	}
	if ends.keys, err = tx.LedgerTagKeys(ctx, subjects); err != nil {
		return nil, fmt.Errorf("reading households' tag keys: %w", err)
	}
	for _, d := range b.drafts {
		if _, ok := ends.keys[d.payload.Subject]; !ok && d.payload.Subject != "" {
			b.excluded[d.call] = ErrNoSubjectKey
			err = errAgain
		}
	}
	return ends, err
}

// chainIn gives a payload its places in its household's and its recipient's
// chain, and its leaf the household's tag, or a random one. It returns the
// household's key in the map, zero without a household.
func (c *chainEnds) chainIn(p *Payload, tag *Hash, random io.Reader) (mapKey Hash, err error) {
	if p.Recipient != "" {
		link := c.links[ChainID{RecipientChain, p.Recipient}]
		p.RecipientSeq, p.RecipientPrev = link.Seq+1, link.Head
	}
	if p.Subject == "" {
		if _, err := io.ReadFull(random, tag[:]); err != nil {
			return Hash{}, fmt.Errorf("drawing a tag: %w", err)
		}
		return Hash{}, nil
	}
	link := c.links[ChainID{SubjectChain, p.Subject}]
	p.SubjectSeq, p.SubjectPrev = link.Seq+1, link.Head
	key := c.keys[p.Subject]
	if p.Kind == KindRekey {
		key.FromSeq = p.SubjectSeq
		if _, err := io.ReadFull(random, key.Key[:]); err != nil {
			return Hash{}, fmt.Errorf("drawing a household's tag key: %w", err)
		}
		c.keys[p.Subject] = key
		c.fresh = append(c.fresh, SubjectKey{p.Subject, key})
	}
	*tag = SubjectTag(key.Key, p.SubjectSeq)
	return MapKey(key.Key), nil
}

// chainOn makes a leaf the end of the chains that its payload is in.
func (c *chainEnds) chainOn(p Payload, leaf, nonce Hash) {
	if p.Subject != "" {
		id := ChainID{SubjectChain, p.Subject}
		link := Link{Seq: p.SubjectSeq, Head: leaf, Accesses: c.links[id].Accesses, Nonce: nonce}
		if p.Kind == KindAccess && p.Recipient != "" {
			link.Accesses++
		}
		c.links[id] = link
	}
	if p.Recipient != "" {
		c.links[ChainID{RecipientChain, p.Recipient}] = Link{Seq: p.RecipientSeq, Head: leaf}
	}
}
