package server

import (
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// versions lists which version of the households' key each household's is wrapped under.
func (w *town) versions() map[string]uint64 {
	w.t.Helper()
	out := map[string]uint64{}
	stored, err := w.store.HouseholdSecrets(w.t.Context(), store.WrappedSecret{}, 1000)
	ok(w.t, err)
	for _, s := range stored {
		out[s.Name], err = w.keys.VersionOf(s.Wrapped)
		ok(w.t, err)
	}
	return out
}

func (w *town) keyStatus() *wattveilv1.GetKeyStatusResponse {
	w.t.Helper()
	got, err := w.operator.GetKeyStatus(w.t.Context(), &wattveilv1.GetKeyStatusRequest{})
	ok(w.t, err)
	return got
}

// rotated lets the hub rotate as far as is due, and then once more when the older versions
// are to go.
func (w *town) rotated() {
	w.t.Helper()
	for range 2 {
		ok(w.t, w.hub.Rotate(w.t.Context()))
	}
	w.clock.add(defaultGrace)
	ok(w.t, w.hub.Rotate(w.t.Context()))
}

// Seven days after the last rotation the keys rotate by themselves: what was sealed before
// opens, who moves in after is under the new version, nothing is left under the old one,
// which is destroyed, and all of it is on record. It would catch a rotation that stops
// the hub, one that loses a household, and one that leaves the old version alive.
func TestKeysRotateWhenDue(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		w.keep(batch("b-1", series(home, yesterday, 7)))
		ok(t, w.hub.Rotate(t.Context()))
		for _, k := range w.keyStatus().GetKeys() {
			due := map[string]int64{keyguard.HouseholdKey: k.GetRotatedAt() + 7*86400}[k.GetName()]
			if k.GetOldestVersion() != 1 || k.GetNewestVersion() != 1 || k.GetOld() != 0 || k.GetStored() == 0 || k.GetDueAt() != due {
				t.Errorf("at first: %v", k)
			}
		}
		w.clock.add(7*24*time.Hour + time.Second)
		for range 3 { // rotated, wrapped anew, and then nothing until backups have had their time
			ok(t, w.hub.Rotate(t.Context()))
		}
		if k := w.keyStatus().GetKeys()[0]; k.GetOldestVersion() != 1 || k.GetNewestVersion() != 2 || k.GetOld() != 0 || k.GetRetiresAt() != w.clock.now().Add(defaultGrace).Unix() {
			t.Errorf("before any backup can hold what is wrapped anew: %v", k)
		}
		w.rotated()
		for name, version := range w.versions() {
			if version != 2 {
				t.Errorf("%s is wrapped under version %d", name, version)
			}
		}
		if k := w.keyStatus().GetKeys()[0]; k.GetOldestVersion() != 2 || k.GetNewestVersion() != 2 || k.GetOld() != 0 {
			t.Errorf("after a week: %v", k)
		}
		c, _ := w.signIn(w.homes[home])
		if got := w.own(c, home, yesterday, morning); got[yesterday.Unix()] != 7 {
			t.Errorf("read %v", got)
		}
		w.moveIn(w.clock.now(), empty)
		w.rotated()
		if n := len(w.versions()); n != 4 || w.keyStatus().GetKeys()[0].GetNewestVersion() != 2 {
			t.Errorf("%d households; %v", n, w.keyStatus())
		}
		said := 0
		for _, e := range w.events(w.regulator, string(ledger.KindAdmin)) {
			got, err := w.regulator.GetReceipt(t.Context(), &wattveilv1.GetReceiptRequest{Index: e.GetIndex()})
			ok(t, err)
			if p := w.proven(got.GetReceipt()); strings.HasPrefix(p.Detail, "key "+keyguard.HouseholdKey+" version ") {
				said++
			}
		}
		if said != 4 { // seen 1, rotated to 2, retiring and retired what is older
			t.Errorf("%d records of the key's versions, want 4", said)
		}
	})
}

// All keys rotate when the operator says so, the hub's own with them, and it starts again.
func TestKeysRotateOnDemand(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.rotated()
	stream, err := w.operator.RotateKeys(t.Context(), &wattveilv1.RotateKeysRequest{RetireNow: true})
	ok(t, err)
	versions := map[string]uint64{}
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		versions[got.GetName()] = got.GetVersion()
	}
	if len(versions) != 2 || versions[keyguard.HouseholdKey] != 2 || versions[hubKey] != 2 {
		t.Errorf("versions %v", versions)
	}
	before := w.hub.VerifierKey()
	w.restart()
	if w.hub.VerifierKey() != before {
		t.Error("the hub signs with other keys")
	}
}

// A rotation that is cut short, wherever, is finished, and not begun again: by the next
// tick, by another process, or by the command. It would catch one that leaves a household
// under a version that is destroyed.
func TestARotationIsResumed(t *testing.T) {
	for _, at := range []string{"rotated", "rewrapped", "retired"} {
		t.Run(at, func(t *testing.T) {
			w := newTown(t, onSQLite(t))
			w.keep(batch("b-1", series(home, yesterday, 7)))
			w.rotated()
			cut := errors.New("cut")
			w.keys.cut = func(step string) error {
				if step == at {
					return cut
				}
				return nil
			}
			stream, err := w.operator.RotateKeys(t.Context(), &wattveilv1.RotateKeysRequest{RetireNow: true})
			ok(t, err)
			for err == nil {
				_, err = stream.Recv()
			}
			refused(t, err, codes.Internal, "internal")
			w.keys.cut = nil
			destroyed := w.keys.retired
			if at != "rotated" { // which nobody knows of yet
				w.restart()
			}
			w.rotated()
			status := w.keyStatus().GetKeys()[0]
			if at == "rotated" {
				if status.GetNewestVersion() != 2 {
					t.Errorf("after a rotation that said it failed: %v", status)
				}
			}
			if status.GetOldestVersion() != status.GetNewestVersion() || status.GetOld() != 0 || status.GetNewestVersion() != 2 {
				t.Errorf("not finished: %v", status)
			}
			if w.keys.retired == destroyed {
				t.Error("it is on record that older versions are destroyed, by an attempt that failed")
			}
			c, _ := w.signIn(w.homes[home])
			if got := w.own(c, home, yesterday, morning); got[yesterday.Unix()] != 7 {
				t.Errorf("read %v", got)
			}
		})
	}
}

// Who moves in while keys rotate is stored under a version that stays: wrapped before, it
// is wrapped anew. It would catch a household whose key was destroyed before it had one.
func TestMovingInWhileKeysRotate(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.rotated()
	var once atomic.Bool
	w.keys.wrapped = func() {
		if once.CompareAndSwap(false, true) {
			_, _, err := w.hub.rotations[0].run(t.Context(), true, func(int, int) {})
			ok(t, err)
		}
	}
	made := w.moveIn(morning, empty)
	if v := w.versions()[made.GetHousehold()]; v != 2 {
		t.Errorf("wrapped under version %d, want 2", v)
	}
	old := store.NewHousehold{
		ID: "late", Generation: 1, PublicKey: []byte{1}, WrappedPrivate: []byte{1}, KeyVersion: 1,
		SubjectKey: ledger.Hash{9}, CodeHash: [32]byte{9}, CreatedAt: 1,
	}
	if err := w.store.CreateHouseholds(t.Context(), []store.NewHousehold{old}); !errors.Is(err, store.ErrKeyRetired) {
		t.Errorf("storing what is wrapped under a version that is gone: %v", err)
	}
}

// A part that makes its secret while the key of secrets rotates keeps one that opens when
// the older versions are destroyed. It would catch a part that starts once, on what it has
// in memory, and never again.
func TestStartingWhileKeysRotate(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.rotated()
	hub := w.hub.rotations[1]
	var once atomic.Bool
	w.keys.wrapped = func() {
		if once.CompareAndSwap(false, true) {
			_, _, err := hub.run(t.Context(), true, func(int, int) {})
			ok(t, err)
		}
	}
	ok(t, makeSecret(t.Context(), w.store, w.keys, rand.Reader, "late", w.clock.now))
	oldest, newest, err := w.keys.KeyVersions(t.Context(), hubKey)
	ok(t, err)
	if oldest != 2 || newest != 2 {
		t.Fatalf("versions %d to %d open: nothing was rotated meanwhile", oldest, newest)
	}
	wrapped, err := w.store.HubSecret(t.Context(), "late")
	ok(t, err)
	if _, err := openSecret(t.Context(), w.keys, "late", wrapped); err != nil {
		t.Errorf("the secret that was stored: %v", err)
	}
}

// An erased household stays unreadable when an older database comes back after the keys
// have rotated, journal or none: what the backup holds of its key opens nothing, and
// the others' keys come from a newer copy of their table. It would catch an erasure that
// a backup undoes.
func TestAnErasureReachesBackups(t *testing.T) {
	w := newTown(t, onSQLite(t)) // without a journal
	household := consent.Household(w.homes[home].GetHousehold())
	w.keep(batch("b-1", series(home, yesterday, 7), series(nextDoor, yesterday, 8)))
	w.rotated()
	backup := w.backup()
	before, err := w.store.HouseholdKeys(t.Context(), household)
	ok(t, err)
	_, err = w.operator.EraseHousehold(t.Context(), &wattveilv1.EraseHouseholdRequest{Household: string(household), LegalBasis: "gdpr-17-1-b"})
	ok(t, err)
	w.clock.add(7*24*time.Hour + time.Second)
	w.rotated()
	table, err := w.store.HouseholdSecrets(t.Context(), store.WrappedSecret{}, 1000) // backed up apart, since
	ok(t, err)
	w.stop()
	w.restore(backup)
	w.start()
	w.connect()
	if now, err := w.store.HouseholdKeys(t.Context(), household); err != nil || len(now) != 1 || string(now[0].Wrapped) != string(before[0].Wrapped) {
		t.Fatalf("the backup does not hold the household's key (%v): it proves nothing", err)
	}
	_, err = w.keys.Unwrap(t.Context(), keyguard.HouseholdKey, []seal.Item{{Context: []byte(household), Data: before[0].Wrapped}})
	if err == nil {
		t.Fatal("the key that a backup holds of an erased household opens")
	}
	c, _ := w.signIn(w.homes[home])
	if _, err := c.ReadOwnSeries(t.Context(), &wattveilv1.ReadOwnSeriesRequest{From: yesterday.Unix(), Until: morning.Unix()}); err == nil {
		t.Error("an erased household's readings are read")
	}
	if k := w.keyStatus().GetKeys()[0]; k.GetLost() != 3 || k.GetNewestVersion() != 2 {
		t.Errorf("keys that a restore brought back, and that open nothing: %v", k)
	}
	all, err := w.store.HouseholdSecrets(t.Context(), store.WrappedSecret{}, 1000)
	ok(t, err)
	for _, s := range table { // the operator restores the newer table
		for _, old := range all {
			if old.Name == s.Name {
				_, err := w.store.RewrapHouseholdSecrets(t.Context(), []store.WrappedSecret{old}, [][]byte{s.Wrapped})
				ok(t, err)
			}
		}
	}
	// The one that opens nothing is in nobody's way at the next rotation.
	ok(t, w.hub.Rotate(t.Context()))
	w.clock.add(7 * 24 * time.Hour)
	w.rotated()
	if k := w.keyStatus().GetKeys()[0]; k.GetLost() != 1 || k.GetOldestVersion() != 3 || k.GetOld() != 0 {
		t.Errorf("a rotation over a key that opens nothing: %v", k)
	}
	if !strings.Contains(string(w.log.bytes()), "restore their table from a newer backup") {
		t.Error("the log does not say that a key opens nothing")
	}
	c, _ = w.signIn(w.homes[nextDoor])
	if got := w.own(c, nextDoor, yesterday, morning); got[yesterday.Unix()] != 8 {
		t.Errorf("a neighbour reads %v", got)
	}
}

// A key service that is away leaves the rotation where it is; it goes on when it is back.
func TestRotationWithoutKeyService(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.rotated()
	w.keys.away.Store(true)
	if state := w.keyStatus().GetState(); state != "unreachable" {
		t.Errorf("the key service is %s", state)
	}
	w.clock.add(8 * 24 * time.Hour)
	if err := w.hub.rotations[0].tend(t.Context()); !errors.Is(err, seal.ErrUnavailable) {
		t.Errorf("rotating: %v", err)
	}
	w.keys.away.Store(false)
	w.rotated()
	if k := w.keyStatus().GetKeys()[0]; k.GetOldestVersion() != 2 {
		t.Errorf("when it is back: %v", k)
	}
}
