package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wattveil/wattveil/server/store"
)

// roleSet is a set of the hub's roles: those that a process runs, or that answer a call.
type roleSet uint8

// The roles, each as a set of its own.
const (
	onIngest   roleSet = 1 << iota // takes readings in
	onRelease                      // closes days and publishes
	onAccess                       // the register, consents, and the opening of readings
	onKeyguard                     // alone unwraps households' keys
	onLedger                       // alone signs, and shows the record
	onPortal                       // pages, a client of the others
	allRoles   = onPortal<<1 - 1
)

// inOrder are the roles as [store.Roles] lists them.
var inOrder = []struct {
	set  roleSet
	name store.Role
}{
	{onIngest, store.RoleIngest},
	{onRelease, store.RoleRelease},
	{onAccess, store.RoleAccess},
	{onKeyguard, store.RoleKeyguard},
	{onLedger, store.RoleLedger},
	{onPortal, store.RolePortal},
}

// What several roles have in common.
const (
	// recording are the roles that write events into the ledger.
	recording = onIngest | onRelease | onAccess | onKeyguard | onLedger
	// wrapping are those that have secrets of their own, which the key service wraps.
	wrapping = onIngest | onRelease | onAccess | onLedger
)

// has reports whether the set has any of others.
func (s roleSet) has(others roleSet) bool { return s&others != 0 }

func (s roleSet) String() string {
	var names []string
	for _, r := range inOrder {
		if s.has(r.set) {
			names = append(names, string(r.name))
		}
	}
	return strings.Join(names, ", ")
}

// parseRoles reads the roles that a configuration names, each once; none means all.
func parseRoles(names []string) (roleSet, error) {
	if len(names) == 0 {
		return allRoles, nil
	}
	var s roleSet
	for _, name := range names {
		i := slices.IndexFunc(inOrder, func(r struct {
			set  roleSet
			name store.Role
		},
		) bool {
			return string(r.name) == name
		})
		if i < 0 || s.has(inOrder[i].set) {
			return 0, fmt.Errorf("roles: each is one of %s, and named once", allRoles)
		}
		s |= inOrder[i].set
	}
	return s, nil
}
