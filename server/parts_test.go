package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
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
}

var sixOrder = []store.Role{store.RoleLedger, store.RoleKeyguard, store.RoleRelease, store.RoleIngest, store.RoleAccess, store.RolePortal}

var sixNeeds = map[store.Role][]store.Role{
	store.RoleKeyguard: {store.RoleLedger}, store.RoleRelease: {store.RoleLedger}, store.RoleIngest: {store.RoleRelease, store.RoleLedger},
	store.RoleAccess: {store.RoleKeyguard, store.RoleLedger}, store.RolePortal: {store.RoleAccess, store.RoleRelease, store.RoleLedger},
}

func newSix(t *testing.T) *six {
	t.Helper()
	s := &six{t: t, dir: t.TempDir(), ca: newAuthority(t), clock: &clock{}, urls: map[store.Role]string{}, hubs: map[store.Role]*Hub{}, grpc: map[store.Role]string{}, stops: map[store.Role]func(){}, log: &logbook{}}
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

// The operator asks how the keys stand. It would catch a keeper of keys that may not read
// what it is to report on, or to wrap anew.
func TestKeyStatusOfParts(t *testing.T) {
	s := newSix(t)
	op := s.as(store.RoleKeyguard, "operator", "ops")
	if _, err := op.GetKeyStatus(t.Context(), &wattveilv1.GetKeyStatusRequest{}); err != nil {
		t.Errorf("GetKeyStatus: %v", err)
	}
	stream, err := op.RotateKeys(t.Context(), &wattveilv1.RotateKeysRequest{})
	for err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("RotateKeys: %v", err)
	}
	if err := s.hubs[store.RoleKeyguard].Rotate(t.Context()); err != nil {
		t.Errorf("a tick after: %v", err)
	}
}

// The part that closes days is away, and a utility sends one late reading with today's: a
// day that is closed for good needs no window. It would catch readings that are refused
// for the want of an answer that this process can give itself.
func TestLateReadingWithoutRelease(t *testing.T) {
	s := newSix(t)
	s.settle()
	ok(t, s.hubs[store.RoleIngest].Tend(t.Context()))
	long := morning.AddDate(0, 0, -200)
	late := func(id string) *wattveilv1.SubmitRequest {
		return &wattveilv1.SubmitRequest{BatchId: id, Series: []*wattveilv1.Series{series(home, morning.Add(-time.Hour), 100), series(home, long, 100)}}
	}
	resp, err := s.submit(t.Context(), late("with"))
	ok(t, err)
	if resp.GetAccepted() != 2 {
		t.Fatalf("%v", resp)
	}
	s.stops[store.RoleRelease]()
	_, err = s.submit(t.Context(), &wattveilv1.SubmitRequest{BatchId: "today", Series: []*wattveilv1.Series{series(home, morning.Add(-2*time.Hour), 100)}})
	if err != nil {
		t.Errorf("today's alone: %v", err)
	}
	resp, err = s.submit(t.Context(), late("without"))
	if err != nil || resp.GetAccepted() != 2 {
		t.Errorf("a closed day's, while the part that closes days is away: %v, %v", resp, err)
	}
	_, err = s.submit(t.Context(), &wattveilv1.SubmitRequest{BatchId: "yesterday", Series: []*wattveilv1.Series{series(home, yesterday, 100)}})
	if err != nil {
		t.Errorf("yesterday's, which nobody has sent before: %v", err)
	}
}

// One message with readings of very many closed days: which window takes them follows from
// the catalogue and the clock. It would catch a question to the part that closes days for
// each of them.
func TestManyClosedDaysAskNobody(t *testing.T) {
	s := newSix(t)
	s.settle()
	before := strings.Count(string(s.log.bytes()), "WindowService/GetWindow")
	var all []*wattveilv1.Series
	for i := range 390 {
		all = append(all, series(home, morning.AddDate(0, 0, -395+i).Truncate(time.Hour), 100))
	}
	_, err := s.submit(t.Context(), &wattveilv1.SubmitRequest{BatchId: "history", Series: all})
	ok(t, err)
	if n := strings.Count(string(s.log.bytes()), "WindowService/GetWindow") - before; n > 0 {
		t.Errorf("%d questions for days that are closed", n)
	}
}

// The part that signs is away, and one utility sends a reading of a day whose keys are
// forgotten, which takes a new writer. It would catch that every other batch waits for it.
func TestLateReadingWithoutLedger(t *testing.T) {
	s := newSix(t)
	s.settle()
	ok(t, s.hubs[store.RoleIngest].Tend(t.Context()))
	fresh := func(id string, at time.Time) *wattveilv1.SubmitRequest {
		return &wattveilv1.SubmitRequest{BatchId: id, Series: []*wattveilv1.Series{series(home, at, 100)}}
	}
	_, err := s.submit(t.Context(), fresh("first", yesterday))
	ok(t, err)
	s.clock.add(72 * time.Hour)
	ok(t, s.hubs[store.RoleIngest].Tend(t.Context()))
	_, err = s.submit(t.Context(), fresh("on time, before", s.clock.now().Add(-time.Hour)))
	ok(t, err)
	s.stops[store.RoleLedger]()
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			began := time.Now()
			resp, err := s.submit(t.Context(), fresh(fmt.Sprint("late-", i), yesterday.Add(time.Hour)))
			if err != nil || resp.GetAccepted() != 1 {
				t.Errorf("a late reading without the part that signs: %v, %v after %v", resp, err, time.Since(began))
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	resp, err := s.submit(t.Context(), fresh("on-time", s.clock.now().Add(-2*time.Hour)))
	if took := time.Since(began); err != nil || resp.GetAccepted() != 1 || took > 5*time.Second {
		t.Errorf("a reading of now waited %v for others' late ones: %v, %v", took, resp, err)
	}
	wg.Wait()
}

// The part that signs has found the ledger rolled back. It would catch parts that go on as
// if nothing were wrong, until they happen to record something.
func TestRollbackReachesAllParts(t *testing.T) {
	s := newSix(t)
	s.settle()
	for _, r := range sixOrder[1:] {
		ok(t, s.hubs[r].Tend(t.Context()))
	}
	s.hubs[store.RoleLedger].sequencer.Fail(fmt.Errorf("witness: %w", ledger.ErrRollback))
	for _, r := range sixOrder[1:] {
		_ = s.hubs[r].Tend(t.Context())
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.hubs[r].HTTPAddr()+"/readyz", nil)
		ok(t, err)
		resp, err := http.DefaultClient.Do(req)
		ok(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: /readyz answers %d though the ledger is rolled back, want 503", r, resp.StatusCode)
		}
	}
	resp, err := s.submit(t.Context(), &wattveilv1.SubmitRequest{BatchId: "after", Series: []*wattveilv1.Series{series(home, morning.Add(-time.Hour), 100)}})
	if err == nil {
		t.Errorf("readings are acknowledged into a database that was set back: %v", resp)
	}
}

// Who is told what by a part that has no service for a call.
func TestElsewhereByName(t *testing.T) {
	s := newSix(t)
	op := s.as(store.RoleIngest, "operator", "ops")
	_, err := op.PutUtilities(t.Context(), &wattveilv1.PutUtilitiesRequest{})
	refused(t, err, codes.Unimplemented, "served_elsewhere")
	_, err = s.as(store.RoleAccess, "operator", "ops").GetKeyStatus(t.Context(), &wattveilv1.GetKeyStatusRequest{})
	refused(t, err, codes.Unimplemented, "served_elsewhere")
}

// Another part's server certificate, at the address of the part that closes days: it would
// catch whoever has taken one part and a place in the network giving ingest window keys.
func TestAnotherPartPassesForNone(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	l := ca.serverFiles(t, dir) // as any part's, on the same host
	config, err := serverTLS(l, tls.RequireAndVerifyClientCert, (&logbook{}).logger(), "h2")
	ok(t, err)
	lis, err := tls.Listen("tcp", "127.0.0.1:0", config)
	ok(t, err)
	defer lis.Close()
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
		}
	}()
	tmpl := template()
	tmpl.ExtKeyUsage, tmpl.URIs = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, []*url.URL{CertificateURI("role", "ingest")}
	c, k := ca.issue(t, tmpl)
	cert, key := filepath.Join(dir, "p.pem"), filepath.Join(dir, "p.key")
	ok(t, os.WriteFile(cert, c, 0o600))
	ok(t, os.WriteFile(key, k, 0o600))
	cfg, err := clientTLS(PeersConfig{Cert: cert, Key: key, CA: l.ClientCA}, lis.Addr().String(), store.RoleRelease)
	ok(t, err)
	conn, err := tls.Dial("tcp", lis.Addr().String(), cfg)
	if err == nil {
		_ = conn.Close()
		t.Error("a server that is not shown to be the part that is asked is believed: its certificate names no role")
	}
}

// Every subset of roles starts, tends, rotates, answers readiness, and ends. It would
// catch a part that calls what another one has.
func TestAnyRolesTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("62 hubs: left to a run that is not short")
	}
	s := newSix(t)
	s.settle()
	all := store.Roles()
	for n := 1; n < 1<<len(all)-1; n++ {
		var roles []store.Role
		set := roleSet(n)
		for _, r := range inOrder {
			if set.has(r.set) {
				roles = append(roles, r.name)
			}
		}
		var needs []store.Role
		for _, r := range inOrder {
			if set.needed().has(r.set) {
				needs = append(needs, r.name)
			}
		}
		t.Run(set.String(), func(t *testing.T) {
			s.t = t
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("panic: %v", v)
				}
			}()
			cfg := s.config(fmt.Sprintf("subset-%d", n), s.owner, roles, needs)
			cfg.HTTP = s.ca.serverFiles(t, t.TempDir())
			if others := onAccess | onLedger; set.has(onPortal) && set&others != others {
				cfg.HTTP.ClientCA = ""
			}
			hub, stop := s.run(cfg)
			defer stop()
			if err := hub.Tend(t.Context()); err != nil {
				t.Errorf("Tend: %v", err)
			}
			if err := hub.Rotate(t.Context()); err != nil {
				t.Errorf("Rotate: %v", err)
			}
			if err := hub.mapIfDue(t.Context()); err != nil {
				t.Errorf("mapIfDue: %v", err)
			}
			// every REST path, by an operator and by nobody
			for _, who := range []*tls.Config{s.ca.client(t, "operator", "ops"), s.ca.client(t, "regulator", "reg"), s.ca.client(t, "utility", utility), s.ca.client(t, "role", "access"), {RootCAs: s.ca.pool, MinVersion: tls.VersionTLS13}} {
				hc := &http.Client{Transport: &http.Transport{TLSClientConfig: who}, Timeout: 10 * time.Second}
				for _, path := range []string{"/readyz", "/healthz", "/", "/public", "/regulator", "/regulator/entry", "/checkpoint", "/v1/keys", "/v1/catalogue", "/v1/budget?year=2026", "/v1/grid-nodes", "/v1/checkpoint", "/v1/events", "/v1/household", "/v1/releases", "/v1/map", "/v1/envelope-keys"} {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+hub.HTTPAddr()+path, nil)
					ok(t, err)
					resp, err := hc.Do(req)
					if err != nil {
						t.Errorf("%s: %v", path, err)
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				hc.CloseIdleConnections()
			}
			if hub.grpc != nil {
				for _, who := range []struct {
					uris []*url.URL
					kind Kind
				}{
					{[]*url.URL{CertificateURI("operator", "ops")}, OperatorKind},
					{[]*url.URL{CertificateURI("utility", utility)}, UtilityKind},
					{[]*url.URL{CertificateURI("recipient", "nobody")}, Public},
					{[]*url.URL{CertificateURI("regulator", "r")}, RegulatorKind},
					{[]*url.URL{CertificateURI("role", "access")}, AccessRole},
					{[]*url.URL{CertificateURI("role", "portal")}, Public},
					{[]*url.URL{CertificateURI("role", "ingest"), CertificateURI("role", "portal")}, IngestRole | Public},
				} {
					conn, err := grpc.NewClient(hub.GRPCAddr(), grpc.WithTransportCredentials(credentials.NewTLS(s.ca.clientWith(t, func(c *x509.Certificate) { c.URIs = who.uris }))))
					ok(t, err)
					kind := who.kind
					if kind&UtilityKind&^set.knows() != 0 {
						kind = Public
					}
					for m, stream := range methods(hub.grpc) {
						if strings.Contains(m, "grpc.health") {
							continue
						}
						through, err := call(t.Context(), conn, m, stream)
						if through && reasonOf(status.Convert(err)) != "served_elsewhere" && (!allowed(m, kind) || !set.has(Matrix[m].By)) {
							t.Errorf("%v calls %s at %s: %v", who.uris, m, set, err)
						}
					}
					_ = conn.Close()
				}
			}
		})
	}
	if strings.Contains(string(s.log.bytes()), "panic") {
		t.Error("a panic is in the log")
	}
}

// The part that closes days has no database for a moment. Utilities' programs try again
// what is Unavailable and give up at Internal: it would catch a passing fault of another
// part that ends a utility's delivery.
func TestPassingFaultsStayPassing(t *testing.T) {
	for name, fault := range map[string]error{"store away": store.ErrUnavailable, "store busy": store.ErrRetry, "deadline": context.DeadlineExceeded, "rolled back": ledger.ErrRollback, "part of it is closing": ledger.ErrClosed} {
		there, _ := toStatus(fault)
		r := newRemoteWindows(refusing{there}, release.DefaultCatalogue(), func() time.Time { return morning })
		_, _, err := r.WindowFor(t.Context(), meter.DayOf(morning.Unix()))
		here, _ := toStatus(err)
		if got, want := status.Code(here), status.Code(there); got != want {
			t.Errorf("%s: the utility is told %s %q, in one process it would be %s %q", name, got, reasonOf(status.Convert(here)), want, reasonOf(status.Convert(there)))
		}
	}
}

// refusing answers every call with an error.
type refusing struct{ err error }

func (r refusing) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return r.err }

func (r refusing) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, r.err
}
