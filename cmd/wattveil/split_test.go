package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// split is a hub whose roles run in six processes on this machine: each has its own
// configuration, certificate, user of the database and token of a real Vault, and no
// more. It is a stage, by the address of whoever answers a call.
type split struct {
	t     *testing.T
	dir   string
	ca    *authority
	vault *benchVault
	owner string                // the database, as its owner
	urls  map[store.Role]string // the database, as each role's user
	parts map[store.Role]*clockedProcess
	grpc  map[store.Role]string // addresses, which stay when a part starts again
	http  map[store.Role]string
	time  time.Time
}

// startOrder is the order in which parts need one another.
var startOrder = []store.Role{store.RoleLedger, store.RoleKeyguard, store.RoleRelease, store.RoleIngest, store.RoleAccess, store.RolePortal}

func newSplitHub(t *testing.T) *split {
	t.Helper()
	dir := t.TempDir()
	s := &split{
		t: t, dir: dir, vault: aVault(t, dir), time: demoStart, urls: map[store.Role]string{},
		parts: map[store.Role]*clockedProcess{}, grpc: map[store.Role]string{}, http: map[store.Role]string{},
	}
	owner := pgtest.Database(t)
	s.owner = owner
	groups, err := os.ReadFile("../../docs/roles.sql")
	s.must(err)
	pgtest.Run(t, owner, string(groups))
	if code := run(t.Context(), []string{"migrate", "--store", owner}, io.Discard, io.Discard); code != 0 {
		t.Fatal("migrating failed")
	}
	s.ca, err = newAuthority()
	s.must(err)
	for _, r := range startOrder {
		if r != store.RolePortal {
			s.urls[r] = pgtest.User(t, owner, r.Group())
		}
		s.prepare(r)
		s.start(r)
	}
	return s
}

func (s *split) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *split) path(r store.Role, name string) string { return filepath.Join(s.dir, string(r), name) }

// prepare writes a role's certificates and the token that it shows to Vault.
func (s *split) prepare(r store.Role) {
	s.t.Helper()
	s.must(os.Mkdir(filepath.Join(s.dir, string(r)), 0o700))
	_, err := s.ca.writeServer(filepath.Join(s.dir, string(r)), string(r))
	s.must(err)
	s.must(s.ca.writeClient(filepath.Join(s.dir, string(r)), "peer", "role", string(r)))
	if r != store.RolePortal {
		s.must(os.WriteFile(s.path(r, "token"), []byte(s.vaultToken(r)), 0o600))
	}
}

// configure writes a role's configuration: it calls the parts that it needs where they
// are, and takes its own addresses again if it has had some.
func (s *split) configure(r store.Role, needs ...store.Role) {
	s.t.Helper()
	listen := func(addresses map[store.Role]string) string {
		if a := addresses[r]; a != "" {
			return a
		}
		return "127.0.0.1:0"
	}
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("origin: split.test/ledger\nroles: [%s]", r)
	line("http: {listen: %q}", listen(s.http))
	if r != store.RolePortal {
		line("store: %q", s.urls[r])
		line("keys: {vault: {address: %q, token_file: token}}", s.vault.url)
		line("grpc: {listen: %q, cert: hub.pem, key: hub.key, client_ca: ca.pem}", listen(s.grpc))
		line("ledger: {verifier_keys: %q}", filepath.Join(s.dir, "ledger.vkey"))
	}
	if len(needs) > 0 {
		line("peers:\n  cert: peer.pem\n  key: peer.key\n  ca: ca.pem")
		for _, n := range needs {
			line("  %s: %q", n, s.grpc[n])
		}
	}
	s.must(os.WriteFile(s.path(r, "hub.yaml"), []byte(b.String()), 0o600))
}

// start starts a part, again or for the first time.
func (s *split) start(r store.Role) {
	s.t.Helper()
	s.configure(r, map[store.Role][]store.Role{
		store.RoleKeyguard: {store.RoleLedger}, store.RoleRelease: {store.RoleLedger}, store.RoleIngest: {store.RoleRelease, store.RoleLedger},
		store.RoleAccess: {store.RoleKeyguard, store.RoleLedger}, store.RolePortal: {store.RoleAccess, store.RoleRelease, store.RoleLedger},
	}[r]...)
	p := runClocked(s.t, s.path(r, "hub.yaml"), s.path(r, "hub.log"), s.time)
	s.parts[r], s.grpc[r], s.http[r] = p, p.grpc, p.http
}

// kill is kill -9 of a part.
func (s *split) kill(r store.Role) { s.parts[r].kill() }

// caller implements stage: whatever is called, whoever answers it is asked.
func (s *split) caller(kind, id string) (grpc.ClientConnInterface, error) {
	c, err := s.ca.client(kind, id)
	if err != nil {
		return nil, err
	}
	conns := map[store.Role]*grpc.ClientConn{}
	for r, address := range s.grpc {
		if address == "" {
			continue
		}
		if conns[r], err = dial(address, c); err != nil {
			return nil, err
		}
		s.t.Cleanup(func() { _ = conns[r].Close() })
	}
	return &switchboard{conns}, nil
}

// switchboard connects a caller to whoever answers a call.
type switchboard struct {
	conns map[store.Role]*grpc.ClientConn
}

func (b *switchboard) to(method string) *grpc.ClientConn {
	for _, r := range startOrder {
		if conn := b.conns[r]; conn != nil && server.Answers(r, method) {
			return conn
		}
	}
	return b.conns[store.RoleAccess]
}

func (b *switchboard) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return b.to(method).Invoke(ctx, method, args, reply, opts...)
}

func (b *switchboard) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return b.to(method).NewStream(ctx, desc, method, opts...)
}

func (s *split) portal() string       { return "http://" + s.http[store.RolePortal] }
func (s *split) record() string       { return "http://" + s.http[store.RoleLedger] }
func (s *split) verifierKeys() string { return s.parts[store.RoleLedger].vkey }
func (s *split) now() time.Time       { return s.time }

func (s *split) turn(ctx context.Context, to time.Time) error {
	s.time = to
	return s.tend(ctx)
}

// tend sets all clocks, and then waits for what that brings.
func (s *split) tend(context.Context) error {
	for r, p := range s.parts {
		if err := p.turn(s.time); err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
	}
	var errs []error
	for r, p := range s.parts {
		select {
		case problem := <-p.tended:
			if problem != "" {
				errs = append(errs, fmt.Errorf("%s: %s", r, problem))
			}
		case <-p.ended:
			errs = append(errs, fmt.Errorf("%s ended: %s", r, p.lastWords()))
		}
	}
	return errors.Join(errs...)
}

// The demo's story over six processes that hold no more than their roles need: real
// readings are taken in, days closed and published, a third party asks, is granted, reads
// with proof, is revoked and refused; the household and the regulator find their records
// whole. It would catch a part that needs what another one holds.
func TestRolesInProcesses(t *testing.T) {
	s := newSplitHub(t)
	d := &demo{
		stage: s, catalogue: release.DefaultCatalogue(), cmd: &cobra.Command{}, flags: &demoFlags{households: 6, days: 4},
		say: func(string, ...any) {}, report: demoReport{Refused: map[string]uint64{}},
	}
	s.must(d.play(t.Context()))
	if r := d.report; !r.Ledger.Verified || r.Reads.Granted != 1 || r.Reads.RefusedAfterRevoke != 1 || r.ReadingsAcked == 0 || len(r.Releases) == 0 {
		t.Errorf("report %+v", r)
	}
	t.Run("wrong door", s.wrongDoor)
	t.Run("wrong user", s.wrongUser)
	t.Run("keys rotate", s.keysRotate)
	t.Run("parts away", func(t *testing.T) { s.partsAway(t, d) })
}

// A call at a part that does not answer it is told so, whoever makes it.
func (s *split) wrongDoor(t *testing.T) {
	c, err := s.ca.client("utility", demoUtility)
	s.must(err)
	conn, err := dial(s.grpc[store.RoleAccess], c)
	s.must(err)
	defer conn.Close()
	stream, err := wattveilv1.NewMeterServiceClient(conn).Submit(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented || reasonOf(err) != "served_elsewhere" {
		t.Errorf("submitting where no readings are taken in: %v", err)
	}
	for role, want := range map[store.Role]int{store.RolePortal: http.StatusOK, store.RoleLedger: http.StatusOK, store.RoleIngest: http.StatusOK, store.RoleKeyguard: http.StatusOK} {
		if got := get(t, "http://"+s.http[role]+"/readyz"); got != want {
			t.Errorf("%s: /readyz answers %d, want %d", role, got, want)
		}
	}
	for _, role := range []store.Role{store.RoleIngest, store.RoleKeyguard, store.RoleAccess, store.RoleRelease} {
		for _, path := range []string{"/", "/checkpoint", "/regulator"} {
			if got := get(t, "http://"+s.http[role]+path); got != http.StatusNotFound {
				t.Errorf("%s: %s answers %d, want 404", role, path, got)
			}
		}
	}
	if got := get(t, s.portal()+"/public"); got != http.StatusOK {
		t.Errorf("the portal's public page answers %d", got)
	}
}

// A part that logs in to the database as another part does not start, and says why. It
// would catch a user who was given more than its role, and a part that begins to work
// and fails at its first call.
func (s *split) wrongUser(t *testing.T) {
	for role, as := range map[store.Role]store.Role{store.RoleAccess: store.RoleIngest, store.RoleKeyguard: store.RoleAccess, store.RoleIngest: store.RoleKeyguard, store.RoleRelease: store.RoleIngest, store.RoleLedger: store.RoleAccess} {
		config, err := os.ReadFile(s.path(role, "hub.yaml"))
		s.must(err)
		stolen := strings.NewReplacer(s.urls[role], s.urls[as], s.grpc[role], "127.0.0.1:0", s.http[role], "127.0.0.1:0").Replace(string(config))
		s.must(os.WriteFile(s.path(role, "stolen.yaml"), []byte(stolen), 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		var said strings.Builder
		code := run(ctx, []string{"serve", "--config", s.path(role, "stolen.yaml")}, io.Discard, &said)
		cancel()
		if code != 2 || !strings.Contains(said.String(), "may not") {
			t.Errorf("%s as %s: exit code %d, %s", role, as, code, said.String())
		}
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// Parts are killed, one at a time: readings are taken in whichever it is, but for the one
// that takes them in; nobody reads without the keeper of keys, and what is said to be
// recorded without the part that signs is there when that is back. Nothing of the rest
// needs a restart.
func (s *split) partsAway(t *testing.T, d *demo) {
	ctx := t.Context()
	utility, err := s.caller("utility", demoUtility)
	s.must(err)
	third, err := s.caller("recipient", demoOther)
	s.must(err)
	home, batch := d.homes[0], 0
	// submit sends one reading of now, which must be taken in.
	submit := func(what string) {
		t.Helper()
		batch++
		stream, err := wattveilv1.NewMeterServiceClient(utility).Submit(ctx)
		s.must(err)
		s.must(stream.Send(&wattveilv1.SubmitRequest{BatchId: "away-" + strconv.Itoa(batch), Series: []*wattveilv1.Series{{
			UsagePoint: home, Register: "1-0:1.8.0*255", Start: s.time.Unix()/900*900 - int64(900*batch), LengthSeconds: 900, Values: []int64{100},
		}}}))
		s.must(stream.CloseSend())
		got, err := stream.Recv()
		if err != nil || got.GetAccepted() != 1 {
			t.Errorf("%s: %v, %v; want the reading taken in", what, got, err)
		}
	}
	ask := func(id string) (string, error) {
		asked, err := wattveilv1.NewConsentServiceClient(third).RequestConsent(ctx, &wattveilv1.RequestConsentRequest{
			RequestId: id, UsagePoint: home, Terms: d.terms("flexibility", "To plan when your heat pump may pause.", demoStart.AddDate(0, 0, 2).Unix()),
		})
		return asked.GetConsentId(), err
	}
	read := func(request, consent string) error {
		_, err := wattveilv1.NewReadingServiceClient(third).ReadSeries(ctx, &wattveilv1.ReadSeriesRequest{
			RequestId: request, ConsentId: consent, Purpose: "flexibility", From: demoStart.Unix(), Until: demoStart.AddDate(0, 0, 2).Unix(),
		})
		return err
	}
	id, err := ask("ask-away")
	s.must(err)
	s.must(d.household.call(ctx, http.MethodPost, "/v1/consents/"+id+"/grant", &wattveilv1.GrantConsentRequest{RequestId: "grant-away"}, &wattveilv1.GrantConsentResponse{}))
	s.must(read("read-before", id))
	submit("with all parts there")

	s.kill(store.RoleKeyguard)
	submit("without the keeper of keys")
	if err := read("read-without", id); status.Code(err) != codes.Unavailable || reasonOf(err) != "key_service_unavailable" {
		t.Errorf("reading without the keeper of keys: %v", err)
	}
	s.start(store.RoleKeyguard)
	s.eventually(t, "reading when the keeper of keys is back", func(n int) error { return read("read-again-"+strconv.Itoa(n), id) })

	s.kill(store.RoleRelease)
	submit("without the part that closes days")
	s.must(read("read-unreleased", id))
	s.start(store.RoleRelease)

	s.kill(store.RoleLedger)
	submit("without the part that signs")
	if _, err := ask("ask-unsigned"); status.Code(err) != codes.Unavailable || reasonOf(err) != "recorded_not_signed" {
		t.Errorf("asking without the part that signs: %v", err)
	}
	if err := read("read-unsigned", id); status.Code(err) != codes.Unavailable {
		t.Errorf("reading without the part that signs: %v", err)
	}
	s.start(store.RoleLedger)
	s.eventually(t, "the same request when the part that signs is back", func(int) error { _, err := ask("ask-unsigned"); return err })
	s.eventually(t, "reading when the part that signs is back", func(n int) error { return read("read-signed-"+strconv.Itoa(n), id) })

	s.kill(store.RolePortal)
	s.must(read("read-unseen", id))
	s.kill(store.RoleAccess)
	submit("without the part that reads")
	s.start(store.RoleAccess)
	s.start(store.RolePortal)
	if _, err := d.signIn(ctx, d.hidden[d.homes[1]].GetLetterCode()); err != nil {
		t.Errorf("signing in when all parts are back: %v", err)
	}
	s.kill(store.RoleIngest)
	s.start(store.RoleIngest)
	s.eventually(t, "taking readings in again", func(int) error {
		_, err := wattveilv1.NewMeterServiceClient(utility).Completeness(ctx, &wattveilv1.CompletenessRequest{UsagePoints: []string{home}, FromDay: "2018-10-29", ToDay: "2018-10-30"})
		return err
	})
	submit("when all parts are back")
	s.must(d.verify(ctx))
}

// eventually repeats what needs a connection that was lost, for a minute at most.
func (s *split) eventually(t *testing.T, what string, try func(n int) error) {
	t.Helper()
	var err error
	for n, deadline := 0, time.Now().Add(time.Minute); time.Now().Before(deadline); n++ {
		if err = try(n); err == nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}
