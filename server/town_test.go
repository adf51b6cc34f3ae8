package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Who is registered in the town that most tests play in: two utilities, each with
// its usage points, two third parties, and a household at every usage point but
// the empty ones.
const (
	utility, otherUtility     = "stadtwerk", "nachbar"
	recipient, otherRecipient = "adviser", "aggregator"

	home, secondMeter = "home-a", "home-a-pv" // both of one household
	nextDoor          = "home-b"
	farAway           = "far-a" // the other utility's
	empty             = "home-empty"
)

var energyIn, energyOut = meter.ActiveImport.String(), meter.ActiveExport.String()

// movedIn is when the town's households moved in.
var movedIn = yesterday.AddDate(0, 0, -30)

// town is a registered world with its callers.
type town struct {
	*rig
	operator, utility, otherUtility *client
	recipient, otherRecipient       *client
	regulator                       *client
	homes                           map[string]*wattveilv1.CreatedHousehold // by first usage point
	envelopeKeys                    []ledger.EnvelopePrivateKey             // the regulator's own halves
}

func newTown(t testing.TB, url string, change ...func(*Config)) *town {
	t.Helper()
	w := &town{rig: newRig(t, url, change...), homes: map[string]*wattveilv1.CreatedHousehold{}}
	w.connect()
	ctx := t.Context()
	_, err := w.operator.PutUtilities(ctx, &wattveilv1.PutUtilitiesRequest{Utilities: []*wattveilv1.Utility{
		{Id: utility, Name: "Stadtwerk"}, {Id: otherUtility, Name: "Nachbarwerk"},
	}})
	ok(t, err)
	_, err = w.operator.PutRecipients(ctx, &wattveilv1.PutRecipientsRequest{Recipients: []*wattveilv1.Recipient{
		{Id: recipient, Name: "Energy Advice"}, {Id: otherRecipient, Name: "Aggregator"},
	}})
	ok(t, err)
	_, err = w.operator.PutGridNodes(ctx, &wattveilv1.PutGridNodesRequest{Nodes: []*wattveilv1.GridNode{
		{Id: "region", Kind: "region"}, {Id: "sub", Parent: "region", Level: 1, Kind: "substation"}, {Id: "feeder", Parent: "sub", Level: 2, Kind: "feeder"},
	}})
	ok(t, err)
	var points []*wattveilv1.UsagePoint
	for _, p := range []string{home, secondMeter, nextDoor, empty} {
		points = append(points, &wattveilv1.UsagePoint{Id: p, Utility: utility, Node: "feeder", Zone: "Europe/Zurich"})
	}
	points = append(points, &wattveilv1.UsagePoint{Id: farAway, Utility: otherUtility, Node: "feeder", Zone: "Europe/Zurich"})
	_, err = w.operator.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: points})
	ok(t, err)
	for month := range 3 {
		w.postKey(morning.AddDate(0, 0, 35*month-1))
	}
	w.moveIn(movedIn, home, secondMeter)
	w.moveIn(movedIn, nextDoor)
	w.moveIn(movedIn, farAway)
	return w
}

// postKey posts an envelope key of the regulator that is valid for 35 days.
func (w *town) postKey(from time.Time) ledger.EnvelopePrivateKey {
	w.t.Helper()
	key, err := ledger.NewEnvelopePrivateKey(rand.Reader)
	ok(w.t, err)
	_, err = w.regulator.PutEnvelopeKey(w.t.Context(), &wattveilv1.PutEnvelopeKeyRequest{
		RequestId: from.Format("2006-01-02"), PublicKey: key.Public(), From: from.Unix(), Until: from.AddDate(0, 0, 35).Unix(),
	})
	ok(w.t, err)
	w.envelopeKeys = append(w.envelopeKeys, key)
	return key
}

// connect gives every caller a connection to the hub that runs.
func (w *town) connect() {
	w.operator, w.utility, w.otherUtility = w.as("operator", "ops"), w.as("utility", utility), w.as("utility", otherUtility)
	w.recipient, w.otherRecipient, w.regulator = w.as("recipient", recipient), w.as("recipient", otherRecipient), w.as("regulator", "reg")
}

// restart stops the hub gracefully and starts another over the same store.
func (w *town) restart() {
	w.t.Helper()
	w.stop()
	w.start()
	w.connect()
}

// moveIn makes a household that lives at the points from then on.
func (w *town) moveIn(from time.Time, points ...string) *wattveilv1.CreatedHousehold {
	w.t.Helper()
	made, err := w.operator.CreateHouseholds(w.t.Context(), &wattveilv1.CreateHouseholdsRequest{
		Households: []*wattveilv1.NewHousehold{{UsagePoints: points, From: from.Unix()}},
	})
	ok(w.t, err)
	w.homes[points[0]] = made.GetHouseholds()[0]
	return made.GetHouseholds()[0]
}

// moveOut ends a household's time at its points.
func (w *town) moveOut(household string, at time.Time) {
	w.t.Helper()
	_, err := w.operator.MoveOut(w.t.Context(), &wattveilv1.MoveOutRequest{Household: household, At: at.Unix()})
	ok(w.t, err)
}

// signIn opens a session of the household and returns its client and token.
func (w *town) signIn(h *wattveilv1.CreatedHousehold) (*client, string) {
	w.t.Helper()
	issued, err := w.operator.IssueLetterCode(w.t.Context(), &wattveilv1.IssueLetterCodeRequest{Household: h.GetHousehold()})
	ok(w.t, err)
	opened, err := w.public().OpenSession(w.t.Context(), &wattveilv1.OpenSessionRequest{LetterCode: issued.GetLetterCode()})
	ok(w.t, err)
	return w.bearing(opened.GetToken()), opened.GetToken()
}

// public is a caller without certificate or session, as REST makes one.
func (w *town) public() *client { return clientOf(w.hub.conn) }

// bearing is a caller with a session, as REST makes one.
func (w *town) bearing(token string) *client { return clientOf(bearer{w.hub.conn, token}) }

type bearer struct {
	*grpc.ClientConn
	token string
}

func (b bearer) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return b.ClientConn.Invoke(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+b.token), method, args, reply, opts...)
}

func (b bearer) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return b.ClientConn.NewStream(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+b.token), desc, method, opts...)
}

// series is quarter hours of a usage point from start.
func series(point string, start time.Time, values ...int64) *wattveilv1.Series {
	return &wattveilv1.Series{UsagePoint: point, Register: energyIn, Start: start.Unix(), LengthSeconds: 900, Values: values}
}

// day is the 96 quarter hours of a UTC day, counting from first.
func day(point string, start time.Time, first int64) *wattveilv1.Series {
	s := series(point, start)
	for i := range int64(96) {
		s.Values = append(s.Values, first+i)
	}
	return s
}

func revised(revision uint32, s *wattveilv1.Series) *wattveilv1.Series {
	s.Revision = revision
	return s
}

func batch(id string, ss ...*wattveilv1.Series) *wattveilv1.SubmitRequest {
	return &wattveilv1.SubmitRequest{BatchId: id, Series: ss}
}

// submit sends batches on one stream and returns their answers by id, and how the
// stream ended.
func submit(ctx context.Context, c *client, batches ...*wattveilv1.SubmitRequest) (map[string]*wattveilv1.SubmitResponse, error) {
	stream, err := c.Submit(ctx)
	if err != nil {
		return nil, err
	}
	go func() {
		for _, b := range batches {
			if stream.Send(b) != nil {
				return // Recv says why
			}
		}
		_ = stream.CloseSend()
	}()
	answers := map[string]*wattveilv1.SubmitResponse{}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		if answers[resp.GetBatchId()] != nil {
			return answers, fmt.Errorf("batch %q was answered twice", resp.GetBatchId())
		}
		answers[resp.GetBatchId()] = resp
	}
}

// send submits one batch and returns its answer.
func (w *town) send(c *client, b *wattveilv1.SubmitRequest) *wattveilv1.SubmitResponse {
	w.t.Helper()
	answers, err := submit(w.t.Context(), c, b)
	ok(w.t, err)
	if len(answers) != 1 || answers[b.GetBatchId()] == nil {
		w.t.Fatalf("%d answers to one batch", len(answers))
	}
	return answers[b.GetBatchId()]
}

// keep submits one batch that must be accepted whole.
func (w *town) keep(b *wattveilv1.SubmitRequest) {
	w.t.Helper()
	n := 0
	for _, s := range b.GetSeries() {
		n += len(s.GetValues())
	}
	if a := w.send(w.utility, b); a.GetAccepted() != uint64(n) || len(a.GetRefusals()) != 0 || a.GetDuplicate() || a.GetErrorReason() != "" {
		w.t.Fatalf("accepted %d of %d, refused %v, duplicate %t, error %q", a.GetAccepted(), n, reasons(a), a.GetDuplicate(), a.GetErrorReason())
	}
}

// reasons counts refusals.
func reasons(a *wattveilv1.SubmitResponse) map[string]int {
	n := map[string]int{}
	for _, r := range a.GetRefusals() {
		n[r.GetReason()]++
	}
	return n
}

// own reads what a household has at a usage point, by the start of the interval.
func (w *town) own(c *client, point string, from, until time.Time) map[int64]int64 {
	w.t.Helper()
	got, err := c.ReadOwnSeries(w.t.Context(), &wattveilv1.ReadOwnSeriesRequest{UsagePoints: []string{point}, From: from.Unix(), Until: until.Unix()})
	ok(w.t, err)
	return intervals(w.t, got.GetSeries())
}

// intervals lays series out; no interval may be there twice.
func intervals(t testing.TB, ss []*wattveilv1.Series) map[int64]int64 {
	t.Helper()
	out := map[int64]int64{}
	for _, s := range ss {
		for i, v := range s.GetValues() {
			if q := s.GetQualities(); len(q) > 0 && meter.Quality(q[i]) == meter.Missing {
				continue
			}
			at := s.GetStart() + int64(i)*s.GetLengthSeconds()
			if _, twice := out[at]; twice {
				t.Errorf("an interval is there twice")
			}
			out[at] = v
		}
	}
	return out
}

// slots is how many intervals are stored of a usage point, counted by its
// utility.
func (w *town) slots(c *client, point string) uint64 {
	w.t.Helper()
	got, err := c.Completeness(w.t.Context(), &wattveilv1.CompletenessRequest{
		UsagePoints: []string{point}, FromDay: meter.DayOf(movedIn.Unix()).String(), ToDay: meter.DayOf(morning.Unix() + 10*86400).String(),
	})
	ok(w.t, err)
	var n uint64
	for _, d := range got.GetDays() {
		n += d.GetSlots()
	}
	return n
}

// events lists what a caller sees of the ledger, oldest first.
func (w *town) events(c *client, kind string) []*wattveilv1.Event {
	w.t.Helper()
	var all []*wattveilv1.Event
	for token := ""; ; {
		got, err := c.ListEvents(w.t.Context(), &wattveilv1.ListEventsRequest{Kind: kind, PageToken: token, PageSize: 3})
		ok(w.t, err)
		all = append(all, got.GetEvents()...)
		if token = got.GetNextPageToken(); token == "" {
			slices.Reverse(all)
			return all
		}
	}
}
