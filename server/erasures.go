package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/store"
)

// erasureJournal remembers, in a file outside the database, which households were
// erased: a database that is restored from a backup knows them again. It holds a hash of
// each name, which tells nothing once the name itself is gone.
//
//	wattveil erasures v1
//	<sha-256 of the household, hex> <unix seconds> <legal basis>
//	…
//
// A line is durable before the first step of its erasure is. What a crash leaves of a line
// that was not finished belongs to an erasure that nobody was told of, and is cut off.
// The nil journal remembers nothing. Safe for concurrent use by one process.
type erasureJournal struct {
	mu     sync.Mutex
	file   *os.File
	size   int64             // of whole lines
	erased map[[32]byte]note // by the household's hash
}

// note is what the journal says of a household.
type note struct {
	at    int64 // unix seconds
	basis string
}

const journalHead = "wattveil erasures v1\n"

var errJournal = errors.New("server: the journal of erasures is damaged or not one; without it a restored database would open what was erased")

// errJournalInUse says that another process has the journal open: two would write over each
// other's lines.
var errJournalInUse = errors.New("server: another process has the journal of erasures open")

// journalPatience is how long a starting hub waits for the one before it to end.
const journalPatience = 2 * graceful

func householdHash(h consent.Household) [32]byte {
	return sha256.Sum256(append([]byte("wattveil erasure v1\x00"), h...))
}

// openErasures opens or makes the journal.
func openErasures(path string) (_ *erasureJournal, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &erasureJournal{file: f, erased: map[[32]byte]note{}}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	for range 100 { // the one before us may be ending
		if err = tryLock(f); err == nil {
			break
		}
		time.Sleep(journalPatience / 100)
	}
	if err != nil {
		return nil, errJournalInUse
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(journalHead, string(text)) { // new, or cut short while it was made
		if _, err := f.WriteAt([]byte(journalHead), 0); err != nil {
			return nil, err
		}
		text = []byte(journalHead)
	}
	if err := j.parse(text); err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return j, errors.Join(f.Truncate(j.size), f.Sync(), dir.Sync(), dir.Close())
}

func (j *erasureJournal) parse(text []byte) error {
	lines, found := bytes.CutPrefix(text, []byte(journalHead))
	if !found {
		return errJournal
	}
	j.size = int64(len(journalHead))
	for {
		line, rest, whole := bytes.Cut(lines, []byte("\n"))
		if !whole {
			return nil
		}
		var hash [32]byte
		words := strings.Split(string(line), " ")
		if len(words) != 3 || len(words[0]) != hex.EncodedLen(len(hash)) {
			return errJournal
		}
		if _, err := hex.Decode(hash[:], []byte(words[0])); err != nil {
			return errJournal
		}
		at, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return errJournal
		}
		if _, err := meter.ParseUtility(words[2]); err != nil {
			return errJournal
		}
		j.erased[hash] = note{at, words[2]}
		j.size += int64(len(line)) + 1
		lines = rest
	}
}

// add writes a household down, once, and is durable at return. After an error it may or
// may not be written; adding it again is harmless.
func (j *erasureJournal) add(h consent.Household, n note) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	hash := householdHash(h)
	if _, known := j.erased[hash]; known {
		return nil
	}
	line := fmt.Sprintf("%x %d %s\n", hash, n.at, n.basis)
	// What a write that failed may have left goes first: a shorter line would not cover it.
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	if _, err := j.file.WriteAt([]byte(line), j.size); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.size += int64(len(line))
	j.erased[hash] = n
	return nil
}

// find returns what the journal says of a household.
func (j *erasureJournal) find(h consent.Household) (n note, erased bool) {
	if j == nil {
		return n, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	n, erased = j.erased[householdHash(h)]
	return n, erased
}

func (j *erasureJournal) close() {
	if j != nil {
		_ = j.file.Close()
	}
}

// replayErasures erases, before anything is served, whoever the journal says was erased
// and the database knows: it was restored from a backup that is older than the erasure,
// or a crash came between the journal and the first step. It also finishes erasures of
// which a crash left some steps.
func (h *Hub) replayErasures(ctx context.Context, e *eraser) error {
	again := map[consent.Household]string{} // and the legal basis
	err := h.store.Unerased(ctx, func(u store.Unerased) {
		n, erased := e.journal.find(u.ID)
		if erased || u.Begun {
			again[u.ID] = cmp.Or(n.basis, finishedBasis)
		}
	})
	if err != nil {
		return err
	}
	for household, basis := range again {
		if _, _, err := e.erase(ctx, household, basis); err != nil {
			return fmt.Errorf("erasing again who was erased: %w", err)
		}
	}
	if len(again) > 0 {
		h.log.LogAttrs(ctx, slog.LevelWarn, "households that were erased before were in the database, and are erased again", slog.Int("households", len(again)))
	}
	return nil
}

// finishedBasis is the legal basis that the last steps of an erasure name when its first
// ones are from before there was a journal.
const finishedBasis = "continued"

// openJournal opens the journal that the configuration names, or says that there is none,
// or none any more though the ledger is old.
func (h *Hub) openJournal(ctx context.Context, old bool) error {
	if h.cfg.Erasure.Journal == "" {
		h.log.LogAttrs(ctx, slog.LevelWarn, "no journal of erasures: a restored database would open what was erased since its backup")
		return nil
	}
	_, absent := os.Stat(h.cfg.Erasure.Journal)
	j, err := openErasures(h.cfg.Erasure.Journal)
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	if err != nil {
		return fmt.Errorf("opening the journal of erasures: %w", err)
	}
	h.erasures = j
	if errors.Is(absent, fs.ErrNotExist) && old {
		h.log.LogAttrs(ctx, slog.LevelWarn, "the journal of erasures is new and the ledger is not: if the database is a restored one, who was erased since its backup is not known")
	}
	return h.seedJournal(ctx)
}

// seedJournal writes down who is erased in the database and not in the journal: by a hub
// that had another journal, or none.
func (h *Hub) seedJournal(ctx context.Context) error {
	erased, err := h.store.ErasedHouseholds(ctx)
	if err != nil {
		return err
	}
	for _, household := range erased {
		if err := h.erasures.add(household, note{h.clock().Unix(), seededBasis}); err != nil {
			return fmt.Errorf("writing the journal of erasures: %w", err)
		}
	}
	return nil
}

// seededBasis is the legal basis in the journal of erasures that it learned of afterwards.
const seededBasis = "recorded"
