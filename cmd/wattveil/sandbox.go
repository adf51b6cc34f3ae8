package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/profile"
	"github.com/wattveil/wattveil/meter/profile/sample"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// The third party that a sandbox knows.
const (
	sandboxClient   = "sandbox-app"
	sandboxRedirect = "http://127.0.0.1:8400/callback"
	sandboxPurpose  = "advice"
	sandboxText     = "To show you where your electricity goes."
)

// sandboxReport is what a developer needs, and what sandbox prints with --json.
type sandboxReport struct {
	URL          string        `json:"url"` // of portal, REST, OAuth and Green Button
	GRPC         string        `json:"grpc"`
	ClientID     string        `json:"client_id"`
	ClientSecret string        `json:"client_secret"`
	RedirectURI  string        `json:"redirect_uri"`
	Purpose      string        `json:"purpose"` // code that the client registered
	DataFrom     time.Time     `json:"data_from"`
	DataUntil    time.Time     `json:"data_until"`
	Homes        []sandboxHome `json:"homes"`
}

type sandboxHome struct {
	UsagePoint string `json:"usage_point"`
	Does       string `json:"does"` // when it is asked
	LetterCode string `json:"letter_code"`
}

type sandboxFlags struct {
	dir, listen string
	stopAfter   time.Duration
}

func sandboxCommand() *cobra.Command {
	var f sandboxFlags
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a hub to try a third party's program against",
		Long: "Start a hub on this machine with a third party that is registered and a few homes that each answer requests in their own\n" +
			"way: one agrees, one declines, one agrees to less, one agrees and stops, one never answers, and one is yours to decide\n" +
			"for. Their readings are of real homes, moved to end yesterday. Everything is thrown away at the end.",
		Example: "  wattveil sandbox\n  wattveil sandbox --listen 127.0.0.1:8080 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := keepMemory(); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().StringVar(&f.dir, "dir", "", "keep the hub's data here (default: a temporary directory, removed at the end)")
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:0", "loopback address of portal, REST, OAuth and Green Button")
	cmd.Flags().DurationVar(&f.stopAfter, "stop-after", time.Minute, "how long the home that stops sharing shares before")
	return cmd
}

func (f *sandboxFlags) run(cmd *cobra.Command) (err error) {
	if f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "wattveil-sandbox-"); err != nil {
			return fmt.Errorf("making sandbox directory: %w", err)
		}
		defer os.RemoveAll(f.dir)
	} else if err := emptyDir(f.dir); err != nil {
		return err
	}
	log, err := logger(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	now := time.Now()
	first := sandboxStart(now)
	rig, err := startRig(ctx, rigConfig{Dir: f.dir, Start: first, Log: log, HTTP: f.listen})
	if err != nil {
		return err
	}
	defer rig.stop()
	s := &sandbox{rig: rig, first: first, stopAfter: f.stopAfter}
	if err := s.seed(ctx); err != nil {
		return err
	}
	rig.clock.set(now)
	if err := rig.hub.Tend(ctx); err != nil {
		return err
	}
	report, err := s.open(ctx)
	if err != nil {
		return err
	}
	if asJSON(cmd) {
		err = printJSON(cmd, report)
	} else {
		report.print(cmd.OutOrStdout())
	}
	if err != nil {
		return err
	}
	return s.live(ctx)
}

// sandboxStart returns the first instant of the bundled data, moved by whole days so
// that its last day is the last that is over.
func sandboxStart(now time.Time) time.Time {
	const day = 24 * time.Hour
	last := demoStart.AddDate(0, 0, sample.LocalDays)
	return demoStart.Add(now.Sub(last) / day * day)
}

// homeKind is a home of the sandbox: how it answers who asks.
type homeKind struct {
	does   string
	answer func(ctx context.Context, s *sandbox, h *sandboxHousehold, c *wattveilv1.Consent) error
}

// homeKinds are the homes, in the order of the bundled file. The first is for the
// developer to sign in to.
var homeKinds = []homeKind{
	{"waits for you to decide in the portal", nil},
	{"agrees at once", func(ctx context.Context, _ *sandbox, h *sandboxHousehold, c *wattveilv1.Consent) error {
		return h.grant(ctx, c, nil)
	}},
	{"declines at once", func(ctx context.Context, _ *sandbox, h *sandboxHousehold, c *wattveilv1.Consent) error {
		return h.call(ctx, "/deny", c, &wattveilv1.DenyConsentRequest{RequestId: c.GetId()}, &wattveilv1.DenyConsentResponse{})
	}},
	{"agrees to whole days only", func(ctx context.Context, _ *sandbox, h *sandboxHousehold, c *wattveilv1.Consent) error {
		less := c.GetTerms()
		less.Granularity = max(less.GetGranularity(), wattveilv1.Granularity_GRANULARITY_DAY)
		return h.grant(ctx, c, less)
	}},
	{"agrees, and stops sharing soon after", func(ctx context.Context, s *sandbox, h *sandboxHousehold, c *wattveilv1.Consent) error {
		s.stops = append(s.stops, stopAt{time.Now().Add(s.stopAfter), h, c})
		return h.grant(ctx, c, nil)
	}},
	{"never answers", nil},
}

// sandbox is a hub with homes that answer.
type sandbox struct {
	rig   *rig
	first time.Time // of the data
	// stopAfter is how long the home that stops shares before.
	stopAfter time.Duration
	homes     []*sandboxHousehold
	stops     []stopAt
}

type stopAt struct {
	at      time.Time
	home    *sandboxHousehold
	consent *wattveilv1.Consent
}

// sandboxHousehold is a home with a session of its own.
type sandboxHousehold struct {
	point string
	kind  homeKind
	made  *wattveilv1.CreatedHousehold
	rest  *restClient
}

func (h *sandboxHousehold) call(ctx context.Context, verb string, c *wattveilv1.Consent, in, out proto.Message) error {
	return h.rest.call(ctx, "POST", "/v1/consents/"+c.GetId()+verb, in, out)
}

func (h *sandboxHousehold) grant(ctx context.Context, c *wattveilv1.Consent, narrowed *wattveilv1.Terms) error {
	return h.call(ctx, "/grant", c, &wattveilv1.GrantConsentRequest{RequestId: c.GetId(), Narrowed: narrowed}, &wattveilv1.GrantConsentResponse{})
}

// seed registers the homes and stores their readings.
func (s *sandbox) seed(ctx context.Context) error {
	series, names, err := s.load()
	if err != nil {
		return err
	}
	operator, err := s.rig.dial("operator", "sandbox")
	if err != nil {
		return err
	}
	reg := wattveilv1.NewRegistryServiceClient(operator)
	if _, err := reg.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{Utilities: []*wattveilv1.Utility{{Id: demoUtility, Name: "Stadtwerk"}}}); err != nil {
		return fmt.Errorf("registering utility: %w", err)
	}
	if _, err := reg.PutGridNodes(ctx, &wattveilv1.PutGridNodesRequest{Nodes: []*wattveilv1.GridNode{{Id: "region", Kind: "region"}}}); err != nil {
		return fmt.Errorf("registering grid: %w", err)
	}
	var points []*wattveilv1.UsagePoint
	var homes []*wattveilv1.NewHousehold
	for _, name := range names {
		points = append(points, &wattveilv1.UsagePoint{Id: name, Utility: demoUtility, Node: "region", Zone: "Europe/Zurich"})
		homes = append(homes, &wattveilv1.NewHousehold{UsagePoints: []string{name}, From: s.first.Unix()})
	}
	if _, err := reg.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: points}); err != nil {
		return fmt.Errorf("registering usage points: %w", err)
	}
	made, err := reg.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: homes})
	if err != nil {
		return fmt.Errorf("registering households: %w", err)
	}
	for i, h := range made.GetHouseholds() {
		s.homes = append(s.homes, &sandboxHousehold{point: names[i], kind: homeKinds[i], made: h})
	}
	utility, err := s.rig.dial("utility", demoUtility)
	if err != nil {
		return err
	}
	var failed error
	sub := &submitter{client: wattveilv1.NewMeterServiceClient(utility), prefix: "sandbox", window: 4, patience: time.Minute, answered: func(r *wattveilv1.SubmitResponse) {
		if r.GetErrorReason() != "" {
			failed = fmt.Errorf("a batch was refused: %s", r.GetErrorReason())
		}
	}}
	s.rig.clock.set(s.first.AddDate(0, 0, sample.LocalDays).Add(10 * time.Minute))
	err = sub.run(ctx, pull(func(yield func(meter.Series) error) error {
		for _, x := range series {
			if err := yield(x); err != nil {
				return err
			}
		}
		return nil
	}, func(int) {}))
	return errors.Join(err, failed)
}

// load reads the homes' readings from the bundled file and moves them to now.
func (s *sandbox) load() (series []meter.Series, names []string, err error) {
	dec, err := profile.NewDecoder(sample.Open(), profile.Options{Zone: sample.Zone(), Unit: profile.KWh})
	if err != nil {
		return nil, nil, fmt.Errorf("reading bundled data: %w", err)
	}
	moved := s.first.Unix() - demoStart.Unix()
	known := map[meter.UsagePoint]bool{}
	for {
		x, err := dec.Next()
		if errors.Is(err, io.EOF) {
			return series, names, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading bundled data: %w", err)
		}
		if !known[x.UsagePoint] {
			if len(names) == len(homeKinds) {
				continue
			}
			known[x.UsagePoint], names = true, append(names, string(x.UsagePoint))
		}
		x.Start += moved
		series = append(series, x)
	}
}

// open registers the third party and the regulator's keys, and signs the homes in.
func (s *sandbox) open(ctx context.Context) (sandboxReport, error) {
	operator, err := s.rig.dial("operator", "sandbox")
	if err != nil {
		return sandboxReport{}, err
	}
	client, err := wattveilv1.NewAuthorizationServiceClient(operator).PutClient(ctx, &wattveilv1.PutClientRequest{Client: &wattveilv1.Client{
		Id: sandboxClient, Name: "Sandbox App", RedirectUris: []string{sandboxRedirect},
		GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"},
		Purpose:    &wattveilv1.Purpose{Code: sandboxPurpose, Text: sandboxText},
	}})
	if err != nil {
		return sandboxReport{}, fmt.Errorf("registering the third party: %w", err)
	}
	regulator, err := s.rig.dial("regulator", demoRegulator)
	if err != nil {
		return sandboxReport{}, err
	}
	if _, err := postKeysFrom(ctx, regulator, s.rig.now().AddDate(0, 0, -1), 62); err != nil {
		return sandboxReport{}, err
	}
	report := sandboxReport{
		URL: s.rig.portal(), GRPC: s.rig.hub.GRPCAddr(), ClientID: sandboxClient, ClientSecret: client.GetClientSecret(), RedirectURI: sandboxRedirect,
		Purpose: sandboxPurpose, DataFrom: s.first, DataUntil: s.first.AddDate(0, 0, sample.LocalDays),
	}
	reg := wattveilv1.NewRegistryServiceClient(operator)
	for _, h := range s.homes {
		opened := &wattveilv1.OpenSessionResponse{}
		h.rest = &restClient{base: s.rig.portal()}
		if err := h.rest.call(ctx, "POST", "/v1/session", &wattveilv1.OpenSessionRequest{LetterCode: h.made.GetLetterCode()}, opened); err != nil {
			return sandboxReport{}, err
		}
		h.rest.token = opened.GetToken()
		code, err := reg.IssueLetterCode(ctx, &wattveilv1.IssueLetterCodeRequest{Household: h.made.GetHousehold()})
		if err != nil {
			return sandboxReport{}, err
		}
		report.Homes = append(report.Homes, sandboxHome{h.point, h.kind.does, code.GetLetterCode()})
	}
	return report, nil
}

// live lets the homes answer until ctx ends.
func (s *sandbox) live(ctx context.Context) error {
	every := time.NewTicker(500 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			s.rig.clock.set(time.Now())
			if err := s.answer(ctx); err != nil && ctx.Err() == nil { // somebody was faster: the next round sees
				s.rig.log.LogAttrs(ctx, slog.LevelWarn, "a home could not answer", slog.String("cause", err.Error()))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// answer lets each home answer what it was asked.
func (s *sandbox) answer(ctx context.Context) error {
	for len(s.stops) > 0 && time.Now().After(s.stops[0].at) {
		stop := s.stops[0]
		s.stops = s.stops[1:]
		err := stop.home.call(ctx, "/revoke", stop.consent, &wattveilv1.RevokeConsentRequest{RequestId: "stop-" + stop.consent.GetId()}, &wattveilv1.RevokeConsentResponse{})
		if err != nil {
			return err
		}
	}
	for _, h := range s.homes {
		if h.kind.answer == nil {
			continue
		}
		resp := &wattveilv1.ListConsentsResponse{}
		if err := h.rest.call(ctx, "GET", "/v1/consents", nil, resp); err != nil {
			return err
		}
		for _, c := range resp.GetConsents() {
			if c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_REQUESTED {
				continue
			}
			if err := h.kind.answer(ctx, s, h, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// print tells a developer what there is.
func (r sandboxReport) print(w io.Writer) {
	p := func(format string, a ...any) { fmt.Fprintf(w, format+"\n", a...) }
	p("A hub to try things against runs at %s (gRPC with mutual TLS at %s).", r.URL, r.GRPC)
	p("  client_id      %s\n  client_secret  %s\n  redirect_uri   %s\n  purpose        %s", r.ClientID, r.ClientSecret, r.RedirectURI, r.Purpose)
	p("Readings from %s to %s of these homes:", r.DataFrom.Format(time.RFC3339), r.DataUntil.Format(time.RFC3339))
	for _, h := range r.Homes {
		p("  %-12s letter code %s  %s", h.UsagePoint, h.LetterCode, h.Does)
	}
	p("docs/THIRD_PARTIES.md has requests to copy. Ctrl-C ends it, and nothing is kept.")
}
