package keys

import "fmt"

// VaultPolicy answers the Vault policy, in HCL, under which every method of
// seal.Wrapper works on the transit engine mounted there, and the token's renewal, and
// nothing else does: no rotation, no export, no backup, and no key made by encrypting.
// A process that only wraps, or only unwraps, does with less.
func VaultPolicy(mount string) string {
	return fmt.Sprintf(`path "%[1]s/keys/+"         { capabilities = ["create", "update", "read", "delete"] }
path "%[1]s/keys/+/config"  { capabilities = ["create", "update"] }
path "%[1]s/encrypt/+"      { capabilities = ["update"] }
path "%[1]s/decrypt/+"      { capabilities = ["update"] }
path "auth/token/renew-self"   { capabilities = ["update"] }
`, mount)
}

// VaultRotationPolicy answers the policy of the process that rotates: what seal.Rotator
// has beyond seal.Wrapper. It opens nothing; a process that does both holds both.
func VaultRotationPolicy(mount string) string {
	return fmt.Sprintf(`path "%[1]s/keys/+"         { capabilities = ["read"] }
path "%[1]s/keys/+/rotate"  { capabilities = ["create", "update"] }
path "%[1]s/keys/+/config"  { capabilities = ["create", "update"] }
path "%[1]s/keys/+/trim"    { capabilities = ["create", "update"] }
path "%[1]s/rewrap/+"       { capabilities = ["create", "update"] }
path "auth/token/renew-self"   { capabilities = ["update"] }
`, mount)
}
