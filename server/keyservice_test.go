package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/keyguard/keyguardtest"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// servingParts lets other processes ask a hub for block keys.
func servingParts(c *Config) { c.serveParts = true }

// overTheWire puts mutual TLS, the gate and the matrix before a guardian, as a
// process of its own does, and asks it with the certificate of the role.
func overTheWire(t *testing.T, g keyguard.Guardian) keyguard.Guardian {
	t.Helper()
	ca := newAuthority(t)
	config, err := serverTLS(ca.serverFiles(t, t.TempDir()), tls.RequireAndVerifyClientCert, (&logbook{}).logger(), "h2")
	ok(t, err)
	log := (&logbook{}).logger()
	door := &gate{auth: &authenticator{clock: time.Now}, log: log, mono: time.Now, sound: func() error { return nil }, roles: onKeyguard}
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(door.unary), grpc.MaxSendMsgSize(maxAnswerBytes))
	wattveilv1.RegisterKeyServiceServer(srv, newKeyService(g, rand.Reader, log))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(ca.client(t, "role", "access"))))
	ok(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return NewRemoteGuard(conn, rand.Reader)
}

// A guard in a process of its own keeps the contract of one in this process, to the
// name of every error.
func TestGuardOverTheWire(t *testing.T) { keyguardtest.TestGuardian(t, overTheWire) }

// apart is a town whose hub answers other processes for keys.
type apart struct {
	*town
	guard keyguard.Guardian
}

func newApart(t *testing.T, url string) *apart {
	w := &apart{town: newTown(t, url, servingParts)}
	w.connect()
	return w
}

// connect asks the hub that is there now, as the part that opens readings.
func (w *apart) connect() { w.guard = NewRemoteGuard(w.as("role", "access").conn, rand.Reader) }

// admitted records an access under a consent, which nobody has answered yet, and
// returns the request that presents it.
func (w *apart) admitted(id, consentID string) keyguard.Request {
	w.t.Helper()
	gate := consent.NewGate(consent.Ledger[*store.Tx](w.hub.sequencer), w.clock.now)
	permit, err := gate.Admit(w.t.Context(), consent.Access{
		RequestID: id, Recipient: recipient, Consent: consent.ID(consentID), Purpose: "advice", From: yesterday.Unix(), Until: yesterday.AddDate(0, 0, 1).Unix(),
	})
	ok(w.t, err)
	return w.present(permit.Receipt())
}

func (w *apart) present(recorded ledger.Receipt) keyguard.Request {
	w.t.Helper()
	proofs := &readProofs{store: w.store, prover: w.hub.prover, demanded: w.hub.demanded, leaves: newLRU[consentTerms, uint64](1)}
	proved, err := proofs.prove(w.t.Context(), recorded)
	ok(w.t, err)
	agreed, err := proofs.consent(w.t.Context(), proved)
	ok(w.t, err)
	again, err := proofs.consent(w.t.Context(), proved) // from memory
	ok(w.t, err)
	if string(again.Payload) != string(agreed.Payload) || again.Nonce != agreed.Nonce {
		w.t.Error("the consent's leaf is another the second time")
	}
	return keyguard.Request{Access: proved.access, Consent: agreed}
}

func (w *apart) denied(want error, r keyguard.Request) {
	w.t.Helper()
	if keys, err := w.guard.BlockKeys(w.t.Context(), r); !errors.Is(err, want) || keys != nil {
		w.t.Errorf("%v, %v; want %v", keys, err, want)
	}
}

// A real read, asked of another process: its keys come back, once, and stay spent
// through a restart of whoever keeps them. It would catch a memory of spent
// accesses that ends with the process.
func TestSpentThroughRestart(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newApart(t, url)
		h, _ := w.signIn(w.homes[home])
		w.keep(batch("b-1", day(home, yesterday, 100)))
		id := w.granted(h, "1", terms())
		r := w.admitted("r-1", id)
		keys, err := w.guard.BlockKeys(t.Context(), r)
		ok(t, err)
		if len(keys.Keys) != 1 || keys.Damaged != 0 {
			t.Errorf("%d keys, %d damaged, want that of the one day", len(keys.Keys), keys.Damaged)
		}
		later := w.admitted("r-2", id)
		w.denied(keyguard.ErrSpent, r)
		w.restart()
		w.connect()
		w.denied(keyguard.ErrSpent, r)
		_, err = w.guard.BlockKeys(t.Context(), later)
		ok(t, err)
		w.denied(keyguard.ErrSpent, later)
	})
}

// What is narrowed or revoked after an access was recorded does not serve the next
// one. It would catch a newer access that is shown beside older terms.
func TestOlderConsentLeaf(t *testing.T) {
	w := newApart(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	w.keep(batch("b-1", day(home, yesterday, 100)))
	id := w.granted(h, "1", terms())
	before := w.admitted("r-1", id)
	narrowed, err := h.NarrowConsent(t.Context(), &wattveilv1.NarrowConsentRequest{RequestId: "n", ConsentId: id, Narrowed: terms(daily)})
	ok(t, err)
	after := w.admitted("r-2", id)
	if string(after.Consent.Payload) != string(narrowed.GetReceipt().GetPayload()) {
		t.Error("a read after the narrowing is not shown beside its leaf")
	}
	w.denied(keyguard.ErrConsent, keyguard.Request{Access: after.Access, Consent: before.Consent})
	revoked, err := h.RevokeConsent(t.Context(), &wattveilv1.RevokeConsentRequest{RequestId: "r", ConsentId: id})
	ok(t, err)
	p := revoked.GetReceipt()
	w.denied(keyguard.ErrConsent, keyguard.Request{Access: after.Access, Consent: ledger.Opening{Payload: p.GetPayload(), Nonce: ledger.Hash(p.GetNonce()), Proof: []byte(p.GetProof())}})
	_, err = w.guard.BlockKeys(t.Context(), after)
	ok(t, err)
}

// A row of a consent that was altered past the ledger is in no leaf: the gate
// believes it, and nothing opens. It would catch a consent that a database
// administrator widens.
func TestAlteredConsentRow(t *testing.T) {
	w := newTown(t, onSQLite(t))
	h, _ := w.signIn(w.homes[home])
	w.keep(batch("b-1", day(home, yesterday, 100), day(secondMeter, yesterday, 100)))
	id := w.granted(h, "1", terms())
	ok(t, w.store.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		c, err := tx.Consent(ctx, consent.ID(id))
		if err != nil {
			return err
		}
		c.Terms.UsagePoints = append(c.Terms.UsagePoints, secondMeter)
		c.Terms = c.Terms.Normalize()
		return tx.PutConsent(ctx, c)
	}))
	_, err := w.recipient.ReadSeries(t.Context(), reading("r-1", id))
	refused(t, err, codes.Internal, "internal")
	if log := string(w.log.bytes()); !strings.Contains(log, errNoConsentLeaf.Error()) {
		t.Error("the log does not say why")
	}
}

// Readings are the same whoever keeps the keys. It would catch a way that exists in
// one process only.
func TestReadThroughAnotherProcess(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		w := newApart(t, url)
		h, _ := w.signIn(w.homes[home])
		w.keep(batch("b-1", day(home, yesterday, 100)))
		id := w.granted(h, "1", terms())
		cfg := w.cfg
		cfg.GRPC.Listen, cfg.serveParts, cfg.Ledger.SelfWitness = "127.0.0.1:0", false, ""
		reader, err := New(t.Context(), cfg, Deps{Store: w.store, Keys: nobodysKeys{w.keys}, Clock: w.clock.now, Random: rand.Reader, Log: w.log.logger(), Guardian: w.guard})
		ok(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- reader.Serve(ctx) }()
		defer func() {
			cancel()
			ok(t, <-served)
			reader.Close()
		}()
		conn, err := grpc.NewClient(reader.GRPCAddr(), grpc.WithTransportCredentials(credentials.NewTLS(w.ca.client(t, "recipient", recipient))))
		ok(t, err)
		defer func() { _ = conn.Close() }()
		third := clientOf(conn)
		got, err := third.ReadSeries(t.Context(), reading("r-1", id))
		ok(t, err)
		if len(got.GetSeries()) != 1 || !slices.Equal(got.GetSeries()[0].GetValues(), day(home, yesterday, 100).GetValues()) {
			t.Errorf("read %v", got.GetSeries())
		}
		w.keys.away.Store(true)
		_, err = third.ReadSeries(t.Context(), reading("r-2", id))
		refused(t, err, codes.Unavailable, "key_service_unavailable")
		w.keys.away.Store(false)
	})
}

// nobodysKeys is a key service that will not open the households' keys: that of
// every part but the keeper of keys.
type nobodysKeys struct{ KeyService }

func (n nobodysKeys) Unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	if key == keyguard.HouseholdKey {
		return nil, seal.ErrRefused
	}
	return n.KeyService.Unwrap(ctx, key, items)
}

// Only the part that opens readings is answered, and nobody on a hub that does not
// serve keys. It would catch a service that is registered by default, or a part
// with another's right.
func TestKeysAreForOneRole(t *testing.T) {
	w := newApart(t, onSQLite(t))
	ask := func(c *client) error {
		_, err := wattveilv1.NewKeyServiceClient(c.conn).BlockKeys(t.Context(), &wattveilv1.BlockKeysRequest{})
		return err
	}
	for _, c := range []*client{w.utility, w.recipient, w.operator, w.regulator} {
		refused(t, ask(c), codes.PermissionDenied, "not_for_you")
	}
	for _, id := range []string{"release", "ingest", "keyguard", "ledger"} {
		refused(t, ask(w.as("role", id)), codes.PermissionDenied, "not_for_you")
	}
	refused(t, ask(w.as("role", "portal")), codes.Unauthenticated, "no_identity") // it is its visitors
	for _, id := range []string{"Access", "access2", ""} {
		refused(t, ask(w.as("role", id)), codes.Unauthenticated, "unknown_certificate")
	}
	access := w.as("role", "access")
	refused(t, ask(access), codes.InvalidArgument, "bad_public_key")
	_, err := access.ReadSeries(t.Context(), reading("r-1", "c"))
	refused(t, err, codes.PermissionDenied, "not_for_you")
	_, err = access.PutUtilities(t.Context(), &wattveilv1.PutUtilitiesRequest{})
	refused(t, err, codes.PermissionDenied, "not_for_you")
	if c := status.Code(ask(w.public())); c != codes.Unimplemented {
		t.Errorf("behind REST and pages: %v, want that there is no such service", c)
	}

	r := newRig(t, onSQLite(t))
	if _, served := methods(r.hub.grpc)["/wattveil.v1.KeyService/BlockKeys"]; served {
		t.Error("a hub serves keys though nobody told it to")
	}
}

// A request that is not of the form of one is refused before anything is asked of
// the guard, by name and without its content.
func TestMalformedKeyRequests(t *testing.T) {
	k := newKeyService(nil, rand.Reader, (&logbook{}).logger()) // a guard that is asked would panic
	private, err := seal.NewPrivateKey(rand.Reader)
	ok(t, err)
	opening := func(change ...func(*wattveilv1.Opening)) *wattveilv1.Opening {
		o := &wattveilv1.Opening{Payload: []byte("p"), Nonce: make([]byte, 32), Proof: []byte("p")}
		for _, c := range change {
			c(o)
		}
		return o
	}
	for name, c := range map[string]struct {
		change func(*wattveilv1.BlockKeysRequest)
		code   codes.Code
		reason string
	}{
		"no key":               {func(r *wattveilv1.BlockKeysRequest) { r.PublicKey = nil }, codes.InvalidArgument, "bad_public_key"},
		"a key cut short":      {func(r *wattveilv1.BlockKeysRequest) { r.PublicKey = r.GetPublicKey()[1:] }, codes.InvalidArgument, "bad_public_key"},
		"a key of no lattice":  {func(r *wattveilv1.BlockKeysRequest) { r.PublicKey = slices.Repeat([]byte{0xff}, 1216) }, codes.InvalidArgument, "bad_public_key"},
		"a short nonce":        {func(r *wattveilv1.BlockKeysRequest) { r.Access.Nonce = r.GetAccess().GetNonce()[1:] }, codes.InvalidArgument, "bad_opening"},
		"a long payload":       {func(r *wattveilv1.BlockKeysRequest) { r.Consent.Payload = make([]byte, ledger.MaxPayload+1) }, codes.InvalidArgument, "bad_opening"},
		"a long proof":         {func(r *wattveilv1.BlockKeysRequest) { r.Consent.Proof = make([]byte, maxProof+1) }, codes.InvalidArgument, "bad_opening"},
		"a point that is none": {func(r *wattveilv1.BlockKeysRequest) { r.UsagePoints = []string{secret} }, codes.InvalidArgument, "bad_name"},
		"no register":          {func(r *wattveilv1.BlockKeysRequest) { r.Registers = []string{secret} }, codes.InvalidArgument, "bad_register"},
		"too many points":      {func(r *wattveilv1.BlockKeysRequest) { r.UsagePoints = slices.Repeat([]string{home}, 257) }, codes.ResourceExhausted, "range_too_large"},
		"too many registers":   {func(r *wattveilv1.BlockKeysRequest) { r.Registers = slices.Repeat([]string{energyIn}, 65) }, codes.ResourceExhausted, "range_too_large"},
	} {
		req := &wattveilv1.BlockKeysRequest{Access: opening(), Consent: opening(), PublicKey: private.Public().Bytes()}
		c.change(req)
		_, err := k.BlockKeys(t.Context(), req)
		out, _ := toStatus(err)
		t.Run(name, func(t *testing.T) { refused(t, out, c.code, c.reason) })
		if strings.Contains(out.Error(), secret) {
			t.Errorf("%s: the answer quotes it", name)
		}
	}
}

// Every error of a guard crosses the wire and is the same on the other side, and
// no two share a name. It would catch one that comes back as another, or as
// nothing that can be told apart.
func TestKeyErrorsCrossTheWire(t *testing.T) {
	k := newKeyService(nil, rand.Reader, (&logbook{}).logger())
	all := slices.Clone(keyFaults)
	for _, row := range keyRefusals {
		all = append(all, row.core)
	}
	for _, sent := range all {
		out, _ := toStatus(k.named(t.Context(), fmt.Errorf("%s: %w", secret, sent)))
		got := keyErrorFromWire(out)
		if !errors.Is(got, sent) {
			t.Errorf("%v came back as %v", sent, got)
		}
		if strings.Contains(out.Error(), secret) {
			t.Errorf("%v: its words are on the wire", sent)
		}
	}
	unknown := keyErrorFromWire(withReason(codes.NotFound, "not_found", "no"))
	for _, e := range all {
		if errors.Is(unknown, e) {
			t.Errorf("a reason that is not known passes for %v", e)
		}
	}
	for code, want := range map[codes.Code]error{codes.Unavailable: seal.ErrUnavailable, codes.DeadlineExceeded: context.DeadlineExceeded, codes.Canceled: context.Canceled} {
		if got := keyErrorFromWire(status.Error(code, "gone")); !errors.Is(got, want) {
			t.Errorf("%v without a reason is %v, want %v", code, got, want)
		}
	}
}

// impostor answers every question with what it is given.
type impostor struct {
	wattveilv1.KeyServiceClient
	sealed []byte
	seen   *wattveilv1.BlockKeysRequest
	asked  func(ctx context.Context, req *wattveilv1.BlockKeysRequest) (*wattveilv1.BlockKeysResponse, error)
}

func (i *impostor) BlockKeys(ctx context.Context, req *wattveilv1.BlockKeysRequest, _ ...grpc.CallOption) (*wattveilv1.BlockKeysResponse, error) {
	i.seen = req
	if i.sealed != nil {
		return &wattveilv1.BlockKeysResponse{Sealed: i.sealed}, nil
	}
	return i.asked(ctx, req)
}

// fixed is a guardian of one answer.
type fixed struct{}

func (f fixed) BlockKeys(context.Context, keyguard.Request) (*keyguard.BlockKeys, error) {
	key, err := seal.ParseBlockKey(bytes.Repeat([]byte{1}, seal.BlockKeySize))
	return &keyguard.BlockKeys{Keys: map[keyguard.Name]seal.BlockKey{{UsagePoint: home, Day: 1}: key}}, err
}

// An answer serves the call that it was made for. It would catch one that is
// replayed to the next call of the same process, shown to another process, changed
// on the way, or given to another question than was put.
func TestAnswersServeOneCall(t *testing.T) {
	service := newKeyService(fixed{}, rand.Reader, (&logbook{}).logger())
	between := &impostor{asked: service.BlockKeys}
	guard := &remoteGuard{between, rand.Reader}
	r := keyguard.Request{
		Access: ledger.Opening{Payload: []byte("a"), Proof: []byte("p")}, Consent: ledger.Opening{Payload: []byte("c"), Proof: []byte("p")},
		UsagePoints: []meter.UsagePoint{home}, Registers: []meter.Register{meter.ActiveImport}, From: 1, To: 2,
	}
	keys, err := guard.BlockKeys(t.Context(), r)
	ok(t, err)
	if len(keys.Keys) != 1 {
		t.Fatalf("%d keys", len(keys.Keys))
	}
	first := between.seen.GetPublicKey()
	kept, err := service.BlockKeys(t.Context(), between.seen)
	ok(t, err)
	denied := func(what string, g *remoteGuard) {
		t.Helper()
		if keys, err := g.BlockKeys(t.Context(), r); !errors.Is(err, keyguard.ErrAnswer) || keys != nil {
			t.Errorf("%s: %v, %v, want ErrAnswer", what, keys, err)
		}
	}
	denied("replayed to the same question", &remoteGuard{&impostor{sealed: kept.GetSealed()}, rand.Reader})
	denied("nothing", &remoteGuard{&impostor{sealed: []byte{}}, rand.Reader})
	denied("changed on the way", &remoteGuard{&impostor{asked: func(ctx context.Context, req *wattveilv1.BlockKeysRequest) (*wattveilv1.BlockKeysResponse, error) {
		resp, err := service.BlockKeys(ctx, req)
		if err == nil {
			resp.Sealed[len(resp.Sealed)-1] ^= 1
		}
		return resp, err
	}}, rand.Reader})
	denied("for another question", &remoteGuard{&impostor{asked: func(ctx context.Context, req *wattveilv1.BlockKeysRequest) (*wattveilv1.BlockKeysResponse, error) {
		req.LastDay++
		return service.BlockKeys(ctx, req)
	}}, rand.Reader})
	_, err = guard.BlockKeys(t.Context(), r)
	ok(t, err)
	if slices.Equal(first, between.seen.GetPublicKey()) {
		t.Error("two calls ask to be answered under one key")
	}
}

// A caller whose time is up does not wait for its turn. It would catch a queue
// that grows while the key service is slow.
func TestKeyCallsAreBounded(t *testing.T) {
	k := newKeyService(fixed{}, rand.Reader, (&logbook{}).logger())
	for range keyCalls {
		k.slots <- struct{}{}
	}
	private, err := seal.NewPrivateKey(rand.Reader)
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.BlockKeys(ctx, &wattveilv1.BlockKeysRequest{PublicKey: private.Public().Bytes()}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
	<-k.slots
	if _, err := k.BlockKeys(t.Context(), &wattveilv1.BlockKeysRequest{PublicKey: private.Public().Bytes()}); err != nil {
		t.Errorf("with a free place: %v", err)
	}
}
