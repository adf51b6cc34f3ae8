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
	return consent.Consent{
		ID: id, Household: h, Recipient: "r", State: consent.Requested, RequestedAt: requestedAt,
		Terms: consent.Terms{
			Purpose: consent.Purpose{Code: "advice", Text: "Advice."}, UsagePoints: []meter.UsagePoint{"p1"},
			Registers: []meter.Register{meter.ActiveImport}, Granularity: consent.Day, DataUntil: 100 * 86400, PermissionUntil: 100 * 86400,
		},
	}
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
				list, next, err := s.ListEvents(ctx, test.owner, test.kind, page, 3)
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
			if _, _, err := s.ListEvents(ctx, store.Owner{All: true}, "", token, 3); !errors.Is(err, store.ErrPage) {
				t.Errorf("page token %q: %v, want ErrPage", token, err)
			}
		}
	})
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

// Of two processes that make a secret at once both end up with the first one's.
func TestHubSecrets(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		if _, err := s.HubSecret(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a secret that is not there: %v", err)
		}
		must(t, s.PutHubSecret(ctx, "a", []byte("first"), 1))
		must(t, s.PutHubSecret(ctx, "a", []byte("second"), 2))
		if got, err := s.HubSecret(ctx, "a"); err != nil || string(got) != "first" {
			t.Errorf("secret %q, %v, want the first", got, err)
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
