package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/server/store"
)

func sampleConsent(id consent.ID, h consent.Household, requestedAt int64) consent.Consent {
	terms := consent.Terms{
		Purpose: consent.Purpose{Code: "advice", Text: "Advice."}, UsagePoints: []meter.UsagePoint{"p1"},
		Registers: []meter.Register{meter.ActiveImport}, Granularity: consent.Day, DataUntil: 100 * 86400, PermissionUntil: 100 * 86400,
	}
	return consent.Consent{ID: id, Household: h, Recipient: "r", State: consent.Requested, RequestedAt: requestedAt, Asked: terms, Terms: terms}
}

// Everybody sees what concerns them, newest first, page by page, and nothing
// else. It would catch a filter that a page token or an empty name gets around.
func TestWhoSeesWhat(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		must(t, s.CreateLedger(ctx, origin))
		must(t, s.PutRecipients(ctx, []store.Recipient{{ID: "r", Name: "Adviser"}}))
		kinds := []ledger.Kind{ledger.KindAccess, ledger.KindConsentGrant}
		for i := range 12 { // h1 and h2 with r and r2 in all pairs, then leaves of nobody
			e := ledger.Entry{RequestID: fmt.Sprint(i), Payload: []byte{1}, Kind: kinds[i%2], Time: int64(i)}
			if i < 8 {
				e.Subject, e.Recipient = fmt.Sprint("h", 1+i/2%2), []string{"r", "r2"}[i/4]
			}
			append2(t, s, e)
			c := sampleConsent(consent.ID(fmt.Sprint("c", i)), consent.Household(e.Subject), int64(100+i/3)) // three at one second
			c.Recipient = consent.Recipient(e.Recipient)
			do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.PutConsent(ctx, c) })
		}
		for _, test := range []struct {
			name  string
			owner store.Owner
			kind  ledger.Kind
			want  []int
		}{
			{"household", store.Owner{Household: "h1"}, "", []int{5, 4, 1, 0}},
			{"household, one kind", store.Owner{Household: "h1"}, ledger.KindAccess, []int{4, 0}},
			{"recipient", store.Owner{Recipient: "r"}, "", []int{3, 2, 1, 0}},
			{"regulator", store.Owner{All: true}, "", []int{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
			{"nobody", store.Owner{}, "", nil},
			{"another household", store.Owner{Household: "h3"}, "", nil},
		} {
			var events, consents []int
			for page, more := "", true; more; more = page != "" {
				list, next, err := s.ListEvents(ctx, test.owner, store.EventFilter{Kind: test.kind}, page, 3)
				must(t, err)
				if len(list) > 3 {
					t.Errorf("%s: a page of %d", test.name, len(list))
				}
				for _, e := range list {
					events = append(events, int(e.Index))
					if want := map[string]string{"r": "Adviser"}[e.Recipient]; e.RecipientName != want {
						t.Errorf("%s: name of %q is %q, want %q", test.name, e.Recipient, e.RecipientName, want)
					}
				}
				page = next
			}
			if d := cmp.Diff(test.want, events); d != "" {
				t.Errorf("%s: events (-want +got):\n%s", test.name, d)
			}
			if test.kind != "" {
				continue
			}
			for page, more := "", true; more; more = page != "" {
				list, next, err := s.ListConsents(ctx, test.owner, page, 2)
				must(t, err)
				for _, c := range list {
					var n int
					_, err := fmt.Sscanf(string(c.ID), "c%d", &n)
					must(t, err)
					consents = append(consents, n)
					if _, err := s.ConsentOf(ctx, test.owner, c.ID); err != nil {
						t.Errorf("%s: a consent that was listed: %v", test.name, err)
					}
				}
				page = next
			}
			want := map[int]bool{}
			for _, n := range test.want {
				want[n] = true
			}
			if len(consents) != len(want) {
				t.Errorf("%s: consents %v, want those of %v", test.name, consents, test.want)
			}
			for i, n := range consents {
				if !want[n] || i > 0 && n/3 > consents[i-1]/3 {
					t.Errorf("%s: consents %v, want those of %v, newest first", test.name, consents, test.want)
				}
			}
		}
		if _, err := s.ConsentOf(ctx, store.Owner{Household: "h2"}, "c0"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another household's consent: %v, want ErrNotFound", err)
		}
		for _, token := range []string{"x", "5", ".", "5;drop", "99999999999999999999.x"} {
			if _, _, err := s.ListEvents(ctx, store.Owner{All: true}, store.EventFilter{}, token, 3); !errors.Is(err, store.ErrPage) {
				t.Errorf("page token %q: %v, want ErrPage", token, err)
			}
		}
	})
}

// Whatever is filtered, the pages together hold each entry that passes once, in
// order, and no other. It would catch a filter that compares with the wrong
// column, an end of time that is off by one, and an entry lost where a page ends
// that was cut short.
func TestFilteredEvents(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.CreateLedger(t.Context(), origin))
		kinds := []ledger.Kind{ledger.KindAccess, ledger.KindAccessDenied, ledger.KindConsentGrant}
		var entries []ledger.Entry
		for i := range 60 {
			p := ledger.Payload{
				Kind: kinds[i%3], Time: int64(1000+i/2) * 1_000_000, // two a second
				Subject: fmt.Sprint("h", i%4), Recipient: fmt.Sprint("r", i%5), Purpose: []string{"advice", "report"}[i/30],
			}
			if i%2 == 1 {
				p.Time += 999_999
			}
			entries = append(entries, entryOf(t, fmt.Sprint(i), p))
		}
		append2(t, s, entries...)
		for _, test := range []struct {
			name   string
			owner  store.Owner
			filter store.EventFilter
			pass   func(i int) bool
		}{
			{"kind", store.Owner{All: true}, store.EventFilter{Kind: ledger.KindAccessDenied}, func(i int) bool { return i%3 == 1 }},
			{"recipient", store.Owner{All: true}, store.EventFilter{Recipient: "r2"}, func(i int) bool { return i%5 == 2 }},
			{"purpose", store.Owner{All: true}, store.EventFilter{Purpose: "report"}, func(i int) bool { return i >= 30 }},
			{"from", store.Owner{All: true}, store.EventFilter{From: 1010}, func(i int) bool { return i >= 20 }},
			{"until", store.Owner{All: true}, store.EventFilter{Until: 1010}, func(i int) bool { return i < 20 }},
			{"one second", store.Owner{All: true}, store.EventFilter{From: 1010, Until: 1011}, func(i int) bool { return i == 20 || i == 21 }},
			{"all of them", store.Owner{All: true}, store.EventFilter{Kind: ledger.KindAccess, Recipient: "r0", Purpose: "advice", From: 1001, Until: 1030}, func(i int) bool { return i == 15 }},
			{"a household's", store.Owner{Household: "h1"}, store.EventFilter{Recipient: "r1", Purpose: "advice"}, func(i int) bool { return i%4 == 1 && i%5 == 1 && i < 30 }},
			{"a recipient's", store.Owner{Recipient: "r1"}, store.EventFilter{Kind: ledger.KindAccess}, func(i int) bool { return i%5 == 1 && i%3 == 0 }},
			{"a recipient's, of another", store.Owner{Recipient: "r1"}, store.EventFilter{Recipient: "r2"}, func(int) bool { return false }},
			{"nobody's", store.Owner{}, store.EventFilter{Recipient: "r1"}, func(int) bool { return false }},
			{"what there is not", store.Owner{All: true}, store.EventFilter{Purpose: "nothing"}, func(int) bool { return false }},
		} {
			var want []uint64
			for i := len(entries) - 1; i >= 0; i-- {
				if test.pass(i) {
					want = append(want, uint64(i))
				}
			}
			for _, size := range []int{1, 3, 100} {
				var got []uint64
				for page, more := "", true; more; more = page != "" {
					list, next, err := s.ListEvents(t.Context(), test.owner, test.filter, page, size)
					must(t, err)
					if len(list) > size {
						t.Errorf("%s: a page of %d, want at most %d", test.name, len(list), size)
					}
					for _, e := range list {
						got = append(got, e.Index)
					}
					page = next
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s, pages of %d (-want +got):\n%s", test.name, size, d)
				}
			}
		}
	})
}

// A rare event in a long record is found page after page, none of which looks at
// more than its share, and none of which ends the list too soon. It would catch a
// filter that lets one call read the whole ledger.
func TestFilteredPagesAreBounded(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.CreateLedger(t.Context(), origin))
		const most, n = 10_000, 20_500 // what a page looks at, and what there is
		rare := entryOf(t, "", ledger.Payload{Kind: ledger.KindAccessDenied, Time: 1, Recipient: "r", Purpose: "rare"})
		common := entryOf(t, "", ledger.Payload{Kind: ledger.KindAccess, Time: 1, Purpose: "common"})
		entries := make([]ledger.Entry, n)
		for i := range entries {
			entries[i] = common
			if i == 7 || i == n-1-most { // far back, and where the second page begins to look
				entries[i] = rare
			}
			entries[i].RequestID = fmt.Sprint(i)
		}
		append2(t, s, entries...)
		for name, filter := range map[string]store.EventFilter{
			"kind": {Kind: ledger.KindAccessDenied}, "purpose": {Purpose: "rare"}, "time": {Until: 1}, "nothing": {Purpose: "nothing"},
		} {
			var pages [][]uint64
			var tokens []string
			for page, more := "", true; more; more = page != "" {
				list, next, err := s.ListEvents(t.Context(), store.Owner{All: true}, filter, page, 500)
				must(t, err)
				var indices []uint64
				for _, e := range list {
					indices = append(indices, e.Index)
				}
				pages, tokens = append(pages, indices), append(tokens, next)
				page = next
			}
			switch name {
			case "kind", "purpose":
				if d := cmp.Diff([][]uint64{nil, {n - 1 - most}, {7}}, pages); d != "" {
					t.Errorf("%s: pages (-want +got):\n%s", name, d)
				}
			case "nothing":
				if d := cmp.Diff([]string{fmt.Sprint(n-most, "."), fmt.Sprint(n-2*most, "."), ""}, tokens); d != "" {
					t.Errorf("%s: tokens (-want +got):\n%s", name, d)
				}
			case "time": // everything passes, and nothing is cut
				if len(pages) != n/500 || len(pages[0]) != 500 {
					t.Errorf("%s: %d pages, the first of %d", name, len(pages), len(pages[0]))
				}
			}
		}
		// By the recipient's own index the rare are all there is.
		list, next, err := s.ListEvents(t.Context(), store.Owner{All: true}, store.EventFilter{Recipient: "r"}, "", 5)
		must(t, err)
		if len(list) != 2 || next != "" {
			t.Errorf("by recipient: %d events, next page %q", len(list), next)
		}
	})
}

// entryOf is the entry of a payload, without a real leaf.
func entryOf(t testing.TB, request string, p ledger.Payload) ledger.Entry {
	t.Helper()
	b, err := p.Encode()
	must(t, err)
	return ledger.Entry{RequestID: request, Payload: b, Kind: p.Kind, Time: p.Time, Subject: p.Subject, Recipient: p.Recipient}
}

// A letter's code opens one session; a session ends when it is closed or runs out.
func TestSessions(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		ctx := t.Context()
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		code := func(h string) [32]byte { return [32]byte([]byte(pad(h))) }
		allow := func(token byte, now int64, want consent.Household) {
			t.Helper()
			if h, ok, err := s.SessionHousehold(ctx, [32]byte{token}, now); h != want || ok != (want != "") || err != nil {
				t.Errorf("session %d at %d: %q, %v, %v, want %q", token, now, h, ok, err, want)
			}
		}
		deny := func(token byte, now int64) { t.Helper(); allow(token, now, "") }
		open := func(code [32]byte, token byte, now int64, want bool) {
			t.Helper()
			if opened, err := s.OpenSession(ctx, code, [32]byte{token}, now, now+100); opened != want || err != nil {
				t.Errorf("opening session %d: %v, %v, want %v", token, opened, err, want)
			}
		}
		open(code("h3"), 1, 10, false) // unknown
		deny(1, 11)
		open(code("h1"), 1, 10, true)
		allow(1, 10, "h1")
		allow(1, 109, "h1")
		deny(1, 110)
		open(code("h1"), 2, 20, false) // used
		deny(2, 21)
		open(code("h2"), 3, 30, true)
		must(t, s.CloseSession(ctx, [32]byte{3}, 40))
		deny(3, 41)
		allow(1, 41, "h1")
		must(t, s.CloseSession(ctx, [32]byte{3}, 50))
		must(t, s.CloseSession(ctx, [32]byte{9}, 50))
	})
}

// A lost letter is replaced: the code in it opens nothing any more, what it had
// opened stays open, and an erased household gets none.
func TestLetterReplaced(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		town(t, s)
		ctx := t.Context()
		must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
		open := func(code [32]byte, token byte, want bool) {
			t.Helper()
			if opened, err := s.OpenSession(ctx, code, [32]byte{token}, 10, 100); opened != want || err != nil {
				t.Errorf("opening session %d: %v, %v, want %v", token, opened, err, want)
			}
		}
		lost, second, third := [32]byte([]byte(pad("h1"))), [32]byte{2}, [32]byte{3}
		must(t, s.ReplaceLetterCode(ctx, "h1", second))
		open(lost, 1, false)
		open(second, 2, true)
		must(t, s.ReplaceLetterCode(ctx, "h1", third))
		open(third, 3, true)
		open([32]byte([]byte(pad("h2"))), 4, true) // another household's letter
		if h, ok, err := s.SessionHousehold(ctx, [32]byte{2}, 11); h != "h1" || !ok || err != nil {
			t.Errorf("the session of a used code: %q, %v, %v", h, ok, err)
		}
		erase(t, s, "h1")
		for _, h := range []consent.Household{"h1", "nobody"} {
			if err := s.ReplaceLetterCode(ctx, h, [32]byte{4}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a letter for %s: %v, want ErrNotFound", h, err)
			}
		}
	})
}

// secret is one of the hub's own as a process stores it that has just made it.
func secret(name, wrapped string) store.NewSecret {
	return store.NewSecret{Name: name, Wrapped: []byte(wrapped), Key: "hub", KeyVersion: 1, CreatedAt: 1}
}

// Of two processes that make a secret at once both end up with the first one's.
func TestHubSecrets(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		if _, err := s.HubSecret(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a secret that is not there: %v", err)
		}
		must(t, s.PutHubSecret(ctx, secret("a", "first")))
		must(t, s.PutHubSecret(ctx, secret("a", "second")))
		if got, err := s.HubSecret(ctx, "a"); err != nil || string(got) != "first" {
			t.Errorf("secret %q, %v, want the first", got, err)
		}
	})
}

// A secret that was wrapped before its key was rotated, and comes to be stored after
// nothing older is taken any more, is refused and not there. It would catch a process that
// starts during a rotation and whose secret opens for nobody from its end on: the last look
// for what is old has passed, and the versions before are destroyed.
func TestHubSecretsUnderRetiredKey(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for _, key := range []string{"hub", "households"} { // each key counts its own versions
			do(t, s, func(ctx context.Context, tx *store.Tx) error {
				return tx.PutRotation(ctx, key, map[string]uint64{"hub": 2, "households": 7}[key], 5)
			})
		}
		must(t, s.PutHubSecret(ctx, secret("early", "old"))) // the next look wraps it anew
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.BeginRetiring(ctx, "hub", 2, 6), tx.BeginRetiring(ctx, "households", 7, 6))
		})
		late := secret("late", "old")
		if err := s.PutHubSecret(ctx, late); !errors.Is(err, store.ErrKeyRetired) || has(t, s, "late") {
			t.Errorf("storing a secret under a version that is being destroyed: %v, stored %t", err, has(t, s, "late"))
		}
		late.KeyVersion = 2
		must(t, s.PutHubSecret(ctx, late))
		must(t, s.PutHubSecret(ctx, late))
		if !has(t, s, "late") || !has(t, s, "early") {
			t.Error("a secret under the newest version is not there")
		}
	})
}

// The log of one origin is begun once; another's never takes its place.
func TestCreateLedger(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		err := s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error { _, err := tx.LedgerHead(ctx); return err })
		if !errors.Is(err, ledger.ErrNoHead) {
			t.Errorf("head of no log: %v", err)
		}
		must(t, s.CreateLedger(ctx, origin))
		append2(t, s, ledger.Entry{RequestID: "a", Payload: []byte{1}})
		must(t, s.CreateLedger(ctx, origin))
		if err := s.CreateLedger(ctx, "other.example/log"); !errors.Is(err, store.ErrConflict) {
			t.Errorf("beginning another log: %v, want ErrConflict", err)
		}
		do(t, s, func(ctx context.Context, tx *store.Tx) error {
			h, err := tx.LedgerHead(ctx)
			if err == nil && h.Size != 1 {
				t.Errorf("size %d after beginning again, want 1", h.Size)
			}
			return err
		})
	})
}
