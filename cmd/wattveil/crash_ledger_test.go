package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// Hub and, where there is one, database are killed at random moments while third
// parties ask and read and households grant and revoke. Everybody repeats what was
// not answered, under the same request id. In the end every receipt that anybody
// was given is in the ledger, nothing is in it twice, no read was answered after
// its revocation, every checkpoint that was ever shown is on the one ledger, and
// the regulator's audit finds nothing.
//
// It would catch a key handed out before its record was durable, a leaf lost by
// whoever had its receipt, a request recorded twice, a ledger that a restart
// forks or shortens, a chain or map head that a restart breaks.
func TestLedgerKilled(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		k := newLedgerCrash(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
		for range ledgerKills() {
			k.killHub(t)
		}
		k.finish(t)
	})
	t.Run("postgres", func(t *testing.T) {
		cluster := pgtest.Start(t, pgtest.Options{Durable: true})
		k := newLedgerCrash(t, cluster.Database(t))
		for n := range ledgerKills() {
			if n%2 == 0 {
				k.killHub(t)
				continue
			}
			k.wait()
			cluster.Crash(t)
			cluster.Restart(t)
		}
		k.finish(t)
	})
}

// ledgerKills is how often; a soak (.ci/soak) sets WATTVEIL_KILLS.
func ledgerKills() int {
	if n, err := strconv.Atoi(os.Getenv("WATTVEIL_KILLS")); err == nil && n > 0 {
		return n
	}
	return kills()
}

// ledgerCrash is a hub on its site, and everybody who uses its ledger.
type ledgerCrash struct {
	site *site
	hub  *hubProcess
	v    *ledger.Verifier
	key  ledger.EnvelopePrivateKey
	day  meter.Day // whose readings are read

	stop    chan struct{}
	callers sync.WaitGroup
	failed  chan error

	mu     sync.Mutex
	grpc   string
	http   string
	got    map[string]ledger.Verified // receipts, by request id
	counts map[ledger.Kind]uint64     // what was settled, and so must be in the ledger exactly so often
	seen   [][]byte                   // checkpoints shown
	spent  int                        // reads that were recorded, and whose answer was lost
	reads  int
}

const ledgerCrashHomes = 6

func newLedgerCrash(t *testing.T, store string) *ledgerCrash {
	t.Helper()
	s, err := newSite(t.Context(), t.TempDir(), store)
	if err != nil {
		t.Fatal(err)
	}
	k := &ledgerCrash{
		site: s, hub: s.start(t), day: meter.DayOf(time.Now().Unix()) - 3,
		stop: make(chan struct{}), failed: make(chan error, ledgerCrashHomes), got: map[string]ledger.Verified{}, counts: map[ledger.Kind]uint64{},
	}
	k.turnTo(k.hub)
	if k.v, err = ledger.NewVerifier(k.hub.vkey); err != nil {
		t.Fatal(err)
	}
	var homes []string
	for i := range ledgerCrashHomes {
		homes = append(homes, fmt.Sprintf("home-%02d", i))
	}
	codes, err := s.register(t.Context(), k.hub, homes, (k.day - 100).Start())
	if err != nil {
		t.Fatal(err)
	}
	_, err = wattveilv1.NewRegistryServiceClient(k.client(t, "operator", "test")).PutRecipients(t.Context(), &wattveilv1.PutRecipientsRequest{
		Recipients: []*wattveilv1.Recipient{{Id: "adviser", Name: "Adviser"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.fill(t, homes)
	k.postKey(t)
	third := k.client(t, "recipient", "adviser")
	for _, home := range homes {
		session, err := signIn(t.Context(), k.hub.http, codes[home])
		if err != nil {
			t.Fatal(err)
		}
		k.callers.Go(func() {
			if err := k.live(t.Context(), home, session.token, third); err != nil {
				k.failed <- fmt.Errorf("%s: %w", home, err)
			}
		})
	}
	t.Cleanup(func() {
		k.end()
		k.callers.Wait()
	})
	return k
}

// client connects a caller to whatever hub is up.
func (k *ledgerCrash) client(t *testing.T, kind, id string) *grpc.ClientConn {
	t.Helper()
	return k.site.follow(t, kind, id, func() string {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.grpc
	})
}

// fill sends a day of readings of every home.
func (k *ledgerCrash) fill(t *testing.T, homes []string) {
	t.Helper()
	var all []*wattveilv1.Series
	for _, home := range homes {
		all = append(all, loads(home, k.day.Start(), 96))
	}
	s := &submitter{
		client: wattveilv1.NewMeterServiceClient(k.client(t, "utility", testUtility)), prefix: "fill", window: 1, patience: 30 * time.Second,
		answered: func(*wattveilv1.SubmitResponse) {},
	}
	err := s.run(t.Context(), func(context.Context) ([]*wattveilv1.Series, error) {
		batch := all
		if all = nil; batch == nil {
			return nil, io.EOF
		}
		return batch, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (k *ledgerCrash) postKey(t *testing.T) {
	t.Helper()
	var err error
	if k.key, err = ledger.NewEnvelopePrivateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	_, err = wattveilv1.NewAuditServiceClient(k.client(t, "regulator", "authority")).PutEnvelopeKey(t.Context(), &wattveilv1.PutEnvelopeKeyRequest{
		RequestId: "key-1", PublicKey: k.key.Public(), From: now.Unix(), Until: now.AddDate(0, 0, 30).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// live lets one home be asked, grant, be read, revoke and be refused to, again
// and again, until the test stops it in between.
func (k *ledgerCrash) live(ctx context.Context, home, token string, third *grpc.ClientConn) error {
	consents, readings := wattveilv1.NewConsentServiceClient(third), wattveilv1.NewReadingServiceClient(third)
	from, until := k.day.Start(), k.day.End()
	for n := 0; !k.stopped(); n++ {
		id := func(what string) string { return fmt.Sprint(home, ".", n, ".", what) }
		end := time.Now().AddDate(0, 1, 0).Unix() // the same in every repetition
		var asked *wattveilv1.RequestConsentResponse
		err := k.settle(ctx, func(ctx context.Context) (err error) {
			asked, err = consents.RequestConsent(ctx, &wattveilv1.RequestConsentRequest{RequestId: id("ask"), UsagePoint: home, Terms: &wattveilv1.Terms{
				Purpose: &wattveilv1.Purpose{Code: "advice", Text: "To tell you what a heat pump would save."}, Registers: []string{meter.ActiveImport.String()},
				Granularity: wattveilv1.Granularity_GRANULARITY_INTERVAL, DataFrom: from, DataUntil: until, PermissionUntil: end,
			}})
			return err
		})
		if err != nil {
			return fmt.Errorf("asking: %w", err)
		}
		k.count(ledger.KindConsentRequest)

		granted := &wattveilv1.GrantConsentResponse{}
		if err := k.decide(ctx, token, asked.GetConsentId(), "grant", &wattveilv1.GrantConsentRequest{RequestId: id("grant")}, granted); err != nil {
			return err
		}
		if err := k.keep(id("grant"), ledger.KindConsentGrant, granted.GetReceipt()); err != nil {
			return err
		}
		read := func(request string) (got *wattveilv1.ReadSeriesResponse, err error) {
			err = k.settle(ctx, func(ctx context.Context) (err error) {
				got, err = readings.ReadSeries(ctx, &wattveilv1.ReadSeriesRequest{RequestId: request, ConsentId: asked.GetConsentId(), Purpose: "advice", From: from, Until: until})
				return err
			})
			return got, err
		}
		for m := range 3 {
			request := id(fmt.Sprint("read", m))
			got, err := read(request)
			if reasonOf(err) == "access_spent" || reasonOf(err) == "request_id_used" {
				k.lost() // it was answered, and nobody heard
				continue
			}
			if err != nil {
				return fmt.Errorf("reading: %w", err)
			}
			if len(got.GetSeries()) != 1 || len(got.GetSeries()[0].GetValues()) != 96 {
				return errors.New("a read did not give the day")
			}
			if err := k.keep(request, ledger.KindAccess, got.GetReceipt()); err != nil {
				return err
			}
		}
		revoked := &wattveilv1.RevokeConsentResponse{}
		if err := k.decide(ctx, token, asked.GetConsentId(), "revoke", &wattveilv1.RevokeConsentRequest{RequestId: id("revoke")}, revoked); err != nil {
			return err
		}
		if err := k.keep(id("revoke"), ledger.KindConsentRevoke, revoked.GetReceipt()); err != nil {
			return err
		}
		if _, err := read(id("late")); reasonOf(err) != "revoked" {
			return fmt.Errorf("reading after revocation: %w", err)
		}
		k.count(ledger.KindAccessDenied)
	}
	return nil
}

// settle calls until there is an answer, under the same request id.
func (k *ledgerCrash) settle(ctx context.Context, call func(ctx context.Context) error) error {
	late := time.After(time.Minute)
	for {
		try, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := call(try)
		cancel()
		if c := status.Code(err); c != codes.Unavailable && c != codes.DeadlineExceeded && c != codes.ResourceExhausted { // reads are limited, before any record
			return err
		}
		select {
		case <-late:
			return fmt.Errorf("no answer within a minute: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// decide is settle for a household.
func (k *ledgerCrash) decide(ctx context.Context, token, id, what string, in, out proto.Message) error {
	err := k.settle(ctx, func(ctx context.Context) error {
		k.mu.Lock()
		c := restClient{base: "http://" + k.http, token: token}
		k.mu.Unlock()
		err := c.call(ctx, http.MethodPost, "/v1/consents/"+id+"/"+what, in, out)
		if err != nil && (!strings.HasPrefix(err.Error(), "the hub answered ") || strings.HasPrefix(err.Error(), "the hub answered 503")) {
			return status.Error(codes.Unavailable, err.Error())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// keep checks a receipt offline and keeps it.
func (k *ledgerCrash) keep(request string, kind ledger.Kind, r *wattveilv1.Receipt) error {
	if len(r.GetNonce()) != 32 {
		return fmt.Errorf("%s came without a receipt", kind)
	}
	proven, err := k.v.Proof(r.GetPayload(), ledger.Hash(r.GetNonce()), []byte(r.GetProof()))
	if err != nil {
		return fmt.Errorf("receipt of %s: %w", kind, err)
	}
	if proven.Payload.Kind != kind {
		return fmt.Errorf("receipt of %s is of %s", kind, proven.Payload.Kind)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got[request] = proven
	k.counts[kind]++
	if kind == ledger.KindAccess {
		k.reads++
	}
	return nil
}

func (k *ledgerCrash) count(kind ledger.Kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[kind]++
}

func (k *ledgerCrash) lost() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[ledger.KindAccess]++
	k.spent++
}

func (k *ledgerCrash) stopped() bool {
	select {
	case <-k.stop:
		return true
	default:
		return false
	}
}

func (k *ledgerCrash) end() {
	if !k.stopped() {
		close(k.stop)
	}
}

func (k *ledgerCrash) turnTo(h *hubProcess) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.grpc, k.http = h.grpc, h.http
}

// wait lets up to 400 ms go by, and keeps what checkpoint is shown then.
func (k *ledgerCrash) wait() {
	<-time.After(time.Duration(draw(400_000)) * time.Microsecond)
	resp, err := http.Get("http://" + k.hub.http + "/checkpoint")
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode == http.StatusOK {
		k.seen = append(k.seen, b)
	}
}

// killHub kills the hub, sometimes also the next one while it starts, and starts
// another.
func (k *ledgerCrash) killHub(t *testing.T) {
	t.Helper()
	k.wait()
	k.hub.kill()
	if draw(3) == 0 {
		h, err := k.site.launch()
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(draw(300)) * time.Millisecond)
		h.kill()
	}
	k.hub = k.site.start(t)
	k.turnTo(k.hub)
}

// finish lets everybody come to an end and checks what is left.
func (k *ledgerCrash) finish(t *testing.T) {
	t.Helper()
	k.wait()
	k.end()
	k.callers.Wait()
	close(k.failed)
	for err := range k.failed {
		t.Error(err)
	}
	if b, err := os.ReadFile(k.hub.log); t.Failed() && err == nil {
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, `"level":"ERROR"`) {
				t.Log(line)
			}
		}
	}
	src, err := ledger.HTTPSource("http://"+k.hub.http, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	leaves := map[uint64]ledger.Leaf{}
	conn := k.client(t, "regulator", "authority")
	report, err := ledger.AuditLog(t.Context(), k.v, src, auditSource{wattveilv1.NewAuditServiceClient(conn)}, []ledger.EnvelopePrivateKey{k.key}, ledger.AuditOptions{})
	if err != nil || len(report.Findings) > 0 {
		b, _ := json.Marshal(report.Findings)
		t.Errorf("audit: %v, %s", err, b)
	}
	if _, err := ledger.VerifyLog(t.Context(), k.v, src, ledger.VerifyOptions{Seen: k.seen, Leaf: func(i uint64, l ledger.Leaf) { leaves[i] = l }}); err != nil {
		t.Errorf("verifying with %d checkpoints that were shown: %v", len(k.seen), err)
	}
	at := map[uint64]string{}
	for request, proven := range k.got {
		if leaves[proven.Index] != proven.Leaf {
			t.Errorf("record %d, whose receipt %s was given, is not in the ledger", proven.Index, request)
		}
		if other, ok := at[proven.Index]; ok {
			t.Errorf("record %d is of %s and of %s", proven.Index, request, other)
		}
		at[proven.Index] = request
	}
	for kind, n := range k.counts {
		if report.Kinds[kind] != n {
			t.Errorf("%d records of %s, want %d", report.Kinds[kind], kind, n)
		}
	}
	t.Logf("%d records, %d reads answered and %d whose answer was lost, %d checkpoints seen", report.Log.Size, k.reads, k.spent, len(k.seen))
	if k.reads == 0 {
		t.Error("nothing was read")
	}
	if err := k.hub.stop(); err != nil {
		t.Error(err)
	}
}
