package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store"
)

// The part that opens readings keeps the register, consents and sessions, reads
// blocks and records; it writes no block and deletes none. It registers and erases a
// household's private key without ever being able to read one, and cannot put a
// public key of its own in a household's place.
func TestAccessRole(t *testing.T) {
	p := newSplit(t)
	must(t, p.owner.CreateLedger(t.Context(), origin))
	s, ctx := p.as(t, store.RoleAccess), t.Context()
	town(t, s)
	must(t, s.PutRecipients(ctx, []store.Recipient{{ID: "r", Name: "Adviser"}}))
	_, err := s.LastPairRound(ctx)
	must(t, err)
	must(t, s.CreateHouseholds(ctx, []store.NewHousehold{family("h1", 0, "p1"), family("h2", 0, "p2")}))
	w := newWriter(1)
	w.register(t, p.owner)
	b := batch("one")
	b.Blocks = []seal.Block{w.block("h1", "p1", day0)}
	stored(t, p.owner, b)

	ignore := func(_ any, err error) error { return err }
	point, day := []meter.UsagePoint{"p1"}, day0.Start()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"moving out", func() error { return s.MoveOut(ctx, "h2", 50) }},
		{"clients and tokens", func() error {
			c := oauthClient("a", store.OAuthPending)
			_, _, listing := s.ListOAuthClients(ctx, 0, "", 1)
			if err := errors.Join(s.PutOAuthClient(ctx, c), s.ChangeOAuthClient(ctx, c), ignore(s.DecideOAuthClient(ctx, "a", store.OAuthApproved, 1)), listing); err != nil {
				return err
			}
			granted(t, s, "oauth", "a", 10)
			_, code := s.ExchangeOAuthCode(ctx, hash(10), "a", 100, fit, tokens(1, 2, 100))
			_, refreshing := s.ExchangeOAuthRefresh(ctx, hash(2), "a", 100, tokens(3, 4, 100))
			_, replay := s.ExchangeOAuthRefresh(ctx, hash(2), "a", 100, tokens(5, 6, 100))
			if !errors.Is(replay, store.ErrOAuthReplayed) {
				return fmt.Errorf("a replay: %w", replay)
			}
			_, _, _, bearer := s.OAuthBearer(ctx, hash(1), 100)
			_, _, of := s.OAuthTokenOf(ctx, hash(9), "a", 100)
			if errors.Is(of, store.ErrOAuthGone) {
				of = nil
			}
			return errors.Join(code, refreshing, bearer, of, s.RevokeOAuthToken(ctx, hash(3), "a", 100),
				s.IssueOAuthClientToken(ctx, store.OAuthToken{Hash: hash(7), Kind: store.OAuthClientAccess, Client: "a", Expires: 1}),
				s.PutOAuthRequest(ctx, store.OAuthRequest{Hash: hash(8), Client: "a", Expires: 200}), ignore(s.OAuthRequest(ctx, hash(8), 100)),
				s.SweepOAuth(ctx, 100), s.DeleteOAuthClient(ctx, "a"))
		}},
		{"a letter", func() error { return s.ReplaceLetterCode(ctx, "h1", [32]byte{7}) }},
		{"a session", func() error {
			opened, err := s.OpenSession(ctx, [32]byte{7}, [32]byte{8}, 1, 100)
			if err == nil && !opened {
				err = store.ErrNotFound
			}
			return errors.Join(err, readSessions(ctx, s), s.CloseSession(ctx, [32]byte{9}, 2))
		}},
		{"its secret", func() error {
			return errors.Join(s.PutHubSecret(ctx, secret("letter-codes", "wrapped")), ignore(s.HubSecret(ctx, "letter-codes")))
		}},
		{"a consent", func() error {
			return record(ctx, s, ledger.Entry{RequestID: "ask", Kind: ledger.KindConsentRequest, Subject: "h1", Recipient: "r", Payload: accessPayload(t, "h1", 1)}, func(ctx context.Context, tx *store.Tx, _ uint64) error {
				return errors.Join(ignore(tx.OccupantOf(ctx, "p1", 10)), ignore(tx.OpenRequests(ctx, "r")), tx.PutConsent(ctx, sampleConsent("c", "h1", 1)))
			})
		}},
		{"a decision", func() error {
			return record(ctx, s, ledger.Entry{RequestID: "grant", Kind: ledger.KindConsentGrant, Subject: "h1", Recipient: "r", Payload: accessPayload(t, "h1", 2)}, func(ctx context.Context, tx *store.Tx, _ uint64) error {
				c, err := tx.Consent(ctx, "c")
				c.State, c.DecidedAt = consent.Granted, 2
				return errors.Join(err, ignore(tx.DueConsent(ctx, c.Deadline())), tx.PutConsent(ctx, c))
			})
		}},
		{"an access", func() error {
			return record(ctx, s, ledger.Entry{RequestID: "read", Kind: ledger.KindAccess, Subject: "h1", Recipient: "r", Payload: accessPayload(t, "h1", 3)}, func(ctx context.Context, tx *store.Tx, _ uint64) error {
				return errors.Join(tx.LedgerAhead(ctx, []any{consent.Ahead{Consent: "c", From: day, Until: day + 1}, consent.Ahead{Consent: "d"}}),
					ignore(tx.Occupancies(ctx, "h1")), ignore(tx.StoredIntervals(ctx, "h1", point, nil, day, day+86400)))
			})
		}},
		{"a new secret", func() error {
			return record(ctx, s, ledger.Entry{RequestID: "rekey", Kind: ledger.KindRekey, Subject: "h1", Payload: accessPayload(t, "h1", 4)}, func(ctx context.Context, tx *store.Tx, _ uint64) error {
				return tx.CloseOtherSessions(ctx, "h1", [32]byte{8}, 5)
			})
		}},
		{"what it shows", func() error {
			_, _, _, err := s.DataDays(ctx, "h1")
			_, _, err2 := s.Completeness(ctx, "utility", point, day0, day0)
			_, err3 := s.ConsentOf(ctx, store.Owner{Household: "h1"}, "c")
			return errors.Join(err, err2, err3, readConsents(ctx, s), ignore(s.Occupancies(ctx, "h1")), ignore(s.Nodes(ctx)))
		}},
		{"what has changed", func() error {
			return errors.Join(ignore(s.BlocksByDay(ctx, "h1", day0, day0)), ignore(s.BlocksOnDays(ctx, "h1", point, nil, []meter.Day{day0})),
				ignore(s.WriterDays(ctx, "h1", day0, day0)), ignore(s.Channels(ctx, "h1", point, nil, day0, day0)))
		}},
		{"telling third parties", func() error {
			if err := errors.Join(s.PutEndpoint(ctx, "r", receiver, notify.Webhook, 1), s.PutEndpoint(ctx, "q", "", notify.Pull, 1), s.RemoveEndpoint(ctx, "q")); err != nil {
				return err
			}
			if done, err := s.Announce(ctx, notify.Announcement{Recipient: "r", Consent: "c", Spans: []notify.Span{{From: 1, Until: 2}}, At: 3}); err != nil || !done {
				return errors.Join(err, store.ErrNotFound)
			}
			if done, err := s.Announce(ctx, notify.Announcement{Recipient: "r", Consent: "c", Version: 1, Spans: []notify.Span{{From: 1, Until: 3}}, At: 3}); err != nil || !done {
				return errors.Join(err, store.ErrNotFound)
			}
			es, err := s.ClaimDue(ctx, notify.Claim{Lease: notify.Lease{1}, Now: 5, Until: 9, Limit: 10})
			if err != nil || len(es) != 1 {
				return errors.Join(err, store.ErrNotFound)
			}
			undone, err := s.Settle(ctx, []notify.Settlement{{Lease: notify.Lease{1}, Endpoint: es[0], Taken: []uint64{1}, Refused: []notify.Event{{Seq: 2, Consent: "c", State: notify.Waiting, Due: 7, Attempts: 1}}}})
			if err != nil || len(undone) != 0 {
				return errors.Join(err, store.ErrNotFound)
			}
			_, perr := s.Prune(ctx, "r", 4, 1)
			return errors.Join(perr, ignore(s.Waiting(ctx, "r", 9, 1)), ignore(s.ListNotifications(ctx, "r", 0, 1)), ignore(s.Endpoint(ctx, "r")), ignore(s.ListEndpoints(ctx, "", 1)),
				ignore(s.ClaimSweeps(ctx, 5, 6, 1)), ignore(s.LiveConsents(ctx, "r", consent.Consent{}, 1)), ignore(s.StoredDays(ctx, "h1", point, nil, day0, day0)),
				s.PutNotifyKey(ctx, store.NewNotifyKey{NotifyKey: store.NotifyKey{Generation: 1}, Wrapped: []byte{1}, Key: "hub", KeyVersion: 1}),
				s.PutNotifyKey(ctx, store.NewNotifyKey{NotifyKey: store.NotifyKey{Generation: 2}, Wrapped: []byte{1}, Key: "hub", KeyVersion: 1, Withdraw: true}),
				ignore(s.NotifyKeys(ctx)), ignore(s.HubSecretOf(ctx, store.NotifySecret, 2)))
		}},
		{"a conflict", func() error {
			return errors.Join(s.PutConflict(ctx, "p1", day0, 1, 1), s.PutConflict(ctx, "p1", day0, 2, 1))
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
	blocks, err := s.Blocks(ctx, "h1", point, nil, day0, day0)
	must(t, err)
	if len(blocks) != 1 {
		t.Errorf("%d blocks, want the one that was stored", len(blocks))
	}

	calls{
		"storing readings": writeBlocks, "reading private keys": readPrivateKeys, "reading day keys": readDayKeys, "reading the spool": readSpool,
		"reading spool keys": readSpoolKeys, "reading a window's private key": readWindowKey, "reading running sums": readRunning,
		"signing": sign, "spending an access": spendAccess, "registering a writer": putWriter, "making a window": makeWindow, "closing a window": closeWindow,
		"adding blocks":         executing(`INSERT INTO blocks (day) VALUES (1)`),
		"deleting blocks":       executing(`DELETE FROM blocks`),
		"finding whose keys":    executing(`SELECT household FROM household_keys`),
		"deleting private keys": executing(`DELETE FROM household_keys`),
		"another generation":    executing(`UPDATE households SET generation = 2, public_key = ''`),
		"another round":         executing(`UPDATE households SET pair_round = 1`),
		"beginning a round": func(ctx context.Context, s *store.Store) error {
			return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error { return tx.PutPairRound(ctx, store.PairRound{Round: 2}) })
		},
		"giving a household a pair": func(ctx context.Context, s *store.Store) error {
			return s.Transact(ctx, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.PutPairs(ctx, 1, []store.Pair{pair("h1", 1)})
				return err
			})
		},
		"changing what leaves say": executing(`UPDATE tlog_private SET payload = ''`),
		"making partitions":        executing(`SELECT make_partitions(17824)`),
	}.refused(t, s)
	if err := executing(`UPDATE households SET public_key = 'mine' WHERE id = 'h1'`)(ctx, s); state(err) != "23001" {
		t.Errorf("putting a key of its own in a household's place: %v", err)
	}

	must(t, record(ctx, s, ledger.Entry{RequestID: "erase", Kind: ledger.KindErasure}, func(ctx context.Context, tx *store.Tx, _ uint64) error {
		e, err := tx.EraseHousehold(ctx, "h1", 10)
		if len(e.Events) != 4 {
			t.Errorf("%d events erased, want 4", len(e.Events))
		}
		return err
	}))
	keys, err := p.owner.HouseholdKeys(ctx, "h1")
	must(t, err)
	if len(keys) != 0 {
		t.Error("an erasure by access left the private key")
	}
}
