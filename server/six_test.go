package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// six is a hub whose roles are six hubs of this process, each with its own database user
// and certificate.
type six struct {
	t     *testing.T
	dir   string
	ca    *authority
	clock *clock
	keys  *fragile
	owner string
	urls  map[store.Role]string
	hubs  map[store.Role]*Hub
	grpc  map[store.Role]string
	stops map[store.Role]func()
	log   *logbook
	// change is made to the configuration of every part.
	change func(*Config)
}

var sixOrder = []store.Role{store.RoleLedger, store.RoleKeyguard, store.RoleRelease, store.RoleIngest, store.RoleAccess, store.RolePortal}

var sixNeeds = map[store.Role][]store.Role{
	store.RoleKeyguard: {store.RoleLedger}, store.RoleRelease: {store.RoleLedger}, store.RoleIngest: {store.RoleRelease, store.RoleLedger},
	store.RoleAccess: {store.RoleKeyguard, store.RoleLedger}, store.RolePortal: {store.RoleAccess, store.RoleRelease, store.RoleLedger},
}

func newSix(t *testing.T) *six { return newSixWith(t, func(*Config) {}) }

func newSixWith(t *testing.T, change func(*Config)) *six {
	t.Helper()
	s := &six{t: t, change: change, dir: t.TempDir(), ca: newAuthority(t), clock: &clock{}, urls: map[store.Role]string{}, hubs: map[store.Role]*Hub{}, grpc: map[store.Role]string{}, stops: map[store.Role]func(){}, log: &logbook{}}
	s.clock.set(morning)
	s.owner = pgtest.Database(t)
	groups, err := os.ReadFile("../docs/roles.sql")
	ok(t, err)
	pgtest.Run(t, s.owner, string(groups))
	o, err := store.Open(t.Context(), s.owner, store.Options{Migrate: true})
	ok(t, err)
	ok(t, o.Close())
	ring, err := keys.OpenKeyring(filepath.Join(s.dir, "keys"), rand.Reader)
	ok(t, err)
	t.Cleanup(func() { _ = ring.Close() })
	s.keys = &fragile{KeyService: ring}
	for _, r := range sixOrder {
		if r != store.RolePortal {
			s.urls[r] = pgtest.User(t, s.owner, r.Group())
		}
		s.start(r)
	}
	return s
}

// peerFiles writes the certificate that shows the roles.
func (s *six) peerFiles(name string, roles ...store.Role) (cert, key string) {
	tmpl := template()
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, r := range roles {
		tmpl.URIs = append(tmpl.URIs, CertificateURI("role", string(r)))
	}
	c, k := s.ca.issue(s.t, tmpl)
	cert, key = filepath.Join(s.dir, name+"-peer.pem"), filepath.Join(s.dir, name+"-peer.key")
	ok(s.t, os.WriteFile(cert, c, 0o600))
	ok(s.t, os.WriteFile(key, k, 0o600))
	return cert, key
}

func (s *six) config(name string, dbURL string, roles []store.Role, needs []store.Role) Config {
	dir := filepath.Join(s.dir, name)
	ok(s.t, os.MkdirAll(dir, 0o700))
	c := Config{Origin: "hub.test/ledger", HTTP: ListenConfig{Listen: "127.0.0.1:0"}}
	alone := true
	for _, r := range roles {
		c.Roles = append(c.Roles, string(r))
		alone = alone && r == store.RolePortal
	}
	l := s.ca.serverFiles(s.t, dir, roles...)
	if !alone {
		c.GRPC, c.Store = l, dbURL
		c.Keys = KeysConfig{Vault: &VaultConfig{Address: "https://127.0.0.1:1", TokenFile: "x"}}
		c.Ledger.VerifierKeys = filepath.Join(s.dir, "ledger.vkey")
	}
	if len(needs) > 0 {
		c.Peers.Cert, c.Peers.Key = s.peerFiles(name, roles...)
		c.Peers.CA = filepath.Join(s.dir, "ca-peers.pem")
		ok(s.t, os.WriteFile(c.Peers.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.cert.Raw}), 0o600))
		called := map[store.Role]*string{store.RoleRelease: &c.Peers.Release, store.RoleAccess: &c.Peers.Access, store.RoleKeyguard: &c.Peers.Keyguard, store.RoleLedger: &c.Peers.Ledger}
		for _, n := range needs {
			*called[n] = s.grpc[n]
		}
	}
	return c
}

func (s *six) start(r store.Role) {
	s.t.Helper()
	cfg := s.config(string(r), s.urls[r], []store.Role{r}, sixNeeds[r])
	if at := s.grpc[r]; at != "" {
		cfg.GRPC.Listen = at
	}
	if r == store.RoleLedger {
		cfg.Ledger.SelfWitness = filepath.Join(s.dir, "witness")
	}
	if r == store.RoleAccess {
		cfg.Erasure.Journal = filepath.Join(s.dir, "erasures")
	}
	s.change(&cfg)
	s.hubs[r], s.stops[r] = s.run(cfg)
	s.grpc[r] = s.hubs[r].GRPCAddr()
}

func (s *six) run(cfg Config) (*Hub, func()) {
	s.t.Helper()
	d := Deps{Clock: s.clock.now, Random: rand.Reader, Log: s.log.logger()}
	closeStore := func() {}
	if cfg.Store != "" {
		st, err := store.Open(s.t.Context(), cfg.Store, store.Options{MaxConns: 6})
		ok(s.t, err)
		d.Store, d.Keys = st, s.keys
		closeStore = func() { _ = st.Close() }
	}
	hub, err := New(s.t.Context(), cfg, d)
	ok(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- hub.Serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			s.t.Errorf("a part ended with %v", err)
		}
		hub.Close()
		closeStore()
	})
	s.t.Cleanup(stop)
	return hub, stop
}

func (s *six) as(r store.Role, kind, id string) *client {
	return clientOf(s.dial(r, s.ca.client(s.t, kind, id)))
}

func (s *six) dial(r store.Role, c *tls.Config) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient(s.grpc[r], grpc.WithTransportCredentials(credentials.NewTLS(c)))
	ok(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// settle registers a utility with a household at home.
func (s *six) settle() {
	s.t.Helper()
	ctx, op := s.t.Context(), s.as(store.RoleAccess, "operator", "ops")
	_, err := op.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{Utilities: []*wattveilv1.Utility{{Id: utility, Name: "Stadtwerk"}}})
	ok(s.t, err)
	_, err = op.PutGridNodes(ctx, &wattveilv1.PutGridNodesRequest{Nodes: []*wattveilv1.GridNode{{Id: "region", Kind: "region"}, {Id: "sub", Parent: "region", Level: 1, Kind: "substation"}, {Id: "feeder", Parent: "sub", Level: 2, Kind: "feeder"}}})
	ok(s.t, err)
	_, err = op.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: []*wattveilv1.UsagePoint{{Id: home, Utility: utility, Node: "feeder", Zone: "Europe/Zurich"}}})
	ok(s.t, err)
	_, err = op.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: []*wattveilv1.NewHousehold{{UsagePoints: []string{home}, From: morning.AddDate(0, 0, -400).Unix()}}})
	ok(s.t, err)
}

func (s *six) submit(ctx context.Context, req *wattveilv1.SubmitRequest) (*wattveilv1.SubmitResponse, error) {
	stream, err := s.as(store.RoleIngest, "utility", utility).Submit(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(req); err != nil {
		return nil, err
	}
	_ = stream.CloseSend()
	return stream.Recv()
}
