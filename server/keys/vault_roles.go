package keys

import (
	"fmt"
	"slices"
	"strings"
)

// VaultRolePolicy answers the Vault policy, in HCL, of a process that runs one role of a
// hub, over the transit engine mounted there and the keys whose names begin with the
// prefix: what the role's code calls, and nothing else. It is "" for a role that calls no
// Vault, such as the portal. A process of several roles holds the policy of each.
//
// Only "hub" is unwrapped with by several roles, each of which has secrets of its own under
// it: what keeps those apart is the rows that a role reads. Who rotates "hub" does not
// unwrap with it, and who stores households' keys wraps them and does not unwrap.
func VaultRolePolicy(mount, prefix, role string) string {
	rules := roleRules[role]
	if len(rules) == 0 {
		return ""
	}
	var lines [][2]string
	for _, r := range rules {
		operation, key, _ := strings.Cut(r.path, " ")
		lines = append(lines, [2]string{fmt.Sprintf("%q", mount+"/"+operation+"/"+prefix+key), r.may})
	}
	lines = append(lines, [2]string{`"auth/token/renew-self"`, update})
	width := len(slices.MaxFunc(lines, func(a, b [2]string) int { return len(a[0]) - len(b[0]) })[0])
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "path %-*s { %s }\n", width, l[0], l[1])
	}
	return b.String()
}

// rule lets a role do something at a path of the engine: an operation and a key without
// its prefix.
type rule struct{ path, may string }

// What rules allow. Servers differ in whether a call is "create" or "update"; encryption
// without "create" makes no key. Of a key's configuration nothing but the bounds of its
// versions may be written: with more it could be made exportable, or deletable.
const (
	read   = `capabilities = ["read"]`
	update = `capabilities = ["update"]`
	write  = `capabilities = ["create", "update"]`
	create = `capabilities = ["create", "update", "read"]`
	manage = `capabilities = ["create", "update", "read", "delete"]`
	bounds = write + ` allowed_parameters = { "min_decryption_version" = [], "min_encryption_version" = [] }`
)

// The keys are hubKey in server, keyguard.HouseholdKey, and those of release.KeyName;
// "state" is none, and asked for to see whether Vault answers.
var (
	sees     = rule{"keys state", read}
	usesHub  = []rule{sees, {"keys hub", read}, {"encrypt hub", update}, {"decrypt hub", update}}
	makesHub = []rule{sees, {"keys hub", create}, {"keys hub.destroyed", read}, {"encrypt hub", update}, {"decrypt hub", update}}

	roleRules = map[string][]rule{
		"ingest": usesHub,
		"release": slices.Concat(usesHub, []rule{
			{"keys window-*", manage}, {"encrypt window-*", update}, {"decrypt window-*", update},
		}),
		"access": slices.Concat(usesHub, []rule{{"keys households", read}, {"encrypt households", update}}),
		"keyguard": slices.Concat(
			[]rule{sees, {"keys households", create}, {"keys households.destroyed", read}, {"encrypt households", update}, {"decrypt households", update}},
			rotates("households"), []rule{{"keys hub", read}}, rotates("hub"),
		),
		"ledger": makesHub,
	}
)

// rotates is what rotation does beside looking at a key. It opens nothing.
func rotates(key string) []rule {
	return []rule{{"rewrap " + key, write}, {"keys " + key + "/rotate", write}, {"keys " + key + "/trim", write}, {"keys " + key + "/config", bounds}}
}
