package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// onStores runs a scenario on SQLite and, where there is one, on PostgreSQL.
func onStores(t *testing.T, scenario func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { scenario(t, onSQLite(t)) })
	t.Run("postgres", func(t *testing.T) { scenario(t, pgtest.Database(t)) })
}

func onSQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "hub.db")
}

// morning is when every test's clock starts: a Tuesday, 06:00 UTC.
var morning = time.Date(2026, time.March, 3, 6, 0, 0, 0, time.UTC)

// yesterday is the start of the UTC day before.
var yesterday = time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)

// clock stands still until it is set.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time      { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) set(t time.Time)     { c.ns.Store(t.UnixNano()) }
func (c *clock) add(d time.Duration) { c.ns.Add(int64(d)) }

// logbook keeps what was logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.text.Bytes())
}

// rig is a hub over a real store and a local keyring, with real doors on this
// machine, and a clock that the test moves.
type rig struct {
	hub   *Hub
	cfg   Config
	store *store.Store
	keys  *fragile
	clock *clock
	ca    *authority
	log   *logbook

	t    testing.TB
	stop func() // gracefully; harmless again
}

// newRig starts a hub over the store at url.
func newRig(t testing.TB, url string, change ...func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, clock: &clock{}, ca: newAuthority(t), log: &logbook{}}
	r.clock.set(morning)
	s, err := store.Open(t.Context(), url, store.Options{Migrate: true})
	ok(t, err)
	t.Cleanup(func() { _ = s.Close() })
	r.store = s
	ring, err := keys.OpenKeyring(filepath.Join(dir, "keys"), rand.Reader)
	ok(t, err)
	t.Cleanup(func() { _ = ring.Close() })
	r.keys = &fragile{KeyService: ring}
	r.cfg = Config{
		Origin: "hub.test/ledger", Store: url, Keys: KeysConfig{Keyring: filepath.Join(dir, "keys")},
		GRPC: r.ca.serverFiles(t, dir), HTTP: ListenConfig{Listen: "127.0.0.1:0"},
	}
	for _, c := range change {
		c(&r.cfg)
	}
	r.start()
	return r
}

// start makes and serves a hub over what the one before has left.
func (r *rig) start() {
	r.t.Helper()
	hub, err := New(r.t.Context(), r.cfg, Deps{
		Store: r.store, Keys: r.keys, Clock: r.clock.now, Random: rand.Reader,
		Log: r.log.logger(),
	})
	ok(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- hub.Serve(ctx) }()
	r.hub = hub
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			r.t.Errorf("the hub ended with %v", err)
		}
		hub.Close()
	})
	r.t.Cleanup(r.stop)
}

// client is a caller: whatever service it calls is answered, or refused, by who
// it is.
type client struct {
	wattveilv1.MeterServiceClient
	wattveilv1.RegistryServiceClient
	wattveilv1.ConsentServiceClient
	wattveilv1.ReadingServiceClient
	wattveilv1.ReleaseServiceClient
	wattveilv1.AuditServiceClient
	wattveilv1.SessionServiceClient
	wattveilv1.AuthorizationServiceClient
	wattveilv1.NotificationServiceClient
	conn grpc.ClientConnInterface
}

func clientOf(conn grpc.ClientConnInterface) *client {
	return &client{
		wattveilv1.NewMeterServiceClient(conn), wattveilv1.NewRegistryServiceClient(conn), wattveilv1.NewConsentServiceClient(conn),
		wattveilv1.NewReadingServiceClient(conn), wattveilv1.NewReleaseServiceClient(conn), wattveilv1.NewAuditServiceClient(conn),
		wattveilv1.NewSessionServiceClient(conn), wattveilv1.NewAuthorizationServiceClient(conn), wattveilv1.NewNotificationServiceClient(conn), conn,
	}
}

// as connects with the certificate of a caller of the kind and name.
func (r *rig) as(kind, id string) *client {
	r.t.Helper()
	return clientOf(r.dial(r.ca.client(r.t, kind, id)))
}

// dial connects with a TLS configuration.
func (r *rig) dial(c *tls.Config, opts ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient(r.hub.GRPCAddr(), append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(c)), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)),
	}, opts...)...)
	ok(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// verifier holds the ledger's public key, as anybody outside does.
func (r *rig) verifier() *ledger.Verifier {
	r.t.Helper()
	v, err := ledger.NewVerifier(r.hub.VerifierKey())
	ok(r.t, err)
	return v
}

// proven checks a receipt offline and returns what it proves.
func (r *rig) proven(receipt *wattveilv1.Receipt) ledger.Payload {
	r.t.Helper()
	got, err := r.verifier().Proof(receipt.GetPayload(), ledger.Hash(receipt.GetNonce()), []byte(receipt.GetProof()))
	ok(r.t, err)
	if got.Index != receipt.GetIndex() {
		r.t.Errorf("the receipt says record %d and proves %d", receipt.GetIndex(), got.Index)
	}
	return got.Payload
}

// fragile is a key service that breaks when it is told to.
type fragile struct {
	KeyService
	failure atomic.Pointer[func()] // run before every call
	away    atomic.Bool
	wrapped func()                  // run after every Wrap
	cut     func(step string) error // what a step of a rotation says after its effect
	retired int                     // how often versions were destroyed
}

func (f *fragile) breakWith(fn func()) { f.failure.Store(&fn) }
func (f *fragile) mend()               { f.failure.Store(nil) }

func (f *fragile) fail() error {
	if fn := f.failure.Load(); fn != nil {
		(*fn)()
	}
	if f.away.Load() {
		return fmt.Errorf("asking the key service: %w", seal.ErrUnavailable)
	}
	return nil
}

func (f *fragile) CreateKey(ctx context.Context, key string) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.KeyService.CreateKey(ctx, key)
}

func (f *fragile) Wrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	out, err := f.KeyService.Wrap(ctx, key, items)
	if f.wrapped != nil {
		f.wrapped()
	}
	return out, f.after("wrapped", err)
}

func (f *fragile) State(ctx context.Context) (keys.State, error) {
	if err := f.fail(); err != nil {
		return keys.StateUnreachable, err
	}
	return f.KeyService.State(ctx)
}

func (f *fragile) KeyVersions(ctx context.Context, key string) (oldest, newest uint64, err error) {
	if err := f.fail(); err != nil {
		return 0, 0, err
	}
	return f.KeyService.KeyVersions(ctx, key)
}

func (f *fragile) after(step string, err error) error {
	if err == nil && f.cut != nil {
		err = f.cut(step)
	}
	return err
}

func (f *fragile) RotateKey(ctx context.Context, key string) (uint64, error) {
	version, err := f.KeyService.RotateKey(ctx, key)
	return version, f.after("rotated", err)
}

func (f *fragile) Rewrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	out, err := f.KeyService.Rewrap(ctx, key, items)
	return out, f.after("rewrapped", err)
}

func (f *fragile) RetireVersions(ctx context.Context, key string, oldest uint64) error {
	f.retired++
	return f.after("retired", f.KeyService.RetireVersions(ctx, key, oldest))
}

func (f *fragile) Unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.KeyService.Unwrap(ctx, key, items)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks the code and the reason of an error from the wire.
func refused(t testing.TB, err error, code codes.Code, reason string) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || reasonOf(s) != reason {
		t.Errorf("%s, reason %q (%s); want %s, %q", s.Code(), reasonOf(s), s.Message(), code, reason)
	}
}

// until polls for what another goroutine is about to do, and fails the test if it
// does not come.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	every := time.NewTicker(2 * time.Millisecond)
	defer every.Stop()
	for !done() {
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
