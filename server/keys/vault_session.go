package keys

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/wattveil/wattveil/privacy/seal"
)

// loginPause is how long a refusal right after a login is believed to be about
// permissions, not about the token: without it, each call that lacks a
// permission would cost a login.
const loginPause = 10 * time.Second

// session keeps the client's token alive. One caller at a time logs in; the
// others wait for it, or for the end of their own patience. The zero session
// has a token that it cannot renew.
type session struct {
	now   func() time.Time
	login loginFunc
	state chan sessionState // holds the one state, which is also the lock
}

type sessionState struct {
	logins  int       // so far; zero before the first
	at      time.Time // of the last one
	renewAt time.Time // zero: when refused
	endsAt  time.Time // zero: unknown
}

// loginFunc puts a token into the client. It answers the token's lease, zero
// when it does not know one, and whether the token is another than before.
type loginFunc func(context.Context) (lease time.Duration, changed bool, err error)

func startSession(now func() time.Time, login loginFunc) *session {
	s := &session{now: now, login: login, state: make(chan sessionState, 1)}
	s.state <- sessionState{}
	return s
}

// ready makes sure that there is a token, and renews one that has used up two
// thirds of its lease. It answers the number of the login in force, for renew.
func (s *session) ready(ctx context.Context) (int, error) {
	if s.login == nil {
		return 0, nil
	}
	var state sessionState
	select {
	case state = <-s.state:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { s.state <- state }()
	now := s.now()
	if state.logins > 0 && (state.renewAt.IsZero() || now.Before(state.renewAt)) {
		return state.logins, nil
	}
	if _, err := s.enter(ctx, &state, now); err != nil && (state.logins == 0 || !now.Before(state.endsAt)) {
		return 0, err
	}
	return state.logins, nil
}

// renew is called when Vault refused a call made under that login. It tells
// whether there is another token now, so that the call is worth repeating.
func (s *session) renew(ctx context.Context, login int) (bool, error) {
	if s.login == nil {
		return false, nil
	}
	var state sessionState
	select {
	case state = <-s.state:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { s.state <- state }()
	if state.logins > login {
		return true, nil // somebody else has done it
	}
	now := s.now()
	if now.Sub(state.at) < loginPause {
		return false, nil
	}
	return s.enter(ctx, &state, now)
}

func (s *session) enter(ctx context.Context, state *sessionState, now time.Time) (bool, error) {
	lease, changed, err := s.login(ctx)
	if err != nil {
		return false, err
	}
	*state = sessionState{logins: state.logins + 1, at: now}
	if lease > 0 {
		state.renewAt = now.Add(lease * 2 / 3)
		state.endsAt = now.Add(lease)
	}
	return changed, nil
}

func appRoleLogin(client *api.Client, method api.AuthMethod) loginFunc {
	return func(ctx context.Context) (time.Duration, bool, error) {
		secret, err := client.Auth().Login(ctx, method)
		if err != nil {
			return 0, false, err
		}
		return time.Duration(secret.Auth.LeaseDuration) * time.Second, true, nil
	}
}

func tokenFileLogin(client *api.Client, path string) loginFunc {
	return func(context.Context) (time.Duration, bool, error) {
		content, err := os.ReadFile(path)
		if err != nil {
			return 0, false, errCredential
		}
		token := strings.TrimSpace(string(content))
		if !wellFormedToken(token) {
			return 0, false, fmt.Errorf("%w: malformed token", errCredential)
		}
		changed := token != client.Token()
		client.SetToken(token)
		return 0, changed, nil
	}
}

// errCredential is a credential that is not there yet, as when an agent writes
// it at its own pace: worth another attempt.
var errCredential = fmt.Errorf("%w: credential file cannot be used", seal.ErrUnavailable)

// wellFormedToken accepts what can be an HTTP header's value.
func wellFormedToken(token string) bool {
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return token != ""
}
