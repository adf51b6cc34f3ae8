package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
)

// KeyService is the root of the hub's keys: keys.Vault and keys.Keyring are two.
type KeyService interface {
	seal.Rotator
	// State says how the service is, and why, unless it is ready.
	State(ctx context.Context) (keys.State, error)
}

// rotation renews a named key of the key service: a new version, everything that lives
// wrapped anew, and, once the store takes nothing older any more, the older versions
// destroyed. From then on no backup of the store opens what is not in it
// now: an erasure has reached all of them.
//
// It works step by step and keeps its place in the store, so that a crash costs a step.
// Nothing stops meanwhile: what is wrapped under an older version opens until that is
// destroyed, and the newest one is used for what comes.
type rotation struct {
	key       string
	store     *store.Store
	sequencer *ledger.Sequencer[*store.Tx]
	keys      seal.Rotator
	clock     Clock
	every     time.Duration // 0: on demand alone
	page      pager
	replace   replacer

	mu sync.Mutex // one step at a time
}

// pager and replacer are the store's methods for what one key wraps.
type (
	pager    func(ctx context.Context, after store.WrappedSecret, limit int) ([]store.WrappedSecret, error)
	replacer func(ctx context.Context, old []store.WrappedSecret, wrapped [][]byte) (int, error)
)

// rewrapAtOnce is how many secrets are wrapped anew in one call and one transaction.
const rewrapAtOnce = 1000

// newRotations returns the rotations of the keys that wrap what is stored. Only that of
// households runs by itself: nothing of the hub's own is ever erased, and a hub that is
// restored from a backup must be able to start.
func newRotations(d Deps, sequencer *ledger.Sequencer[*store.Tx], every time.Duration) []*rotation {
	of := func(key string, every time.Duration, page pager, replace replacer) *rotation {
		return &rotation{key: key, page: page, replace: replace, store: d.Store, sequencer: sequencer, keys: d.Keys, clock: d.Clock, every: every}
	}
	return []*rotation{
		of(keyguard.HouseholdKey, every, d.Store.HouseholdSecrets, d.Store.RewrapHouseholdSecrets),
		of(hubKey, 0, d.Store.HubSecrets, d.Store.RewrapHubSecrets),
	}
}

// tend does what is due: rotates, goes on wrapping anew, or destroys.
func (r *rotation) tend(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.step(ctx); err != nil {
		return fmt.Errorf("rotating key %s: %w", r.key, err)
	}
	return nil
}

func (r *rotation) step(ctx context.Context) error {
	last, oldest, err := r.look(ctx)
	if err != nil {
		return err
	}
	if oldest == last.Version {
		if last.RetiredAt == 0 && last.Version > 1 { // destroyed, and not written down
			return r.record(ctx, last.Version)
		}
		if r.every == 0 || r.clock().Unix() < r.dueAt(last) {
			return nil
		}
		return r.rotate(ctx)
	}
	return r.finish(ctx, last.Version, func(int, int) {})
}

// run rotates now, or finishes a rotation that is under way. progress hears of each look
// through what is stored how many it has seen, and how many were old.
func (r *rotation) run(ctx context.Context, progress func(seen, old int)) (version uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fail := func(err error) (uint64, error) { return 0, fmt.Errorf("rotating key %s: %w", r.key, err) }
	last, oldest, err := r.look(ctx)
	if err != nil {
		return fail(err)
	}
	if oldest == last.Version {
		if err := r.rotate(ctx); err != nil {
			return fail(err)
		}
		if last, _, err = r.look(ctx); err != nil {
			return fail(err)
		}
	}
	if err := r.finish(ctx, last.Version, progress); err != nil {
		return fail(err)
	}
	return last.Version, nil
}

// finish wraps anew what is older than a version, and destroys what it was wrapped under.
func (r *rotation) finish(ctx context.Context, version uint64, progress func(seen, old int)) error {
	if _, err := r.rewrap(ctx, version, progress); err != nil {
		return err
	}
	if err := r.store.BeginRetiring(ctx, r.key, version, r.clock().Unix()); err != nil {
		return err
	}
	for range rewrapPasses { // now that nothing older can come after
		old, err := r.rewrap(ctx, version, progress)
		if err != nil {
			return err
		}
		if old > 0 {
			continue
		}
		if err := r.keys.RetireVersions(ctx, r.key, version); err != nil {
			return fmt.Errorf("destroying older versions: %w", err)
		}
		return r.record(ctx, version)
	}
	return errBusy
}

// errBusy says that another process wraps anew, too, and was faster each time.
var errBusy = errors.New("server: others are storing secrets under older versions; try again")

// rewrapPasses is how often all that is stored is looked through for older versions before
// a step gives up.
const rewrapPasses = 3

// dueAt is when the next rotation is due; 0 for a key that rotates on demand alone.
func (r *rotation) dueAt(last store.Rotation) int64 {
	if r.every == 0 {
		return 0
	}
	return last.RotatedAt + int64(r.every/time.Second)
}

// look returns the newest version as it is written down, and the oldest that opens. A
// version that is not written down, of a new key or of a crash, is from now on.
func (r *rotation) look(ctx context.Context) (last store.Rotation, oldest uint64, err error) {
	oldest, newest, err := r.keys.KeyVersions(ctx, r.key)
	if err != nil {
		return last, 0, fmt.Errorf("asking for versions: %w", err)
	}
	last, err = r.store.LastRotation(ctx, r.key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return last, 0, err
	}
	if last.Version != newest {
		last = store.Rotation{Version: newest, RotatedAt: r.clock().Unix()}
		err := r.propose(ctx, "seen", newest, func(ctx context.Context, tx *store.Tx) error {
			return tx.PutRotation(ctx, r.key, newest, last.RotatedAt)
		})
		if err != nil {
			return last, 0, err
		}
	}
	return last, oldest, nil
}

// rotate makes a new version and writes it down.
func (r *rotation) rotate(ctx context.Context) error {
	version, err := r.keys.RotateKey(ctx, r.key)
	if err != nil {
		return fmt.Errorf("making a version: %w", err)
	}
	return r.propose(ctx, "rotated", version, func(ctx context.Context, tx *store.Tx) error {
		return tx.PutRotation(ctx, r.key, version, r.clock().Unix())
	})
}

func (r *rotation) record(ctx context.Context, version uint64) error {
	return r.propose(ctx, "retired", version, func(ctx context.Context, tx *store.Tx) error {
		return tx.RetireRotation(ctx, r.key, version, r.clock().Unix())
	})
}

// propose writes a step down and into the ledger: who destroys keys does it on record.
func (r *rotation) propose(ctx context.Context, step string, version uint64, fn func(context.Context, *store.Tx) error) error {
	detail := fmt.Sprintf("key %s version %d %s", r.key, version, step)
	_, err := r.sequencer.Propose(ctx, fmt.Sprintf("rotation/%s/%d/%s", r.key, version, step), func(ctx context.Context, tx *store.Tx, _ ledger.Position) (ledger.Payload, error) {
		return ledger.Payload{Kind: ledger.KindAdmin, Detail: detail}, fn(ctx, tx)
	})
	return err
}

// status tells how a key stands; what is stored is looked through.
func (r *rotation) status(ctx context.Context) (*wattveilv1.KeyStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, oldest, err := r.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking at key %s: %w", r.key, err)
	}
	s := &wattveilv1.KeyStatus{
		Name: r.key, OldestVersion: oldest, NewestVersion: last.Version,
		RotatedAt: last.RotatedAt, DueAt: r.dueAt(last),
	}
	err = r.each(ctx, last.Version, func(seen int, old []store.WrappedSecret) error {
		s.Stored, s.Old = uint64(seen), s.Old+uint64(len(old))
		return nil
	})
	return s, err
}

// rewrap wraps anew what is stored under older versions than the newest, a page at a time,
// and returns how many it found. progress hears how many it has looked at and found.
func (r *rotation) rewrap(ctx context.Context, newest uint64, progress func(seen, old int)) (found int, err error) {
	err = r.each(ctx, newest, func(seen int, old []store.WrappedSecret) error {
		found += len(old)
		defer func() { progress(seen, found) }()
		if len(old) == 0 {
			return nil
		}
		items := make([]seal.Item, len(old))
		for i, w := range old {
			items[i] = seal.Item{Context: []byte(w.Name), Data: w.Wrapped}
		}
		wrapped, err := r.keys.Rewrap(ctx, r.key, items)
		if err != nil {
			return fmt.Errorf("wrapping anew: %w", err)
		}
		_, err = r.replace(ctx, old, wrapped)
		return err
	})
	return found, err
}

// each looks through all that is stored, a page at a time, and calls yield with how many
// it has seen so far and which of the page are wrapped under an older version.
func (r *rotation) each(ctx context.Context, newest uint64, yield func(seen int, old []store.WrappedSecret) error) error {
	var after store.WrappedSecret
	for seen := 0; ; {
		page, err := r.page(ctx, after, rewrapAtOnce)
		if err != nil || len(page) == 0 {
			return err
		}
		after, seen = page[len(page)-1], seen+len(page)
		var old []store.WrappedSecret
		for _, w := range page {
			version, err := r.keys.VersionOf(w.Wrapped)
			if err != nil {
				return fmt.Errorf("reading what is stored: %w", err)
			}
			if version < newest {
				old = append(old, w)
			}
		}
		if err := yield(seen, old); err != nil {
			return err
		}
	}
}
