package server

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What docs/split has for operators is held here against the program: nothing of it runs
// in these tests, but what it says of parts, names, ports and files is true.
const splitDocs = "../docs/split"

// splitConfigs loads the configuration of each part.
func splitConfigs(t *testing.T) map[string]Config {
	t.Helper()
	configs := map[string]Config{}
	for _, r := range inOrder {
		c, err := LoadConfig(filepath.Join(splitDocs, string(r.name)+".yaml"))
		ok(t, err)
		if len(c.Roles) != 1 || c.Roles[0] != string(r.name) {
			t.Errorf("%s.yaml has the roles %q", r.name, c.Roles)
		}
		configs[string(r.name)] = c
	}
	return configs
}

// The six configurations are valid, name every role once, and fit one another: each calls
// the others where they listen, as itself, and believes one ledger. They have no port
// twice, so that one machine can run all. It would catch a key that a new version demands,
// a part that calls another's door, and one that logs in as another.
func TestSplitConfigs(t *testing.T) {
	configs := splitConfigs(t)
	ports := map[string]string{}
	for name, c := range configs {
		for _, l := range []ListenConfig{c.GRPC, c.HTTP} {
			if _, port, err := net.SplitHostPort(l.Listen); err == nil {
				if ports[port] != "" {
					t.Errorf("%s and %s listen on %s", name, ports[port], port)
				}
				ports[port] = name
			}
		}
		if c.Origin != configs["ledger"].Origin {
			t.Errorf("%s has the origin %s", name, c.Origin)
		}
		for _, r := range inOrder {
			host, port, err := net.SplitHostPort(c.Peers.address(r.set))
			if err != nil {
				continue // LoadConfig has seen to those that are needed
			}
			if _, there, err := net.SplitHostPort(configs[host].GRPC.Listen); host != string(r.name) || err != nil || there != port {
				t.Errorf("%s looks for %s at %s:%s", name, r.name, host, port)
			}
		}
		if name == string(inOrder[len(inOrder)-1].name) {
			continue // a portal has neither database nor key service
		}
		u, err := url.Parse(c.Store)
		ok(t, err)
		if u.User.Username() != "hub_"+name || u.Query().Get("sslmode") != "verify-full" {
			t.Errorf("%s uses the database as %s, %s", name, u.User, u.Query())
		}
		if v := c.Keys.Vault; v.RoleID != "wattveil-"+name || v.Mount != configs["ledger"].Keys.Vault.Mount || v.Prefix != "" {
			t.Errorf("%s uses the key service as %+v", name, *v)
		}
		if want := "/var/lib/wattveil/" + name + "/ledger.vkey"; c.Ledger.VerifierKeys != want {
			t.Errorf("%s believes the keys in %s, want %s", name, c.Ledger.VerifierKeys, want)
		}
	}
	if a, w := configs["access"].Erasure.Journal, configs["ledger"].Ledger.SelfWitness; !strings.HasPrefix(a, "/var/lib/wattveil/access/") || !strings.HasPrefix(w, "/var/lib/wattveil/ledger/") {
		t.Errorf("what outlives the database is in %s and %s", a, w)
	}
}

// compose is what matters here of a compose file.
type compose struct {
	Services map[string]composeService
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
}

type composeService struct {
	Build                    struct{ Context, Dockerfile string }
	User, Image, Restart     string
	Command, Networks, Ports []string
	Volumes                  []string
	ReadOnly                 bool     `yaml:"read_only"`
	CapDrop                  []string `yaml:"cap_drop"`
	SecurityOpt              []string `yaml:"security_opt"`
	Ulimits                  map[string]int
	MemLimit                 string                                `yaml:"mem_limit"`
	MemswapLimit             string                                `yaml:"memswap_limit"`
	DependsOn                map[string]struct{ Condition string } `yaml:"depends_on"`
}

func composeFile(t *testing.T) compose {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(splitDocs, "compose.yaml"))
	ok(t, err)
	var c compose
	ok(t, yaml.Unmarshal(text, &c))
	return c
}

func (c compose) together(a, b string) bool {
	return slices.ContainsFunc(c.Services[a].Networks, func(n string) bool { return slices.Contains(c.Services[b].Networks, n) })
}

// The compose file has a service for each part, which reaches what it calls and, where it
// matters, nothing else; only doors for callers from outside are published. It would catch
// a portal beside the database, and a keyguard that the world can knock at.
func TestComposeNetworks(t *testing.T) {
	c, configs := composeFile(t), splitConfigs(t)
	const database, keyService = "postgres", "vault"
	for _, r := range inOrder {
		name := string(r.name)
		for _, other := range inOrder {
			if needs[r.set].has(other.set) && !c.together(name, string(other.name)) {
				t.Errorf("%s does not reach %s", name, other.name)
			}
		}
		for _, s := range []string{database, keyService} {
			if r.set.has(recording) != c.together(name, s) {
				t.Errorf("%s reaches %s: %t", name, s, c.together(name, s))
			}
		}
	}
	if c.together("portal", "keyguard") {
		t.Error("the portal reaches the keyguard, which has nothing for it")
	}
	published := map[string][]string{ // by what may be called from outside
		"ingest": {port(configs["ingest"].GRPC)}, "access": {port(configs["access"].GRPC), port(configs["access"].HTTP)},
		"ledger": {port(configs["ledger"].GRPC), port(configs["ledger"].HTTP)}, "portal": {port(configs["portal"].HTTP)},
	}
	for name, s := range c.Services {
		var want []string
		for _, p := range published[name] {
			want = append(want, p+":"+p)
		}
		if name == "keyguard" { // for the operator, on the machine itself
			p := port(configs[name].GRPC)
			want = []string{"127.0.0.1:" + p + ":" + p}
		}
		if !slices.Equal(s.Ports, want) {
			t.Errorf("%s publishes %q, want %q", name, s.Ports, want)
		}
		for _, n := range s.Networks {
			if _, there := c.Networks[n]; !there {
				t.Errorf("%s is on the network %s, which is none", name, n)
			}
			if !c.Networks[n].Internal && len(s.Ports) == 0 {
				t.Errorf("%s has no door to the outside and a way there", name)
			}
		}
		for on := range s.DependsOn {
			if _, there := c.Services[on]; !there {
				t.Errorf("%s waits for %s, which is none", name, on)
			}
		}
	}
}

func port(l ListenConfig) string {
	_, port, _ := net.SplitHostPort(l.Listen)
	return port
}

// Containers of parts write nowhere but where they keep something, gain no privilege, leave
// no memory on disk, and run as users of their own, whom README.md gives their files; and
// every file that the compose file names is there, but for those that README.md makes.
func TestComposeContainers(t *testing.T) {
	c := composeFile(t)
	readme, err := os.ReadFile(filepath.Join(splitDocs, "README.md"))
	ok(t, err)
	users := map[string]string{}
	parts := []string{"migrate"}
	for _, r := range inOrder {
		parts = append(parts, string(r.name))
	}
	for _, name := range parts {
		s, there := c.Services[name]
		if !there {
			t.Errorf("no service %s", name)
			continue
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") ||
			s.Ulimits["core"] != 0 || len(s.Ulimits) == 0 || s.MemLimit == "" || s.MemswapLimit != s.MemLimit || s.Restart == "" {
			t.Errorf("%s is not held as the others are: %+v", name, s)
		}
		id, _, _ := strings.Cut(s.User, ":")
		if s.User != id+":"+id || id == "0" || users[id] != "" || !strings.Contains(string(readme), "["+name+"]="+id) {
			t.Errorf("%s runs as %s", name, s.User)
		}
		users[id] = name
		for _, volume := range s.Volumes {
			from, to, _ := strings.Cut(volume, ":")
			if kept := from == "./state/"+name && to == "/var/lib/wattveil/"+name; !kept && (from != "./private/"+name || to != "/etc/wattveil:ro") {
				t.Errorf("%s has %s", name, volume)
			}
		}
		if _, err := os.Stat(filepath.Join(splitDocs, s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s is built from %s: %v", name, s.Build.Dockerfile, err)
		}
	}
	for name, s := range c.Services {
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			switch _, named := c.Volumes[from]; {
			case named, strings.HasPrefix(from, "./private/"), strings.HasPrefix(from, "./state/"):
			default:
				if _, err := os.Stat(filepath.Join(splitDocs, from)); err != nil {
					t.Errorf("%s has %s: %v", name, from, err)
				}
			}
		}
	}
}

// README.md says of each file here what it is for, and its links lead somewhere; an image is
// not built from all that lies here. It would catch a file that nobody is told of, and keys
// in the layers of an image.
func TestSplitReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(splitDocs, "README.md"))
	ok(t, err)
	readme := string(text)
	files, err := os.ReadDir(splitDocs)
	ok(t, err)
	for _, f := range files {
		part := strings.HasSuffix(f.Name(), ".yaml") && f.Name() != "compose.yaml"
		if f.Name() != "README.md" && !strings.HasPrefix(f.Name(), "Dockerfile") && !part && !strings.Contains(readme, f.Name()) {
			t.Errorf("README.md says nothing of %s", f.Name())
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(readme, -1) {
		file, anchor, _ := strings.Cut(link[1], "#")
		page, err := os.ReadFile(filepath.Join(splitDocs, file))
		if err != nil {
			t.Errorf("README.md leads to %s: %v", file, err)
		}
		if heading := regexp.MustCompile(`(?im)^#+ ` + strings.ReplaceAll(anchor, "-", "[ -]") + `$`); anchor != "" && !heading.Match(page) {
			t.Errorf("README.md leads to %s, which has no %s", file, anchor)
		}
	}
	ignored, err := os.ReadFile(filepath.Join(splitDocs, "Dockerfile.dockerignore"))
	ok(t, err)
	if !slices.Contains(strings.Fields(string(ignored)), "docs") {
		t.Error("an image is built from what lies here, keys included")
	}
}

// unit returns the settings of a unit's file, each with its values in order.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(splitDocs, name))
	ok(t, err)
	settings := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(key, "#") {
			settings[key] = append(settings[key], value)
		}
	}
	return settings
}

// The unit gives a part what its configuration names, as credentials beside it or where it
// keeps state, and takes away what a part has no use for. It would catch a file that is
// named in a configuration and that the process does not see.
func TestUnit(t *testing.T) {
	service := unit(t, "wattveil@.service")
	for key, want := range map[string]string{
		"User": "wattveil-%i", "LimitCORE": "0", "MemorySwapMax": "0", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "Restart": "on-failure",
		"CapabilityBoundingSet": "", "StateDirectory": "wattveil/%i", "ExecStart": "/usr/local/bin/wattveil serve --config ${CREDENTIALS_DIRECTORY}/hub.yaml",
	} {
		if !slices.Equal(service[key], []string{want}) {
			t.Errorf("%s is %q, want %q", key, service[key], want)
		}
	}
	credentials := map[string]bool{}
	for _, c := range service["LoadCredential"] {
		id, from, _ := strings.Cut(c, ":")
		credentials[id] = true
		if from != "/etc/wattveil/%i/"+id && from != "/etc/wattveil/"+id {
			t.Errorf("%s is loaded from %s", id, from)
		}
	}
	for name, c := range splitConfigs(t) {
		files := []string{c.GRPC.Cert, c.GRPC.Key, c.GRPC.ClientCA, c.HTTP.Cert, c.HTTP.Key, c.HTTP.ClientCA, c.Peers.Cert, c.Peers.Key, c.Peers.CA}
		if v := c.Keys.Vault; v != nil {
			files = append(files, v.CAFile, v.SecretIDFile)
		}
		for _, file := range files {
			if beside, found := strings.CutPrefix(file, splitDocs+"/"); file != "" && (!found || !credentials[beside]) {
				t.Errorf("%s names %s, which is no credential", name, file)
			}
		}
		for _, file := range []string{c.Ledger.VerifierKeys, c.Ledger.SelfWitness, c.Erasure.Journal} {
			if file != "" && filepath.Dir(file) != "/var/lib/wattveil/"+name {
				t.Errorf("%s keeps %s", name, file)
			}
		}
	}
	before := strings.Fields(strings.Join(unit(t, "ledger-first.conf")["Before"], " "))
	for _, r := range inOrder {
		if slices.Contains(before, "wattveil@"+string(r.name)+".service") != (r.set != onLedger) {
			t.Errorf("the ledger starts before %q", before)
		}
	}
}

// systemd itself takes the units, without a word.
func TestUnitsVerify(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("NOT TESTED: this machine has no systemd-analyze to verify the units of docs/split with")
	}
	dir := t.TempDir()
	self, err := os.Executable() // as the program that is installed
	ok(t, err)
	args := []string{"verify", "--man=no"}
	for _, name := range []string{"wattveil@.service", "wattveil.target"} {
		text, err := os.ReadFile(filepath.Join(splitDocs, name))
		ok(t, err)
		args = append(args, filepath.Join(dir, name))
		ok(t, os.WriteFile(args[len(args)-1], []byte(strings.ReplaceAll(string(text), "/usr/local/bin/wattveil", self)), 0o600))
	}
	dropIn := filepath.Join(dir, "wattveil@ledger.service.d")
	ok(t, os.Mkdir(dropIn, 0o700))
	text, err := os.ReadFile(filepath.Join(splitDocs, "ledger-first.conf"))
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dropIn, "first.conf"), text, 0o600))
	args = append(args, filepath.Join(dir, "wattveil@ledger.service"))
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=warning")
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("systemd-analyze %s: %v\n%s", fmt.Sprint(args), err, said)
	}
}
