package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/store"
)

// town fills a registry: region r, substations s1 and s2, feeders f1, f2 (s1) and
// f3 (s2), utility "utility", and usage points p1…p4 on f1, f1, f2, f3, of which p3
// has a tariff group.
func town(t testing.TB, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	must(t, s.PutUtilities(ctx, []store.Utility{{ID: "utility", Name: "Utility"}}))
	must(t, s.PutGridNodes(ctx, []store.GridNode{
		{ID: "r", Kind: "region"},
		{ID: "s1", Parent: "r", Level: 1, Kind: "substation"},
		{ID: "s2", Parent: "r", Level: 1, Kind: "substation"},
		{ID: "f1", Parent: "s1", Level: 2, Kind: "feeder"},
		{ID: "f2", Parent: "s1", Level: 2, Kind: "feeder"},
		{ID: "f3", Parent: "s2", Level: 2, Kind: "feeder"},
	}))
	for i, at := range []release.Place{{Node: "f1"}, {Node: "f1"}, {Node: "f2", Tariff: "flat"}, {Node: "f3"}} {
		must(t, s.PutUsagePoints(ctx, []store.UsagePoint{
			{ID: meter.UsagePoint(fmt.Sprintf("p%d", i+1)), Utility: "utility", Node: at.Node, CapWatts: 69_000, Zone: "Europe/Zurich", Tariff: at.Tariff},
		}))
	}
}

// family returns a household that moves in, with bytes told apart by its name.
func family(id consent.Household, from int64, points ...meter.UsagePoint) store.NewHousehold {
	h := store.NewHousehold{
		ID: id, Generation: 1, PublicKey: []byte("public " + id), WrappedPrivate: []byte("wrapped " + id),
		UsagePoints: points, From: from, CreatedAt: 1,
	}
	copy(h.SubjectKey[:], id)
	copy(h.CodeHash[:], id)
	return h
}

// Names may be given anew; the identifiers stay.
func TestRenaming(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.PutRecipients(t.Context(), []store.Recipient{{ID: "r", Name: "first"}, {ID: "r", Name: "second"}}))
		must(t, s.PutRecipients(t.Context(), []store.Recipient{{ID: "r", Name: "third"}}))
		var name string
		must(t, s.QueryRow(t.Context(), `SELECT name FROM recipients WHERE id = 'r'`, nil, &name))
		if name != "third" {
			t.Errorf("name %q, want the last one given", name)
		}
	})
}

// The tree only grows, and what is in it stays as it is: releases of all years
// name its nodes.
func TestGridTree(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		for _, test := range []struct {
			name  string
			nodes []store.GridNode
			want  error
		}{
			{"again as it is", []store.GridNode{{ID: "f1", Parent: "s1", Level: 2, Kind: "feeder"}}, nil},
			{"moved", []store.GridNode{{ID: "f1", Parent: "s2", Level: 2, Kind: "feeder"}}, store.ErrConflict},
			{"another kind", []store.GridNode{{ID: "f1", Parent: "s1", Level: 2, Kind: "transformer"}}, store.ErrConflict},
			{"level does not follow", []store.GridNode{{ID: "x", Parent: "s1", Level: 3, Kind: "feeder"}}, store.ErrConflict},
			{"root below itself", []store.GridNode{{ID: "x", Level: 1, Kind: "feeder"}}, store.ErrConflict},
			{"parent unknown", []store.GridNode{{ID: "x", Parent: "y", Level: 1, Kind: "feeder"}}, store.ErrNotFound},
			{"child before parent", []store.GridNode{{ID: "b", Parent: "a", Level: 1, Kind: "k"}, {ID: "a", Kind: "k"}}, store.ErrNotFound},
			{"all or none", []store.GridNode{{ID: "fresh", Kind: "k"}, {ID: "f1", Kind: "k"}}, store.ErrConflict},
			{"parent before child", []store.GridNode{{ID: "a", Kind: "k"}, {ID: "b", Parent: "a", Level: 1, Kind: "k"}}, nil},
		} {
			if err := s.PutGridNodes(t.Context(), test.nodes); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
		nodes, err := s.Nodes(t.Context())
		must(t, err)
		want := []store.GridNode{
			{ID: "a", Kind: "k"},
			{ID: "r", Kind: "region", UsagePoints: 4},
			{ID: "b", Parent: "a", Level: 1, Kind: "k"},
			{ID: "s1", Parent: "r", Level: 1, Kind: "substation", UsagePoints: 3},
			{ID: "s2", Parent: "r", Level: 1, Kind: "substation", UsagePoints: 1},
			{ID: "f1", Parent: "s1", Level: 2, Kind: "feeder", UsagePoints: 2},
			{ID: "f2", Parent: "s1", Level: 2, Kind: "feeder", UsagePoints: 1},
			{ID: "f3", Parent: "s2", Level: 2, Kind: "feeder", UsagePoints: 1},
		}
		if d := cmp.Diff(want, nodes); d != "" {
			t.Errorf("tree (-want +got):\n%s", d)
		}
	})
}

// A usage point may get another cap, zone and tariff group; its utility and node
// stay, and must exist.
func TestUsagePoints(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.PutUtilities(t.Context(), []store.Utility{{ID: "other", Name: "Other"}}))
		p := store.UsagePoint{ID: "p1", Utility: "utility", Node: "f1", CapWatts: 17_250, Zone: "UTC"}
		for _, test := range []struct {
			name   string
			change func(p *store.UsagePoint)
			want   error
		}{
			{"cap and zone", func(*store.UsagePoint) {}, nil},
			{"a tariff group", func(p *store.UsagePoint) { p.Tariff = "flat" }, nil},
			{"another", func(p *store.UsagePoint) { p.Tariff = "day-night" }, nil},
			{"none again", func(p *store.UsagePoint) { p.ID = "p3"; p.Node = "f2" }, nil},
			{"another utility", func(p *store.UsagePoint) { p.Utility = "other" }, store.ErrConflict},
			{"another place", func(p *store.UsagePoint) { p.Node = "f2" }, store.ErrConflict},
			{"unknown utility", func(p *store.UsagePoint) { p.ID, p.Utility = "new", "nobody" }, store.ErrNotFound},
			{"unknown place", func(p *store.UsagePoint) { p.ID, p.Node = "new", "nowhere" }, store.ErrNotFound},
		} {
			changed := p
			test.change(&changed)
			if err := s.PutUsagePoints(t.Context(), []store.UsagePoint{changed}); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
		targets, err := s.TargetsFor(t.Context(), []meter.UsagePoint{"p1", "new"})
		must(t, err)
		want := map[meter.UsagePoint]store.Target{"p1": {Utility: "utility", CapWatts: 17_250, Zone: "UTC", Node: "f1"}}
		if d := cmp.Diff(want, targets); d != "" {
			t.Errorf("targets (-want +got):\n%s", d)
		}
		for p, want := range map[string]string{"p1": "day-night", "p2": "", "p3": ""} {
			var tariff string
			must(t, s.QueryRow(t.Context(), `SELECT tariff FROM usage_points WHERE id = $1`, []any{p}, &tariff))
			if tariff != want {
				t.Errorf("%s is in tariff group %q, want the last one given, %q", p, tariff, want)
			}
		}
	})
}

// Who lives where, through a move: ingest seals an interval for whoever lived
// there, so the seconds must be right and must not overlap.
func TestHouseholds(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		ctx := t.Context()
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 1000, "p1", "p3"), family("h2", 1000, "p2")}))
		for _, test := range []struct {
			name string
			hs   []store.NewHousehold
			want error
		}{
			{"somebody lives there", []store.NewHousehold{family("h3", 2000, "p1")}, store.ErrConflict},
			{"somebody will", []store.NewHousehold{family("h3", 10, "p1")}, store.ErrConflict},
			{"named twice", []store.NewHousehold{family("h3", 0, "p4"), family("h4", 0, "p4")}, store.ErrConflict},
			{"no such place", []store.NewHousehold{family("h3", 0, "p4", "p5")}, store.ErrNotFound},
		} {
			if err := s.CreateHouseholds(ctx, test.hs); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
		for _, test := range []struct {
			name string
			h    consent.Household
			at   int64
			want error
		}{
			{"never lived anywhere", "nobody", 3000, store.ErrNotFound},
			{"before moving in", "h1", 1000, store.ErrConflict},
			{"out", "h1", 3000, nil},
			{"out, again", "h1", 3000, nil},
			{"out, at another time", "h1", 4000, store.ErrConflict},
		} {
			if err := s.MoveOut(ctx, test.h, test.at); !errors.Is(err, test.want) {
				t.Errorf("moving out, %s: %v, want %v", test.name, err, test.want)
			}
		}
		if err := s.CreateHouseholds(ctx, []store.NewHousehold{family("h3", 2999, "p1")}); !errors.Is(err, store.ErrConflict) {
			t.Errorf("moving in a second early: %v, want ErrConflict", err)
		}
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h3", 3000, "p1")}))

		targets, err := s.TargetsFor(ctx, []meter.UsagePoint{"p1", "p4"})
		must(t, err)
		place := store.Target{Utility: "utility", CapWatts: 69_000, Zone: "Europe/Zurich"}
		p1, p4 := place, place
		p1.Node, p4.Node = "f1", "f3"
		p1.Occupants = []store.Occupant{
			{Household: "h1", From: 1000, Until: 3000, Generation: 1},
			{Household: "h3", From: 3000, Generation: 1},
		}
		if d := cmp.Diff(map[meter.UsagePoint]store.Target{"p1": p1, "p4": p4}, targets); d != "" {
			t.Errorf("targets (-want +got):\n%s", d)
		}
		occupancies, err := s.Occupancies(ctx, "h1")
		must(t, err)
		want := []consent.Occupancy{
			{UsagePoint: "p1", Household: "h1", From: 1000, Until: 3000, Zone: "Europe/Zurich", Node: "f1"},
			{UsagePoint: "p3", Household: "h1", From: 1000, Until: 3000, Zone: "Europe/Zurich", Node: "f2"},
		}
		if d := cmp.Diff(want, occupancies); d != "" {
			t.Errorf("occupancies (-want +got):\n%s", d)
		}
	})
}

// However many try at once, one household moves in. It would catch a check that
// reads before it locks.
func TestMovingInAtOnce(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		var moved atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				err := s.CreateHouseholds(t.Context(), []store.NewHousehold{family(consent.Household(fmt.Sprint("h", i)), int64(i), "p1")})
				switch {
				case err == nil:
					moved.Add(1)
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("moving in: %v", err)
				}
			})
		}
		wg.Wait()
		if n := moved.Load(); n != 1 {
			t.Errorf("%d households moved in, want 1", n)
		}
	})
}

// A household counts in one place a day: that of its first usage point by name,
// if it lived there for any part of the day.
func TestHouseholdPlaces(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		noon := day0.Start() + 43_200
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{
			family("two points", 0, "p4", "p1"), family("leaves", 0, "p2"), family("comes", day0.End(), "p3"),
		}))
		must(t, s.MoveOut(t.Context(), "leaves", noon))
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("follows", noon, "p2")}))
		for day, want := range map[meter.Day]map[consent.Household]release.Place{
			day0 - 1: {"two points": {Node: "f1"}, "leaves": {Node: "f1"}},
			day0:     {"two points": {Node: "f1"}, "leaves": {Node: "f1"}, "follows": {Node: "f1"}},
			day0 + 1: {"two points": {Node: "f1"}, "follows": {Node: "f1"}, "comes": {Node: "f2", Tariff: "flat"}},
		} {
			got, err := placesOf(t, s, day)
			must(t, err)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", day, d)
			}
		}
	})
}

// What erasure promises: no key, no story, no way in; the public log as it was,
// and nobody else touched. It would catch a table that was forgotten.
func TestErase(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		ctx := t.Context()
		private, err := seal.NewPrivateKey(strings.NewReader(strings.Repeat("k", 32)))
		must(t, err)
		h1, h2 := family("h1", 0, "p1"), family("h2", 0, "p2")
		h1.PublicKey = private.Public().Bytes()
		h2.PublicKey = h1.PublicKey
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{h1, h2}))
		must(t, s.CreateLedger(ctx, origin))
		append2(t, s,
			ledger.Entry{RequestID: "a", Payload: accessPayload(t, "h1", 7), Kind: ledger.KindAccess, Subject: "h1", Recipient: "r"},
			ledger.Entry{RequestID: "b", Payload: accessPayload(t, "h2", 8), Kind: ledger.KindAccess, Subject: "h2", Recipient: "r"})
		for i, h := range []consent.Household{"h1", "h2"} {
			do(t, s, func(ctx context.Context, tx *store.Tx) error {
				if err := tx.LedgerSetChains(ctx, map[ledger.ChainID]ledger.Link{{Kind: ledger.SubjectChain, ID: string(h)}: {Seq: 1}}); err != nil {
					return err
				}
				c := sampleConsent(consent.ID(fmt.Sprint("c", i)), h, 1)
				c.State, c.DecidedAt = consent.Granted, 1
				return tx.PutConsent(ctx, c)
			})
			must(t, s.PutOAuthGrant(ctx, store.OAuthGrant{Consent: consent.ID(fmt.Sprint("c", i)), Client: "r", CodeHash: [32]byte{byte(i)}, CodeExpires: 100, Ends: 1000}))
			_, err := s.ExchangeOAuthCode(ctx, [32]byte{byte(i)}, "r", 10, fit, tokens(byte(10+2*i), byte(11+2*i), 10))
			must(t, err)
			opened, err := s.OpenSession(ctx, [32]byte([]byte(pad(string(h)))), [32]byte{byte(i)}, 10, 100)
			must(t, err)
			if !opened {
				t.Fatal("the letter's code did not open a session")
			}
		}
		id := store.KeyID{Household: "h1", Generation: 1}
		keys, err := s.PublicKeys(ctx, []store.KeyID{id, {Household: "h1", Generation: 2}, {Household: "nobody", Generation: 1}, id})
		must(t, err)
		if len(keys) != 1 || !keys[id].Equal(private.Public()) {
			t.Errorf("%d public keys before erasure, want that of the right generation", len(keys))
		}

		got := erase(t, s, "h1")
		if d := cmp.Diff(store.Erasure{Events: []ledger.Erased{{Index: 0, Recipient: "r", RecipientSeq: 7}}, MapKeys: []ledger.Hash{ledger.MapKey(h1.SubjectKey)}}, got); d != "" {
			t.Errorf("what its leaf says (-want +got):\n%s", d)
		}

		if keys, err := s.PublicKeys(ctx, []store.KeyID{id}); err != nil || len(keys) != 0 {
			t.Errorf("public keys: %d, %v, want none", len(keys), err)
		}
		if keys, err := s.HouseholdKeys(ctx, "h1"); err != nil || len(keys) != 0 {
			t.Errorf("private keys: %d, %v, want none", len(keys), err)
		}
		if e, err := s.ReadEntry(ctx, 0); !errors.Is(err, ledger.ErrErased) || e.Subject != "" || e.Leaf.Class != ledger.ClassEvent {
			t.Errorf("its entry: %+v, %v, want the leaf and ErrErased", e, err)
		}
		if leaves, err := s.ReadLeaves(ctx, 0, 2); err != nil || len(leaves) != 2 {
			t.Errorf("public log: %d leaves, %v, want 2", len(leaves), err)
		}
		if _, ok, err := s.SessionHousehold(ctx, [32]byte{0}, 11); ok || err != nil {
			t.Errorf("its session: %v, %v, want that it has ended", ok, err)
		}
		places, err := placesOf(t, s, day0)
		must(t, err)
		if d := cmp.Diff(map[consent.Household]release.Place{"h2": {Node: "f1"}}, places); d != "" {
			t.Errorf("who counts (-want +got):\n%s", d)
		}
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			keys, err := tx.LedgerTagKeys(ctx, []string{"h1", "h2"})
			if _, ok := keys["h2"]; err != nil || !ok || len(keys) != 1 {
				t.Errorf("tag keys: %v, %v, want the other household's", keys, err)
			}
			if _, err := tx.EraseHousehold(ctx, "nobody", 10); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("erasing nobody: %v, want ErrNotFound", err)
			}
			if _, err := tx.EraseHousehold(ctx, "h1", 10); !errors.Is(err, store.ErrErased) {
				t.Errorf("erasing again: %v, want ErrErased", err)
			}
			return nil
		})
		for table, want := range map[string]int{
			"household_keys": 1, "consents": 1, "oauth_grants": 1, "oauth_tokens": 2, "tlog_private": 1, "tlog_tag_keys": 1, "tlog_chains": 1, "letter_codes": 1, "sessions": 1,
		} {
			if got := count(t, s, table); got != want {
				t.Errorf("%s holds %d rows, want the other household's %d", table, got, want)
			}
		}
	})
}

// accessPayload is the payload of an access by recipient r, the seq-th in its chain.
func accessPayload(t testing.TB, h string, seq uint64) []byte {
	t.Helper()
	b, err := ledger.Payload{Kind: ledger.KindAccess, Time: 1, Subject: h, Recipient: "r", RecipientSeq: seq}.Encode()
	must(t, err)
	return b
}

// erase erases a household in one step.
func erase(t testing.TB, s *store.Store, h consent.Household) (e store.Erasure) {
	t.Helper()
	do(t, s, func(ctx context.Context, tx *store.Tx) (err error) {
		e, err = tx.EraseHousehold(ctx, h, 1000)
		return err
	})
	return e
}

// pad returns the 32 bytes that family makes of a name.
func pad(id string) string { return id + strings.Repeat("\x00", 32-len(id)) }

// append2 puts entries into the log as they are, without real hashes.
func append2(t testing.TB, s *store.Store, entries ...ledger.Entry) {
	t.Helper()
	do(t, s, func(ctx context.Context, tx *store.Tx) error {
		from, err := tx.LedgerHead(ctx)
		if err != nil {
			return err
		}
		to := from
		for i := range entries {
			entries[i].Index = to.Size
			entries[i].Leaf.Class = ledger.ClassEvent
			to.Size++
		}
		return tx.LedgerAppend(ctx, ledger.Append{From: from, To: to, Entries: entries})
	})
}

// Errors name what was being done, and nobody. It would catch a driver's message
// with the row in it.
func TestErrorsNameNobody(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		must(t, s.CreateHouseholds(t.Context(), []store.NewHousehold{family("SECRETHOME", 0, "p1")}))
		w := newWriter(1)
		b := batch("a")
		b.Blocks = []seal.Block{w.block("SECRETHOME", "p1", day0)}
		b.Blocks = append(b.Blocks, b.Blocks[0])
		_, twice := s.CommitBatches(t.Context(), []store.Batch{b})
		for what, err := range map[string]error{
			"household again": s.CreateHouseholds(t.Context(), []store.NewHousehold{family("SECRETHOME", 0, "p2")}),
			"occupied":        s.CreateHouseholds(t.Context(), []store.NewHousehold{family("SECRETHOME2", 0, "p1")}),
			"moving out":      s.MoveOut(t.Context(), "SECRETHOME", -1),
			"nonce twice":     twice,
			"bad text":        s.PutRecipients(t.Context(), []store.Recipient{{ID: "x", Name: "SECRETHOME\x00\xff"}}),
		} {
			if err == nil && what != "bad text" { // SQLite stores any bytes
				t.Errorf("%s: no error", what)
			}
			if err != nil && strings.Contains(err.Error(), "SECRETHOME") {
				t.Errorf("%s: the error names the household: %v", what, err)
			}
		}
	})
}

func placesOf(t *testing.T, s *store.Store, day meter.Day) (map[consent.Household]release.Place, error) {
	t.Helper()
	places := map[consent.Household]release.Place{}
	err := s.HouseholdPlaces(t.Context(), day, day, func(h consent.Household, p release.Place) { places[h] = p })
	return places, err
}
