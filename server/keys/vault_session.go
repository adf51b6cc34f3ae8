package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wattveil/wattveil/privacy/seal"
)

// loginPause is how long a refusal right after a login is believed to be about
// permissions, not about the token: without it, each call that lacks a
// permission would cost a login. It is also how long a login that was refused is
// not tried again, because Vault locks out who insists, and how long a renewal that
// failed is left alone while the token lasts.
const loginPause = 10 * time.Second

// within tells whether the pause since then is not over. A clock that was set back
// ends it.
func within(now, then time.Time) bool {
	since := now.Sub(then)
	return since >= 0 && since < loginPause
}

// session keeps the client's token alive: it renews the token before it ends, and
// logs in anew where that is refused. One caller at a time does; the others wait
// for it, or for the end of their own patience.
type session struct {
	now   func() time.Time
	login loginFunc
	renew renewFunc
	state chan sessionState // holds the one state, which is also the lock
}

type sessionState struct {
	logins  int       // so far; zero before the first
	at      time.Time // of the last one
	granted lease     // by the last one
	now     lease     // in force, since the last login or renewal
	renewAt time.Time // zero: when refused
	endsAt  time.Time // zero: unknown

	refused   error // what the last login was refused with; nil if it was not
	refusedAt time.Time
}

func (s *sessionState) extend(l lease, now time.Time) {
	s.now, s.renewAt, s.endsAt = l, time.Time{}, time.Time{}
	if l.renewIn > 0 {
		s.renewAt = now.Add(l.renewIn)
	}
	if l.endsIn > 0 {
		s.endsAt = now.Add(l.endsIn)
	}
}

func (s *sessionState) ended(now time.Time) bool { return !s.endsAt.IsZero() && !now.Before(s.endsAt) }

// lease is how long a token lasts.
type lease struct {
	renewIn   time.Duration // zero: not before it is refused
	endsIn    time.Duration // zero: unknown
	renewable bool          // by itself, without another login
}

// leaseOf is the lease of a token that Vault grants for a time: two thirds of it are
// used before anything is done about it. Zero is for ever.
func leaseOf(granted time.Duration, renewable bool) lease {
	return lease{renewIn: granted * 2 / 3, endsIn: granted, renewable: renewable}
}

// loginFunc puts a token into the client. It answers the token's lease, and
// whether the token is another than before.
type loginFunc func(context.Context) (l lease, changed bool, err error)

// renewFunc renews the client's token, and answers its lease from now on.
type renewFunc func(context.Context) (lease, error)

func startSession(now func() time.Time, login loginFunc, renew renewFunc) *session {
	s := &session{now: now, login: login, renew: renew, state: make(chan sessionState, 1)}
	s.state <- sessionState{}
	return s
}

// ready makes sure that there is a token, and renews one that has used up two
// thirds of its lease. It answers the number of the login in force, for again.
func (s *session) ready(ctx context.Context) (int, error) {
	state, err := s.take(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { s.state <- state }()
	now := s.now()
	good := state.logins > 0 && !state.ended(now)
	if good && (state.renewAt.IsZero() || now.Before(state.renewAt)) {
		return state.logins, nil
	}
	if err := s.prolong(ctx, &state, now); err != nil {
		if !good {
			return 0, err
		}
		state.renewAt = now.Add(loginPause)
	}
	return state.logins, nil
}

// prolong renews the token, or logs in anew where there is none, where Vault refuses
// that, and where it grants less than half of what a login does: the token is about to
// reach its greatest age.
func (s *session) prolong(ctx context.Context, state *sessionState, now time.Time) error {
	if state.now.renewable && !state.ended(now) {
		l, err := s.renew(ctx)
		if err == nil && 2*l.endsIn >= state.granted.endsIn {
			state.extend(l, now)
			return nil
		}
		if err != nil && errors.Is(vaultFault(ctx, err), seal.ErrUnavailable) {
			return err // it would not let anybody in either
		}
	}
	_, err := s.enter(ctx, state, now)
	return err
}

// again is called when Vault refused a call made under that login. It tells
// whether there is another token now, so that the call is worth repeating.
func (s *session) again(ctx context.Context, login int) (bool, error) {
	state, err := s.take(ctx)
	if err != nil {
		return false, err
	}
	defer func() { s.state <- state }()
	if state.logins > login {
		return true, nil // somebody else has done it
	}
	now := s.now()
	if within(now, state.at) {
		return false, nil
	}
	return s.enter(ctx, &state, now)
}

func (s *session) take(ctx context.Context) (sessionState, error) {
	select {
	case state := <-s.state:
		return state, nil
	case <-ctx.Done():
		return sessionState{}, ctx.Err()
	}
}

func (s *session) enter(ctx context.Context, state *sessionState, now time.Time) (bool, error) {
	if state.refused != nil && within(now, state.refusedAt) {
		return false, state.refused
	}
	l, changed, err := s.login(ctx)
	if err != nil {
		state.refused = nil
		if errors.Is(vaultFault(ctx, err), seal.ErrRefused) {
			state.refused, state.refusedAt = err, now
		}
		return false, err
	}
	state.logins++
	state.refused = nil
	state.at, state.granted = now, l
	state.extend(l, now)
	return changed, nil
}

// Renew renews the token if it is due, or logs in anew, so that a token does not end
// while nobody calls. Every other call does the same before it begins; a process that may
// be silent for longer than a third of its token's lease calls Renew from time to time.
func (v *Vault) Renew(ctx context.Context) error {
	if _, err := v.session.ready(ctx); err != nil {
		return fmt.Errorf("keys: renewing token: %w", vaultFault(ctx, err))
	}
	return nil
}
