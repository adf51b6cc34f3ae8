package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
)

// site is where a hub lives: certificates, keyring, configuration, and the URL
// of its store. Hubs come and go on it, each a process of its own.
type site struct {
	dir   string
	store string
	ca    *authority
}

// testUtility is the utility of every usage point of a site.
const testUtility = "works"

// newSite makes a site in dir, with an empty, migrated store.
func newSite(ctx context.Context, dir, store string) (*site, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir, store: store, ca: ca}
	if err := os.Mkdir(s.path("tls"), 0o700); err != nil {
		return nil, err
	}
	door, err := ca.writeServer(s.path("tls"))
	if err != nil {
		return nil, err
	}
	yaml := fmt.Sprintf("origin: test.example/ledger\nstore: %q\nkeys: {keyring: keys}\ngrpc: {listen: %q, cert: %q, key: %q, client_ca: %q}\nhttp: {listen: \"127.0.0.1:0\"}\n",
		store, door.Listen, door.Cert, door.Key, door.ClientCA)
	if err := os.WriteFile(s.path("hub.yaml"), []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	var said strings.Builder
	if code := run(ctx, []string{"migrate", "--config", s.path("hub.yaml")}, io.Discard, &said); code != 0 {
		return nil, fmt.Errorf("migrating: exit code %d: %s", code, said.String())
	}
	return s, nil
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// writeClient writes a caller's certificate and key into dir as NAME.pem and
// NAME.key.
func (a *authority) writeClient(dir, name, kind, id string) error {
	t := template(id)
	t.URIs = append(t.URIs, server.CertificateURI(kind, id))
	cert, key, err := a.issue(t)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, name+".pem"), cert, 0o600), os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600))
}

// hubProcess is `wattveil serve` on a site.
type hubProcess struct {
	grpc, http, vkey string // known after await

	cmd      *exec.Cmd
	lifeline *os.File
	ready    chan struct{} // closed when the three are known
	ended    chan struct{} // closed when the process has ended
	result   error         // of the process; read after ended

	turned, tended chan string // what a clocked hub says of its clock
	log            string
}

// launch starts a hub and does not wait for it.
func (s *site) launch() (*hubProcess, error) {
	return s.run(exec.Command("wattveil", "serve", "--config", s.path("hub.yaml"), "--log", "info"))
}

// run runs a hub that says of itself what serve says.
func (s *site) run(cmd *exec.Cmd) (*hubProcess, error) { return runHub(cmd, s.path("hub.log")) }

// runHub runs a hub that says of itself what serve says, and logs into a file.
func runHub(cmd *exec.Cmd, logFile string) (*hubProcess, error) {
	h := &hubProcess{cmd: cmd, ready: make(chan struct{}), ended: make(chan struct{}), turned: make(chan string, 1), tended: make(chan string, 1), log: logFile}
	log, err := os.OpenFile(h.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	h.lifeline = write
	h.cmd.Env = append(os.Environ(), lifelineVariable+"=3")
	h.cmd.ExtraFiles = []*os.File{read}
	h.cmd.Stderr = log
	stdout, err := h.cmd.StdoutPipe()
	if err == nil {
		err = h.cmd.Start()
	}
	if err != nil {
		_ = write.Close()
		return nil, err
	}
	go h.listen(stdout)
	return h, nil
}

// listen reads what the hub says of itself, and then waits for its end.
func (h *hubProcess) listen(stdout io.Reader) {
	said := map[string]string{}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		what, value, _ := strings.Cut(lines.Text(), " ")
		first := said[what] == ""
		if said[what] = value; h.http != "" && what == "ledger" { // an older generation
			continue
		}
		switch what {
		case "turned":
			h.turned <- value
			continue
		case "tended":
			h.tended <- value
			continue
		case "HTTP":
			if said["gRPC"] == "" { // a portal alone knows no ledger's keys
				h.http = value
				close(h.ready)
			}
			continue
		case "ledger":
		default:
			continue
		}
		if first { // Ed25519; ML-DSA-44 follows
			h.vkey = value
			continue
		}
		h.grpc, h.http, h.vkey = said["gRPC"], said["HTTP"], h.vkey+"\n"+value
		close(h.ready)
	}
	h.result = h.cmd.Wait()
	_ = h.lifeline.Close()
	close(h.ended)
}

// await returns when the hub has said where it listens.
func (h *hubProcess) await(ctx context.Context) error {
	select {
	case <-h.ready:
		return nil
	case <-h.ended:
		return fmt.Errorf("the hub ended: %w: %s", h.result, h.lastWords())
	case <-ctx.Done():
		return fmt.Errorf("waiting for the hub: %w: %s", ctx.Err(), h.lastWords())
	}
}

// lastWords is the end of what the site's hubs have logged.
func (h *hubProcess) lastWords() string {
	b, _ := os.ReadFile(h.log)
	return string(b[max(0, len(b)-2000):])
}

// kill is kill -9.
func (h *hubProcess) kill() {
	_ = h.cmd.Process.Kill() // it may have ended by itself
	<-h.ended
}

// stop asks the hub to stop, as a service manager would, and wants exit code 0.
func (h *hubProcess) stop() error {
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the hub: %w", err)
	}
	select {
	case <-h.ended:
	case <-time.After(30 * time.Second):
		h.kill()
		return errors.New("the hub did not stop within 30 s of SIGTERM")
	}
	if h.result != nil {
		return fmt.Errorf("the hub ended: %w: %s", h.result, h.lastWords())
	}
	return nil
}

// start starts a hub that is killed when the test ends, and waits for it.
func (s *site) start(t *testing.T) *hubProcess {
	t.Helper()
	h, err := s.launch()
	if err == nil {
		t.Cleanup(h.kill)
		err = h.await(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// follow connects a caller to whatever hub is up, at the address that it has when it is
// looked for, until the test ends.
func (s *site) follow(t *testing.T, kind, id string, addr func() string) *grpc.ClientConn {
	t.Helper()
	c, err := s.ca.client(kind, id)
	if err != nil {
		t.Fatal(err)
	}
	c.ServerName = "localhost"
	conn, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(credentials.NewTLS(c)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr())
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}, MinConnectTimeout: 2 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// register tells a hub of usage points, each the home of a household of its
// own since from, and returns the households' letter codes by usage point.
func (s *site) register(ctx context.Context, h *hubProcess, points []string, from int64) (map[string]string, error) {
	c, err := s.ca.client("operator", "test")
	if err != nil {
		return nil, err
	}
	conn, err := dial(h.grpc, c)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return settle(ctx, wattveilv1.NewRegistryServiceClient(conn), points, from)
}

// settle registers what a household needs to live somewhere: a utility, a grid,
// usage points.
func settle(ctx context.Context, reg wattveilv1.RegistryServiceClient, points []string, from int64) (map[string]string, error) {
	ps := make([]*wattveilv1.UsagePoint, len(points))
	hs := make([]*wattveilv1.NewHousehold, len(points))
	for i, p := range points {
		ps[i] = &wattveilv1.UsagePoint{Id: p, Utility: testUtility, Node: "feeder-1", Zone: "UTC"}
		hs[i] = &wattveilv1.NewHousehold{UsagePoints: []string{p}, From: from}
	}
	_, err1 := reg.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{Utilities: []*wattveilv1.Utility{{Id: testUtility, Name: "Works"}, {Id: "other", Name: "Other works"}}})
	_, err2 := reg.PutGridNodes(ctx, &wattveilv1.PutGridNodesRequest{Nodes: []*wattveilv1.GridNode{
		{Id: "region", Kind: "region"}, {Id: "substation-1", Parent: "region", Level: 1, Kind: "substation"}, {Id: "feeder-1", Parent: "substation-1", Level: 2, Kind: "feeder"},
	}})
	_, err3 := reg.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: ps})
	made, err4 := reg.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: hs})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("registering: %w", err)
	}
	codes := make(map[string]string, len(points))
	for i, m := range made.GetHouseholds() {
		codes[points[i]] = m.GetLetterCode()
	}
	return codes, nil
}

// signIn opens a household's session at the HTTP address of a hub.
func signIn(ctx context.Context, addr, code string) (*restClient, error) {
	c := &restClient{base: "http://" + addr}
	s := &wattveilv1.OpenSessionResponse{}
	if err := c.call(ctx, http.MethodPost, "/v1/session", &wattveilv1.OpenSessionRequest{LetterCode: code}, s); err != nil {
		return nil, fmt.Errorf("signing in: %w", err)
	}
	c.token = s.GetToken()
	return c, nil
}

// readOwn reads a household's own values in [from, until), by the start of their
// intervals. One that comes twice is an error.
func readOwn(ctx context.Context, c *restClient, from, until int64) (map[int64]int64, *wattveilv1.Receipt, error) {
	got := &wattveilv1.ReadOwnSeriesResponse{}
	if err := c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/readings/own?from=%d&until=%d", from, until), nil, got); err != nil {
		return nil, nil, fmt.Errorf("reading back: %w", err)
	}
	values := map[int64]int64{}
	for _, s := range got.GetSeries() {
		for i, v := range s.GetValues() {
			if q := s.GetQualities(); len(q) > 0 && meter.Quality(q[i]) == meter.Missing {
				continue
			}
			at := s.GetStart() + int64(i)*s.GetLengthSeconds()
			if _, twice := values[at]; twice {
				return nil, nil, fmt.Errorf("the interval at %d came twice", at)
			}
			values[at] = v
		}
	}
	return values, got.GetReceipt(), nil
}

// load is what a home takes in the quarter hour that starts at at: a value of
// its own between 0 and the cap, so that one that is misplaced shows.
func load(home string, at int64) int64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "load of %s at %d", home, at))
	return int64(binary.BigEndian.Uint64(sum[:]) % uint64(meter.CapValue(meter.DefaultCapWatts, 900)+1))
}

// loads is a series of a home's load.
func loads(home string, start int64, n int) *wattveilv1.Series {
	s := &wattveilv1.Series{UsagePoint: home, Register: meter.ActiveImport.String(), Start: start, LengthSeconds: 900}
	for i := range n {
		s.Values = append(s.Values, load(home, start+int64(i)*900))
	}
	return s
}
