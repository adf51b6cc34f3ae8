package keys

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/wattveil/wattveil/privacy/seal"
)

// State says whether a key service would do what it is asked.
type State int

// The states of a key service, as far as one client can tell.
const (
	StateUnreachable   State = iota // it does not answer, or what answers is none
	StateUninitialised              // it has never been set up
	StateSealed                     // its operators have to unseal it
	StateDenied                     // it is well, and refuses this client: credentials, permission, or the place of its keys
	StateReady
)

// String names the state, for people and metrics.
func (s State) String() string {
	switch s {
	case StateUninitialised:
		return "uninitialised"
	case StateSealed:
		return "sealed"
	case StateDenied:
		return "denied"
	case StateReady:
		return "ready"
	case StateUnreachable:
	}
	return "unreachable"
}

// State asks Vault how it is, and then, with the token, for a key that need not be there:
// an answer to that says that token, namespace, engine and permission are right. The error
// is nil for StateReady, and otherwise one of seal's with the cause. It asks even while
// calls are turned away, and renews the token if it is due.
func (v *Vault) State(ctx context.Context) (State, error) {
	state, err := v.askState(ctx)
	if err != nil {
		return state, fmt.Errorf("keys: asking for state: %w", err)
	}
	return state, nil
}

func (v *Vault) askState(ctx context.Context) (State, error) {
	health, err := v.health.Sys().HealthWithContext(ctx)
	switch {
	case err != nil:
		// Whatever it is that refuses this call, it is no Vault.
		return StateUnreachable, asUnavailable(vaultFault(ctx, err))
	case !health.Initialized:
		return StateUninitialised, fmt.Errorf("%w: vault is not initialised", seal.ErrUnavailable)
	case health.Sealed:
		return StateSealed, fmt.Errorf("%w: vault is sealed", seal.ErrUnavailable)
	}
	err = v.ask(ctx, http.MethodGet, "keys/"+v.prefix+"state", nil, nil)
	if err == nil || missing(err) {
		return StateReady, nil
	}
	fault := vaultFault(ctx, err)
	if errors.Is(fault, seal.ErrRefused) || errors.Is(fault, errCredential) {
		return StateDenied, fault
	}
	return StateUnreachable, fault
}

// asUnavailable keeps the cause of a fault that is no refusal by a Vault.
func asUnavailable(fault error) error {
	if errors.Is(fault, seal.ErrUnavailable) {
		return fault
	}
	return fmt.Errorf("%w: no vault answers", seal.ErrUnavailable)
}

// State answers StateReady while the keyring is open.
func (k *Keyring) State(ctx context.Context) (State, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.open(ctx, "asking for state"); err != nil {
		return StateUnreachable, err
	}
	return StateReady, nil
}
