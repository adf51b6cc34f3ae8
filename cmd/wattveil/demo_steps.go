package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/profile"
	"github.com/wattveil/wattveil/meter/profile/sample"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// demoStart is the first instant of the bundled data: midnight of 2018-10-29 in
// Central European Time.
var demoStart = time.Date(2018, time.October, 28, 23, 0, 0, 0, time.UTC)

const (
	demoUtility   = "stadtwerk"
	demoRecipient = "energy-advice"
	demoOther     = "flex-aggregator"
	demoRegulator = "energy-regulator"
	substations   = 4
	feeders       = 32
)

// demo is the story, step by step. It speaks to the hub as its callers do.
type demo struct {
	stage     stage
	catalogue release.Catalogue // the stage's
	cmd       *cobra.Command
	flags     *demoFlags
	say       func(string, ...any)
	report    demoReport

	days   [][]meter.Series // by local day
	homes  []string         // usage points, in the order of the file
	node   map[string]string
	tree   []*wattveilv1.GridNode
	hidden map[string]*wattveilv1.CreatedHousehold // by usage point

	envelopeKeys []ledger.EnvelopePrivateKey // the regulator's
	household    *restClient                 // the one that was asked

	// sent is what the hub accepted, by usage point and UTC half-hour: what this
	// client needs to judge the published curves.
	sent map[string]map[int64]int64
}

// load reads the bundled file and sorts it by local day: readings arrive day by
// day, as they do in life.
func (d *demo) load(context.Context) error {
	dec, err := profile.NewDecoder(sample.Open(), profile.Options{Zone: sample.Zone(), Unit: profile.KWh})
	if err != nil {
		return fmt.Errorf("reading bundled data: %w", err)
	}
	d.days = make([][]meter.Series, d.flags.days)
	d.sent = make(map[string]map[int64]int64)
	for {
		s, err := dec.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading bundled data: %w", err)
		}
		home := string(s.UsagePoint)
		if d.sent[home] == nil {
			if len(d.homes) == d.flags.households {
				continue
			}
			d.homes = append(d.homes, home)
			d.sent[home] = make(map[int64]int64)
		}
		if day := int((s.Start - demoStart.Unix()) / 86400); day < len(d.days) {
			d.days[day] = append(d.days[day], s)
		}
	}
}

// register tells the hub the public grid tree, the usage points and who lives
// there. A home's feeder follows from the hash of its identifier.
func (d *demo) register(ctx context.Context) error {
	conn, err := d.stage.caller("operator", "demo")
	if err != nil {
		return err
	}
	reg := wattveilv1.NewRegistryServiceClient(conn)
	if _, err := reg.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{Utilities: []*wattveilv1.Utility{{Id: demoUtility, Name: "Stadtwerk"}}}); err != nil {
		return fmt.Errorf("registering utility: %w", err)
	}
	if _, err := reg.PutRecipients(ctx, &wattveilv1.PutRecipientsRequest{Recipients: []*wattveilv1.Recipient{
		{Id: demoRecipient, Name: "Energy Advice Ltd"}, {Id: demoOther, Name: "Flexible Power Cooperative"},
	}}); err != nil {
		return fmt.Errorf("registering third parties: %w", err)
	}
	nodes := []*wattveilv1.GridNode{{Id: "region", Kind: "region"}}
	for s := range substations {
		nodes = append(nodes, &wattveilv1.GridNode{Id: fmt.Sprintf("substation-%d", s+1), Parent: "region", Level: 1, Kind: "substation"})
	}
	for f := range feeders {
		nodes = append(nodes, &wattveilv1.GridNode{Id: fmt.Sprintf("feeder-%02d", f+1), Parent: fmt.Sprintf("substation-%d", f*substations/feeders+1), Level: 2, Kind: "feeder"})
	}
	if _, err := reg.PutGridNodes(ctx, &wattveilv1.PutGridNodesRequest{Nodes: nodes}); err != nil {
		return fmt.Errorf("registering grid: %w", err)
	}
	d.tree = nodes
	d.node = make(map[string]string)
	points := make([]*wattveilv1.UsagePoint, len(d.homes))
	households := make([]*wattveilv1.NewHousehold, len(d.homes))
	for i, home := range d.homes {
		h := sha256.Sum256([]byte(home))
		d.node[home] = fmt.Sprintf("feeder-%02d", int(h[0])%feeders+1)
		points[i] = &wattveilv1.UsagePoint{Id: home, Utility: demoUtility, Node: d.node[home], Zone: "Europe/Zurich"}
		households[i] = &wattveilv1.NewHousehold{UsagePoints: []string{home}, From: demoStart.Unix()}
	}
	if _, err := reg.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: points}); err != nil {
		return fmt.Errorf("registering usage points: %w", err)
	}
	made, err := reg.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: households})
	if err != nil {
		return fmt.Errorf("registering households: %w", err)
	}
	d.hidden = make(map[string]*wattveilv1.CreatedHousehold)
	for i, h := range made.GetHouseholds() {
		d.hidden[d.homes[i]] = h
	}
	if err := d.postKeys(ctx); err != nil {
		return err
	}
	d.report.Households = len(d.homes)
	d.say("%d households moved in: each has a key pair of its own; %d feeders, %d substations, 1 region.", len(d.homes), feeders, substations)
	return nil
}

// postKeys lets a regulator post a key for each month of the data: without one
// that is valid, no third party reads.
func (d *demo) postKeys(ctx context.Context) error {
	conn, err := d.stage.caller("regulator", demoRegulator)
	if err != nil {
		return err
	}
	d.envelopeKeys, err = postKeysFrom(ctx, conn, demoStart, len(d.days)+2)
	return err
}

// postKeysFrom posts a regulator's keys, each for 31 days, that are valid for so many
// days from an instant on.
func postKeysFrom(ctx context.Context, conn grpc.ClientConnInterface, first time.Time, days int) ([]ledger.EnvelopePrivateKey, error) {
	audit := wattveilv1.NewAuditServiceClient(conn)
	var keys []ledger.EnvelopePrivateKey
	for from := first; from.Before(first.AddDate(0, 0, days)); from = from.AddDate(0, 0, 31) {
		key, err := ledger.NewEnvelopePrivateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
		_, err = audit.PutEnvelopeKey(ctx, &wattveilv1.PutEnvelopeKeyRequest{
			RequestId: from.Format("2006-01-02"), PublicKey: key.Public(), From: from.Unix(), Until: from.AddDate(0, 0, 31).Unix(),
		})
		if err != nil {
			return nil, fmt.Errorf("posting a regulator's key: %w", err)
		}
	}
	return keys, nil
}

// ingest streams day after day. The clock follows the data: a day is sent just
// after it has ended, and whatever is due by then closes.
func (d *demo) ingest(ctx context.Context) error {
	conn, err := d.stage.caller("utility", demoUtility)
	if err != nil {
		return err
	}
	d.say("Streaming %d days over gRPC with mutual TLS; days close as their time comes …", len(d.days))
	bar := newProgress(d.cmd, int64(len(d.days)*len(d.homes)*96), "readings")
	refused := map[string]map[int64]bool{}
	var failed error
	s := &submitter{client: wattveilv1.NewMeterServiceClient(conn), prefix: "demo", window: 4, patience: time.Minute, answered: func(r *wattveilv1.SubmitResponse) {
		d.report.ReadingsAcked += r.GetAccepted()
		bar.add(int(r.GetAccepted()) + len(r.GetRefusals()))
		for _, x := range r.GetRefusals() {
			d.report.Refused[x.GetReason()]++
			if refused[x.GetUsagePoint()] == nil {
				refused[x.GetUsagePoint()] = map[int64]bool{}
			}
			refused[x.GetUsagePoint()][x.GetStart()] = true
		}
		if r.GetErrorReason() != "" {
			failed = fmt.Errorf("a batch was refused: %s", r.GetErrorReason())
		}
	}}
	for n, day := range d.days {
		if err := d.stage.turn(ctx, demoStart.AddDate(0, 0, n+1).Add(10*time.Minute)); err != nil {
			return err
		}
		began := time.Now()
		err := s.run(ctx, pull(func(yield func(meter.Series) error) error {
			for _, x := range day {
				if err := yield(x); err != nil {
					return err
				}
			}
			return nil
		}, func(readings int) { d.report.ReadingsSent += uint64(readings) }))
		d.report.SecondsIngest += time.Since(began).Seconds()
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		for _, x := range day {
			d.remember(x, refused[string(x.UsagePoint)])
		}
		if err := d.stage.tend(ctx); err != nil {
			return err
		}
	}
	bar.finish()
	if err := d.stage.turn(ctx, demoStart.AddDate(0, 0, len(d.days)).Add(d.catalogue.Watermark+2*time.Hour)); err != nil {
		return err
	}
	return d.stage.tend(ctx)
}

// remember keeps what the hub accepted of a series.
func (d *demo) remember(s meter.Series, refused map[int64]bool) {
	sums := d.sent[string(s.UsagePoint)]
	for i, v := range s.Values {
		if at := s.StartAt(i); s.QualityAt(i) != meter.Missing && !refused[at] {
			sums[at-at%demoInterval] += v
		}
	}
}

// collect fetches every release as anybody could, checks its signature, and
// compares it with what was sent.
func (d *demo) collect(ctx context.Context) error {
	conn, err := d.stage.caller("regulator", "demo")
	if err != nil {
		return err
	}
	rel := wattveilv1.NewReleaseServiceClient(conn)
	published := map[string]int{}
	for token := ""; ; {
		page, err := rel.ListReleases(ctx, &wattveilv1.ListReleasesRequest{PageSize: 500, PageToken: token})
		if err != nil {
			return fmt.Errorf("listing releases: %w", err)
		}
		for _, info := range page.GetReleases() {
			got, err := rel.GetRelease(ctx, &wattveilv1.GetReleaseRequest{Id: info.GetId()})
			if err != nil {
				return fmt.Errorf("fetching release: %w", err)
			}
			body, err := release.Verify(ed25519.PublicKey(got.GetPublicKey()), []byte(got.GetBody()), got.GetSignature())
			if err != nil {
				return err
			}
			if body.Kind == release.Curve {
				if err := d.judge(body); err != nil {
					return err
				}
			}
			published[body.Product]++
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	slices.SortFunc(d.report.Releases, func(a, b demoRelease) int {
		return cmp.Or(cmp.Compare(a.Product, b.Product), cmp.Compare(a.Day, b.Day), cmp.Compare(a.Node, b.Node))
	})
	d.report.Days = published["day-curve"]
	budget, err := rel.GetBudget(ctx, &wattveilv1.GetBudgetRequest{Year: 2018})
	if err != nil {
		return fmt.Errorf("asking for the budget: %w", err)
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(published)) {
		lines = append(lines, fmt.Sprintf("%s %d", name, published[name]))
	}
	d.say("Published: %s. %.4f of the year's cap ρ = %s is spent.", strings.Join(lines, ", "), float64(budget.GetSpentNanoRho())/1e9, d.catalogue.YearlyCap)
	return nil
}

// demoInterval is how long an interval of the demo's curves is, in seconds.
const demoInterval = 1800

// judge measures a release's mean day against the accepted readings of the public file.
func (d *demo) judge(b release.Body) error {
	delta, err := strconv.ParseFloat(b.Guarantee.Delta, 64)
	if err != nil {
		return fmt.Errorf("reading release: %w", err)
	}
	parent := map[string]string{}
	for _, n := range d.tree {
		parent[n.GetId()] = n.GetParent()
	}
	truth := map[string][]int64{}
	for home, sums := range d.sent {
		day := make([]int64, 86_400/demoInterval)
		for _, text := range b.Days {
			of, err := meter.ParseDay(text)
			if err != nil {
				return err
			}
			for i := range day {
				day[i] += sums[of.Start()+int64(i)*demoInterval]
			}
		}
		for node := d.node[home]; node != ""; node = parent[node] {
			if truth[node] == nil {
				truth[node] = make([]int64, len(day))
			}
			for i, v := range day {
				truth[node][i] += v
			}
		}
	}
	for _, n := range b.Nodes {
		t := make([]int64, len(n.Estimate))
		for i, v := range truth[n.ID] {
			t[i] = v / int64(len(b.Days))
		}
		d.report.Releases = append(d.report.Releases, demoRelease{
			Product: b.Product, Node: n.ID, Day: b.Days[len(b.Days)-1], HouseholdsPublic: int(n.UsagePointsPublic), Epsilon: b.Guarantee.Epsilon, Delta: delta,
			RMSEPercent: rmsePercent(n.Estimate, t),
		})
	}
	return nil
}

// rmsePercent is 100·√(mean (a-b)²) / mean b; nil where b is nothing at all.
func rmsePercent(a, b []int64) *float64 {
	var square, sum float64
	for i := range a {
		e := float64(a[i] - b[i])
		square += e * e
		sum += float64(b[i])
	}
	if sum == 0 {
		return nil
	}
	n := float64(len(a))
	percent := math.Round(100*100*math.Sqrt(square/n)/(sum/n)) / 100
	return &percent
}

// consent lets a third party ask, read, and be refused.
func (d *demo) consent(ctx context.Context) error {
	home := d.homes[0]
	third, err := d.stage.caller("recipient", demoRecipient)
	if err != nil {
		return err
	}
	from, until := demoStart.Unix(), demoStart.AddDate(0, 0, min(7, len(d.days))).Unix()
	asked, err := wattveilv1.NewConsentServiceClient(third).RequestConsent(ctx, &wattveilv1.RequestConsentRequest{
		RequestId: "ask-1", UsagePoint: home, Terms: d.terms("heating-advice", "To tell you whether a heat pump would pay for your home.", until),
	})
	if err != nil {
		return fmt.Errorf("asking for consent: %w", err)
	}
	household, err := d.signIn(ctx, d.hidden[home].GetLetterCode())
	if err != nil {
		return err
	}
	d.household = household
	granted := &wattveilv1.GrantConsentResponse{}
	if err := household.call(ctx, http.MethodPost, "/v1/consents/"+asked.GetConsentId()+"/grant", &wattveilv1.GrantConsentRequest{RequestId: "grant-1"}, granted); err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	if err := d.checkReceipt(granted.GetReceipt()); err != nil {
		return err
	}
	read := func(id string) (*wattveilv1.ReadSeriesResponse, error) {
		return wattveilv1.NewReadingServiceClient(third).ReadSeries(ctx, &wattveilv1.ReadSeriesRequest{
			RequestId: id, ConsentId: asked.GetConsentId(), Purpose: "heating-advice", From: from, Until: until,
		})
	}
	got, err := read("read-1")
	if err != nil {
		return fmt.Errorf("reading with consent: %w", err)
	}
	n, err := d.compare(home, got.GetSeries())
	if err != nil {
		return err
	}
	if err := d.checkReceipt(got.GetReceipt()); err != nil {
		return err
	}
	d.report.Reads.Granted++
	d.say("A third party asked, the household granted, and %d readings were read; the proof of the record came with them.", n)
	if err := household.call(ctx, http.MethodPost, "/v1/consents/"+asked.GetConsentId()+"/revoke", &wattveilv1.RevokeConsentRequest{RequestId: "revoke-1"}, &wattveilv1.RevokeConsentResponse{}); err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	_, err = read("read-2")
	if reason := reasonOf(err); reason == "" {
		return fmt.Errorf("reading after revocation was not refused: %w", err)
	}
	d.report.Reads.RefusedAfterRevoke++
	events := &wattveilv1.ListEventsResponse{}
	if err := household.call(ctx, http.MethodGet, "/v1/events?kind="+string(ledger.KindAccessDenied), nil, events); err != nil {
		return fmt.Errorf("listing events: %w", err)
	}
	if len(events.GetEvents()) != 1 {
		return fmt.Errorf("the refusal is not in the ledger")
	}
	d.say("The household revoked; the next read was refused (%s), and the refusal is record %d of the ledger.", reasonOf(err), events.GetEvents()[0].GetIndex())
	return nil
}

func (d *demo) terms(code, text string, until int64) *wattveilv1.Terms {
	return &wattveilv1.Terms{
		Purpose:     &wattveilv1.Purpose{Code: code, Text: text},
		Registers:   []string{meter.ActiveImport.String()},
		Granularity: wattveilv1.Granularity_GRANULARITY_INTERVAL,
		DataFrom:    demoStart.Unix(), DataUntil: until, PermissionUntil: d.stage.now().AddDate(1, 0, 0).Unix(),
	}
}

// signIn opens a household's session with its letter code.
func (d *demo) signIn(ctx context.Context, code string) (*restClient, error) {
	c := &restClient{base: d.stage.portal()}
	s := &wattveilv1.OpenSessionResponse{}
	if err := c.call(ctx, http.MethodPost, "/v1/session", &wattveilv1.OpenSessionRequest{LetterCode: code}, s); err != nil {
		return nil, fmt.Errorf("signing in: %w", err)
	}
	c.token = s.GetToken()
	return c, nil
}

// compare checks that every reading that came back is one that was sent.
func (d *demo) compare(home string, series []*wattveilv1.Series) (int, error) {
	n := 0
	got := map[int64]int64{}
	for _, s := range series {
		for i, v := range s.GetValues() {
			if q := s.GetQualities(); len(q) > 0 && meter.Quality(q[i]) == meter.Missing {
				continue
			}
			at := s.GetStart() + int64(i)*s.GetLengthSeconds()
			got[at-at%demoInterval] += v
			n++
		}
	}
	for at, v := range got {
		if d.sent[home][at] != v {
			return 0, fmt.Errorf("what was read is not what was sent")
		}
	}
	if n == 0 {
		return 0, fmt.Errorf("nothing was read")
	}
	return n, nil
}

// checkReceipt verifies an access record offline, as its holder would.
func (d *demo) checkReceipt(r *wattveilv1.Receipt) error {
	v, err := ledger.NewVerifier(d.stage.verifierKeys())
	if err != nil {
		return err
	}
	if _, err := v.Proof(r.GetPayload(), ledger.Hash(r.GetNonce()), []byte(r.GetProof())); err != nil {
		return fmt.Errorf("verifying receipt: %w", err)
	}
	return nil
}

// reasonOf is the stable reason of an API error, "" if it has none.
func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// verify checks the whole ledger from its public tiles over HTTP.
func (d *demo) verify(ctx context.Context) error {
	v, err := ledger.NewVerifier(d.stage.verifierKeys())
	if err != nil {
		return err
	}
	src, err := ledger.HTTPSource(d.stage.record(), http.DefaultClient)
	if err != nil {
		return err
	}
	report, err := ledger.VerifyLog(ctx, v, src, ledger.VerifyOptions{})
	if err != nil {
		return fmt.Errorf("verifying ledger: %w", err)
	}
	d.report.Ledger = demoLedger{Size: report.Size, Root: hex.EncodeToString(report.Root[:]), Verified: true}
	return nil
}

// firstLine is the Ed25519 key of a ledger's keys: short enough to be shown.
func firstLine(keys string) string {
	first, _, _ := strings.Cut(keys, "\n")
	return first
}

// stay keeps the hub up for a person to look at: one request waits for an
// answer, and a fresh letter code opens the household's page.
func (d *demo) stay(ctx context.Context) error {
	third, err := d.stage.caller("recipient", demoOther)
	if err != nil {
		return err
	}
	home := d.homes[0]
	until := demoStart.AddDate(0, 0, len(d.days)).Unix()
	if _, err := wattveilv1.NewConsentServiceClient(third).RequestConsent(ctx, &wattveilv1.RequestConsentRequest{
		RequestId: "ask-2", UsagePoint: home, Terms: d.terms("flexibility", "To plan when your heat pump may pause without your noticing.", until),
	}); err != nil {
		return fmt.Errorf("asking for consent: %w", err)
	}
	operator, err := d.stage.caller("operator", "demo")
	if err != nil {
		return err
	}
	code, err := wattveilv1.NewRegistryServiceClient(operator).IssueLetterCode(ctx, &wattveilv1.IssueLetterCodeRequest{Household: d.hidden[home].GetHousehold()})
	if err != nil {
		return fmt.Errorf("issuing letter code: %w", err)
	}
	out := d.cmd.OutOrStdout()
	if asJSON(d.cmd) {
		out = d.cmd.ErrOrStderr()
	}
	fmt.Fprintf(out, "\nThe portal is at %s/ — sign in with the letter code %s\nThe ledger's public files: %s/checkpoint\nVerify them: wattveil verify log --key '%s' %s\nCtrl-C stops the hub.\n",
		d.stage.portal(), code.GetLetterCode(), d.stage.record(), firstLine(d.stage.verifierKeys()), d.stage.record())
	// From here on the clock runs: sessions end, permits expire.
	every := time.NewTicker(time.Second)
	defer every.Stop()
	base, began := d.stage.now(), time.Now()
	for {
		select {
		case <-every.C:
			if err := d.stage.turn(ctx, base.Add(time.Since(began))); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
