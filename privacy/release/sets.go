package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/privacy/seal"
)

// setIDs lists the sets that a closing replaces.
func (in *inputs) setIDs() []seal.RunningID {
	ids := slices.Clone(in.damaged)
	for _, s := range in.sets {
		ids = append(ids, s.wrap.ID)
	}
	return ids
}

// openSets opens the keys of all running sums that count, and says which tracks they
// have. A set is sealed to the window that was next when it was made; its key opens
// also where that day is closed out of turn.
func (e *Engine[T]) openSets(ctx context.Context, in *inputs, private seal.PrivateKey) (map[trackID]bool, error) {
	wraps, err := e.Store.RunningSets(ctx)
	if err != nil {
		return nil, reading("running sums", err)
	}
	running := map[trackID]bool{}
	for _, w := range wraps {
		set, err := e.openSet(ctx, in, private, w)
		var tracks []trackID
		if err == nil {
			err = e.readSet(ctx, set, func(h recordHead) { tracks = h.tracks }, nil)
		}
		switch {
		case damaged(err):
			// What ran in it ends without a release. Other products go on, and the set
			// goes with this closing, as the key does that it is sealed to.
			in.damaged = append(in.damaged, w.ID)
			e.Log.LogAttrs(ctx, slog.LevelError, "running sums do not open, and are left out", slog.String("from", w.From.String()), slog.String("cause", err.Error()))
		case err != nil:
			return nil, err
		default:
			in.sets = append(in.sets, set)
			for _, id := range tracks {
				running[id] = true
			}
		}
	}
	return running, nil
}

// damaged reports whether an error says that what is stored will not open, rather than
// that it could not be read just now.
func damaged(err error) bool {
	// Where the closing day's own key opens, another that is refused is damaged, too.
	for _, d := range []error{seal.ErrRefused, seal.ErrOpen, seal.ErrFormat, seal.ErrSignature, seal.ErrKey, seal.ErrKeyGone, errRunning} {
		if errors.Is(err, d) {
			return true
		}
	}
	return false
}

func (e *Engine[T]) openSet(ctx context.Context, in *inputs, private seal.PrivateKey, w seal.RunningKeyWrap) (openSet, error) {
	if w.Window != in.window.Day {
		other, err := e.Store.Window(ctx, w.Window)
		if err != nil {
			return openSet{}, reading("window", err)
		}
		if private, err = e.open(ctx, other); err != nil {
			return openSet{}, err
		}
	}
	key, err := seal.OpenRunningKey(private, w, e.signerPublic())
	if err != nil {
		return openSet{}, fmt.Errorf("opening running sums: %w", err)
	}
	return openSet{w, key}, nil
}

// runningRecords opens the sets in hand and calls yield with every household's states,
// by track of this closing; a state without sum is of a track that did not run.
func (e *Engine[T]) runningRecords(ctx context.Context, in *inputs, yield func(consent.Household, []state)) error {
	var at []int // of the record's tracks among ours
	for _, set := range in.sets {
		err := e.readSet(ctx, set, func(h recordHead) {
			at = at[:0]
			for i, id := range h.tracks {
				at = append(at, slices.IndexFunc(in.tracks, func(t *track) bool { return t.trackID == id && t.measure.width() == h.widths[i] }))
			}
		}, func(household consent.Household, states []state) {
			ours := make([]state, len(in.tracks))
			for i, s := range states {
				if at[i] >= 0 {
					ours[at[i]] = s
				} else {
					s.clear()
				}
			}
			yield(household, ours)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readSet opens every record of a set. A nil yield looks at their heads, and whether
// all of it opens.
func (e *Engine[T]) readSet(ctx context.Context, set openSet, head func(recordHead), yield func(consent.Household, []state)) error {
	opener := set.key.Opener()
	err := e.Store.RunningRecords(ctx, set.wrap.ID, func(r seal.RunningRecord) error {
		plain, err := opener.Open(r)
		if err != nil {
			return err
		}
		defer clear(plain)
		return readRecord(plain, head, yield)
	})
	if err == nil {
		err = opener.Complete()
	}
	if err != nil {
		return fmt.Errorf("opening running sums: %w", err)
	}
	return nil
}

// erase forgets the keys of the sets in hand.
func (in *inputs) erase() {
	for _, s := range in.sets {
		s.key.Erase()
	}
}
