package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/wattveil/wattveil/server/store"
)

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

// A hub that never took a reading publishes nothing and spends nothing, in parts as in one
// process. It would catch a part that begins the schedule by asking ahead.
func TestPartsWithoutReadingsHaveNoSchedule(t *testing.T) {
	s := newSix(t)
	s.settle()
	owner, err := store.Open(t.Context(), s.owner, store.Options{})
	ok(t, err)
	defer owner.Close()
	for range 2 {
		for _, r := range sixOrder {
			ok(t, s.hubs[r].Tend(t.Context()))
		}
		s.clock.add(48 * time.Hour)
	}
	if day, err := owner.LastWindow(t.Context()); !errors.Is(err, release.ErrNotFound) {
		t.Errorf("a window of %s, %v; want none", day, err)
	}
	_, err = s.submit(t.Context(), &wattveilv1.SubmitRequest{BatchId: "first", Series: []*wattveilv1.Series{series(home, s.clock.now().Add(-time.Hour), 100)}})
	ok(t, err)
	if _, err := owner.LastWindow(t.Context()); err != nil {
		t.Errorf("after the first reading: %v", err)
	}
}

// One message with readings of very many closed days: which window takes them follows from
// the catalogue and the clock. It would catch a question to the part that closes days for
// each of them.
func TestManyClosedDaysAskNobody(t *testing.T) {
	s := newSix(t)
	s.settle()
	_, err := s.submit(t.Context(), &wattveilv1.SubmitRequest{BatchId: "today", Series: []*wattveilv1.Series{series(home, morning.Add(-time.Hour), 100)}})
	ok(t, err) // the schedule begins
	before := strings.Count(string(s.log.bytes()), "WindowService/GetWindow")
	var all []*wattveilv1.Series
	for i := range 390 {
		all = append(all, series(home, morning.AddDate(0, 0, -395+i).Truncate(time.Hour), 100))
	}
	_, err = s.submit(t.Context(), &wattveilv1.SubmitRequest{BatchId: "history", Series: all})
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
		r := newRemoteWindows(refusing{there}, release.DefaultCatalogue(), func() time.Time { return morning }, nil)
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
