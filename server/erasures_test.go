package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/storetest"
)

// A household asks for its own erasure: it is out at once, nobody reads it any more, and
// where it lived the next household begins with nothing. It would catch a portal's button
// that does less than the operator's.
func TestAHouseholdErasesItself(t *testing.T) {
	w := newTown(t, onSQLite(t))
	family, _ := w.signIn(w.homes[home])
	other, _ := w.signIn(w.homes[nextDoor])
	w.keep(batch("b-1", series(home, yesterday, 1)))
	id := w.granted(family, "ask-1", terms())
	about, err := family.GetHousehold(t.Context(), &wattveilv1.GetHouseholdRequest{})
	ok(t, err)
	if keys, backups := about.GetErasure().GetKeysSeconds(), about.GetErasure().GetBackupsSeconds(); keys != (7+2+35)*86400 || backups != 35*86400 {
		t.Errorf("erasure is said to take %d and %d s", keys, backups)
	}
	for _, name := range []string{"", w.homes[nextDoor].GetHousehold()} {
		_, err := family.EraseOwnHousehold(t.Context(), &wattveilv1.EraseOwnHouseholdRequest{Household: name})
		refused(t, err, codes.InvalidArgument, "not_confirmed")
	}
	erased, err := family.EraseOwnHousehold(t.Context(), &wattveilv1.EraseOwnHouseholdRequest{Household: w.homes[home].GetHousehold()})
	ok(t, err)
	if len(erased.GetIndices()) != 1 || erased.GetEvents() == 0 {
		t.Errorf("erasure %+v", erased)
	}
	_, err = family.GetHousehold(t.Context(), &wattveilv1.GetHouseholdRequest{})
	refused(t, err, codes.Unauthenticated, "session_ended")
	_, err = w.recipient.ReadSeries(t.Context(), reading("r-1", id))
	refused(t, err, codes.PermissionDenied, "not_consented")
	if _, err := other.GetHousehold(t.Context(), &wattveilv1.GetHouseholdRequest{}); err != nil {
		t.Errorf("a neighbour, after it: %v", err)
	}
}

// A database restored from a backup that is older than an erasure knows the household
// again. The journal beside it does too, and nothing is served before it is erased again.
// It would catch a restore that opens what its household was told is gone.
func TestARestoredDatabaseIsErasedAgain(t *testing.T) {
	w := newTown(t, onSQLite(t), func(c *Config) { c.Erasure.Journal = filepath.Join(t.TempDir(), "erasures") })
	household := consent.Household(w.homes[home].GetHousehold())
	w.keep(batch("b-1", series(home, yesterday, 1), series(nextDoor, yesterday, 2)))
	backup := w.backup()
	_, err := w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: string(household), LegalBasis: "gdpr-17-1-b"})
	ok(t, err)
	w.stop()
	w.restore(backup)
	if keys, err := w.store.HouseholdKeys(t.Context(), household); err != nil || len(keys) != 1 {
		t.Fatalf("%d keys in the backup (%v): it proves nothing", len(keys), err)
	}
	w.start()
	w.connect()
	if keys, err := w.store.HouseholdKeys(t.Context(), household); err != nil || len(keys) != 0 {
		t.Errorf("%d keys of an erased household after the restore (%v)", len(keys), err)
	}
	if !strings.Contains(string(w.log.bytes()), "erased again") || strings.Contains(string(w.log.bytes()), string(household)) {
		t.Error("the log does not say that somebody was erased again, or says who")
	}
	c, _ := w.signIn(w.homes[nextDoor])
	if got := w.own(c, nextDoor, yesterday, morning); len(got) != 1 {
		t.Errorf("a neighbour reads %d intervals", len(got))
	}
	w.stop()
	text, err := os.ReadFile(w.cfg.Erasure.Journal)
	ok(t, err)
	if strings.Contains(string(text), string(household)) || strings.Count(string(text), "\n") != 2 {
		t.Errorf("the journal names the household, or holds it twice:\n%s", text)
	}
}

// backup copies a rig's SQLite database as operators do, and returns where to.
func (r *rig) backup() string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "backup.db")
	storetest.Backup(r.t, r.cfg.Store, path)
	return path
}

// restore puts a copy in the place of the database of a hub that is stopped.
func (r *rig) restore(backup string) {
	r.t.Helper()
	ok(r.t, r.store.Close())
	path := strings.TrimPrefix(r.cfg.Store, "sqlite:")
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Fatal(err)
		}
	}
	ok(r.t, os.Remove(path))
	content, err := os.ReadFile(backup)
	ok(r.t, err)
	ok(r.t, os.WriteFile(path, content, 0o600))
	r.store, err = store.Open(r.t.Context(), r.cfg.Store, store.Options{})
	ok(r.t, err)
	r.t.Cleanup(func() { _ = r.store.Close() })
}

// An erasure that cannot be written into the journal is not begun, and one of nobody
// leaves no line.
func TestAnErasureNeedsItsJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "erasures")
	w := newTown(t, onSQLite(t), func(c *Config) { c.Erasure.Journal = path })
	_, err := w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: "nobody", LegalBasis: "gdpr-17-1-b"})
	refused(t, err, codes.NotFound, "not_found")
	if text, err := os.ReadFile(path); err != nil || string(text) != journalHead {
		t.Errorf("journal %q, %v", text, err)
	}
	ok(t, w.hub.erasures.file.Close())
	household := w.homes[home].GetHousehold()
	_, err = w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: household, LegalBasis: "gdpr-17-1-b"})
	refused(t, err, codes.Unavailable, "store_unavailable")
	if keys, err := w.store.HouseholdKeys(t.Context(), consent.Household(household)); err != nil || len(keys) != 1 {
		t.Errorf("%d keys are left (%v), want 1", len(keys), err)
	}
}

// The journal survives what crashes leave of it, and refuses to be forgotten: a line that
// was not finished is cut off, a line that is damaged stops the hub.
func TestJournalOfErasures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "erasures")
	var open *erasureJournal // one process has it
	reopen := func() *erasureJournal {
		t.Helper()
		open.close()
		var err error
		open, err = openErasures(path)
		ok(t, err)
		return open
	}
	defer func() { open.close() }()
	j := reopen()
	ok(t, j.add("h1", note{1, "a"}))
	ok(t, j.add("h1", note{2, "b"})) // once
	ok(t, j.add("h2", note{3, "c"}))
	whole, err := os.ReadFile(path)
	ok(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the journal: %v, %v", info.Mode(), err)
	}
	for cut := range len(whole) {
		ok(t, os.WriteFile(path, whole[:cut], 0o600))
		j := reopen()
		lines := strings.Count(string(whole[:max(cut, len(journalHead))]), "\n") - 1
		if len(j.erased) != lines {
			t.Errorf("cut after %d bytes: %d households, want %d", cut, len(j.erased), lines)
		}
		ok(t, j.add("h3", note{4, "d"}))
		if n, erased := reopen().find("h3"); !erased || n != (note{4, "d"}) {
			t.Errorf("cut after %d bytes and added to: %v", cut, n)
		}
	}
	open.close()
	open = nil
	for i := range whole {
		b := append([]byte(nil), whole...)
		if b[i] ^= 0x80; b[i] == '\n' {
			continue
		}
		ok(t, os.WriteFile(path, b, 0o600))
		if j, err := openErasures(path); err == nil {
			if len(j.erased) == 2 {
				t.Errorf("byte %d altered: the journal is read as it was", i)
			}
			j.close()
		} else if !errors.Is(err, errJournal) {
			t.Errorf("byte %d altered: %v", i, err)
		}
	}
	if n, erased := (*erasureJournal)(nil).find("h1"); erased {
		t.Errorf("no journal remembers %v", n)
	}
	ok(t, (*erasureJournal)(nil).add("h1", note{}))
}

// What a write that failed has left in the file is not read as part of what comes after.
func TestJournalAfterAFailedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "erasures")
	j, err := openErasures(path)
	ok(t, err)
	long := fmt.Sprintf("%x 1 %s\n", householdHash("h1"), strings.Repeat("a", 60))
	_, err = j.file.WriteAt([]byte(long), j.size) // written, and its sync failed
	ok(t, err)
	ok(t, j.add("h2", note{2, "b"}))
	j.close()
	j, err = openErasures(path)
	ok(t, err)
	defer j.close()
	if _, erased := j.find("h2"); !erased || len(j.erased) != 1 {
		t.Errorf("%d households, want h2 alone", len(j.erased))
	}
}

// A journal that is lost is made anew from who is erased in the database, and the log says
// that it was.
func TestJournalIsSeeded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "erasures")
	w := newTown(t, onSQLite(t), func(c *Config) { c.Erasure.Journal = path })
	household := w.homes[home].GetHousehold()
	_, err := w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: household, LegalBasis: "gdpr-17-1-b"})
	ok(t, err)
	w.stop()
	ok(t, os.Remove(path))
	w.start()
	if _, erased := w.hub.erasures.find(consent.Household(household)); !erased || !strings.Contains(string(w.log.bytes()), "journal of erasures is new") {
		t.Errorf("known to be erased: %t, or the log says nothing", erased)
	}
}

// FuzzJournal reads whatever is there as a journal or refuses it.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(journalHead))
	f.Add([]byte(journalHead + strings.Repeat("a", 64) + " 1 a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		j := &erasureJournal{erased: map[[32]byte]note{}}
		if err := j.parse(text); err == nil && (j.size > int64(len(text)) || !strings.HasPrefix(string(text), journalHead)) {
			t.Errorf("read %d bytes of %d", j.size, len(text))
		}
	})
}

// An erasure of which a crash left some steps is finished at the next start.
func TestAnErasureIsFinished(t *testing.T) {
	w := newTown(t, onSQLite(t))
	family, _ := w.signIn(w.homes[home])
	w.keep(batch("b-1", series(home, yesterday, 1)))
	w.granted(family, "ask-1", terms())
	tamper := storetest.OpenTamper(t, w.cfg.Store)
	w.stop()
	household := w.homes[home].GetHousehold()
	tamper.Exec(t, `UPDATE households SET public_key = NULL WHERE id = '`+household+`'`)
	w.start()
	w.connect()
	_, err := w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: household, LegalBasis: "again"})
	refused(t, err, codes.NotFound, "not_found")
}
