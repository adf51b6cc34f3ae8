package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/server/store"
)

func hash(b byte) [32]byte { return [32]byte{b} }

func oauthClient(id consent.Recipient, state store.OAuthClientState) store.OAuthClient {
	return store.OAuthClient{
		ID: id, Name: "Adviser", State: state, AuthMethod: "client_secret_basic", SecretHash: hash(1), RegistrationHash: hash(2),
		GrantTypes: []string{"authorization_code", "refresh_token"}, RedirectURIs: []string{"https://a.example/1", "https://a.example/2"},
		NotifyURI: "https://a.example/n", Purpose: consent.Purpose{Code: "advice", Text: "Two\nlines."}, Contacts: []string{"A", "B"}, CreatedAt: 100,
	}
}

// granted puts a consent of h1 that is granted until 10000, and its OAuth grant.
func granted(t testing.TB, s *store.Store, id consent.ID, client consent.Recipient, code byte) store.OAuthGrant {
	t.Helper()
	c := sampleConsent(id, "h1", 1)
	c.Recipient, c.State, c.DecidedAt, c.Terms.PermissionUntil = client, consent.Granted, 2, 10_000
	c.Asked = c.Terms
	c.Asked.UsagePoints = nil
	do(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.PutConsent(ctx, c) })
	g := store.OAuthGrant{
		Consent: id, Client: client, Scope: "FB=4", RedirectURI: "https://a.example/1", CodeHash: hash(code), CodeExpires: 200, Ends: 10_000,
	}
	must(t, s.PutOAuthGrant(t.Context(), g))
	return g
}

// tokens issues an access and a refresh token with these hashes.
func tokens(access, refresh byte, issued int64) func(store.OAuthStanding) ([]store.OAuthToken, error) {
	return func(standing store.OAuthStanding) ([]store.OAuthToken, error) {
		return []store.OAuthToken{
			{Hash: hash(access), Kind: store.OAuthAccess, Client: standing.Client, Consent: standing.Consent, Issued: issued, Expires: issued + 1000},
			{Hash: hash(refresh), Kind: store.OAuthRefresh, Client: standing.Client, Consent: standing.Consent, Issued: issued, Expires: issued + 5000},
		}, nil
	}
}

func fit(store.OAuthGrant) error { return nil }

// What a client says of itself is kept to the line, and who decides on it goes only where
// the table of steps allows; who is approved is a recipient.
func TestOAuthClients(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		must(t, s.PutRecipients(ctx, []store.Recipient{{ID: "taken", Name: "Taken"}}))
		want := oauthClient("a", store.OAuthPending)
		must(t, s.PutOAuthClient(ctx, want))
		got, err := s.OAuthClient(ctx, "a")
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		for _, id := range []consent.Recipient{"a", "taken"} {
			if err := s.PutOAuthClient(ctx, oauthClient(id, store.OAuthPending)); !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s again: %v, want ErrConflict", id, err)
			}
		}
		known := func(id consent.Recipient, want bool) {
			t.Helper()
			if is, err := s.KnowsRecipient(ctx, id); err != nil || is != want {
				t.Errorf("%s is a recipient: %v, %v", id, is, err)
			}
		}
		known("a", false)
		for _, step := range []struct {
			to   store.OAuthClientState
			want error
		}{
			{store.OAuthSuspended, store.ErrConflict},
			{store.OAuthApproved, nil},
			{store.OAuthApproved, nil},
			{store.OAuthRefused, store.ErrConflict},
			{store.OAuthSuspended, nil},
			{store.OAuthApproved, nil},
		} {
			if _, err := s.DecideOAuthClient(ctx, "a", step.to, 300); !errors.Is(err, step.want) {
				t.Errorf("to %d: %v, want %v", step.to, err, step.want)
			}
		}
		known("a", true)
		if err := s.ChangeOAuthClient(ctx, want); !errors.Is(err, store.ErrConflict) {
			t.Errorf("changing an approved one: %v", err)
		}
		if _, err := s.DecideOAuthClient(ctx, "nobody", store.OAuthApproved, 1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("nobody: %v", err)
		}
		for i := range 5 {
			c := oauthClient(consent.Recipient(fmt.Sprint("b", i)), store.OAuthPending)
			c.CreatedAt = int64(200 + i/2)
			must(t, s.PutOAuthClient(ctx, c))
		}
		var ids []consent.Recipient
		for page := ""; ; {
			list, next, err := s.ListOAuthClients(ctx, store.OAuthPending, page, 2)
			must(t, err)
			for _, c := range list {
				ids = append(ids, c.ID)
			}
			if page = next; page == "" {
				break
			}
		}
		if d := cmp.Diff([]consent.Recipient{"b4", "b3", "b2", "b1", "b0"}, ids); d != "" {
			t.Errorf("pages (-want +got):\n%s", d)
		}
		must(t, s.DeleteOAuthClient(ctx, "a"))
		known("a", true)
		if _, err := s.OAuthClient(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}
	})
}

// However many present one code, or one refresh token, at once, one is served, and what it
// got is revoked by the others. It would catch an exchange that reads before it locks.
func TestOAuthExchangedAtOnce(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		must(t, s.PutOAuthClient(t.Context(), oauthClient("a", store.OAuthApproved)))
		granted(t, s, "c1", "a", 10)
		granted(t, s, "c2", "a", 20)
		_, err := s.ExchangeOAuthCode(t.Context(), hash(20), "a", 100, fit, tokens(21, 22, 100))
		must(t, err)
		for what, exchange := range map[string]func(i byte) error{
			"code": func(i byte) error {
				_, err := s.ExchangeOAuthCode(t.Context(), hash(10), "a", 100, fit, tokens(100+2*i, 101+2*i, 100))
				return err
			},
			"refresh token": func(i byte) error {
				_, err := s.ExchangeOAuthRefresh(t.Context(), hash(22), "a", 100, tokens(200+2*i, 201+2*i, 100))
				return err
			},
		} {
			var mu sync.Mutex
			var served, replayed int
			var wg sync.WaitGroup
			for i := range byte(6) {
				wg.Go(func() {
					err := exchange(i)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						served++
					case errors.Is(err, store.ErrOAuthReplayed), errors.Is(err, store.ErrOAuthGone):
						replayed++
					default:
						t.Errorf("%s: %v", what, err)
					}
				})
			}
			wg.Wait()
			if served != 1 || replayed != 5 {
				t.Errorf("%s: %d served, %d turned away", what, served, replayed)
			}
		}
		var live int
		must(t, s.QueryRow(t.Context(), `SELECT count(*) FROM oauth_tokens WHERE revoked_s IS NULL`, nil, &live))
		if live != 0 {
			t.Errorf("%d tokens of a code and a refresh token that were used twice are live", live)
		}
	})
}

// What is against an exchange leaves everything as it was: a check of the caller's, a
// consent that is not granted or over, too many tokens within the hour.
func TestOAuthExchangeRefused(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		must(t, s.PutOAuthClient(ctx, oauthClient("a", store.OAuthApproved)))
		granted(t, s, "c1", "a", 10)
		unfit := errors.New("unfit")
		_, err := s.ExchangeOAuthCode(ctx, hash(10), "a", 100, func(store.OAuthGrant) error { return unfit }, tokens(1, 2, 100))
		if !errors.Is(err, unfit) {
			t.Errorf("%v, want the caller's own", err)
		}
		_, err = s.ExchangeOAuthCode(ctx, hash(10), "a", 100, fit, func(store.OAuthStanding) ([]store.OAuthToken, error) { return nil, unfit })
		if !errors.Is(err, unfit) {
			t.Errorf("%v, want the caller's own", err)
		}
		for what, at := range map[string]int64{"an expired code": 200, "a code after the permission": 10_000} {
			if _, err := s.ExchangeOAuthCode(ctx, hash(10), "a", at, fit, tokens(1, 2, at)); !errors.Is(err, store.ErrOAuthGone) {
				t.Errorf("%s: %v", what, err)
			}
		}
		standing, err := s.ExchangeOAuthCode(ctx, hash(10), "a", 199, fit, tokens(1, 2, 199))
		must(t, err)
		if !standing.Whole() || standing.Until != 10_000 || standing.Scope != "FB=4" {
			t.Errorf("standing %+v", standing)
		}
		next, n := byte(2), byte(100)
		for i := range 60 {
			_, err := s.ExchangeOAuthRefresh(ctx, hash(next), "a", 300, tokens(n, n+1, 300))
			if i < 59 {
				must(t, err)
				next, n = n+1, n+2
			} else if !errors.Is(err, store.ErrOAuthTooMany) {
				t.Errorf("the 61st pair within an hour: %v", err)
			}
		}
		if _, err := s.ExchangeOAuthRefresh(ctx, hash(next), "a", 3901, tokens(n, n+1, 3901)); err != nil {
			t.Errorf("an hour later the same token: %v", err)
		}
		become := func(to consent.State) {
			do(t, s, func(ctx context.Context, tx *store.Tx) error {
				c, err := tx.Consent(ctx, "c1")
				c.State = to
				return errors.Join(err, tx.PutConsent(ctx, c))
			})
		}
		become(consent.Suspended) // it may be resumed
		if _, _, err := s.OAuthTokenOf(ctx, hash(n), "a", 3902); err != nil {
			t.Errorf("a token of a consent on hold: %v", err)
		}
		become(consent.Revoked)
		if _, err := s.ExchangeOAuthRefresh(ctx, hash(n+1), "a", 3903, tokens(98, 99, 3903)); !errors.Is(err, store.ErrOAuthGone) {
			t.Errorf("of a revoked consent: %v", err)
		}
		if _, _, err := s.OAuthTokenOf(ctx, hash(n), "a", 3903); !errors.Is(err, store.ErrOAuthGone) {
			t.Errorf("a token of a revoked consent: %v", err)
		}
	})
}

// What has run out is deleted, and nothing else. It would catch tables that grow for ever,
// and a used refresh token that is forgotten while it could come back.
func TestSweepOAuth(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		must(t, s.PutOAuthClient(ctx, oauthClient("a", store.OAuthApproved)))
		must(t, s.PutOAuthClient(ctx, oauthClient("waits", store.OAuthPending)))
		granted(t, s, "c1", "a", 10)
		granted(t, s, "c2", "a", 20) // its code is never used
		_, err := s.ExchangeOAuthCode(ctx, hash(10), "a", 100, fit, tokens(1, 2, 100))
		must(t, err)
		_, err = s.ExchangeOAuthRefresh(ctx, hash(2), "a", 200, tokens(3, 4, 200))
		must(t, err)
		must(t, s.PutOAuthRequest(ctx, store.OAuthRequest{Hash: hash(7), Client: "a", Query: "x", Expires: 700}))
		rows := func() string {
			var n [4]int
			for i, table := range []string{"oauth_clients", "oauth_grants", "oauth_tokens", "oauth_requests"} {
				n[i] = count(t, s, table)
			}
			return fmt.Sprint(n)
		}
		for _, step := range []struct {
			at   int64
			want string
		}{
			{199, "[2 2 4 1]"},
			{1100, "[2 2 3 1]"}, // the first access token
			{3800, "[2 1 2 1]"}, // the code that nobody used, the second access token
			{4300, "[2 1 2 0]"}, // the pushed request
			{5100, "[2 1 1 0]"}, // the refresh token that was used, once it could be used no more
			{10_000, "[2 0 0 0]"},
			{30 * 86400, "[2 0 0 0]"},
			{30*86400 + 100, "[1 0 0 0]"}, // who has waited for 30 days
		} {
			must(t, s.SweepOAuth(ctx, step.at))
			if got := rows(); got != step.want {
				t.Errorf("at %d clients, grants, tokens, requests are %s, want %s", step.at, got, step.want)
			}
		}
	})
}

// A token lets in by its hash alone, while it is live and its client approved.
func TestOAuthBearer(t *testing.T) {
	onBothOpen(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		must(t, s.PutOAuthClient(ctx, oauthClient("a", store.OAuthApproved)))
		granted(t, s, "c1", "a", 10)
		_, err := s.ExchangeOAuthCode(ctx, hash(10), "a", 100, fit, tokens(1, 2, 100))
		must(t, err)
		must(t, s.IssueOAuthClientToken(ctx, store.OAuthToken{Hash: hash(3), Kind: store.OAuthClientAccess, Client: "a", Issued: 100, Expires: 1100}))
		for what, c := range map[string]struct {
			token byte
			at    int64
			of    consent.ID
			found bool
		}{
			"an access token":  {1, 1099, "c1", true},
			"expired":          {1, 1100, "", false},
			"a refresh token":  {2, 200, "", false},
			"a client's own":   {3, 1099, "", true},
			"its own, expired": {3, 1100, "", false},
			"the code":         {10, 150, "", false},
			"no token":         {9, 150, "", false},
		} {
			client, of, found, err := s.OAuthBearer(ctx, hash(c.token), c.at)
			if err != nil || found != c.found || of != c.of || found && client != "a" {
				t.Errorf("%s: %q of %q, %v, %v", what, client, of, found, err)
			}
		}
		for i := range 119 {
			must(t, s.IssueOAuthClientToken(ctx, store.OAuthToken{Hash: [32]byte{50, byte(i)}, Kind: store.OAuthClientAccess, Client: "a", Issued: 100, Expires: 1100}))
		}
		if err := s.IssueOAuthClientToken(ctx, store.OAuthToken{Hash: hash(51), Kind: store.OAuthClientAccess, Client: "a", Issued: 101, Expires: 1100}); !errors.Is(err, store.ErrOAuthTooMany) {
			t.Errorf("the 121st within an hour: %v", err)
		}
	})
}

// readBearers looks a token up, as every part does that third parties call.
func readBearers(ctx context.Context, s *store.Store) error {
	_, _, _, err := s.OAuthBearer(ctx, hash(1), 1)
	return err
}
