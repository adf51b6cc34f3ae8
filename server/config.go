package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/wattveil/wattveil/privacy/release"
)

// Config says how a hub runs. Its zero value is not valid; LoadConfig reads one
// from YAML and refuses unknown keys. Relative paths are taken from the
// directory of the file.
type Config struct {
	// Origin is the name of the ledger, a schema-less URL such as
	// "hub.example/ledger". It never changes over the life of a hub.
	Origin string `yaml:"origin"`
	// Store is "sqlite:PATH" or a postgres:// URL.
	Store string `yaml:"store"`
	// Keys names the key service; exactly one of its fields is set.
	Keys KeysConfig `yaml:"keys"`
	// GRPC is the listener for utilities, third parties and operators; mutual
	// TLS always.
	GRPC ListenConfig `yaml:"grpc"`
	// HTTP is the listener for REST, pages, tiles and health. Without a
	// certificate it must listen on a loopback address.
	HTTP ListenConfig `yaml:"http"`
	// PublicURL is where people and programs reach the hub over HTTP, scheme and host,
	// such as "https://hub.example": what third parties are told, and the hub's name in
	// OAuth. Where it is empty, that is the address of the HTTP listener.
	PublicURL string `yaml:"public_url"`
	// Roles that this process runs: some of ingest, release, access, keyguard, ledger
	// and portal; empty means all. Where they are split over processes the store is
	// PostgreSQL and the key service Vault.
	Roles []string `yaml:"roles"`
	// Peers says where the roles of other processes are that this one calls.
	Peers PeersConfig `yaml:"peers"`
	// serveParts opens what parts of the hub ask one another in a process of all roles.
	serveParts bool
	// CatalogueFile declares what is published, see LoadCatalogue; without it, that is
	// the default catalogue.
	CatalogueFile string `yaml:"catalogue"`
	// Catalogue is what CatalogueFile says, or the default.
	Catalogue release.Catalogue `yaml:"-"`
	// Ingest bounds the work on readings.
	Ingest IngestConfig `yaml:"ingest"`
	// Ledger says how the ledger is kept and watched.
	Ledger LedgerConfig `yaml:"ledger"`
	// Erasure says when what is erased has left every copy.
	Erasure ErasureConfig `yaml:"erasure"`
	// Notify says how third parties are told of changes.
	Notify NotifyConfig `yaml:"notify"`
}

// ErasureConfig says when what is erased has left every copy.
type ErasureConfig struct {
	// Journal is a file outside the store that remembers who was erased, so that a
	// restored database is erased again before it serves. LoadConfig makes it
	// erasures beside the configuration file if it is not named; a hub without one
	// says so in its log. Never back it up together with the store.
	Journal string `yaml:"journal"`
	// RotateEvery is how often the key that wraps households' keys is rotated, all
	// that live wrapped anew, and what is older destroyed; seven days if zero.
	RotateEvery time.Duration `yaml:"rotate_every"`
	// RetireAfter is how long older versions of that key stay after everything is
	// wrapped anew, so that a backup of the store can take it in: at least as long as
	// from one backup to the next; 48 hours if zero.
	RetireAfter time.Duration `yaml:"retire_after"`
	// BackupRetention is how long backups of the store are kept, KeyBackupRetention
	// how long those of the key service; 35 days if zero. The hub cannot know, and
	// tells households.
	BackupRetention    time.Duration `yaml:"backup_retention"`
	KeyBackupRetention time.Duration `yaml:"key_backup_retention"`
}

const (
	journalName      = "erasures"
	defaultRotation  = 7 * 24 * time.Hour
	defaultGrace     = 48 * time.Hour
	defaultRetention = 35 * 24 * time.Hour
	longestRetention = 3650 * 24 * time.Hour
)

func (e *ErasureConfig) setDefaults() {
	e.RotateEvery = cmp.Or(e.RotateEvery, defaultRotation)
	e.RetireAfter = cmp.Or(e.RetireAfter, defaultGrace)
	e.BackupRetention = cmp.Or(e.BackupRetention, defaultRetention)
	e.KeyBackupRetention = cmp.Or(e.KeyBackupRetention, defaultRetention)
}

func (e *ErasureConfig) inRange() bool {
	return e.RotateEvery >= time.Hour && e.RotateEvery <= 366*24*time.Hour && e.RetireAfter > 0 && e.RetireAfter < e.RotateEvery &&
		e.BackupRetention > 0 && e.BackupRetention <= longestRetention && e.KeyBackupRetention > 0 && e.KeyBackupRetention <= longestRetention
}

// KeysConfig names the key service.
type KeysConfig struct {
	// Keyring is the directory of a local keyring: for one machine only.
	Keyring string `yaml:"keyring"`
	// Vault is a Vault transit engine.
	Vault *VaultConfig `yaml:"vault"`
}

// VaultConfig reaches a Vault transit engine.
type VaultConfig struct {
	// Address such as "https://vault.example:8200".
	Address string `yaml:"address"`
	// Mount of the transit engine; "transit" if empty.
	Mount string `yaml:"mount"`
	// Prefix of every key's name in Vault; "wattveil-" if empty.
	Prefix string `yaml:"prefix"`
	// Namespace, for servers that have them.
	Namespace string `yaml:"namespace"`
	// CAFile verifies the server; the system's roots if empty.
	CAFile string `yaml:"ca_file"`
	// TokenFile holds a token; or RoleID and SecretIDFile log in by AppRole; or
	// KubernetesRole does by the service account of a pod.
	TokenFile      string `yaml:"token_file"`
	RoleID         string `yaml:"role_id"`
	SecretIDFile   string `yaml:"secret_id_file"`
	KubernetesRole string `yaml:"kubernetes_role"`
	// KubernetesMount is the path of the Kubernetes method; "kubernetes" if empty.
	KubernetesMount string `yaml:"kubernetes_mount"`
	// KubernetesTokenFile holds the service account's token; where a pod finds it if
	// empty.
	KubernetesTokenFile string `yaml:"kubernetes_token_file"`
}

// ListenConfig is one listener.
type ListenConfig struct {
	// Listen is host:port; port 0 picks a free one.
	Listen string `yaml:"listen"`
	// Cert and Key are PEM files of the server's certificate.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA is the PEM file that client certificates are verified with.
	ClientCA string `yaml:"client_ca"`
}

// IngestConfig bounds the work on readings; zero values mean the defaults.
type IngestConfig struct {
	// Committers is how many transactions store readings at once: 2 with
	// PostgreSQL, 1 with SQLite, which has one writer.
	Committers int `yaml:"committers"`
	// MaxMessageBytes bounds one message; 4 MiB if zero.
	MaxMessageBytes int `yaml:"max_message_bytes"`
	// StreamWindow is how many batches of one stream may be under way; 8 if
	// zero.
	StreamWindow int `yaml:"stream_window"`
	// SlowReader is how long an answer may wait for its client to read it before
	// the stream is ended; 30 s if zero.
	SlowReader time.Duration `yaml:"slow_reader"`
	// FutureSlack is how far an interval may end after the hub's clock, at most a
	// day; 5 min if zero.
	FutureSlack time.Duration `yaml:"future_slack"`
}

// ErrConfig says that a configuration is not valid; the wrapped text names the
// key and never its value where that may be a secret.
var ErrConfig = errors.New("server: configuration")

// LoadConfig reads and validates the YAML file at path.
func LoadConfig(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return parseConfig(b, filepath.Dir(path))
}

// ParseConfig parses and validates YAML. Unknown keys, more than one document
// and values out of range are errors.
func ParseConfig(b []byte) (Config, error) { return parseConfig(b, "") }

// parseConfig takes relative paths from a directory, or as they are if it is empty.
func parseConfig(b []byte, dir string) (Config, error) {
	var c Config
	if err := parseYAML(b, &c); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c.setDefaults()
	if dir != "" {
		c.resolve(dir)
	}
	if c.CatalogueFile != "" {
		var err error
		if c.Catalogue, err = LoadCatalogue(c.CatalogueFile); err != nil {
			return Config{}, err
		}
	}
	return c, c.Validate()
}

func parseYAML(b []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		return err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Catalogue.IsZero() {
		c.Catalogue = release.DefaultCatalogue()
	}
	c.Ledger.setDefaults()
	c.Erasure.setDefaults()
	c.Notify.setDefaults()
	in := &c.Ingest
	if in.Committers == 0 {
		in.Committers = 1
		if strings.HasPrefix(c.Store, "postgres") {
			in.Committers = 2
		}
	}
	if in.MaxMessageBytes == 0 {
		in.MaxMessageBytes = 4 << 20
	}
	if in.StreamWindow == 0 {
		in.StreamWindow = 8
	}
	if in.SlowReader == 0 {
		in.SlowReader = 30 * time.Second
	}
	if in.FutureSlack == 0 {
		in.FutureSlack = 5 * time.Minute
	}
}

func badConfig(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, a...))
}

// Validate checks the configuration without touching the file system or the
// network.
func (c *Config) Validate() error {
	if c.Origin == "" || strings.Contains(c.Origin, "://") || strings.ContainsAny(c.Origin, " +\n\t") {
		return badConfig("origin must be a schema-less URL such as hub.example/ledger")
	}
	roles, err := parseRoles(c.Roles)
	if err != nil {
		return badConfig("%s", err)
	}
	if err := c.validateParts(roles); err != nil {
		return err
	}
	if problem := c.Peers.problem(roles); problem != "" {
		return badConfig("%s", problem)
	}
	if err := c.validateDoors(roles); err != nil {
		return err
	}
	if in := c.Ingest; in.Committers < 1 || in.Committers > 64 || in.MaxMessageBytes < 4096 || in.MaxMessageBytes > 64<<20 ||
		in.StreamWindow < 1 || in.StreamWindow > 1024 || in.SlowReader < 0 || in.FutureSlack < 0 || in.FutureSlack > maxFutureSlack {
		return badConfig("ingest: a bound is out of range")
	}
	if strings.HasPrefix(c.Store, "sqlite:") && c.Ingest.Committers > 1 {
		return badConfig("ingest.committers: SQLite has one writer")
	}
	if !c.Erasure.inRange() {
		return badConfig("erasure: a duration is out of range")
	}
	if problem := c.Ledger.problem(); problem != "" {
		return badConfig("%s", problem)
	}
	if problem := c.Notify.problem(); problem != "" {
		return badConfig("%s", problem)
	}
	if err := c.Catalogue.Validate(); err != nil {
		return fmt.Errorf("%w: catalogue: %w", ErrConfig, err)
	}
	return nil
}

// validateParts checks the store and the key service, which a portal alone has not, and
// which other roles alone share with other processes.
func (c *Config) validateParts(roles roleSet) error {
	if !roles.has(recording) {
		if c.Store != "" || c.Keys != (KeysConfig{}) {
			return badConfig("a portal alone has neither store nor keys: it is a client of the others")
		}
		return nil
	}
	switch {
	case strings.HasPrefix(c.Store, "sqlite:") && len(c.Store) > len("sqlite:"):
		if roles != allRoles {
			return badConfig("roles in several processes need PostgreSQL: a SQLite file is for one")
		}
	case strings.HasPrefix(c.Store, "postgres://"), strings.HasPrefix(c.Store, "postgresql://"):
		if _, err := url.Parse(c.Store); err != nil {
			return badConfig("store is not a valid URL")
		}
	default:
		return badConfig("store must be sqlite:PATH or postgres://…")
	}
	if (c.Keys.Keyring == "") == (c.Keys.Vault == nil) {
		return badConfig("keys must name either keyring or vault")
	}
	if roles != allRoles && c.Keys.Vault == nil {
		return badConfig("roles in several processes need Vault: a keyring is for one")
	}
	if problem := c.Keys.Vault.problem(); problem != "" {
		return badConfig("%s", problem)
	}
	if !roles.has(onLedger) && c.Ledger.VerifierKeys == "" {
		return badConfig("ledger.verifier_keys must name the file of the ledger's public keys: another process signs")
	}
	return nil
}

// validateDoors checks the listeners.
func (c *Config) validateDoors(roles roleSet) error {
	if !roles.has(recording) {
		if c.GRPC != (ListenConfig{}) {
			return badConfig("a portal alone answers no gRPC")
		}
	} else if err := c.GRPC.validate("grpc"); err != nil {
		return err
	} else if c.GRPC.Cert == "" || c.GRPC.ClientCA == "" {
		return badConfig("grpc needs cert, key and client_ca: mutual TLS is not optional")
	}
	if err := c.HTTP.validate("http"); err != nil {
		return err
	}
	if c.HTTP.Cert == "" && c.HTTP.ClientCA != "" {
		return badConfig("http.client_ca needs cert and key: without TLS there are no client certificates")
	}
	if others := onAccess | onLedger; roles.has(onPortal) && roles&others != others && c.HTTP.ClientCA != "" {
		return badConfig("http.client_ca: a portal cannot vouch to other parts for who shows a certificate; callers show it where they are answered")
	}
	if !publicURL(c.PublicURL) {
		return badConfig("public_url must be https:// and a host, without a path; http:// only of this machine")
	}
	if c.HTTP.Cert == "" && !loopback(c.HTTP.Listen) {
		return badConfig("http without a certificate must listen on a loopback address")
	}
	return nil
}

// problem says what is wrong with a Vault that is named, or nothing.
func (v *VaultConfig) problem() string {
	if v == nil {
		return ""
	}
	logins := 0
	for _, login := range []string{v.TokenFile, v.RoleID, v.KubernetesRole} {
		if login != "" {
			logins++
		}
	}
	switch {
	case v.Address == "":
		return "keys.vault.address is missing"
	case logins != 1:
		return "keys.vault must have one of token_file, role_id and kubernetes_role"
	case (v.RoleID != "") != (v.SecretIDFile != ""):
		return "keys.vault.role_id and secret_id_file belong together"
	case v.KubernetesRole == "" && (v.KubernetesMount != "" || v.KubernetesTokenFile != ""):
		return "keys.vault.kubernetes_mount and kubernetes_token_file need kubernetes_role"
	}
	return ""
}

// maxFutureSlack is as far ahead as a day's window opens: what lies beyond it
// would be stored and never enter a total.
const maxFutureSlack = 24 * time.Hour

func (l ListenConfig) validate(name string) error {
	if _, _, err := net.SplitHostPort(l.Listen); err != nil {
		return fmt.Errorf("%w: %s.listen must be host:port", ErrConfig, name)
	}
	if (l.Cert == "") != (l.Key == "") {
		return fmt.Errorf("%w: %s.cert and %s.key belong together", ErrConfig, name, name)
	}
	return nil
}

// publicURL accepts a scheme and a host, or nothing.
func publicURL(s string) bool {
	u, err := url.Parse(s)
	if s == "" {
		return true
	}
	if err != nil || u.Host == "" || u.User != nil || s != u.Scheme+"://"+u.Host {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(net.JoinHostPort(u.Hostname(), "0"))
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// resolve makes relative paths relative to dir.
func (c *Config) resolve(dir string) {
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	if path, ok := strings.CutPrefix(c.Store, "sqlite:"); ok && !filepath.IsAbs(path) {
		c.Store = "sqlite:" + filepath.Join(dir, path)
	}
	roles, err := parseRoles(c.Roles)
	if err != nil { // Validate says so
		roles = allRoles
	}
	c.Ledger.resolve(dir, roles)
	if roles.has(onAccess) {
		c.Erasure.Journal = cmp.Or(c.Erasure.Journal, journalName)
	}
	abs(&c.Erasure.Journal)
	abs(&c.Peers.Cert)
	abs(&c.Peers.Key)
	abs(&c.Peers.CA)
	abs(&c.Keys.Keyring)
	abs(&c.CatalogueFile)
	c.Notify.resolve(dir)
	if v := c.Keys.Vault; v != nil {
		abs(&v.CAFile)
		abs(&v.TokenFile)
		abs(&v.SecretIDFile)
		abs(&v.KubernetesTokenFile)
	}
	for _, l := range []*ListenConfig{&c.GRPC, &c.HTTP} {
		abs(&l.Cert)
		abs(&l.Key)
		abs(&l.ClientCA)
	}
}
