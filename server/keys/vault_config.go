package keys

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// VaultConfig says where a Vault is and who calls it. Its zero value takes all
// it can from the environment variables that every Vault client reads; no other
// variable counts, and VAULT_SKIP_VERIFY in particular is never honoured.
//
// At most one of Token, TokenFile, AppRole and Kubernetes is set; with none, the token is
// VAULT_TOKEN. Any token is renewed before it ends, where Vault allows that.
type VaultConfig struct {
	Address   string // "https://host:8200"; http only to a loopback address. Empty: VAULT_ADDR
	Namespace string // of Vault Enterprise or OpenBao. Empty: VAULT_NAMESPACE
	CAFile    string // PEM certificates to trust instead of the system's. Empty: VAULT_CACERT

	Mount  string // path of the transit engine, best one of its own. Empty: "transit"
	Prefix string // of every key's name in Vault, [a-z0-9-]; two hubs on one mount need two. Empty: "wattveil-"

	Token      Secret     // a token
	TokenFile  string     // file with a token, read again when it is renewed, and when Vault refuses the one in hand
	AppRole    AppRole    // log in as a machine, again when the token ends
	Kubernetes Kubernetes // log in as a pod, likewise

	Timeout   time.Duration // of one attempt, answer included. Zero: 10 s
	Retries   int           // attempts after the first, for what may pass (see seal.ErrUnavailable). Zero: 3; negative: none
	RetryWait time.Duration // before the first retry, at least; later ones wait longer. Zero: 250 ms

	BreakAfter int           // calls in a row that find no Vault, after which calls are turned away with seal.ErrUnavailable. Zero: 5; negative: never
	BreakFor   time.Duration // until one call is let through to see. Zero: 5 s

	Now func() time.Time // the clock
}

// Secret is a string that no log and no error prints.
type Secret string

const redacted = "[redacted]"

// String hides the secret.
func (Secret) String() string { return redacted }

// Format hides the secret from every verb of fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText hides the secret from encoding/json, log/slog and their like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const (
	defaultMount     = "transit"
	defaultPrefix    = "wattveil-"
	defaultTimeout   = 10 * time.Second
	defaultRetries   = 3
	defaultRetryWait = 250 * time.Millisecond

	defaultBreakAfter = 5
	defaultBreakFor   = 5 * time.Second

	// maxAnswer bounds what is read of one answer, in bytes: a full batch of
	// full secrets needs a quarter of it.
	maxAnswer = 32 << 20
)

var (
	mountPath = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)
	keyPrefix = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
)

// NewVault makes a client of the Vault that c names. It checks the
// configuration and reads the files it names, but does not call Vault: whether
// it answers is for the first call to find out.
func NewVault(c VaultConfig) (*Vault, error) {
	v, err := newVault(c)
	if err != nil {
		return nil, fmt.Errorf("keys: configuring vault: %w", err)
	}
	return v, nil
}

func newVault(c VaultConfig) (*Vault, error) {
	address := cmp.Or(c.Address, os.Getenv(api.EnvVaultAddress))
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	mount := strings.Trim(cmp.Or(c.Mount, defaultMount), "/")
	if !mountPath.MatchString(mount) {
		return nil, errors.New("malformed mount path")
	}
	prefix := cmp.Or(c.Prefix, defaultPrefix)
	if !keyPrefix.MatchString(prefix) {
		return nil, errors.New("malformed key prefix, want [a-z0-9-]")
	}
	transport, err := newTransport(cmp.Or(c.CAFile, os.Getenv(api.EnvVaultCACert)))
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		return nil, errors.New("no clock")
	}
	wait := max(cmp.Or(c.RetryWait, defaultRetryWait), 0)
	config := api.Config{
		Address: address,
		HttpClient: &http.Client{
			Transport: transport,
			Timeout:   cmp.Or(c.Timeout, defaultTimeout),
			// The library follows one redirect itself, from a standby to the
			// active server, and never from https to http.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		MaxRetries:   max(cmp.Or(c.Retries, defaultRetries), 0),
		MinRetryWait: wait, // times the number of the retry, jittered up to MaxRetryWait
		MaxRetryWait: 2 * wait,
	}
	client, err := newClient(&config, cmp.Or(c.Namespace, os.Getenv(api.EnvVaultNamespace)))
	if err != nil {
		return nil, err
	}
	health, err := newClient(client.CloneConfig(), "")
	if err != nil {
		return nil, err
	}
	health.SetMaxRetries(0)
	session, err := newSession(client, c)
	if err != nil {
		return nil, err
	}
	return &Vault{
		client: client, health: health, session: session, mount: mount, prefix: prefix,
		breaker: &breaker{now: c.Now, limit: cmp.Or(c.BreakAfter, defaultBreakAfter), pause: cmp.Or(c.BreakFor, defaultBreakFor)},
	}, nil
}

// newClient makes a client without a token.
func newClient(config *api.Config, namespace string) (*api.Client, error) {
	client, err := api.NewClient(config)
	if err != nil {
		return nil, errors.New("client library refuses the configuration or the environment")
	}
	// The library has taken VAULT_TOKEN, VAULT_NAMESPACE and VAULT_HEADERS by itself.
	client.ClearToken()
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	if namespace != "" {
		client.SetNamespace(namespace)
	}
	return client, nil
}

// checkAddress keeps the token off the wire in plain.
func checkAddress(address string) error {
	if address == "" {
		return errors.New("no address")
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return errors.New("malformed address, want https://host:port")
	}
	if u.Scheme == "https" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return errors.New("address must be https, or http to this machine")
}

// newTransport trusts the certificates in caFile, or the system's when it is
// empty, and reads no answer beyond maxAnswer.
func newTransport(caFile string) (http.RoundTripper, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("reading CA file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("reading CA file: no certificate in it")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return auditTransport{boundedTransport{transport}}, nil
}

type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(r)
	if answer != nil && answer.Body != nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}
