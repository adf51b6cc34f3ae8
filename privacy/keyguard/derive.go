package keyguard

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Name tells the block keys of one household apart.
type Name struct {
	UsagePoint meter.UsagePoint
	Register   meter.Register
	Day        meter.Day
	Generation uint32
	Writer     seal.WriterID
}

// BlockKeys is an answer of the guard. It is not safe for concurrent use with
// Clear.
type BlockKeys struct {
	Keys map[Name]seal.BlockKey
	// Damaged is how many day keys of the days could not be had: no copy of
	// their wrap was made by the writer it names and opens.
	Damaged int
}

// Key returns the key of a block, if the answer holds it.
func (k *BlockKeys) Key(b seal.Block) (seal.BlockKey, bool) {
	key, ok := k.Keys[Name{b.UsagePoint, b.Register, b.Day, b.Generation, b.Writer}]
	return key, ok
}

// Clear overwrites all keys, also in copies that Key has returned, and drops them. What
// it cannot reach is said at the type of a key in package seal.
func (k *BlockKeys) Clear() {
	for _, key := range k.Keys {
		key.Erase()
	}
	clear(k.Keys)
}

// derive opens the wraps with the household's private keys and derives what is
// wanted. It is called after the access is spent.
func (g *Guard) derive(ctx context.Context, wanted leaf, wraps []seal.DayKeyWrap) (*BlockKeys, error) {
	out := &BlockKeys{Keys: make(map[Name]seal.BlockKey)}
	copies := make(map[dayKeyName][]seal.DayKeyWrap)
	var writers []seal.WriterID
	seen := make(map[seal.WriterID]bool)
	generations := make(map[uint32]bool)
	for _, w := range wraps {
		if w.Household != wanted.household || w.Day < wanted.from || w.Day > wanted.to {
			continue // not what the leaf names, whatever the store says
		}
		n := dayKeyName{w.Day, w.Generation, w.Writer}
		copies[n] = append(copies[n], w)
		generations[w.Generation] = true
		if !seen[w.Writer] {
			seen[w.Writer] = true
			writers = append(writers, w.Writer)
		}
	}
	if len(copies) == 0 {
		return out, nil
	}
	writerKeys, err := g.keys.WriterKeys(ctx, writers)
	if err != nil {
		return nil, fmt.Errorf("fetching writers' keys: %w", err)
	}
	private, err := g.privateKeys(ctx, wanted.household, generations)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, key := range private {
			key.Erase()
		}
	}()
	names := slices.Collect(maps.Keys(copies))
	checks := make([]seal.Check, len(names))
	for i, n := range names {
		checks[i] = copies[n][0].Check(writerKeys[n.writer], private[n.generation].Public())
	}
	signed := seal.VerifyAll(checks)
	for i, n := range names {
		day, ok := open(private[n.generation], copies[n], signed[i], writerKeys[n.writer])
		if !ok {
			out.Damaged++
			continue
		}
		for _, up := range wanted.points {
			for _, r := range wanted.registers {
				out.Keys[Name{up, r, n.day, n.generation, n.writer}] = day.BlockKey(up, r)
			}
		}
		day.Erase()
	}
	return out, nil
}

// dayKeyName tells the day keys of one household apart.
type dayKeyName struct {
	day        meter.Day
	generation uint32
	writer     seal.WriterID
}

// privateKeys returns the household's private keys of the generations that are asked for,
// by generation; one that is not stored is absent. No other is unwrapped: whoever listens
// to a read of new data learns nothing that opens old.
func (g *Guard) privateKeys(ctx context.Context, h consent.Household, generations map[uint32]bool) (map[uint32]seal.PrivateKey, error) {
	wrapped, err := g.keys.HouseholdKeys(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("fetching household key: %w", err)
	}
	if len(wrapped) == 0 {
		return nil, fmt.Errorf("fetching household key: %w", seal.ErrKeyGone)
	}
	wrapped = slices.DeleteFunc(wrapped, func(w WrappedKey) bool { return !generations[w.Generation] })
	if len(wrapped) == 0 {
		return map[uint32]seal.PrivateKey{}, nil // their day keys are damaged
	}
	items := make([]seal.Item, len(wrapped))
	for i, w := range wrapped {
		items[i] = seal.Item{Context: []byte(h), Data: w.Wrapped}
	}
	seeds, err := g.wrapper.Unwrap(ctx, HouseholdKey, items)
	if err != nil {
		return nil, fmt.Errorf("unwrapping household key: %w", err)
	}
	defer func() {
		for _, s := range seeds {
			clear(s)
		}
	}()
	if len(seeds) != len(wrapped) {
		return nil, fmt.Errorf("unwrapping household key: %w", seal.ErrRefused)
	}
	keys := make(map[uint32]seal.PrivateKey, len(seeds))
	for i, s := range seeds {
		key, err := seal.ParsePrivateKey(s)
		if err != nil {
			return nil, fmt.Errorf("reading household key: %w", err)
		}
		keys[wrapped[i].Generation] = key
	}
	return keys, nil
}

// open returns the day key of the first copy that its writer signed for this
// household and that opens; signed says so of the first. The signature is checked
// before: a wrap can be made by anyone who knows the public key and can write to
// the store.
func open(household seal.PrivateKey, copies []seal.DayKeyWrap, signed bool, writer []byte) (seal.DayKey, bool) {
	for i, w := range copies {
		if i > 0 {
			signed = w.Verify(writer, household.Public()) == nil
		}
		if !signed {
			continue
		}
		if key, err := seal.UnwrapDayKey(household, w); err == nil {
			return key, true
		}
	}
	return seal.DayKey{}, false
}
