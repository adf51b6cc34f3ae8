package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
	"github.com/wattveil/wattveil/server/store/plain"
)

const (
	accessDays = 31 // of the month that is read
	// accessParties is how many third parties share the reads, so that none comes to
	// the 600 a minute that each may read.
	accessParties = 128
	accessPurpose = "advice"
	// accessSigning is how many households sign in and grant at once.
	accessSigning = 16
)

// accessFirst is the first day of the month.
var accessFirst = meter.DayOf(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC).Unix())

// accessWorld is a hub that holds a month of every household, and third parties that
// each household has allowed one of to read it.
type accessWorld struct {
	rig  *rig
	drop func()
	wants

	until    int64    // of what is granted, unix seconds
	consents []string // by household
	readers  []wattveilv1.ReadingServiceClient
	ahead    atomic.Int64  // ns that the clock has been set ahead since it runs
	still    chan struct{} // closed: the clock stands
	ticking  sync.WaitGroup
}

// wants is what each household sent, by the hour.
type wants [][]int64

// check compares an answer with what was sent: every hour of the month, once, in order.
func (w wants) check(household int, got *wattveilv1.ReadSeriesResponse) error {
	want, n := w[household], 0
	for _, s := range got.GetSeries() {
		if s.GetUsagePoint() != benchPoint(household) || s.GetLengthSeconds() != 3600 || s.GetStart() != accessFirst.Start()+int64(n)*3600 {
			return errNotSent
		}
		for _, v := range s.GetValues() {
			if n == len(want) || v != want[n] {
				return errNotSent
			}
			n++
		}
	}
	if n != len(want) {
		return errNotSent
	}
	return nil
}

var errNotSent = errors.New("what was read is not what was sent")

// accessSender sends the month, a day at a time.
func (b *benchAccess) accessSender() *benchIngest {
	s := &benchIngest{shape: "day", households: b.households, connections: 2, log: b.log, day: accessFirst}
	s.results.Readings = b.households * dayIntervals
	return s
}

// sent returns what each household sends in the month.
func (b *benchAccess) sent() wants {
	w := make(wants, b.households)
	sender := b.accessSender()
	for h := range w {
		w[h] = make([]int64, 0, accessDays*24)
		for d := range accessDays {
			sender.day = accessFirst + meter.Day(d)
			quarters := sender.values(h, 0, dayIntervals)
			for i := 0; i < len(quarters); i += 4 {
				w[h] = append(w[h], quarters[i]+quarters[i+1]+quarters[i+2]+quarters[i+3])
			}
		}
	}
	return w
}

// world starts a hub and fills it as in life: day after day arrives and closes, then
// third parties ask and households grant. From then on its clock runs with the
// machine's. A nil wrapper is a keyring.
func (b *benchAccess) world(ctx context.Context, dir string, wrapper server.KeyService) (_ *accessWorld, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making directory: %w", err)
	}
	w := &accessWorld{wants: b.sent(), until: (accessFirst + accessDays + meter.Day(b.later)).Start(), drop: func() {}, still: make(chan struct{})}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	url, drop, err := b.db.scratch(ctx, dir, "hub.db")
	if err != nil {
		return nil, err
	}
	w.drop = drop
	if w.rig, err = startRig(ctx, rigConfig{Dir: dir, Store: url, Start: time.Unix(accessFirst.Start(), 0), Log: b.log, Committers: b.committers(), Keys: wrapper}); err != nil {
		return nil, err
	}
	sender := b.accessSender()
	codes, err := sender.populate(ctx, w.rig)
	if err != nil {
		return nil, err
	}
	for d := range accessDays {
		sender.day = accessFirst + meter.Day(d)
		w.rig.clock.set(time.Unix(sender.day.End()+600, 0))
		if err := errors.Join(sender.send(ctx, w.rig, d), w.rig.hub.Tend(ctx)); err != nil {
			return nil, err
		}
	}
	// No day is left to close while reads are measured.
	w.rig.clock.set(time.Unix(sender.day.End(), 0).Add(w.rig.catalogue.Watermark + 2*time.Hour))
	if err := w.rig.hub.Tend(ctx); err != nil {
		return nil, err
	}
	if err := w.admit(ctx, codes); err != nil {
		return nil, err
	}
	w.run()
	return w, nil
}

// admit registers the third parties, posts a regulator's key, without which none of
// them reads, and lets each household grant one of them its month.
func (w *accessWorld) admit(ctx context.Context, codes []string) error {
	operator, err := w.rig.dial("operator", "bench")
	if err != nil {
		return err
	}
	var parties []*wattveilv1.Recipient
	for i := range accessParties {
		parties = append(parties, &wattveilv1.Recipient{Id: accessParty(i), Name: fmt.Sprint("Party ", i)})
	}
	if _, err := wattveilv1.NewRegistryServiceClient(operator).PutRecipients(ctx, &wattveilv1.PutRecipientsRequest{Recipients: parties}); err != nil {
		return fmt.Errorf("registering third parties: %w", err)
	}
	regulator, err := w.rig.dial("regulator", "bench")
	if err != nil {
		return err
	}
	key, err := ledger.NewEnvelopePrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	now := w.rig.clock.Now().Unix()
	if _, err := wattveilv1.NewAuditServiceClient(regulator).PutEnvelopeKey(ctx, &wattveilv1.PutEnvelopeKeyRequest{RequestId: "key", PublicKey: key.Public(), From: now, Until: now + 35*86400}); err != nil {
		return fmt.Errorf("posting a regulator's key: %w", err)
	}
	asking := make([]wattveilv1.ConsentServiceClient, accessParties)
	w.readers = make([]wattveilv1.ReadingServiceClient, accessParties)
	for i := range accessParties {
		conn, err := w.rig.dial("recipient", accessParty(i))
		if err != nil {
			return err
		}
		asking[i], w.readers[i] = wattveilv1.NewConsentServiceClient(conn), wattveilv1.NewReadingServiceClient(conn)
		// Shakes hands, so that no read pays for it.
		if _, err := asking[i].ListConsents(ctx, &wattveilv1.ListConsentsRequest{}); err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
	}
	w.consents = make([]string, len(codes))
	var signing sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for worker := range accessSigning {
		g.Go(func() error {
			for h := worker; h < len(codes); h += accessSigning {
				id, err := w.grant(ctx, asking[h%accessParties], h, codes[h], &signing)
				if err != nil {
					return err
				}
				w.consents[h] = id
			}
			return nil
		})
	}
	return g.Wait()
}

func accessParty(i int) string { return fmt.Sprint("party-", i) }

// grant lets a household grant what it is asked for.
func (w *accessWorld) grant(ctx context.Context, asking wattveilv1.ConsentServiceClient, h int, code string, signing *sync.Mutex) (string, error) {
	asked, err := asking.RequestConsent(ctx, &wattveilv1.RequestConsentRequest{
		RequestId: fmt.Sprint("ask-", h), UsagePoint: benchPoint(h), Terms: &wattveilv1.Terms{
			Purpose: &wattveilv1.Purpose{Code: accessPurpose, Text: "We look for what could be saved."}, Registers: []string{meter.ActiveImport.String()},
			Granularity: wattveilv1.Granularity_GRANULARITY_HOUR, DataFrom: accessFirst.Start(), DataUntil: w.until,
			PermissionUntil: w.rig.clock.Now().AddDate(0, 3, 0).Unix(),
		},
	})
	if err != nil {
		return "", fmt.Errorf("asking: %w", err)
	}
	c := &restClient{base: "http://" + w.rig.hub.HTTPAddr()}
	session := &wattveilv1.OpenSessionResponse{}
	signing.Lock()
	// Sign-ins are limited by the minute of the hub's clock.
	w.rig.clock.set(w.rig.clock.Now().Add(2 * time.Second))
	err = c.call(ctx, http.MethodPost, "/v1/session", &wattveilv1.OpenSessionRequest{LetterCode: code}, session)
	signing.Unlock()
	if err != nil {
		return "", fmt.Errorf("signing in: %w", err)
	}
	c.token = session.GetToken()
	if err := c.call(ctx, http.MethodPost, "/v1/consents/"+asked.GetConsentId()+"/grant", &wattveilv1.GrantConsentRequest{RequestId: fmt.Sprint("grant-", h)}, &wattveilv1.GrantConsentResponse{}); err != nil {
		return "", fmt.Errorf("granting: %w", err)
	}
	return asked.GetConsentId(), nil
}

// run lets the hub's clock go with the machine's: leaves grow old, and limits are by
// the real minute.
func (w *accessWorld) run() {
	base, began := w.rig.clock.Now(), time.Now()
	w.ticking.Go(func() {
		every := time.NewTicker(time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				w.rig.clock.set(base.Add(time.Since(began) + time.Duration(w.ahead.Load())))
			case <-w.still:
				return
			}
		}
	})
}

// read reads a household's month as the third party that may, and checks the answer.
func (w *accessWorld) read(ctx context.Context, request string, household int) error {
	got, err := w.readers[household%accessParties].ReadSeries(ctx, &wattveilv1.ReadSeriesRequest{
		RequestId: request, ConsentId: w.consents[household], Purpose: accessPurpose, From: accessFirst.Start(), Until: (accessFirst + accessDays).Start(),
	})
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	return w.check(household, got)
}

func (w *accessWorld) close() {
	close(w.still)
	w.ticking.Wait()
	if w.rig != nil {
		w.rig.stop()
	}
	w.drop()
}

// turns hands out households, each once.
type turns struct {
	of, first int
	taken     atomic.Int64
}

func newTurns(of, first int) *turns { return &turns{of: of, first: first} }

func (t *turns) next() (int, bool) {
	n := int(t.taken.Add(1)) - 1
	return (t.first + n) % t.of, n < t.of
}

// plainReads is the same months in a plain table.
type plainReads struct {
	table *plain.Readings
	drop  func()
	wants
}

// plainReads loads the table, household by household, as if it had been clustered.
func (b *benchAccess) plainReads(ctx context.Context, dir string) (_ *plainReads, err error) {
	p := &plainReads{drop: func() {}, wants: b.sent()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	url, drop, err := b.db.scratch(ctx, dir, "plain.db")
	if err != nil {
		return nil, err
	}
	p.drop = drop
	if p.table, err = plain.OpenReadings(ctx, url, accessCallers); err != nil {
		return nil, err
	}
	sender := b.accessSender()
	var group []plain.Series
	for h := range b.households {
		for d := range accessDays {
			sender.day = accessFirst + meter.Day(d)
			group = append(group, plain.Series{UsagePoint: benchPoint(h), Start: sender.day.Start(), Length: 900, Values: sender.values(h, 0, dayIntervals)})
		}
		if len(group)*dayIntervals >= plain.RowsPerTransaction || h == b.households-1 {
			if err := p.table.Load(ctx, group); err != nil {
				return nil, err
			}
			group = group[:0]
		}
	}
	return p, p.table.Settle(ctx)
}

// read reads a household's month and makes the hub's answer of it.
func (p *plainReads) read(ctx context.Context, _ string, household int) error {
	rows, err := p.table.Read(ctx, benchPoint(household), accessFirst.Start(), (accessFirst + accessDays).Start())
	if err != nil {
		return err
	}
	s := &wattveilv1.Series{UsagePoint: benchPoint(household), Register: meter.ActiveImport.String(), Start: accessFirst.Start(), LengthSeconds: 3600, Values: make([]int64, accessDays*24)}
	for _, r := range rows {
		s.Values[(r.Start-s.Start)/3600] += r.Value
	}
	return p.check(household, &wattveilv1.ReadSeriesResponse{Series: []*wattveilv1.Series{s}})
}

func (p *plainReads) close() {
	if p.table != nil {
		_ = p.table.Close()
	}
	p.drop()
}
