package server

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wattveil/wattveil/privacy/release"
)

// valid is the least that a configuration must say.
const valid = `
origin: hub.example/ledger
store: sqlite:hub.db
keys: {keyring: keys}
grpc: {listen: "0.0.0.0:7443", cert: hub.pem, key: hub.key, client_ca: ca.pem}
http: {listen: "127.0.0.1:8080"}
`

// with is the valid configuration with lines put in the place of its own of the
// same key, or after it.
func with(lines ...string) string {
	out := strings.Split(strings.TrimSpace(valid), "\n")
	for _, line := range lines {
		key, _, _ := strings.Cut(line, ":")
		put := false
		for i := range out {
			if strings.HasPrefix(out[i], key+":") {
				out[i], put = line, true
			}
		}
		if !put {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// split is a valid configuration of one role with lines replaced, portalAlone of pages.
func split(lines ...string) string {
	return with(append([]string{
		"roles: [ingest]", "store: postgres://h/d", "keys: {vault: {address: a, token_file: t}}", "ledger: {verifier_keys: k}",
		"peers: {cert: c, key: k, ca: a, release: 'h:1', ledger: 'h:2'}",
	}, lines...)...)
}

func portalAlone(lines ...string) string {
	return with(append([]string{
		"roles: [portal]", "store: ''", "keys: {}", "grpc: {}", "peers: {cert: c, key: k, ca: a, access: 'h:1', release: 'h:2', ledger: 'h:3'}",
	}, lines...)...)
}

// configRefusals is every way in which a configuration can be refused, with a
// part of the words.
var configRefusals = []struct{ name, yaml, words string }{
	{"nothing", "", "EOF"},
	{"no YAML", "origin: [", "yaml"},
	{"an unknown key", with("origins: x"), "origins"},
	{"an unknown key deeper down", with(`http: {listen: "127.0.0.1:1", certificate: x}`), "certificate"},
	{"a key twice", valid + "\norigin: other.example", "already defined"},
	{"two documents", valid + "\n---\norigin: x", "more than one document"},
	{"no origin", with("origin: ''"), "origin must be"},
	{"an origin with a scheme", with("origin: https://hub.example"), "origin must be"},
	{"an origin with a blank", with("origin: 'hub example'"), "origin must be"},
	{"an origin with a plus", with("origin: hub+example"), "origin must be"},
	{"no store", with("store: ''"), "store must be"},
	{"another store", with("store: mysql://x"), "store must be"},
	{"a store without a path", with("store: 'sqlite:'"), "store must be"},
	{"a store that is no URL", with("store: 'postgres://x:%zz@h/d'"), "store is not a valid URL"},
	{"no keys", with("keys: {}"), "keys must name either keyring or vault"},
	{"two key services", with("keys: {keyring: k, vault: {address: a, token_file: t}}"), "keys must name either keyring or vault"},
	{"a vault nowhere", with("keys: {vault: {token_file: t}}"), "keys.vault.address is missing"},
	{"a vault without a login", with("keys: {vault: {address: a}}"), "keys.vault must have one of token_file, role_id and kubernetes_role"},
	{"a vault with two logins", with("keys: {vault: {address: a, token_file: t, role_id: r, secret_id_file: s}}"), "keys.vault must have one of token_file, role_id and kubernetes_role"},
	{"a vault with two other logins", with("keys: {vault: {address: a, token_file: t, kubernetes_role: r}}"), "keys.vault must have one of token_file, role_id and kubernetes_role"},
	{"a pod without a role", with("keys: {vault: {address: a, token_file: t, kubernetes_mount: m}}"), "keys.vault.kubernetes_mount and kubernetes_token_file need kubernetes_role"},
	{"a pod's token without a role", with("keys: {vault: {address: a, token_file: t, kubernetes_token_file: f}}"), "keys.vault.kubernetes_mount and kubernetes_token_file need kubernetes_role"},
	{"half a login", with("keys: {vault: {address: a, role_id: r}}"), "keys.vault.role_id and secret_id_file belong together"},
	{"the other half", with("keys: {vault: {address: a, token_file: t, secret_id_file: s}}"), "keys.vault.role_id and secret_id_file belong together"},
	{"no port", with("grpc: {listen: 0.0.0.0, cert: a, key: b, client_ca: c}"), "grpc.listen must be host:port"},
	{"no port for HTTP", with("http: {listen: localhost}"), "http.listen must be host:port"},
	{"a certificate without its key", with("grpc: {listen: ':1', cert: a, client_ca: c}"), "grpc.cert and grpc.key belong together"},
	{"a key without its certificate", with("http: {listen: ':1', key: a}"), "http.cert and http.key belong together"},
	{"gRPC without TLS", with("grpc: {listen: '127.0.0.1:1'}"), "grpc needs cert, key and client_ca"},
	{"gRPC without clients' certificates", with("grpc: {listen: ':1', cert: a, key: b}"), "grpc needs cert, key and client_ca"},
	{"clients' certificates without TLS", with("http: {listen: '127.0.0.1:1', client_ca: c}"), "http.client_ca needs cert and key"},
	{"HTTP without TLS for all the world", with("http: {listen: '0.0.0.0:80'}"), "http without a certificate must listen on a loopback address"},
	{"HTTP without TLS on every address", with("http: {listen: ':80'}"), "http without a certificate must listen on a loopback address"},
	{"HTTP without TLS on a name", with("http: {listen: 'hub.example:80'}"), "http without a certificate must listen on a loopback address"},
	{"a name without TLS", with("public_url: http://hub.example"), "public_url must be https:// and a host"},
	{"a name with a path", with("public_url: https://hub.example/"), "public_url must be https:// and a host"},
	{"a name that is none", with("public_url: hub.example"), "public_url must be https:// and a host"},
	{"an unknown role", with("roles: [ingest, release, access, keyguard, ledger, web]"), "roles: each is one of ingest, release, access, keyguard, ledger, portal, and named once"},
	{"a role twice", with("roles: [ingest, release, access, keyguard, ledger, portal, portal]"), "roles: each is one of"},
	{"a role in capitals", with("roles: [Ingest]"), "roles: each is one of"},
	{"one role over SQLite", with("roles: [ingest]"), "roles in several processes need PostgreSQL"},
	{"one role with a keyring", split("keys: {keyring: k}"), "roles in several processes need Vault"},
	{"one role that believes in no ledger", split("ledger: {}"), "ledger.verifier_keys must name the file"},
	{"one role alone in the world", split("peers: {}"), "peers.release must be host:port"},
	{"one role without who signs", split("peers: {cert: c, key: k, ca: a, release: 'h:1'}"), "peers.ledger must be host:port"},
	{"a part that is not called", split("peers: {cert: c, key: k, ca: a, release: 'h:1', ledger: 'h:2', keyguard: 'h:3'}"), "peers.keyguard: this process has no call for that part"},
	{"a part that is here", with("peers: {ledger: 'h:1'}"), "peers.ledger: this process has no call for that part"},
	{"parts without certificates", split("peers: {release: 'h:1', ledger: 'h:2'}"), "peers needs cert, key and ca"},
	{"certificates for nobody", with("peers: {cert: c, key: k, ca: a}"), "peers needs cert, key and ca"},
	{"a portal with a store", portalAlone("store: postgres://h/d"), "a portal alone has neither store nor keys"},
	{"a portal with keys", portalAlone("keys: {keyring: k}"), "a portal alone has neither store nor keys"},
	{"a portal with gRPC", portalAlone("grpc: {listen: ':1', cert: a, key: b, client_ca: c}"), "a portal alone answers no gRPC"},
	{"a portal that vouches", portalAlone("http: {listen: ':1', cert: a, key: b, client_ca: c}"), "http.client_ca: a portal cannot vouch"},
	{"too many committers", with("store: postgres://h/d", "ingest: {committers: 65}"), "ingest: a bound is out of range"},
	{"less than no committer", with("ingest: {committers: -1}"), "ingest: a bound is out of range"},
	{"messages that are too small", with("ingest: {max_message_bytes: 1000}"), "ingest: a bound is out of range"},
	{"messages that are too large", with("ingest: {max_message_bytes: 100000000}"), "ingest: a bound is out of range"},
	{"a window without end", with("ingest: {stream_window: 5000}"), "ingest: a bound is out of range"},
	{"less than no window", with("ingest: {stream_window: -1}"), "ingest: a bound is out of range"},
	{"less than no patience", with("ingest: {slow_reader: -1s}"), "ingest: a bound is out of range"},
	{"less than no slack", with("ingest: {future_slack: -1s}"), "ingest: a bound is out of range"},
	{"days ahead", with("ingest: {future_slack: 25h}"), "ingest: a bound is out of range"},
	{"no duration", with("ingest: {slow_reader: soon}"), "yaml"},
	{"two committers on SQLite", with("ingest: {committers: 2}"), "ingest.committers: SQLite has one writer"},
	{"a catalogue that is not there", with("catalogue: /nowhere/catalogue.yaml"), "catalogue"},
	{"keys that never rest", with("erasure: {rotate_every: 1m}"), "erasure: a duration is out of range"},
	{"keys that rest for ever", with("erasure: {rotate_every: 9000h}"), "erasure: a duration is out of range"},
	{"backups that are kept for less than no time", with("erasure: {backup_retention: -1h}"), "erasure: a duration is out of range"},
	{"key backups that are kept for ever", with("erasure: {key_backup_retention: 1000000h}"), "erasure: a duration is out of range"},
	{"map heads without pause", with("ledger: {map_every: 1ms}"), "ledger.map_every must be between"},
	{"another demand", with("ledger: {release_requires: believed}"), "ledger.release_requires must be signed or cosigned"},
	{"cosigned by nobody", with("ledger: {release_requires: cosigned}"), "needs ledger.policy"},
	{"copies without pause", with("ledger: {export: public, export_every: 1ms}"), "ledger.export_every must be between"},
	{"reads that wait for ever", with("ledger: {cosign_timeout: 1h}"), "ledger.cosign_timeout must be between"},
	{"ledger's keys without overlap", with("ledger: {key_overlap: 1m}"), "ledger.key_overlap must be between"},
	{"sweeps without pause", with("notify: {sweep_every: 1s}"), "notify.sweep_every must be between"},
	{"sweeps that never come", with("notify: {sweep_every: 25h}"), "notify.sweep_every must be between"},
	{"notifications that are kept too short", with("notify: {keep: 24h}"), "notify.keep must be between"},
	{"notifications that are kept for ever", with("notify: {keep: 9000h}"), "notify.keep must be between"},
	{"receivers that are given up at once", with("notify: {give_up_after: 1s}"), "notify.give_up_after must be at least"},
	{"calls without time", with("notify: {timeout: 1ms}"), "notify.timeout must be between"},
	{"calls without end", with("notify: {timeout: 2m}"), "notify.timeout must be between"},
	{"no calls", with("notify: {calls: -1}"), "notify.calls must be between"},
	{"too many calls", with("notify: {calls: 5000}"), "notify.calls must be between"},
	{"a port that is none", with("notify: {ports: [0]}"), "notify.ports must be ports"},
	{"a port beyond all", with("notify: {ports: [70000]}"), "cannot"},
	{"a network that is none", with("notify: {allow_networks: [10.0.0.1]}"), "notify.allow_networks must be networks"},
	{"a network with more bits than it says", with("notify: {allow_networks: [10.0.0.1/8]}"), "notify.allow_networks must be networks"},
	{"keys of notifications without overlap", with("notify: {key_overlap: 1m}"), "notify.key_overlap must be at least"},
	{"keys of notifications that overlap for life", with("notify: {key_lifetime: 48h, key_overlap: 48h}"), "notify.key_overlap must be at least"},
	{"ledger's keys that overlap for ever", with("ledger: {key_overlap: 9000h}"), "ledger.key_overlap must be between"},
	{"a witness that is not known here", with("ledger: {witness: w}"), "witness"},
}

func TestConfigRefusals(t *testing.T) {
	for _, c := range configRefusals {
		_, err := ParseConfig([]byte(c.yaml))
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, yaml := range []string{valid, split(), portalAlone(), with("public_url: https://hub.example"), with("public_url: http://127.0.0.1:8080")} {
		if _, err := ParseConfig([]byte(yaml)); err != nil {
			t.Errorf("a valid one: %v", err)
		}
	}
}

// Every refusal that the code knows has a row above.
func TestConfigRefusalsAreWhole(t *testing.T) {
	code, err := os.ReadFile("config.go")
	ok(t, err)
	found := regexp.MustCompile(`(?:badConfig\("|Errorf\("%w: |return ")([^"]{8,})"`).FindAllStringSubmatch(string(code), -1)
	if len(found) < 16 {
		t.Fatalf("%d refusals found in the code", len(found))
	}
	var rows strings.Builder
	for _, c := range configRefusals {
		_, err := ParseConfig([]byte(c.yaml))
		rows.WriteString(err.Error() + "\n")
	}
	for _, f := range found {
		words, _, _ := strings.Cut(f[1], "%") // before what is filled in
		if words == "" {
			words = f[1][strings.LastIndex(f[1], "%")+2:]
		}
		if !strings.Contains(rows.String(), strings.TrimSpace(words)) {
			t.Errorf("no row is refused with %q", f[1])
		}
	}
}

// An error names a key and not what it holds where that may be a secret.
func TestConfigErrorsKeepSecrets(t *testing.T) {
	for _, yaml := range []string{
		with("store: 'postgres://u:hunter2@h:x/d'"), with("store: 'mysql://u:hunter2@h/d'"), with("store: 'postgres://u:hunter2%zz@h/d'"),
		with("keys: {vault: {address: 'https://u:hunter2@v', token_file: a, role_id: b}}"),
	} {
		if _, err := ParseConfig([]byte(yaml)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

// What is not said has the documented default.
func TestConfigDefaults(t *testing.T) {
	c, err := ParseConfig([]byte(valid))
	ok(t, err)
	if in := c.Ingest; in.Committers != 1 || in.MaxMessageBytes != 4<<20 || in.StreamWindow != 8 || in.SlowReader != 30*time.Second || in.FutureSlack != 5*time.Minute {
		t.Errorf("ingest %+v", in)
	}
	if n, want := c.Notify, (NotifyConfig{
		SweepEvery: 5 * time.Minute, Keep: 720 * time.Hour, GiveUpAfter: 72 * time.Hour, Timeout: 10 * time.Second, Calls: 128, Ports: []uint16{443, 8443}, KeyLifetime: 4320 * time.Hour, KeyOverlap: 168 * time.Hour,
	}); !reflect.DeepEqual(n, want) {
		t.Errorf("notify %+v", n)
	}
	if !reflect.DeepEqual(c.Catalogue, release.DefaultCatalogue()) {
		t.Errorf("catalogue %+v", c.Catalogue)
	}
	if l := c.Ledger; l.MapEvery != 2*time.Second || l.ReleaseRequires != "signed" || l.ExportEvery != 10*time.Second || l.CosignTimeout != 5*time.Second || l.Policy != "" || l.Export != "" {
		t.Errorf("ledger %+v", l)
	}
	c, err = ParseConfig([]byte(with("store: postgres://h/d", "roles: [portal, ledger, keyguard, access, release, ingest]")))
	ok(t, err)
	if c.Ingest.Committers != 2 {
		t.Errorf("%d committers on PostgreSQL", c.Ingest.Committers)
	}
}

// Relative paths are of the file's directory, absolute ones stay.
func TestConfigPaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hub.yaml")
	ok(t, os.WriteFile(path, []byte(with("keys: {vault: {address: a, ca_file: ca, role_id: r, secret_id_file: /s}}", "ledger: {policy: policy, export: /public}", "notify: {ca_file: receivers.pem}")), 0o600))
	c, err := LoadConfig(path)
	ok(t, err)
	for got, want := range map[string]string{
		c.Store: "sqlite:" + filepath.Join(dir, "hub.db"), c.GRPC.Cert: filepath.Join(dir, "hub.pem"), c.GRPC.Key: filepath.Join(dir, "hub.key"),
		c.GRPC.ClientCA: filepath.Join(dir, "ca.pem"), c.Keys.Vault.CAFile: filepath.Join(dir, "ca"), c.Keys.Vault.SecretIDFile: "/s", c.HTTP.Cert: "",
		c.Notify.CAFile:      filepath.Join(dir, "receivers.pem"),
		c.Ledger.SelfWitness: filepath.Join(dir, "ledger.witness"), c.Ledger.Policy: filepath.Join(dir, "policy"), c.Ledger.Export: "/public",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	ok(t, os.WriteFile(path, []byte(with("keys: {vault: {address: a, kubernetes_role: r, kubernetes_mount: m, kubernetes_token_file: f}}")), 0o600))
	c, err = LoadConfig(path)
	ok(t, err)
	if v := c.Keys.Vault; v.KubernetesRole != "r" || v.KubernetesMount != "m" || v.KubernetesTokenFile != filepath.Join(dir, "f") {
		t.Errorf("a pod's login %+v", v)
	}
	if _, err := LoadConfig(filepath.Join(dir, "none")); !errors.Is(err, ErrConfig) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// The sample of the documentation is a valid configuration, and so is what it
// shows in comments as the other choice.
func TestExampleConfig(t *testing.T) {
	text, err := os.ReadFile("../docs/hub.example.yaml")
	ok(t, err)
	t.Chdir("../docs")
	c, err := ParseConfig(text)
	ok(t, err)
	if c.Keys.Vault == nil || c.HTTP.Cert == "" || c.Origin != "hub.example/ledger" {
		t.Errorf("the sample says something else: %s", c.Origin)
	}
	if !strings.Contains(string(text), "# roles:") {
		t.Fatal("the sample does not show roles")
	}
	if _, err := ParseConfig([]byte(strings.Replace(string(text), "# roles:", "roles:", 1))); err != nil {
		t.Errorf("with its roles: %v", err)
	}
	if c.Ledger.SelfWitness != "/var/lib/wattveil-witness/ledger.witness" || c.Ledger.Policy != "" {
		t.Errorf("the sample's ledger: %+v", c.Ledger)
	}
	cosigned := strings.NewReplacer("release_requires: signed ", "release_requires: cosigned ", "# policy:", "policy:", "# export:", "export:").Replace(string(text))
	if c, err = ParseConfig([]byte(cosigned)); err != nil || c.Ledger.ReleaseRequires != "cosigned" || c.Ledger.Policy == "" || c.Ledger.Export == "" {
		t.Errorf("with witnesses: %v", err)
	}
}
