package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

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
	grace     time.Duration // between the last of the old and its destruction
	log       *slog.Logger
	page      pager
	replace   replacer

	mu    sync.Mutex // one step at a time
	clean uint64     // the version under which everything was when it was last looked at
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
func newRotations(d Deps, sequencer *ledger.Sequencer[*store.Tx], c ErasureConfig) []*rotation {
	of := func(key string, every time.Duration, page pager, replace replacer) *rotation {
		return &rotation{key: key, page: page, replace: replace, store: d.Store, sequencer: sequencer, keys: d.Keys, clock: d.Clock, every: every, grace: c.RetireAfter, log: d.Log}
	}
	return []*rotation{
		of(keyguard.HouseholdKey, c.RotateEvery, d.Store.HouseholdSecrets, d.Store.RewrapHouseholdSecrets),
		of(hubKey, 0, d.Store.HubSecrets, d.Store.RewrapHubSecrets),
	}
}

// tend does what is due: rotates, goes on wrapping anew, or destroys. While a rotation is
// under way on somebody's word it does nothing.
func (r *rotation) tend(ctx context.Context) error {
	if !r.mu.TryLock() {
		return nil
	}
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
	switch {
	case oldest < last.Version:
		return r.finish(ctx, last, oldest, false, func(int, int) {})
	case last.RetiredAt == 0 && last.RetiringAt > 0:
		return r.retire(ctx, last.Version) // perhaps destroyed in part, and not written down
	case r.every == 0 || r.clock().Unix() < r.dueAt(last):
		return nil
	}
	return r.rotate(ctx)
}

// run rotates now, or goes on with a rotation that is under way; with retire it destroys
// the older versions at once, and does not wait until backups hold what is wrapped anew.
// progress hears of each look through what is stored how many it has seen, and how many
// were old. It returns the newest version, and when the older ones are destroyed, unix
// seconds; 0 if they are. errBusy while another call rotates the key.
func (r *rotation) run(ctx context.Context, retire bool, progress func(seen, old int)) (version uint64, retiresAt int64, err error) {
	fail := func(err error) (uint64, int64, error) { return 0, 0, fmt.Errorf("rotating key %s: %w", r.key, err) }
	if !r.mu.TryLock() {
		return fail(errBusy)
	}
	defer r.mu.Unlock()
	last, oldest, err := r.look(ctx)
	if err != nil {
		return fail(err)
	}
	if oldest == last.Version {
		if err := r.rotate(ctx); err != nil {
			return fail(err)
		}
		if last, oldest, err = r.look(ctx); err != nil {
			return fail(err)
		}
	}
	if err := r.finish(ctx, last, oldest, retire, progress); err != nil {
		return fail(err)
	}
	if last, oldest, err = r.look(ctx); err != nil {
		return fail(err)
	}
	if oldest < last.Version {
		retiresAt = r.retiresAt(last)
	}
	return last.Version, retiresAt, nil
}

// finish wraps anew what is older than the newest version, and destroys what it was
// wrapped under when backups have had time to take in what is wrapped anew: until then
// the store is the only place that holds it.
func (r *rotation) finish(ctx context.Context, last store.Rotation, oldest uint64, retire bool, progress func(seen, old int)) error {
	if last.RetiringAt == 0 {
		if _, err := r.rewrap(ctx, oldest, last.Version, progress); err != nil {
			return err
		}
		last.RetiringAt = r.clock().Unix()
		err := r.propose(ctx, "retiring", last.Version, func(ctx context.Context, tx *store.Tx) error {
			return tx.BeginRetiring(ctx, r.key, last.Version, last.RetiringAt)
		})
		if err != nil {
			return err
		}
	}
	if !retire && r.clock().Unix() < r.retiresAt(last) {
		if r.clean == last.Version {
			return nil
		}
		r.log.LogAttrs(ctx, slog.LevelWarn, "keys are wrapped anew: back up their table before the older versions are destroyed",
			slog.String("key", r.key), slog.Time("destroyed", time.Unix(r.retiresAt(last), 0).UTC()))
		old, err := r.rewrap(ctx, oldest, last.Version, progress) // what came in between
		if err == nil && old == 0 {
			r.clean = last.Version
		}
		return err
	}
	for range rewrapPasses { // now that nothing older can come after
		old, err := r.rewrap(ctx, oldest, last.Version, progress)
		if err != nil {
			return err
		}
		if old == 0 {
			return r.retire(ctx, last.Version)
		}
	}
	return errBusy
}

// retire destroys what is older than a version, and writes that down. What an earlier
// attempt has done of it is no harm.
func (r *rotation) retire(ctx context.Context, version uint64) error {
	if err := r.keys.RetireVersions(ctx, r.key, version); err != nil {
		return fmt.Errorf("destroying older versions: %w", err)
	}
	return r.propose(ctx, "retired", version, func(ctx context.Context, tx *store.Tx) error {
		return tx.RetireRotation(ctx, r.key, version, r.clock().Unix())
	})
}

// errBusy says that somebody else rotates the key, or stores what is wrapped under older
// versions, and was faster each time.
var errBusy = &inputError{codes.Unavailable, "rotation_under_way", "the keys are being rotated; try again later"}

// rewrapPasses is how often all that is stored is looked through for older versions before
// a step gives up.
const rewrapPasses = 3

// retiresAt is when the versions before one are destroyed.
func (r *rotation) retiresAt(last store.Rotation) int64 {
	return last.RetiringAt + int64(r.grace/time.Second)
}

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
	oldest, newest, err := r.keys.KeyVersions(ctx, r.key)
	if err != nil {
		return nil, fmt.Errorf("looking at key %s: %w", r.key, err)
	}
	last, err := r.store.LastRotation(ctx, r.key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	s := &wattveilv1.KeyStatus{Name: r.key, OldestVersion: oldest, NewestVersion: newest}
	if last.Version == newest {
		s.RotatedAt, s.DueAt = last.RotatedAt, r.dueAt(last)
		if last.RetiringAt > 0 && oldest < newest {
			s.RetiresAt = r.retiresAt(last)
		}
	}
	err = r.each(ctx, func(seen int, page []versioned) error {
		s.Stored = uint64(seen)
		for _, v := range page {
			switch {
			case v.version < oldest:
				s.Lost++
			case v.version < newest:
				s.Old++
			}
		}
		return nil
	})
	return s, err
}

// rewrap wraps anew what is stored under older versions than the newest, a page at a time,
// and returns how many it found. What is older than the oldest version that opens is dead,
// such as the keys in a table that was restored from before a rotation: it is passed over,
// and said. progress hears how many it has looked at and found.
func (r *rotation) rewrap(ctx context.Context, oldest, newest uint64, progress func(seen, old int)) (found int, err error) {
	dead := 0
	err = r.each(ctx, func(seen int, page []versioned) error {
		var old []store.WrappedSecret
		var items []seal.Item
		for _, v := range page {
			switch {
			case v.version < oldest:
				dead++
			case v.version < newest:
				old, items = append(old, v.WrappedSecret), append(items, seal.Item{Context: []byte(v.Name), Data: v.Wrapped})
			}
		}
		found += len(old)
		defer func() { progress(seen, found) }()
		if len(old) == 0 {
			return nil
		}
		wrapped, err := r.keys.Rewrap(ctx, r.key, items)
		if err != nil {
			return fmt.Errorf("wrapping anew: %w", err)
		}
		_, err = r.replace(ctx, old, wrapped)
		return err
	})
	if dead > 0 {
		r.log.LogAttrs(ctx, slog.LevelError, "keys are stored under versions that are destroyed, and open nothing: restore their table from a newer backup",
			slog.String("key", r.key), slog.Int("keys", dead))
	}
	return found, err
}

// versioned is a secret with the version it is wrapped under.
type versioned struct {
	store.WrappedSecret
	version uint64
}

// each looks through all that is stored, a page at a time, and calls yield with how many
// it has seen so far.
func (r *rotation) each(ctx context.Context, yield func(seen int, page []versioned) error) error {
	var after store.WrappedSecret
	for seen := 0; ; {
		stored, err := r.page(ctx, after, rewrapAtOnce)
		if err != nil || len(stored) == 0 {
			return err
		}
		after, seen = stored[len(stored)-1], seen+len(stored)
		page := make([]versioned, len(stored))
		for i, w := range stored {
			version, err := r.keys.VersionOf(w.Wrapped)
			if err != nil {
				return fmt.Errorf("reading what is stored: %w", err)
			}
			page[i] = versioned{w, version}
		}
		if err := yield(seen, page); err != nil {
			return err
		}
	}
}
