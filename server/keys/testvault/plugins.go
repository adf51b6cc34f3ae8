package main

import (
	"github.com/hashicorp/vault/audit"
	auditfile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// The few engines that the tests use are linked in; everything else that a
// Vault offers would only make the build longer.

func logicalBackends() map[string]logical.Factory {
	return map[string]logical.Factory{"transit": transit.Factory}
}

func credentialBackends() map[string]logical.Factory {
	return map[string]logical.Factory{"approle": approle.Factory}
}

func auditBackends() map[string]audit.Factory {
	return map[string]audit.Factory{"file": auditfile.Factory}
}

// emptyRegistry tells the core that there are no plugins beside those above.
type emptyRegistry struct{}

func (emptyRegistry) Contains(string, consts.PluginType) bool { return false }

func (emptyRegistry) Get(string, consts.PluginType) (func() (any, error), bool) { return nil, false }

func (emptyRegistry) Keys(consts.PluginType) []string { return nil }

func (emptyRegistry) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}
