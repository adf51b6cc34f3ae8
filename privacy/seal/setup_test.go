package seal_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// day is the UTC day of most tests, noon its middle.
const (
	day  = meter.Day(17836) // 2018-11-01
	noon = int64(day)*86400 + 43200
)

// clock is the time by which permits are minted in these tests.
var clock = time.Unix(noon+36*3600, 0)

// house is a household with its keys, and a writer that seals for it.
type house struct {
	private seal.PrivateKey
	target  seal.Target
	writer  *seal.Writer
}

func newHouse(t testing.TB) *house {
	t.Helper()
	private, err := seal.NewPrivateKey(&stream{label: t.Name() + " household"})
	if err != nil {
		t.Fatal(err)
	}
	return &house{
		private: private,
		target:  seal.Target{Household: "hh-1", Generation: 2, Key: private.Public(), CapWatts: meter.DefaultCapWatts},
		writer:  newWriter(t, "writer"),
	}
}

func newWriter(t testing.TB, label string) *seal.Writer {
	t.Helper()
	w, err := seal.NewWriter(&stream{label: t.Name() + label}, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// series returns n quarter hours of import at up-1 from start on, with the
// values 1, 2, ….
func series(start int64, n int) meter.Series {
	s := meter.Series{UsagePoint: "up-1", Register: meter.ActiveImport, Start: start, Length: 900}
	for i := range n {
		s.Values = append(s.Values, int64(i+1))
	}
	return s
}

// seal seals s in a batch of its own.
func (h *house) seal(t testing.TB, s meter.Series) seal.Block {
	t.Helper()
	b, err := h.writer.Begin().Seal(h.target, s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blockKey goes the whole way to a block's key: through the wrap and the
// household's private key.
func (h *house) blockKey(t testing.TB, b seal.Block) seal.BlockKey {
	t.Helper()
	wrap, _, err := h.writer.Wrap(h.target, b.Day)
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.UnwrapDayKey(h.private, wrap)
	if err != nil {
		t.Fatal(err)
	}
	return key.BlockKey(b.UsagePoint, b.Register)
}

// permit returns a real permit for reading lives' occupancies, granted to a
// third party for the given points and registers and all of the day before,
// the day and the day after.
func permit(t testing.TB, lives []consent.Occupancy, points []meter.UsagePoint, registers []meter.Register) consent.Permit {
	t.Helper()
	terms := consent.Terms{
		Purpose: consent.Purpose{Code: "advice", Text: "to advise"}, UsagePoints: points, Registers: registers,
		Granularity: consent.Interval, DataFrom: (day - 1).Start(), DataUntil: (day + 1).End(), PermissionUntil: clock.Unix() + 1000,
	}
	hub := &hub{lives: lives, consent: consent.Consent{
		ID: "c-1", Household: "hh-1", Recipient: "r-1", State: consent.Granted, Terms: terms,
		RequestedAt: noon, DecidedAt: noon,
	}}
	p, err := consent.NewGate(hub, func() time.Time { return clock }).Admit(t.Context(), consent.Access{
		RequestID: "a-1", Recipient: "r-1", Consent: "c-1", Purpose: "advice", From: terms.DataFrom, Until: terms.DataUntil,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hub is a ledger of one consent: enough for the real gate to mint a permit.
type hub struct {
	leaves  atomic.Uint64
	consent consent.Consent
	lives   []consent.Occupancy
}

func (h *hub) Propose(ctx context.Context, _ string, fn func(context.Context, *hubTx, ledger.Position) (ledger.Payload, error)) (ledger.Receipt, error) {
	at := ledger.Position{Index: h.leaves.Add(1), Time: clock.UnixMicro()}
	p, err := fn(ctx, &hubTx{hub: h}, at)
	if err != nil {
		return ledger.Receipt{}, err
	}
	payload, err := p.Encode()
	return ledger.Receipt{Index: at.Index, Payload: payload, Checkpoint: []byte("signed")}, err
}

type hubTx struct {
	consent.Tx
	hub *hub
}

func (x *hubTx) Consent(context.Context, consent.ID) (consent.Consent, error) {
	return x.hub.consent, nil
}

func (x *hubTx) Occupancies(context.Context, consent.Household) ([]consent.Occupancy, error) {
	return x.hub.lives, nil
}

func (x *hubTx) StoredIntervals(context.Context, consent.Household, []meter.UsagePoint, []meter.Register, int64, int64) (uint64, error) {
	return 96, nil
}

// lived is an occupancy of hh-1 at up-1.
func lived(from, until int64) consent.Occupancy {
	return consent.Occupancy{UsagePoint: "up-1", Household: "hh-1", From: from, Until: until, Zone: "Europe/Zurich"}
}
