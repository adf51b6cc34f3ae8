package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/wattveil/wattveil/consent"
)

// OAuthClientState is where a client stands. The numbers are stored and never change.
type OAuthClientState uint8

// The states. Only an approved client gets tokens, and only its tokens let it in.
const (
	OAuthPending   OAuthClientState = 1
	OAuthApproved  OAuthClientState = 2
	OAuthRefused   OAuthClientState = 3
	OAuthSuspended OAuthClientState = 4
)

// OAuthClient is a third party that comes by OAuth. Times are unix seconds.
type OAuthClient struct {
	ID               consent.Recipient
	Name             string
	State            OAuthClientState
	AuthMethod       string
	SecretHash       [32]byte // zero for a public client
	RegistrationHash [32]byte // zero for one that an operator made
	GrantTypes       []string
	RedirectURIs     []string
	NotifyURI        string
	Purpose          consent.Purpose
	Contacts         []string
	CreatedAt        int64
	DecidedAt        int64 // 0 while pending
}

const oauthClientColumns = `id, name, state, auth_method, secret_hash, registration_hash, grant_types, redirect_uris, notify_uri,
	purpose_code, purpose_text, contacts, created_s, decided_s`

func scanOAuthClient(row interface{ Scan(dest ...any) error }) (c OAuthClient, err error) {
	var grants, redirects, contacts string
	err = row.Scan(&c.ID, &c.Name, &c.State, &c.AuthMethod, orZero(c.SecretHash[:]), orZero(c.RegistrationHash[:]), &grants, &redirects, &c.NotifyURI,
		&c.Purpose.Code, &c.Purpose.Text, &contacts, &c.CreatedAt, &c.DecidedAt)
	c.GrantTypes, c.RedirectURIs, c.Contacts = strings.Fields(grants), lines(redirects), lines(contacts)
	return c, err
}

// lines are the lines of a column; none of an empty one.
func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// OAuthClient returns a client, or ErrNotFound.
func (s *Store) OAuthClient(ctx context.Context, id consent.Recipient) (OAuthClient, error) {
	c, err := scanOAuthClient(s.read.QueryRowContext(ctx, `SELECT `+oauthClientColumns+` FROM oauth_clients WHERE id = $1`, id))
	if noRows(err) {
		err = ErrNotFound
	}
	return c, s.reading("an OAuth client", err)
}

// ListOAuthClients returns up to limit clients, newest first, of a state or, if it is 0,
// of all, and the token of the next page; see ListConsents.
func (s *Store) ListOAuthClients(ctx context.Context, state OAuthClientState, page string, limit int) (cs []OAuthClient, next string, err error) {
	before, id, err := parsePage(page)
	if err != nil {
		return nil, "", err
	}
	cs, err = scanAll(ctx, s.read, func(row *sql.Rows) (OAuthClient, error) { return scanOAuthClient(row) },
		`SELECT `+oauthClientColumns+` FROM oauth_clients WHERE ($1 = 0 OR state = $1) AND (created_s, id) < ($2, $3)
		 ORDER BY created_s DESC, id DESC LIMIT $4`, int64(state), before, id, limit+1)
	if err != nil {
		return nil, "", s.reading("OAuth clients", err)
	}
	if len(cs) > limit {
		cs = cs[:limit]
		next = pageAfter(cs[limit-1].CreatedAt, string(cs[limit-1].ID))
	}
	return cs, next, nil
}

// MaxPendingOAuthClients is how many clients may wait for an operator at a time.
const MaxPendingOAuthClients = 1000

// PutOAuthClient stores a client. A pending one is new: ErrConflict if its id is taken by
// a client or a recipient, ErrNotRoom if too many wait. An approved one is an operator's:
// it takes the place of a client of that id, if there is one, and becomes a recipient of
// its name, or renames that.
func (s *Store) PutOAuthClient(ctx context.Context, c OAuthClient) error {
	return s.register(ctx, func(ctx context.Context, tx *Tx) error {
		if c.State == OAuthPending {
			if err := tx.roomForOAuthClient(ctx, c.ID); err != nil {
				return doing("registering an OAuth client", err)
			}
		}
		if err := tx.putOAuthClient(ctx, c); err != nil {
			return err
		}
		if c.State != OAuthApproved {
			return nil
		}
		return tx.putRecipient(ctx, c)
	})
}

// ErrNotRoom says that a bound on how many rows there may be is reached.
var ErrNotRoom = errors.New("store: no room for another")

func (t *Tx) roomForOAuthClient(ctx context.Context, id consent.Recipient) error {
	var taken, waiting int
	err := t.sql.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM oauth_clients WHERE id = $1) + (SELECT count(*) FROM recipients WHERE id = $1),
		(SELECT count(*) FROM oauth_clients WHERE state = 1)`, id).Scan(&taken, &waiting)
	switch {
	case err != nil:
		return err
	case taken > 0:
		return ErrConflict
	case waiting >= MaxPendingOAuthClients:
		return ErrNotRoom
	}
	return nil
}

func (t *Tx) putOAuthClient(ctx context.Context, c OAuthClient) error {
	_, err := t.sql.ExecContext(ctx, `INSERT INTO oauth_clients (`+oauthClientColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, state = excluded.state, auth_method = excluded.auth_method, secret_hash = excluded.secret_hash,
		  grant_types = excluded.grant_types, redirect_uris = excluded.redirect_uris, notify_uri = excluded.notify_uri,
		  purpose_code = excluded.purpose_code, purpose_text = excluded.purpose_text, contacts = excluded.contacts, decided_s = excluded.decided_s`,
		c.ID, c.Name, int64(c.State), c.AuthMethod, zeroIsNull(c.SecretHash), zeroIsNull(c.RegistrationHash), strings.Join(c.GrantTypes, " "),
		strings.Join(c.RedirectURIs, "\n"), c.NotifyURI, c.Purpose.Code, c.Purpose.Text, strings.Join(c.Contacts, "\n"), c.CreatedAt, c.DecidedAt)
	return doing("storing an OAuth client", err)
}

// putRecipient makes a client the recipient that it acts as.
func (t *Tx) putRecipient(ctx context.Context, c OAuthClient) error {
	_, err := t.sql.ExecContext(ctx, `INSERT INTO recipients (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name`, c.ID, c.Name)
	return doing("storing a recipient", err)
}

// ChangeOAuthClient replaces what a pending client has said of itself, and its secret.
// ErrNotFound for one that does not exist, ErrConflict for one that is not pending.
func (s *Store) ChangeOAuthClient(ctx context.Context, c OAuthClient) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		state, err := tx.lockOAuthClient(ctx, c.ID)
		if err == nil && state != OAuthPending {
			err = ErrConflict
		}
		if err != nil {
			return doing("changing an OAuth client", err)
		}
		return tx.putOAuthClient(ctx, c)
	})
}

func (t *Tx) lockOAuthClient(ctx context.Context, id consent.Recipient) (state OAuthClientState, err error) {
	return state, scanOne(ctx, t.sql, ErrNotFound, []any{&state}, `SELECT state FROM oauth_clients WHERE id = $1`+t.forUpdate(), id)
}

// oauthDecisions are what an operator may make of a client: state → states it may come
// from. A refused one stays refused; a suspended one comes back by being approved.
var oauthDecisions = map[OAuthClientState][]OAuthClientState{
	OAuthApproved:  {OAuthPending, OAuthSuspended},
	OAuthRefused:   {OAuthPending},
	OAuthSuspended: {OAuthApproved},
}

// DecideOAuthClient brings a client to a state at an instant (unix seconds). Whom it
// approves becomes a recipient of the same id and name. Doing it again changes nothing.
// ErrNotFound for an unknown client, ErrConflict for a step that its state does not allow.
func (s *Store) DecideOAuthClient(ctx context.Context, id consent.Recipient, to OAuthClientState, at int64) (c OAuthClient, err error) {
	err = s.register(ctx, func(ctx context.Context, tx *Tx) error {
		state, err := tx.lockOAuthClient(ctx, id)
		if err != nil {
			return doing("deciding on an OAuth client", err)
		}
		allowed := state == to
		for _, from := range oauthDecisions[to] {
			allowed = allowed || state == from
		}
		if !allowed {
			return fmt.Errorf("deciding on an OAuth client: %w", ErrConflict)
		}
		if state != to {
			if _, err := tx.sql.ExecContext(ctx, `UPDATE oauth_clients SET state = $2, decided_s = $3 WHERE id = $1`, id, int64(to), at); err != nil {
				return fmt.Errorf("deciding on an OAuth client: %w", err)
			}
		}
		if c, err = scanOAuthClient(tx.sql.QueryRowContext(ctx, `SELECT `+oauthClientColumns+` FROM oauth_clients WHERE id = $1`, id)); err != nil {
			return fmt.Errorf("reading an OAuth client: %w", err)
		}
		if to != OAuthApproved {
			return nil
		}
		return tx.putRecipient(ctx, c)
	})
	return c, err
}

// DeleteOAuthClient forgets a client and all that lets it in. The recipient of its id
// stays: consents name it. ErrNotFound if there is none.
func (s *Store) DeleteOAuthClient(ctx context.Context, id consent.Recipient) error {
	return s.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		gone, err := execOne(ctx, tx.sql, `DELETE FROM oauth_clients WHERE id = $1`, id)
		if err == nil && !gone {
			err = ErrNotFound
		}
		for _, table := range []string{"oauth_tokens", "oauth_grants", "oauth_requests"} {
			if err == nil {
				_, err = tx.sql.ExecContext(ctx, `DELETE FROM `+table+` WHERE client = $1`, id)
			}
		}
		return doing("deleting an OAuth client", err)
	})
}
