package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/release"
	"github.com/wattveil/wattveil/privacy/seal"
	"github.com/wattveil/wattveil/server/keys"
)

// keyNames is a key service that has names alone.
type keyNames struct {
	KeyService
	there []string
}

func (k *keyNames) CreateKey(_ context.Context, key string) error {
	k.there = append(k.there, key)
	return nil
}

func (k *keyNames) KeyVersions(_ context.Context, key string) (oldest, newest uint64, err error) {
	if !slices.Contains(k.there, key) {
		return 0, 0, seal.ErrKeyGone
	}
	return 1, 1, nil
}

// Each named key is made by one part. The others start if it is there, and say whom they
// wait for if it is not. It would catch a part that has to be allowed to make a key which
// another part alone unwraps with.
func TestEachKeyIsMadeByOnePart(t *testing.T) {
	for _, r := range inOrder {
		fresh := &keyNames{}
		err := r.set.keysReady(t.Context(), fresh)
		made := map[roleSet][]string{onLedger: {hubKey}, onKeyguard: {keyguard.HouseholdKey}}[r.set]
		if !slices.Equal(fresh.there, made) {
			t.Errorf("%s makes %q, want %q", r.name, fresh.there, made)
		}
		waits := r.set.has(onIngest | onRelease | onAccess)
		if errors.Is(err, seal.ErrKeyGone) != waits || err != nil && !strings.Contains(err.Error(), "the part ledger") {
			t.Errorf("%s starts before all others: %v", r.name, err)
		}
		there := &keyNames{there: []string{hubKey, keyguard.HouseholdKey}}
		if err := r.set.keysReady(t.Context(), there); err != nil {
			t.Errorf("%s starts after the others: %v", r.name, err)
		}
	}
	if err := onAccess.keysReady(t.Context(), &keyNames{there: []string{hubKey}}); err == nil || !strings.Contains(err.Error(), "the part keyguard") {
		t.Errorf("access starts before keyguard: %v", err)
	}
	whole := &keyNames{}
	if err := allRoles.keysReady(t.Context(), whole); err != nil || !slices.Equal(whole.there, []string{hubKey, keyguard.HouseholdKey}) {
		t.Errorf("one process makes %q: %v", whole.there, err)
	}
}

// The key service's policies speak of the keys that are used here, of a window's key as of
// every day's, and every part but the portal has one. It would catch a key that is named
// anew, and a policy for the name that it had.
func TestPoliciesNameTheKeys(t *testing.T) {
	const prefix = "wattveil-"
	for _, r := range inOrder {
		policy := keys.VaultRolePolicy("transit", prefix, string(r.name))
		if (policy == "") != (r.set == onPortal) {
			t.Errorf("%s has the policy %q", r.name, policy)
		}
		for _, key := range namedKeys {
			if used := r.set.has(key.by | key.uses); used && !strings.Contains(policy, `"transit/keys/`+prefix+key.name+`"`) {
				t.Errorf("the policy of %s says nothing of %s", r.name, key.name)
			}
		}
	}
	window, _, _ := strings.Cut(release.KeyName(0), "1970")
	if !strings.Contains(keys.VaultRolePolicy("transit", prefix, "release"), `"transit/keys/`+prefix+window+`*"`) {
		t.Errorf("the policy of release says nothing of %s…", window)
	}
}
