package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/notify"
	"github.com/wattveil/wattveil/server/store"
)

// notifier tells third parties of changes.
type notifier struct {
	guard     *notify.Guard
	poster    *notify.Poster
	composer  notify.Composer
	deliverer *notify.Deliverer
	sweeper   *notify.Sweeper
	keys      *notifyKeys
	timeout   time.Duration
	log       *slog.Logger
}

// newNotifier makes what tells third parties. publicURL is where they find the hub; sound
// says why nothing may be told now.
func newNotifier(ctx context.Context, d Deps, cfg *Config, publicURL func() string, sound func() error) (*notifier, error) {
	c := cfg.Notify
	networks, err := c.networks()
	if err != nil {
		return nil, err
	}
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	keys, err := openNotifyKeys(ctx, d, c)
	if err != nil {
		return nil, err
	}
	n := &notifier{
		guard: &notify.Guard{Ports: c.Ports, HTTP: c.AllowHTTP, Networks: networks}, keys: keys, timeout: c.Timeout, log: d.Log,
		composer: notify.Composer{Origin: cfg.Origin, PublicURL: publicURL},
		sweeper:  notify.NewSweeper(d.Store, c.SweepEvery, c.Keep, d.Clock),
	}
	n.poster = notify.NewPoster(n.guard, keys.set, roots, d.Clock)
	n.deliverer = notify.NewDeliverer(notify.Config{
		Outbox: d.Store, Sender: n.poster, Composer: n.composer, Clock: d.Clock, Random: d.Random, Log: d.Log, Sound: sound,
		Calls: c.Calls, Timeout: c.Timeout, GiveUp: c.GiveUpAfter,
	})
	return n, nil
}

// run tells third parties until ctx ends.
func (n *notifier) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { n.deliverer.Run(ctx) })
	every := time.NewTicker(tick)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if err := n.tend(ctx); err != nil && ctx.Err() == nil {
				n.log.LogAttrs(ctx, slog.LevelError, "looking for what third parties are to be told", slog.String("cause", err.Error()))
			}
		case <-ctx.Done():
			wg.Wait()
			return
		}
	}
}

// tend looks for new readings, and after the keys.
func (n *notifier) tend(ctx context.Context) error {
	if err := n.deliverer.Sound(); err != nil {
		return err
	}
	_, err := n.sweeper.Sweep(ctx)
	return errors.Join(n.keys.tend(ctx), err)
}

// notificationService implements NotificationService.
type notificationService struct {
	wattveilv1.UnimplementedNotificationServiceServer
	store    *store.Store
	notifier *notifier
	clock    Clock
	// puts bounds each third party's changes, of which each looks a name up, and tests its
	// tests, of which each is a call.
	puts, tests *buckets
}

// Bounds on each third party.
const (
	endpointPutsPerHour  = 60
	endpointTestsPerHour = 60
	lookUpTimeout        = 5 * time.Second
)

func newNotificationService(s *store.Store, n *notifier, clock Clock) *notificationService {
	return &notificationService{store: s, notifier: n, clock: clock, puts: newBuckets(endpointPutsPerHour, time.Hour), tests: newBuckets(endpointTestsPerHour, time.Hour)}
}

// PutEndpoint says where the caller wants to be told.
func (s *notificationService) PutEndpoint(ctx context.Context, req *wattveilv1.PutEndpointRequest) (*wattveilv1.PutEndpointResponse, error) {
	r := caller(ctx).Recipient()
	if !s.puts.take(string(r), s.clock()) {
		return nil, &inputError{codes.ResourceExhausted, "too_many_endpoints", "the endpoint was changed too often in the last hour"}
	}
	form := notify.Form(req.GetForm())
	if err := s.check(ctx, form, req.GetUrl()); err != nil {
		return nil, err
	}
	if err := s.store.PutEndpoint(ctx, r, req.GetUrl(), form, s.clock().Unix()); err != nil {
		return nil, err
	}
	e, err := s.store.Endpoint(ctx, r)
	if err != nil {
		return nil, err
	}
	return &wattveilv1.PutEndpointResponse{Endpoint: endpointToWire(e)}, nil
}

// check returns nil for an endpoint that the hub calls, or that is not called.
func (s *notificationService) check(ctx context.Context, form notify.Form, url string) error {
	switch {
	case !form.Known():
		return invalid("bad_endpoint_form", "the form is one of WEBHOOK, GREEN_BUTTON and PULL")
	case form == notify.Pull && url != "":
		return invalid("bad_notify_url", "an endpoint of form PULL is not called: leave the URL out")
	case form == notify.Pull:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	err := s.notifier.guard.CheckURL(ctx, url)
	if errors.Is(err, context.DeadlineExceeded) { // nobody answers for the name
		return notify.ErrName
	}
	return err
}

// adopt gives a client that has registered an address for notices, and has no endpoint of
// its own, one that is told by BatchLists: so who speaks Green Button alone is told.
func (s *notificationService) adopt(ctx context.Context, c *wattveilv1.Client) error {
	if c.GetNotifyUri() == "" || c.GetState() != wattveilv1.ClientState_CLIENT_STATE_APPROVED {
		return nil
	}
	r := consent.Recipient(c.GetId())
	if _, err := s.store.Endpoint(ctx, r); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.store.PutEndpoint(ctx, r, c.GetNotifyUri(), notify.GreenButton, s.clock().Unix())
}

// GetEndpoint shows the caller its endpoint.
func (s *notificationService) GetEndpoint(ctx context.Context, _ *wattveilv1.GetEndpointRequest) (*wattveilv1.GetEndpointResponse, error) {
	e, err := s.store.Endpoint(ctx, caller(ctx).Recipient())
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GetEndpointResponse{Endpoint: endpointToWire(e)}, nil
}

// DeleteEndpoint ends the caller's endpoint.
func (s *notificationService) DeleteEndpoint(ctx context.Context, _ *wattveilv1.DeleteEndpointRequest) (*wattveilv1.DeleteEndpointResponse, error) {
	return &wattveilv1.DeleteEndpointResponse{}, s.store.RemoveEndpoint(ctx, caller(ctx).Recipient())
}

// TestEndpoint calls the caller's endpoint. It changes nothing of how that stands.
func (s *notificationService) TestEndpoint(ctx context.Context, _ *wattveilv1.TestEndpointRequest) (*wattveilv1.TestEndpointResponse, error) {
	r := caller(ctx).Recipient()
	e, err := s.store.Endpoint(ctx, r)
	if err != nil {
		return nil, err
	}
	if e.Form == notify.Pull {
		return nil, &inputError{codes.FailedPrecondition, "nothing_to_call", "an endpoint of form PULL is not called"}
	}
	if !s.tests.take(string(r), s.clock()) {
		return nil, &inputError{codes.ResourceExhausted, "too_many_tests", "the endpoint was tested too often in the last hour"}
	}
	m, err := s.notifier.composer.Compose(e.Form, []notify.Event{{Kind: notify.Ping, At: s.clock().Unix()}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.notifier.timeout)
	defer cancel()
	a := s.notifier.poster.Send(ctx, e.URL, m)
	return &wattveilv1.TestEndpointResponse{Status: uint32(a.Status), Problem: string(a.Problem)}, nil
}

// ListNotifications lists the caller's notifications after a number.
func (s *notificationService) ListNotifications(ctx context.Context, req *wattveilv1.ListNotificationsRequest) (*wattveilv1.ListNotificationsResponse, error) {
	size, err := page(req.GetPageSize(), "")
	if err != nil {
		return nil, err
	}
	events, err := s.store.ListNotifications(ctx, caller(ctx).Recipient(), req.GetSince(), size)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListNotificationsResponse{NextSince: req.GetSince()}
	for _, e := range events {
		resp.Notifications = append(resp.Notifications, &wattveilv1.Notification{
			Sequence: e.Seq, Kind: string(e.Kind), ConsentId: string(e.Consent), Cause: string(e.Cause), At: e.At, LeafIndex: e.Leaf, From: e.From, Until: e.Until,
		})
		resp.NextSince = e.Seq
	}
	return resp, nil
}

// ListEndpoints shows the operator how third parties are told.
func (s *notificationService) ListEndpoints(ctx context.Context, req *wattveilv1.ListEndpointsRequest) (*wattveilv1.ListEndpointsResponse, error) {
	size, err := page(req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if _, err := consent.ParseRecipient(req.GetPageToken()); err != nil && req.GetPageToken() != "" {
		return nil, fmt.Errorf("listing endpoints: %w", store.ErrPage)
	}
	rows, err := s.store.ListEndpoints(ctx, consent.Recipient(req.GetPageToken()), size+1)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListEndpointsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = string(rows[size-1].Recipient)
	}
	for _, e := range rows {
		resp.Endpoints = append(resp.Endpoints, endpointToWire(e))
	}
	return resp, nil
}

// RotateNotificationKey makes the next key that calls are signed with.
func (s *notificationService) RotateNotificationKey(ctx context.Context, req *wattveilv1.RotateNotificationKeyRequest) (*wattveilv1.RotateNotificationKeyResponse, error) {
	key, err := s.notifier.keys.rotate(ctx, req.GetWithdrawNow())
	if err != nil {
		return nil, fmt.Errorf("rotating the key that signs notifications: %w", err)
	}
	return &wattveilv1.RotateNotificationKeyResponse{Generation: key.Generation, SignsAt: key.SignsAt}, nil
}

func endpointToWire(e store.EndpointRow) *wattveilv1.Endpoint {
	return &wattveilv1.Endpoint{
		Recipient: string(e.Recipient), Url: e.URL, Form: wattveilv1.EndpointForm(e.Form), State: wattveilv1.EndpointState(e.State), PutAt: e.PutAt,
		Failures: uint32(e.Failures), FailingSince: e.FailingSince, TriedAt: e.TriedAt, TakenAt: e.TakenAt, Status: uint32(e.Status), Problem: string(e.Problem),
		Waiting: e.Waiting, Dropped: e.Dropped, LastSequence: e.LastSeq, ForgottenSequence: e.PrunedSeq,
	}
}
