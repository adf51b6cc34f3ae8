package ledger

import "context"

type aheadKey struct{}

// WithAhead says, for a proposal made with the context that is returned, what its
// function is going to read. A store that is an Aheader reads it for a whole batch
// at once, which spares a round trip for each read of each proposal. It is advice:
// what the function reads is the same with and without.
func WithAhead(ctx context.Context, reads any) context.Context {
	return context.WithValue(ctx, aheadKey{}, reads)
}

// Aheader is a Tx that can read ahead. It is called once in a transaction, after
// the head is locked and before any function runs, with what WithAhead was given
// for the proposals of the batch. What it keeps must not outlive a change of it,
// or a RollbackTo of one.
type Aheader interface {
	LedgerAhead(ctx context.Context, reads []any) error
}

// ahead lets the transaction read ahead, if it can and there is anything to read.
func (b *batch[T]) ahead(ctx context.Context, tx T) error {
	a, ok := any(tx).(Aheader)
	if !ok {
		return nil
	}
	var reads []any
	for i, c := range b.calls {
		_, recorded := b.recorded[c.requestID]
		if r := c.ctx.Value(aheadKey{}); r != nil && !recorded && b.excluded[i] == nil {
			reads = append(reads, r)
		}
	}
	if len(reads) < 2 {
		return nil
	}
	return a.LedgerAhead(ctx, reads)
}
