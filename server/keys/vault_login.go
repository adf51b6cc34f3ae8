package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/wattveil/wattveil/privacy/seal"
)

// AppRole is a login of Vault's AppRole method.
type AppRole struct {
	Mount        string // path of the method. Empty: "approle"
	RoleID       string
	SecretID     Secret // either this
	SecretIDFile string // or a file that holds it, read at each login
}

// Kubernetes is a login of Vault's Kubernetes method
// (https://developer.hashicorp.com/vault/api-docs/auth/kubernetes#login).
type Kubernetes struct {
	Mount     string // path of the method. Empty: "kubernetes"
	Role      string
	TokenFile string // of the pod's service account, read at each login. Empty: where Kubernetes puts it
}

// serviceAccountFile is where a pod finds its service account's token.
const serviceAccountFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// newSession picks the one way to a token that is configured.
func newSession(client *api.Client, c VaultConfig) (*session, error) {
	ways := 0
	for _, set := range []bool{c.Token != "", c.TokenFile != "", c.AppRole != (AppRole{}), c.Kubernetes != (Kubernetes{})} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		return nil, errors.New("more than one of token, token file, approle and kubernetes")
	}
	var login loginFunc
	var err error
	switch {
	case c.TokenFile != "":
		login = tokenLogin(client, func() (string, error) { return readCredential(c.TokenFile) })
	case c.AppRole != (AppRole{}):
		login, err = appRoleLogin(client, c.AppRole)
	case c.Kubernetes != (Kubernetes{}):
		login, err = kubernetesLogin(client, c.Kubernetes)
	default:
		token := cmp.Or(string(c.Token), os.Getenv(api.EnvVaultToken))
		if !wellFormedToken(token) {
			return nil, errors.New("no token, or a malformed one")
		}
		login = tokenLogin(client, func() (string, error) { return token, nil })
	}
	if err != nil {
		return nil, err
	}
	return startSession(c.Now, login, func(ctx context.Context) (lease, error) { return renewSelf(ctx, client) }), nil
}

func appRoleLogin(client *api.Client, role AppRole) (loginFunc, error) {
	if role.RoleID == "" || (role.SecretID == "") == (role.SecretIDFile == "") {
		return nil, errors.New("approle needs a role id, and either a secret id or a file with one")
	}
	mount, err := authMount(role.Mount, "approle")
	if err != nil {
		return nil, err
	}
	method, err := approle.NewAppRoleAuth(role.RoleID,
		&approle.SecretID{FromString: string(role.SecretID), FromFile: role.SecretIDFile}, approle.WithMountPath(mount))
	if err != nil {
		return nil, errors.New("approle is refused by the client library")
	}
	return machineLogin(client, method), nil
}

func kubernetesLogin(client *api.Client, k Kubernetes) (loginFunc, error) {
	if k.Role == "" {
		return nil, errors.New("kubernetes needs a role")
	}
	mount, err := authMount(k.Mount, "kubernetes")
	if err != nil {
		return nil, err
	}
	return machineLogin(client, kubernetesMethod{mount, k.Role, cmp.Or(k.TokenFile, serviceAccountFile)}), nil
}

func authMount(mount, otherwise string) (string, error) {
	mount = strings.Trim(cmp.Or(mount, otherwise), "/")
	if !mountPath.MatchString(mount) {
		return "", errors.New("malformed " + otherwise + " mount path")
	}
	return mount, nil
}

// machineLogin logs in by a method that grants a token for a time.
func machineLogin(client *api.Client, method api.AuthMethod) loginFunc {
	return func(ctx context.Context) (lease, bool, error) {
		secret, err := client.Auth().Login(ctx, method)
		if err != nil {
			return lease{}, false, err
		}
		if !wellFormedToken(client.Token()) {
			client.ClearToken() // no request could be made with it, not even another login
			return lease{}, false, fmt.Errorf("%w: vault grants no token", seal.ErrUnavailable)
		}
		return leaseOf(time.Duration(secret.Auth.LeaseDuration)*time.Second, secret.Auth.Renewable), true, nil
	}
}

// kubernetesMethod is written out because the library's own reads the service account's
// token once, and Kubernetes replaces it every hour.
type kubernetesMethod struct{ mount, role, tokenFile string }

func (k kubernetesMethod) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	jwt, err := readCredential(k.tokenFile)
	if err != nil {
		return nil, err
	}
	return client.Logical().WriteWithContext(ctx, "auth/"+k.mount+"/login", map[string]any{"role": k.role, "jwt": jwt})
}

// tokenLogin takes a token that somebody else made, and has it renewed where it can be.
// Nothing of that can fail the login: a token that is not renewable, or may not renew
// itself, is good for as long as Vault takes it.
func tokenLogin(client *api.Client, read func() (string, error)) loginFunc {
	return func(ctx context.Context) (lease, bool, error) {
		token, err := read()
		if err != nil {
			return lease{}, false, err
		}
		changed := token != client.Token()
		client.SetToken(token)
		l, err := renewSelf(ctx, client)
		if ctx.Err() != nil {
			return lease{}, changed, ctx.Err()
		}
		return givenLease(ctx, l, err), changed, nil
	}
}

// givenLease is what an attempt to renew a token says about one that cannot be had anew:
// when to try again. Its end is for Vault to tell.
func givenLease(ctx context.Context, renewed lease, err error) lease {
	switch {
	case err != nil && errors.Is(vaultFault(ctx, err), seal.ErrUnavailable):
		return lease{renewIn: loginPause}
	case err != nil || renewed.endsIn == 0:
		return lease{}
	}
	// Towards its greatest age a token is granted less and less.
	return lease{renewIn: max(renewed.renewIn, loginPause)}
}

// renewSelf has Vault renew the client's token, by as much as the token was made for.
func renewSelf(ctx context.Context, client *api.Client) (lease, error) {
	secret, err := client.Auth().Token().RenewSelfWithContext(ctx, 0)
	if err != nil {
		return lease{}, err
	}
	if secret == nil || secret.Auth == nil {
		return lease{}, fmt.Errorf("%w: vault renews no token", seal.ErrRefused)
	}
	return leaseOf(time.Duration(secret.Auth.LeaseDuration)*time.Second, secret.Auth.Renewable), nil
}

// errCredential is a credential that is not there yet, as when an agent writes
// it at its own pace: worth another attempt.
var errCredential = fmt.Errorf("%w: credential file cannot be used", seal.ErrUnavailable)

// readCredential reads a token from a file.
func readCredential(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", errCredential
	}
	token := strings.TrimSpace(string(content))
	if !wellFormedToken(token) {
		return "", fmt.Errorf("%w: malformed token", errCredential)
	}
	return token, nil
}

// wellFormedToken accepts what can be an HTTP header's value.
func wellFormedToken(token string) bool {
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return token != ""
}
