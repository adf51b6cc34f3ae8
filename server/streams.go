package server

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// StreamSeries reads under a consent, part by part.
func (r *readingService) StreamSeries(req *wattveilv1.StreamSeriesRequest, stream grpc.ServerStreamingServer[wattveilv1.StreamSeriesResponse]) error {
	ctx, cancel := context.WithTimeout(stream.Context(), consent.PermitLifetime)
	defer cancel()
	permit, err := r.admit(ctx, req)
	if err != nil {
		return err
	}
	first, last := permit.KeyDays()
	return r.stream(ctx, permit, asked{registers: granted(permit), first: first, last: last}, func(p *wattveilv1.SeriesPart) error {
		return stream.Send(&wattveilv1.StreamSeriesResponse{Part: p})
	})
}

// StreamOwnSeries reads the calling household's own readings, part by part.
func (r *readingService) StreamOwnSeries(req *wattveilv1.StreamOwnSeriesRequest, stream grpc.ServerStreamingServer[wattveilv1.StreamOwnSeriesResponse]) error {
	ctx, cancel := context.WithTimeout(stream.Context(), consent.PermitLifetime)
	defer cancel()
	permit, ask, err := r.admitSelf(ctx, req)
	if err != nil {
		return err
	}
	return r.stream(ctx, permit, ask, func(p *wattveilv1.SeriesPart) error {
		return stream.Send(&wattveilv1.StreamOwnSeriesResponse{Part: p})
	})
}

// partDays is about how many UTC days are opened at once: what a stream holds in memory
// is a month of one register.
const partDays = 31

// stream opens what is asked for register by register, a part at a time, each after the
// one before was taken. It lasts no longer than the permit: whoever is too slow for that
// is told so, and asks for less.
func (r *readingService) stream(ctx context.Context, permit consent.Permit, ask asked, send func(*wattveilv1.SeriesPart) error) error {
	channels, err := r.channels(ctx, permit, &ask)
	if err != nil {
		return err
	}
	zones, err := zonesOf(permit)
	if err != nil {
		return err
	}
	o, err := r.begin(ctx, permit, ask)
	if err != nil {
		return err
	}
	defer o.close()
	if err := sendWhile(ctx, send, &wattveilv1.SeriesPart{Receipt: o.receipt}); err != nil {
		return err
	}
	for _, c := range channels {
		zone, g := zones[c.UsagePoint], permit.Granularity()
		from, _ := g.Whole(c.First, zone)
		_, end := g.Whole(c.Last, zone)
		for from < end { // parts end where a step does
			_, until := g.Whole(min(meter.DayOf(from)+partDays-1, c.Last), zone)
			series, err := o.read(ctx, c.UsagePoint, []meter.Register{c.Register}, from, until)
			if err != nil {
				return err
			}
			if len(series) > 0 {
				if err := sendWhile(ctx, send, &wattveilv1.SeriesPart{Series: seriesToWire(series), Zone: zone.String()}); err != nil {
					return err
				}
			}
			from = until
		}
	}
	return nil
}

// channels finds out which registers of which usage points there are to open, and
// narrows what is asked for to them.
func (r *readingService) channels(ctx context.Context, permit consent.Permit, ask *asked) ([]store.Channel, error) {
	first, last := ask.days(permit)
	points := ask.points(permit)
	if first > last || len(points) == 0 {
		*ask = asked{first: first, last: last}
		return nil, nil
	}
	channels, err := r.store.Channels(ctx, permit.Household(), points, ask.registers, first, last)
	if err != nil {
		return nil, err
	}
	ask.usagePoints, ask.registers = nil, nil
	for _, c := range channels {
		ask.usagePoints = appendNew(ask.usagePoints, c.UsagePoint)
		ask.registers = appendNew(ask.registers, c.Register)
	}
	return channels, nil
}

// sendWhile sends a part while ctx lasts. A client that does not read would otherwise
// keep the keys in memory for as long as it likes; what it is being sent ends with the
// call.
func sendWhile(ctx context.Context, send func(*wattveilv1.SeriesPart) error, p *wattveilv1.SeriesPart) error {
	sent := make(chan error, 1)
	go func() { sent <- send(p) }()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		return &inputError{codes.DeadlineExceeded, "slow_reader", "the answer was not read in a minute; ask for a shorter range with a new request id"}
	}
}

func appendNew[E comparable](to []E, e E) []E {
	if slices.Contains(to, e) {
		return to
	}
	return append(to, e)
}
