package greenbutton

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// batch is everything of a subscription, or of one usage point of it. depth 0 stops at the
// usage points and opens nothing.
func (d *door) batch(r *request) error {
	q, _, err := parseQuery(r.r.URL.RawQuery)
	if err != nil {
		return err
	}
	s, err := d.subscribed(r)
	if err != nil {
		return err
	}
	points, one := page(q, s.points), r.value("point")
	if one != "" {
		p, err := s.point(one)
		if err != nil {
			return err
		}
		points = []espi.Point{p}
	}
	if !q.updated(d.Now().Unix()) {
		points = nil
	}
	feed := func() *espi.Batch {
		if one != "" {
			return espi.NewPointBatch(r.atom(), s.Subscription, points[0].UsagePoint)
		}
		return espi.NewBatch(r.atom(), s.Subscription)
	}
	if len(points) == 0 { // of one usage point there is one
		return espi.NewBatch(r.atom(), s.Subscription).Close()
	}
	if q.depth == 0 {
		b := feed()
		for _, p := range points {
			if err := b.UsagePoint(p); err != nil {
				return err
			}
		}
		return b.Close()
	}
	read, err := d.read(r, s, q, points...)
	if err != nil {
		return err
	}
	b := feed()
	for _, p := range points {
		if err := write(b, p, read[p.UsagePoint]); err != nil {
			return err
		}
	}
	return b.Close()
}

func write(b *espi.Batch, p espi.Point, registers []register) error {
	if err := b.UsagePoint(p); err != nil {
		return err
	}
	for _, of := range registers {
		if err := b.Meter(of.Meter, of.parts...); err != nil {
			return err
		}
	}
	return nil
}

// bulk is what a third party may read of all households, one after the other: each an
// access of its own. The identifier is the third party's.
func (d *door) bulk(r *request) error {
	q, _, err := parseQuery(r.r.URL.RawQuery)
	if err != nil {
		return err
	}
	r.ctx = context.WithoutCancel(r.ctx)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	defer context.AfterFunc(r.r.Context(), cancel)()
	r.ctx = ctx
	all, err := d.granted(r)
	if err != nil {
		return err
	}
	if len(all) == 0 || all[0].GetRecipient() != r.value("bulk") {
		return errNotThere
	}
	b := espi.NewBulk(r.atom(), r.site, r.value("bulk"), r.value("bulk"), d.Now())
	id := r.id
	for i, c := range page(q, all) {
		r.id = id + "." + strconv.Itoa(i)
		s, err := d.subscription(r, c.GetId())
		var read map[meter.UsagePoint][]register
		if err == nil {
			read, err = d.read(r, s, q, s.points...)
		}
		var wait *pendingError
		switch {
		case errors.As(err, &wait), passed(err): // nothing there, or no longer allowed: the others are
			continue
		case err != nil:
			return err
		}
		if err := b.Subscription(s.Subscription); err != nil {
			return err
		}
		for _, p := range s.points {
			if err := write(b, p, read[p.UsagePoint]); err != nil {
				return err
			}
		}
		if err := r.w.Flush(); err != nil {
			return err
		}
	}
	return b.Close()
}

// passed reports whether a read was refused since its consent changed meanwhile.
func passed(err error) bool {
	c := status.Code(err)
	return c == codes.PermissionDenied || c == codes.NotFound
}

// granted returns the caller's consents that can be read now.
func (d *door) granted(r *request) ([]*wattveilv1.Consent, error) {
	all, err := d.list(r)
	var live []*wattveilv1.Consent
	for _, c := range all {
		if c.GetState() == wattveilv1.ConsentState_CONSENT_STATE_GRANTED {
			live = append(live, c)
		}
	}
	return live, err
}

// list returns all of the caller's consents, newest first.
func (d *door) list(r *request) ([]*wattveilv1.Consent, error) {
	var all []*wattveilv1.Consent
	req := &wattveilv1.ListConsentsRequest{PageSize: 500}
	for {
		resp, err := d.consents.ListConsents(r.ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, resp.GetConsents()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}
