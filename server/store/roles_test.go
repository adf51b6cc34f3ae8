package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// newSplitTown is a split database with a town, its log, and household h1 at p1.
func newSplitTown(t testing.TB) *split {
	t.Helper()
	p := newSplit(t)
	town(t, p.owner)
	must(t, p.owner.CreateLedger(t.Context(), origin))
	must(t, p.owner.PutRecipients(t.Context(), []store.Recipient{{ID: "r", Name: "Adviser"}}))
	private, err := seal.NewPrivateKey(rand.Reader)
	must(t, err)
	h := family("h1", 0, "p1")
	h.PublicKey = private.Public().Bytes()
	must(t, p.owner.CreateHouseholds(t.Context(), []store.NewHousehold{h}))
	return p
}

// record does all that a sequencer does for one event, but sign; fn changes state in
// its transaction.
func record(ctx context.Context, s *store.Store, e ledger.Entry, fn func(ctx context.Context, tx *store.Tx, at uint64) error) error {
	if _, err := s.Checkpoint(ctx); err != nil && !errors.Is(err, ledger.ErrNoCheckpoint) {
		return err
	}
	if _, err := s.ReadTile(ctx, 0, 0); err != nil && !errors.Is(err, ledger.ErrNoTile) {
		return err
	}
	if _, err := s.ReadLeaves(ctx, 0, 256); err != nil {
		return err
	}
	return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
		from, err := tx.LedgerHead(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.LedgerRequests(ctx, []string{e.RequestID}); err != nil {
			return err
		}
		if _, err := tx.LedgerEnvelopeKeys(ctx, 1); err != nil {
			return err
		}
		if err := tx.Savepoint(ctx, "proposal"); err != nil {
			return err
		}
		if err := fn(ctx, tx, from.Size); err != nil {
			return errors.Join(err, tx.RollbackTo(ctx, "proposal"))
		}
		var chains []ledger.ChainID
		var subjects []string
		ends := map[ledger.ChainID]ledger.Link{}
		if e.Subject != "" {
			id := ledger.ChainID{Kind: ledger.SubjectChain, ID: e.Subject}
			chains, subjects = []ledger.ChainID{id}, []string{e.Subject}
			ends[id] = ledger.Link{Seq: from.Size + 1}
		}
		if _, err := tx.LedgerChains(ctx, chains); err != nil {
			return err
		}
		if _, err := tx.LedgerTagKeys(ctx, subjects); err != nil {
			return err
		}
		if err := tx.LedgerSetChains(ctx, ends); err != nil {
			return err
		}
		e.Index, e.Leaf.Class = from.Size, e.Kind.Class()
		if e.Payload == nil {
			e.Payload = []byte{1}
		}
		a := ledger.Append{From: from, To: from, Entries: []ledger.Entry{e}}
		a.To.Size++
		a.Tiles = []ledger.Tile{{Level: 1, N: from.Size, Data: []byte{1}}}
		a.Envelopes = []ledger.EnvelopeHead{{FirstIndex: from.Size, Sealed: []byte{1}}}
		if e.Kind == ledger.KindRekey {
			a.TagKeys = []ledger.SubjectKey{{Subject: e.Subject, TagKey: ledger.TagKey{FromSeq: from.Size + 1}}}
		}
		return tx.LedgerAppend(ctx, a)
	})
}

// calls are calls of a store by what they do.
type calls map[string]func(ctx context.Context, s *store.Store) error

// refused makes calls that a role must not get through with: each ends in
// ErrPrivilege, and the error neither suggests another try nor holds anything but
// names of tables.
func (c calls) refused(t *testing.T, s *store.Store) {
	t.Helper()
	for what, call := range c {
		err := call(t.Context(), s)
		if !errors.Is(err, store.ErrPrivilege) || errors.Is(err, store.ErrRetry) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrPrivilege alone", what, err)
		}
		if err != nil && (strings.Contains(err.Error(), "h1") || strings.Contains(strings.ToUpper(err.Error()), "SELECT") || strings.Contains(err.Error(), "$1")) {
			t.Errorf("%s: the error holds SQL or a name: %v", what, err)
		}
	}
}

// executing is a call of a statement that no method runs.
func executing(statement string) func(ctx context.Context, s *store.Store) error {
	return func(ctx context.Context, s *store.Store) error {
		return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error { return tx.Exec(ctx, statement) })
	}
}

// What roles must not do, whichever it is that tries.
var (
	readBlocks = func(ctx context.Context, s *store.Store) error {
		_, err := s.Blocks(ctx, "h1", []meter.UsagePoint{"p1"}, nil, day0, day0)
		return err
	}
	readDayKeys = func(ctx context.Context, s *store.Store) error {
		_, err := s.DayKeyWraps(ctx, "h1", day0, day0)
		return err
	}
	readSpool = func(ctx context.Context, s *store.Store) error {
		return s.SpoolRecords(ctx, day0, func(seal.SpoolRecord) error { return nil })
	}
	readSpoolKeys = func(ctx context.Context, s *store.Store) error {
		_, err := s.SpoolKeys(ctx, day0)
		return err
	}
	readPrivateKeys = func(ctx context.Context, s *store.Store) error {
		_, err := s.HouseholdKeys(ctx, "h1")
		return err
	}
	readWindowKey = func(ctx context.Context, s *store.Store) error {
		_, err := s.Window(ctx, day0)
		return err
	}
	readRunning = func(ctx context.Context, s *store.Store) error {
		return s.RunningRecords(ctx, seal.RunningID{1}, func(seal.RunningRecord) error { return nil })
	}
	readTagKeys = func(ctx context.Context, s *store.Store) error {
		_, err := s.TagKeys(ctx, "h1")
		return err
	}
	readConsents = func(ctx context.Context, s *store.Store) error {
		_, _, err := s.ListConsents(ctx, store.Owner{All: true}, "", 1)
		return err
	}
	readSessions = func(ctx context.Context, s *store.Store) error {
		_, _, err := s.SessionHousehold(ctx, [32]byte{1}, 1)
		return err
	}
	writeBlocks = func(ctx context.Context, s *store.Store) error {
		b := batch("forged")
		b.Blocks = []seal.Block{newWriter(99).block("h1", "p1", day0)}
		_, err := s.CommitBatches(ctx, []store.Batch{b})
		return err
	}
	makeWindow = func(ctx context.Context, s *store.Store) error {
		return s.PutWindow(ctx, release.Window{Day: day0 + 9, State: release.WindowOpen, PublicKey: []byte{1}, WrappedPrivate: []byte{2}})
	}
	closeWindow = func(ctx context.Context, s *store.Store) error { return s.BeginClosing(ctx, day0) }
	sign        = func(ctx context.Context, s *store.Store) error {
		return s.PutCheckpoint(ctx, 1, ledger.Hash{}, []byte{1})
	}
	spendAccess  = func(ctx context.Context, s *store.Store) error { return s.SpendAccess(ctx, 1, false) }
	grantConsent = func(ctx context.Context, s *store.Store) error {
		return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
			return tx.PutConsent(ctx, sampleConsent("forged", "h1", 1))
		})
	}
	eraseHome = func(ctx context.Context, s *store.Store) error {
		return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.EraseHousehold(ctx, "h1", 10)
			return err
		})
	}
	putWriter = func(ctx context.Context, s *store.Store) error {
		return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
			return tx.PutWriter(ctx, seal.WriterID{1}, make([]byte, 32), 1, 1)
		})
	}
	register = func(ctx context.Context, s *store.Store) error {
		return s.CreateHouseholds(ctx, []store.NewHousehold{family("h7", 0, "p4")})
	}
)

// The part that takes readings in needs no more than it has: it registers itself,
// looks up who lives where, holds windows open, stores into partitions that it does
// not own, makes those of a new day, and gives late batches back. What it has stored
// it cannot read, and a window's private key it never sees.
func TestIngestRole(t *testing.T) {
	p := newSplitTown(t)
	window(t, p.owner, day0)
	s, ctx := p.as(t, store.RoleIngest), t.Context()
	known, err := s.KnowsUtility(ctx, "utility")
	must(t, err)
	targets, err := s.TargetsFor(ctx, []meter.UsagePoint{"p1"})
	must(t, err)
	keys, err := s.PublicKeys(ctx, []store.KeyID{{Household: "h1", Generation: 1}})
	must(t, err)
	if !known || len(targets["p1"].Occupants) != 1 || len(keys) != 1 {
		t.Errorf("known %t, %d targets, %d keys", known, len(targets), len(keys))
	}
	must(t, s.PutHubSecret(ctx, secret("batch-hash", "wrapped")))
	_, err = s.HubSecret(ctx, "batch-hash")
	must(t, err)

	w := newWriter(1)
	must(t, record(ctx, s, ledger.Entry{RequestID: "writer/1", Kind: ledger.KindAdmin}, func(ctx context.Context, tx *store.Tx, at uint64) error {
		return tx.PutWriter(ctx, w.id, make([]byte, 32), 1, at)
	}))
	for i, day := range []meter.Day{day0, day0 + 1000} { // the second in a span that nobody has stored in
		b := batch([]string{"one", "two"}[i])
		b.Blocks, b.Wraps = []seal.Block{w.block("h1", "p1", day)}, []seal.DayKeyWrap{w.wrap("h1", day)}
		b.SpoolKeys, b.Spool = []seal.SpoolKeyWrap{w.spoolKey(day0)}, []seal.SpoolRecord{w.spool(day0)}
		stored(t, s, b)
		again, err := s.CommitBatches(ctx, []store.Batch{b})
		must(t, err)
		if again[0].Result != store.Duplicate {
			t.Errorf("again: %v", again[0].Result)
		}
	}
	late := batch("late")
	late.Spool = []seal.SpoolRecord{w.spool(day0 - 1)}
	outcomes, err := s.CommitBatches(ctx, []store.Batch{late})
	must(t, err)
	if outcomes[0].Result != store.Late {
		t.Errorf("a batch of a day without a window: %v", outcomes[0].Result)
	}
	blocks, err := p.owner.Blocks(ctx, "h1", []meter.UsagePoint{"p1"}, nil, day0, day0+1000)
	must(t, err)
	if len(blocks) != 2 {
		t.Errorf("%d blocks are stored, want both", len(blocks))
	}

	calls{
		"reading blocks": readBlocks, "reading day keys": readDayKeys, "reading the spool": readSpool, "reading spool keys": readSpoolKeys,
		"reading private keys": readPrivateKeys, "reading a window's private key": readWindowKey, "reading tag keys": readTagKeys,
		"reading consents": readConsents, "reading sessions": readSessions, "reading running sums": readRunning,
		"making a window": makeWindow, "closing a window": closeWindow, "signing": sign, "spending an access": spendAccess,
		"granting a consent": grantConsent, "erasing": eraseHome, "registering a household": register,
		"replacing a window's key":  executing(`UPDATE windows SET public_key = ''`),
		"deleting blocks":           executing(`DELETE FROM blocks`),
		"reading a partition":       executing(`SELECT * FROM blocks_early`),
		"changing a leaf":           executing(`UPDATE tlog_leaves SET leaf = ''`),
		"explaining an access":      executing(`INSERT INTO tlog_private (idx, kind, time_us, subject, recipient, request_id, payload, nonce) VALUES (9, 'access', 1, '', '', 'x', '', '')`),
		"making a table of its own": executing(`CREATE TABLE mine (x int)`),
		"counting what a utility has": func(ctx context.Context, s *store.Store) error {
			_, _, err := s.Completeness(ctx, "utility", []meter.UsagePoint{"p1"}, day0, day0)
			return err
		},
	}.refused(t, s)
	for what, first := range map[string]int{"an odd day": 17825, "an absurd one": 32 * 400_000, "one long ago": 32} {
		if err := executing(fmt.Sprintf(`SELECT make_partitions(%d)`, first))(ctx, s); state(err) != "22023" {
			t.Errorf("partitions of %s: %v, want that none begins there", what, err)
		}
	}
}

// The part that closes days has the spool, the windows with their keys, running sums
// and the budget, and of the register where households live; no block, no household's
// key, nobody's consent.
func TestReleaseRole(t *testing.T) {
	p := newSplitTown(t)
	s, ctx := p.as(t, store.RoleRelease), t.Context()
	w := newWriter(1)
	w.register(t, p.owner)
	for _, day := range []meter.Day{day0, day0 + 1, day0 + 2} {
		window(t, s, day)
	}
	b := batch("one")
	b.SpoolKeys, b.Spool = []seal.SpoolKeyWrap{w.spoolKey(day0)}, []seal.SpoolRecord{w.spool(day0)}
	stored(t, p.owner, b)

	set := seal.RunningKeyWrap{ID: seal.RunningID{1}, From: day0, Window: day0 + 1, Records: 1, Sealed: []byte{1}, Signature: []byte{1}}
	live := seal.RunningKeyWrap{ID: seal.RunningID{2}, From: day0, Window: day0, Records: 1, Sealed: []byte{1}, Signature: []byte{1}}
	charge := release.Reservation{ID: "day/1", Product: "day", Window: day0, Days: []meter.Day{day0}, Rho: 5, DayRho: 5, Cap: 10, DayCap: 10}
	published := release.Published{ID: "day/x", Product: "day", Day: day0, Body: []byte{1}, Signature: []byte{1}, PublicKey: []byte{1}}
	ignore := func(_ any, err error) error { return err }
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"first and last window", func() error {
			_, err := s.FirstWindow(ctx)
			return errors.Join(err, ignore(s.LastWindow(ctx)), ignore(s.Windows(ctx)), ignore(s.Window(ctx, day0)))
		}},
		{"live load", func() error {
			return errors.Join(s.PutLive(ctx, day0, seal.RunningID{}, live, []seal.RunningRecord{{ID: live.ID, Seq: 1}}),
				s.PutLive(ctx, day0, live.ID, seal.RunningKeyWrap{ID: seal.RunningID{3}, Sealed: []byte{1}, Signature: []byte{1}}, nil))
		}},
		{"live load read", func() error { _, _, err := s.Live(ctx, day0); return err }},
		{"beginning to close", func() error { return s.BeginClosing(ctx, day0) }},
		{"the spool", func() error { return errors.Join(readSpool(ctx, s), readSpoolKeys(ctx, s)) }},
		{"writers' keys", func() error { return ignore(s.WriterKeys(ctx, []seal.WriterID{w.id})) }},
		{"the register", func() error {
			return errors.Join(ignore(s.Nodes(ctx)), s.HouseholdPlaces(ctx, day0, day0, func(consent.Household, release.Place) {}))
		}},
		{"running sums", func() error { return s.PutRunning(ctx, day0, []seal.RunningRecord{{ID: set.ID, Seq: 1}}) }},
		{"an attempt", func() error { return ignore(s.CountAttempt(ctx, day0)) }},
		{"a charge", func() error {
			return record(ctx, s, ledger.Entry{RequestID: "charge", Kind: ledger.KindBudgetSpend}, func(ctx context.Context, tx *store.Tx, at uint64) error {
				charge.LeafIndex = at
				return tx.Reserve(ctx, charge)
			})
		}},
		{"a conflict", func() error {
			return errors.Join(s.PutConflict(ctx, "p1", day0, 1, 1), s.PutConflict(ctx, "p1", day0, 2, 1))
		}},
		{"a release", func() error {
			return record(ctx, s, ledger.Entry{RequestID: "release", Kind: ledger.KindRelease}, func(ctx context.Context, tx *store.Tx, at uint64) error {
				published.LeafIndex = at
				return tx.PutRelease(ctx, published)
			})
		}},
		{"handing sums on", func() error { return s.EndPublishing(ctx, day0, &set, nil) }},
		{"sums handed on", func() error { return errors.Join(ignore(s.RunningSets(ctx)), readRunning(ctx, s)) }},
		{"closing", func() error { return s.EndClosing(ctx, day0) }},
		{"replacing sums", func() error {
			next := seal.RunningKeyWrap{ID: seal.RunningID{4}, From: day0 + 1, Window: day0 + 2, Sealed: []byte{1}, Signature: []byte{1}}
			return errors.Join(s.BeginClosing(ctx, day0+1), s.EndPublishing(ctx, day0+1, &next, []seal.RunningID{set.ID}))
		}},
		{"its key", func() error {
			return errors.Join(s.PutHubSecret(ctx, secret("release-signing", "wrapped")), ignore(s.HubSecret(ctx, "release-signing")))
		}},
		{"what is public", func() error {
			_, _, err := s.Spent(ctx, 2018, day0)
			_, _, err2 := s.ListReleases(ctx, "", "", 10)
			return errors.Join(err, err2, ignore(s.PublishedAmong(ctx, []string{"x"})), ignore(s.PublishedRelease(ctx, published.ID)))
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
	charges, err := s.ChargesOf(ctx, 2018)
	must(t, err)
	if len(charges) != 1 || len(charges[0].Payload) == 0 {
		t.Errorf("charges %+v, want the one with what opens its leaf", charges)
	}

	calls{
		"reading blocks": readBlocks, "reading day keys": readDayKeys, "reading private keys": readPrivateKeys, "reading tag keys": readTagKeys,
		"reading consents": readConsents, "reading sessions": readSessions, "storing readings": writeBlocks, "signing": sign,
		"spending an access": spendAccess, "granting a consent": grantConsent, "erasing": eraseHome, "registering a writer": putWriter,
		"registering a household": register, "adding to the spool": executing(`INSERT INTO spool (day, writer, seq, ciphertext) VALUES (1, '', 1, '')`),
		"taking a charge back":  executing(`DELETE FROM budget_spends`),
		"taking a release back": executing(`DELETE FROM releases`),
	}.refused(t, s)
}

// The part that keeps households' keys reads them, the wraps of day keys and who
// signed those, and writes down what was spent; it rotates what wraps them and the hub's
// own secrets, which it cannot open, and gives households new pairs, and records that. It
// has no readings to open, registers nobody and erases nobody, makes no secret and takes
// none away; a public key that it replaces comes with its private half.
func TestKeyguardRole(t *testing.T) {
	p := newSplitTown(t)
	s, ctx := p.as(t, store.RoleKeyguard), t.Context()
	keys, err := s.HouseholdKeys(ctx, "h1")
	must(t, err)
	if len(keys) != 1 {
		t.Errorf("%d keys, want one", len(keys))
	}
	must(t, readDayKeys(ctx, s))
	_, err = s.WriterKeys(ctx, []seal.WriterID{{1}})
	must(t, err)
	must(t, s.SpendAccess(ctx, 1, false))
	must(t, s.SpendAccess(ctx, 2, true))
	must(t, s.SpendAccess(ctx, 2, true))
	if err := s.SpendAccess(ctx, 1, false); !errors.Is(err, keyguard.ErrSpent) {
		t.Errorf("spending twice: %v", err)
	}
	must(t, s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.PutRotation(ctx, "households", 2, 5)
	}))
	page, err := s.HouseholdSecrets(ctx, store.WrappedSecret{}, 10)
	must(t, err)
	if n, err := s.RewrapHouseholdSecrets(ctx, page, [][]byte{[]byte("anew")}); err != nil || n != 1 {
		t.Errorf("wrapped %d keys anew: %v", n, err)
	}
	must(t, s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.BeginRetiring(ctx, "households", 2, 6)
	}))
	for _, name := range []string{"batch-hash", "release-signing", "letter-codes", "read-cursors", "ledger-signing", "ledger-signing-mldsa"} {
		must(t, p.owner.PutHubSecret(ctx, secret(name, "wrapped")))
	}
	page, err = s.HubSecrets(ctx, store.WrappedSecret{}, 10)
	must(t, err)
	if n, err := s.RewrapHubSecrets(ctx, page, slices.Repeat([][]byte{[]byte("anew")}, len(page))); err != nil || n != 6 {
		t.Errorf("wrapped %d of the hub's secrets anew: %v", n, err)
	}
	must(t, record(ctx, s, ledger.Entry{RequestID: "pairs/1", Kind: ledger.KindAdmin}, func(ctx context.Context, tx *store.Tx, _ uint64) error {
		return tx.PutPairRound(ctx, store.PairRound{Round: 1, BeganAt: 7})
	}))
	round, err := s.LastPairRound(ctx)
	must(t, err)
	old, err := s.OldPairs(ctx, round.Round, "", 10)
	must(t, err)
	next := pair("h1", 1)
	next.KeyVersion = 2
	must(t, record(ctx, s, ledger.Entry{RequestID: "pairs/1/x", Kind: ledger.KindAdmin}, func(ctx context.Context, tx *store.Tx, _ uint64) error {
		_, err := tx.PutPairs(ctx, 1, []store.Pair{next})
		return err
	}))
	counts, err := s.CountPairs(ctx, 1)
	must(t, err)
	if len(old) != 1 || counts != (store.PairCounts{Households: 1, Private: 2}) {
		t.Errorf("a round over %d old households leaves %+v", len(old), counts)
	}
	calls{
		"reading blocks": readBlocks, "reading the spool": readSpool, "reading spool keys": readSpoolKeys, "reading a window's private key": readWindowKey,
		"reading tag keys": readTagKeys, "reading consents": readConsents, "reading sessions": readSessions, "storing readings": writeBlocks,
		"signing": sign, "granting a consent": grantConsent, "erasing": eraseHome, "registering a household": register,
		"taking a round back":   executing(`DELETE FROM pair_rounds`),
		"moving a household":    executing(`UPDATE households SET id = 'h2'`),
		"giving a key away":     executing(`UPDATE household_keys SET household = 'h2'`),
		"removing a key":        executing(`DELETE FROM household_keys`),
		"forgetting what spent": executing(`DELETE FROM keyguard_spent`),
		"naming a secret anew":  executing(`UPDATE hub_secrets SET name = 'letter-codes' WHERE name = 'ledger-signing'`),
		"removing a secret":     executing(`DELETE FROM hub_secrets`),
		"making a secret": func(ctx context.Context, s *store.Store) error {
			return s.PutHubSecret(ctx, secret("ledger-signing", "mine"))
		},
	}.refused(t, s)
	if err := executing(`UPDATE households SET generation = 3, public_key = 'mine' WHERE id = 'h1'`)(ctx, s); state(err) != "23001" {
		t.Errorf("replacing a public key without a private half: %v", err)
	}
}

// The part that signs begins the log, records, signs, writes map heads and answers
// auditors. It changes no consent, registers nobody and has no reading.
func TestLedgerRole(t *testing.T) {
	p := newSplit(t)
	s, ctx := p.as(t, store.RoleLedger), t.Context()
	must(t, s.CreateLedger(ctx, origin))
	log := ledgertest.Start(t, ledger.Store[*store.Tx](s))
	key := store.RegulatorKey{EnvelopeKey: ledger.EnvelopeKey{Public: []byte{1}, From: 1, Until: 2}, Regulator: "office"}
	for _, id := range []string{"a", "b"} {
		_, err := log.Propose(ctx, id, func(ctx context.Context, tx *store.Tx, at ledger.Position) (ledger.Payload, error) {
			k := key
			k.LeafIndex, k.ID = at.Index, ledger.Hash{id[0]}
			return ledger.Payload{Kind: ledger.KindAdmin, Detail: "key"}, tx.PutRegulatorKey(ctx, k)
		})
		must(t, err)
	}
	if r := log.Verify(t); r.Size != 2 {
		t.Errorf("the log verifies up to %d leaves, want 2", r.Size)
	}
	ignore := func(_ any, err error) error { return err }
	_, _, err := s.ListEvents(ctx, store.Owner{All: true}, store.EventFilter{}, "", 10)
	_, known := s.KnowsRecipient(ctx, "r")
	must(t, errors.Join(err, known,
		s.View(ctx, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.LedgerEnds(ctx, 0)
			return errors.Join(err, ignore(tx.LedgerTombstones(ctx, 0)))
		}),
		ignore(s.RegulatorKeys(ctx, 10)), ignore(s.HouseholdEvents(ctx, "h1", 0)), ignore(s.Entries(ctx, 0, 10, 10)), ignore(s.EnvelopeHeads(ctx, 0, 10)),
		ignore(s.EnvelopeBatch(ctx, 1)), ignore(s.Checkpoints(ctx, 0, 10)), readTagKeys(ctx, s), readConsents(ctx, s), readSessions(ctx, s), readBearers(ctx, s),
		s.PutHubSecret(ctx, secret("ledger-signing", "wrapped")), ignore(s.HubSecret(ctx, "ledger-signing"))))
	must(t, errors.Join(s.PutLedgerKeys(ctx, store.NewLedgerKeys{Generation: 1, VerifierKeys: "K1", Key: "hub", CreatedAt: 1}),
		s.PutLedgerKeys(ctx, store.NewLedgerKeys{
			Generation: 2, VerifierKeys: "K2", Seeds: map[string][]byte{"ledger-signing": {2}}, Key: "hub", KeyVersion: 1, CreatedAt: 2,
		}),
		s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.BindLedgerKeys(ctx, 2, 0, []byte{1}, 3), tx.RetireLedgerKeys(ctx, 1, 1, 4))
		}),
		s.DestroyLedgerSeeds(ctx, 1, []string{"ledger-signing", "batch-hash"}, 5), ignore(s.LedgerKeys(ctx)), ignore(s.LedgerTerms(ctx))))
	if _, err := s.HubSecretOf(ctx, "ledger-signing", 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a seed that was destroyed: %v", err)
	}
	if _, err := s.ReadEntry(ctx, 1); err != nil {
		t.Errorf("reading an entry: %v", err)
	}
	calls{
		"reading blocks": readBlocks, "reading day keys": readDayKeys, "reading the spool": readSpool, "reading private keys": readPrivateKeys,
		"reading a window's private key": readWindowKey, "storing readings": writeBlocks, "spending an access": spendAccess,
		"granting a consent": grantConsent, "erasing": eraseHome, "registering a writer": putWriter, "registering a household": register,
		"changing a leaf":         executing(`UPDATE tlog_leaves SET leaf = ''`),
		"changing what one means": executing(`UPDATE tlog_private SET payload = ''`),
		"taking a signature back": executing(`DELETE FROM tlog_checkpoints`),
	}.refused(t, s)
}
