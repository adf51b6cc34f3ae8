package keyguard_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/consent/consenttest"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/keyguard/keyguardtest"
	"github.com/wattveil/wattveil/privacy/seal"
)

// state is what is kept behind the log.
type state = consenttest.Tx

// both is a transaction of the log and of the consents behind it.
type both struct {
	*ledgertest.Tx
	*state
}

// store is the log's memory with consents in the same transactions.
type store struct {
	*ledgertest.Memory
	state *state
}

func (s store) Transact(ctx context.Context, fn func(context.Context, both) error) error {
	return s.Memory.Transact(ctx, func(ctx context.Context, tx *ledgertest.Tx) error {
		s.state.Undo = tx.Undo
		return fn(ctx, both{tx, s.state})
	})
}

// The whole way of an access: asked, granted, admitted, proved, keys, opened,
// trimmed; then revoked, and shut. It would catch two packages that each keep
// their promise and do not fit together.
func TestFlow(t *testing.T) {
	w := keyguardtest.NewWorld(t, inProcess)
	memory := store{ledgertest.NewMemory("wattveil.example/flow"), consenttest.NewTx()}
	memory.PutSubjectKey(string(keyguardtest.Home), ledger.Hash{1})
	memory.state.Occupy(consent.Occupancy{UsagePoint: keyguardtest.UP1, Household: keyguardtest.Home, From: (keyguardtest.Today - 2).Start() + 12*3600, Zone: "UTC"})
	log := ledgertest.Start(t, memory)
	service := consent.NewService(log, rand.Reader)
	gate := consent.NewGate(log, w.Clock)
	guard := keyguard.New(w.Keys, w.Wrapper, log.Verifier, w.Clock)

	id, err := service.Request(t.Context(), "1", "adviser", keyguardtest.UP1, consent.Terms{
		Purpose:         consent.Purpose{Code: "advice", Text: "We look for savings."},
		Registers:       []meter.Register{meter.ActiveImport},
		Granularity:     consent.Interval,
		DataFrom:        (keyguardtest.Today - 10).Start(),
		DataUntil:       (keyguardtest.Today + 10).Start(),
		PermissionUntil: (keyguardtest.Today + 10).Start(),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, granted, err := service.Grant(t.Context(), "2", keyguardtest.Home, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request string) (consent.Permit, error) {
		return gate.Admit(t.Context(), consent.Access{
			RequestID: request, Recipient: "adviser", Consent: id, Purpose: "advice",
			From: (keyguardtest.Today - 3).Start(), Until: (keyguardtest.Today - 1).Start() + 1800,
		})
	}
	present := func(r ledger.Receipt) (*keyguard.BlockKeys, error) {
		return guard.BlockKeys(t.Context(), keyguard.Request{
			Access: keyguardtest.Prove(t, memory, r), Consent: keyguardtest.Prove(t, memory, granted),
		})
	}

	permit, err := ask("3")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := present(permit.Receipt())
	if err != nil {
		t.Fatal(err)
	}
	var opened []seal.Opened
	for _, b := range w.Blocks {
		key, ok := keys.Key(b)
		if !ok {
			continue
		}
		o, err := seal.Open(permit, w.Now, seal.KeyedBlock{Block: b, Key: key, WriterKey: w.Writer.PublicKey()})
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, o...)
	}
	series, _ := seal.Merge(opened)
	got, err := permit.Disclose(series)
	if err != nil {
		t.Fatal(err)
	}
	var values []int64
	for _, s := range got {
		values = append(values, s.Values...)
	}
	var want []int64 // from moving in at noon until half an hour into the last day
	for i := int64(48); i < 96; i++ {
		want = append(want, i)
	}
	if want = append(want, 0, 1); !slices.Equal(values, want) {
		t.Errorf("disclosed %v, want %v", values, want)
	}

	if _, _, err := service.Revoke(t.Context(), "4", keyguardtest.Home, id); err != nil {
		t.Fatal(err)
	}
	_, err = ask("5")
	var refused *consent.Refused
	if !errors.As(err, &refused) || refused.Reason != consent.ReasonRevoked {
		t.Fatalf("after revocation: %v", err)
	}
	if _, err := present(refused.Receipt); !errors.Is(err, keyguard.ErrLeaf) {
		t.Errorf("keys for a refusal: %v, want ErrLeaf", err)
	}
	if report := log.Verify(t); report.Size != 5 {
		t.Errorf("%d leaves, want those of request, grant, access, revocation and refusal", report.Size)
	}
}
