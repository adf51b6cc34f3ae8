package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// notaryOf asks a hub for checkpoints as a part of it that believes these keys.
func notaryOf(t *testing.T, w *town, vkeys string) *remoteNotary {
	t.Helper()
	v, err := ledger.NewVerifier(vkeys)
	ok(t, err)
	return newRemoteNotary(w.as("role", "ingest").conn, v)
}

// Parts that record follow the ledger's keys as they change, by the word of those that
// they believe, whether they notice in time or only when the old keys sign no more. It
// would catch a hub whose parts must all be restarted when the ledger's keys rotate, and a
// part that takes up keys because somebody says so.
func TestPartsFollowTheLedgersKeys(t *testing.T) {
	w := newTown(t, onSQLite(t), servingParts)
	old := w.hub.VerifierKey()
	early, late := notaryOf(t, w, old), notaryOf(t, w, old)
	for _, n := range []*remoteNotary{early, late} {
		_, err := n.Cover(t.Context(), 1)
		ok(t, err)
		ok(t, n.follow(t.Context()))
		if n.verifier.Keys() != old {
			t.Error("keys changed where nothing did")
		}
	}
	_, err := w.operator.RotateLedgerKeys(t.Context(), &wattveilv1.RotateLedgerKeysRequest{})
	ok(t, err)
	if _, err := early.Cover(t.Context(), 1); err != nil {
		t.Errorf("while both generations sign: %v", err)
	}
	ok(t, early.follow(t.Context()))
	if early.verifier.Keys() != w.hub.VerifierKey() || early.verifier.Keys() == old {
		t.Errorf("it believes\n%s\nthe hub has\n%s", early.verifier.Keys(), w.hub.VerifierKey())
	}
	_, err = w.operator.RotateLedgerKeys(t.Context(), &wattveilv1.RotateLedgerKeysRequest{RetireNow: true})
	ok(t, err)
	for _, n := range []*remoteNotary{early, late} {
		if _, err := n.Cover(t.Context(), 1); err != nil {
			t.Errorf("when the old keys sign no more: %v", err)
		}
		if n.verifier.Keys() != w.hub.VerifierKey() {
			t.Error("it believes other keys than the hub has")
		}
	}
	other := newTown(t, onSQLite(t))
	stranger := notaryOf(t, w, other.hub.VerifierKey())
	if _, err := stranger.Cover(t.Context(), 1); !errors.Is(err, ledger.ErrCheckpoint) || !errors.Is(err, errStrangeKeys) {
		t.Errorf("another ledger's checkpoint: %v", err)
	}
	if stranger.verifier.Keys() != other.hub.VerifierKey() {
		t.Error("it took up another ledger's keys")
	}
}

// The file of the ledger's public keys is written when they change, and never over
// another ledger's.
func TestVerifierKeysFile(t *testing.T) {
	l := LedgerConfig{VerifierKeys: filepath.Join(t.TempDir(), "ledger.vkey")}
	holds := func(want string) {
		t.Helper()
		got, err := l.readKeys()
		ok(t, err)
		if got != want {
			t.Errorf("the file holds %q, want %q", got, want)
		}
	}
	ok(t, l.publishKeys("log+1+a\nlog+2+b"))
	holds("log+1+a\nlog+2+b")
	ok(t, l.publishKeys("log+3+c\nlog+4+d\nuntil 7\nlog+1+a\nlog+2+b"))
	holds("log+3+c\nlog+4+d\nuntil 7\nlog+1+a\nlog+2+b")
	ok(t, l.keepKeys("log+1+a\nlog+2+b")) // a part that does not know of the newer ones yet
	holds("log+3+c\nlog+4+d\nuntil 7\nlog+1+a\nlog+2+b")
	for _, foreign := range []string{"log+5+e\nlog+6+f", "log+1+ab"} {
		if err := l.publishKeys(foreign); !errors.Is(err, ErrConfig) {
			t.Errorf("%q over another ledger's: %v", foreign, err)
		}
	}
	ok(t, os.WriteFile(l.VerifierKeys, nil, 0o600))
	if err := l.publishKeys("log+1+a"); !errors.Is(err, ErrConfig) {
		t.Errorf("over an empty file: %v", err)
	}
	if err := (LedgerConfig{VerifierKeys: filepath.Join(l.VerifierKeys, "none")}).publishKeys("x"); err == nil || strings.Contains(err.Error(), l.VerifierKeys) {
		t.Errorf("where no file can be: %v, want an error without a path", err)
	}
}

// What is not committed is not signed, and what nobody cosigns is not said to be; the part
// that asks is told so by name.
func TestCoverOverTheWire(t *testing.T) {
	w := newTown(t, onSQLite(t), servingParts)
	n := notaryOf(t, w, w.hub.VerifierKey())
	if _, err := n.Cover(t.Context(), 1<<40); !errors.Is(err, ledger.ErrUnsigned) {
		t.Errorf("of what is not committed: %v", err)
	}
	if _, err := n.cosigned(t.Context(), 0); !errors.Is(err, ledger.ErrNotCosigned) {
		t.Errorf("cosigned, of a part that has no witnesses: %v, want ErrNotCosigned", err)
	}
	_, err := wattveilv1.NewCheckpointServiceClient(w.utility.conn).Cover(t.Context(), &wattveilv1.CoverRequest{Size: 1})
	refused(t, err, codes.PermissionDenied, "not_for_you")
}
