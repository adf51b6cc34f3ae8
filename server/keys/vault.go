package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Vault is a seal.Rotator over the transit secrets engine of a HashiCorp Vault
// (https://developer.hashicorp.com/vault/api-docs/secret/transit) or a server
// with the same API, such as OpenBao. A named key is a transit key of type
// aes256-gcm96 with derivation: the item's context derives the key that seals
// it (HKDF-SHA256 inside Vault), so a wrong context opens nothing. What is
// stored are Vault's own ciphertexts, "vault:v1:…", of which the number is the
// version of the key.
//
// Destroying a key first makes a second transit key, its name followed by
// ".destroyed", which no name of a key can equal. It is never used; it is the
// tombstone, in the same storage and the same backups as the keys, and Vault
// refuses to delete it for as long as nobody allows that by hand. Vault itself
// would let a deleted name be created again, and would even do so when someone
// encrypts under it; every request made here forbids the latter.
//
// Vault is safe for concurrent use, also by several processes on one mount.
// What may pass is retried a bounded number of times; a server that does not answer
// again and again is left alone for a while, see VaultConfig.BreakAfter. Calls never
// hold a lock while they wait for the server, save a login or a token's renewal, which
// others wait for.
type Vault struct {
	client  *api.Client
	health  *api.Client // without token and namespace: for sys/health, which takes neither
	session *session
	breaker *breaker
	mount   string
	prefix  string
}

var _ seal.Rotator = (*Vault)(nil)

// vaultTombstone follows the name of a destroyed key.
const vaultTombstone = ".destroyed"

// CreateKey implements seal.Wrapper. It refuses a key of that name that
// somebody else made in another way, without derivation or open to export:
// such a key would accept any context, or leave Vault.
func (v *Vault) CreateKey(ctx context.Context, key string) error {
	if err := v.createKey(ctx, key); err != nil {
		return fmt.Errorf("keys: creating key: %w", err)
	}
	return nil
}

func (v *Vault) createKey(ctx context.Context, key string) error {
	if err := checkName(key); err != nil {
		return err
	}
	name := v.prefix + key
	if gone, err := v.keyExists(ctx, name+vaultTombstone); err != nil || gone {
		return orGone(err)
	}
	if err := v.makeKey(ctx, name); err != nil {
		return err
	}
	made, err := v.readKey(ctx, name)
	if err != nil {
		return err
	}
	// Another process may have destroyed the name in between. It wrote its
	// tombstone before it deleted the key; so if this key was made after that
	// deletion, the tombstone is there to be seen now, and the key goes again.
	if gone, err := v.keyExists(ctx, name+vaultTombstone); err != nil {
		return err
	} else if gone {
		return orGone(v.deleteKey(ctx, name))
	}
	if made == nil {
		return fmt.Errorf("%w: vault does not show the key that it made", seal.ErrUnavailable)
	}
	if made.Type != transitType || !made.Derived || made.Exportable || made.PlaintextBackup {
		return fmt.Errorf("%w: vault has an unsuitable key of that name", seal.ErrRefused)
	}
	return nil
}

// orGone answers the error, or that the key is gone where there is none.
func orGone(err error) error {
	if err != nil {
		return err
	}
	return seal.ErrKeyGone
}

// DestroyKey implements seal.Wrapper. The tombstone comes first: a crash after
// it leaves a name that cannot be created again and a key that the next
// DestroyKey deletes.
func (v *Vault) DestroyKey(ctx context.Context, key string) error {
	if err := v.destroyKey(ctx, key); err != nil {
		return fmt.Errorf("keys: destroying key: %w", err)
	}
	return nil
}

func (v *Vault) destroyKey(ctx context.Context, key string) error {
	if err := checkName(key); err != nil {
		return err
	}
	name := v.prefix + key
	if err := v.makeKey(ctx, name+vaultTombstone); err != nil {
		return err
	}
	return v.deleteKey(ctx, name)
}

// Wrap implements seal.Wrapper.
func (v *Vault) Wrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	out, err := v.wrap(ctx, key, items)
	if err != nil {
		return nil, fmt.Errorf("keys: wrapping: %w", err)
	}
	return out, nil
}

// Unwrap implements seal.Wrapper.
func (v *Vault) Unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	out, err := v.unwrap(ctx, key, items)
	if err != nil {
		return nil, fmt.Errorf("keys: unwrapping: %w", err)
	}
	return out, nil
}

// transitType is AES-256-GCM with 96-bit nonces, drawn by Vault.
const transitType = "aes256-gcm96"

// transitKey is what matters of Vault's answer about a key.
type transitKey struct {
	Type            string `json:"type"`
	Derived         bool   `json:"derived"`
	Exportable      bool   `json:"exportable"`
	PlaintextBackup bool   `json:"allow_plaintext_backup"`
	keyVersions
}

// makeKey creates the transit key; one that exists stays as it is.
func (v *Vault) makeKey(ctx context.Context, name string) error {
	body, err := json.Marshal(map[string]any{"type": transitType, "derived": true})
	if err != nil {
		return err
	}
	if err := v.call(ctx, http.MethodPut, "keys/"+name, body, nil); err != nil {
		return vaultFault(ctx, err)
	}
	return nil
}

// readKey answers the transit key, nil if there is none.
func (v *Vault) readKey(ctx context.Context, name string) (*transitKey, error) {
	var answer struct {
		Data transitKey `json:"data"`
	}
	err := v.call(ctx, http.MethodGet, "keys/"+name, nil, &answer)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, vaultFault(ctx, err)
	}
	return &answer.Data, nil
}

func (v *Vault) keyExists(ctx context.Context, name string) (bool, error) {
	key, err := v.readKey(ctx, name)
	return key != nil, err
}

// missing tells the answer for a key that does not exist from all other
// failures: it is the only "not found" that carries no message. An engine that
// is not mounted, or a namespace that is not there, says so in words.
func missing(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound &&
		!answer.RawError && len(answer.Errors) == 0
}

// deleteKey deletes the transit key and all its versions; one that is not there
// is fine, also when another process deletes it meanwhile.
func (v *Vault) deleteKey(ctx context.Context, name string) error {
	if there, err := v.keyExists(ctx, name); err != nil || !there {
		return err
	}
	err := v.call(ctx, http.MethodPut, "keys/"+name+"/config", []byte(`{"deletion_allowed":true}`), nil)
	if err == nil {
		err = v.call(ctx, http.MethodDelete, "keys/"+name, nil, nil)
	}
	if err == nil {
		return nil
	}
	if there, again := v.keyExists(ctx, name); again == nil && !there {
		return nil
	}
	return vaultFault(ctx, err)
}

// explain answers for a batch that Vault did not take: that its key is gone, if
// it is. Vault's own texts and codes for that differ between versions and with
// the caller's permissions; asking for the key does not.
func (v *Vault) explain(ctx context.Context, name string, err error) error {
	fault := vaultFault(ctx, err)
	if !errors.Is(fault, seal.ErrRefused) {
		return fault
	}
	if there, again := v.keyExists(ctx, name); again == nil && !there {
		return seal.ErrKeyGone
	}
	return fault
}

// call makes one request to the transit engine and decodes its answer into out,
// if that is not nil. Errors are the library's own.
func (v *Vault) call(ctx context.Context, method, path string, body []byte, out any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	probe, err := v.breaker.enter()
	if err != nil {
		return err
	}
	err = v.ask(ctx, method, path, body, out)
	var fault error
	if err != nil {
		fault = vaultFault(ctx, err)
	}
	v.breaker.leave(probe, fault, ctx.Err() != nil)
	return err
}

// ask is call without the breaker.
func (v *Vault) ask(ctx context.Context, method, path string, body []byte, out any) error {
	login, err := v.session.ready(ctx)
	if err != nil {
		return err
	}
	err = v.attempt(ctx, method, path, body, out)
	if !isStatus(err, http.StatusForbidden) {
		return err
	}
	// The token may have ended; a new one is worth one more attempt.
	if renewed, again := v.session.again(ctx, login); again != nil {
		return again
	} else if !renewed {
		return err
	}
	return v.attempt(ctx, method, path, body, out)
}

func (v *Vault) attempt(ctx context.Context, method, path string, body []byte, out any) error {
	if strings.HasPrefix(path, decrypting) {
		ctx = ofDecryption(ctx)
	}
	path = v.mount + "/" + path
	var answer *api.Response
	var err error
	switch logical := v.client.Logical(); method {
	case http.MethodPut:
		answer, err = logical.WriteRawWithContext(ctx, path, body)
	case http.MethodDelete:
		answer, err = logical.DeleteRawWithContext(ctx, path)
	default:
		answer, err = logical.ReadRawWithContext(ctx, path)
	}
	if answer != nil {
		defer answer.Body.Close()
	}
	if err != nil {
		return err
	}
	content, err := io.ReadAll(answer.Body)
	defer clear(content)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(content, out)
}
