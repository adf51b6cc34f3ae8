package greenbutton

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// subscription is a consent as ESPI has it.
type subscription struct {
	espi.Subscription
	consent *wattveilv1.Consent
	points  []espi.Point // by name of the usage point
}

// maxDays is the longest range of one read.
const maxDays = 400

// subscribed returns the subscription of the path, if it was ever granted to the caller.
func (d *door) subscribed(r *request) (*subscription, error) {
	return d.subscription(r, r.value("sub"))
}

func (d *door) subscription(r *request, id string) (*subscription, error) {
	resp, err := d.consents.GetConsent(r.ctx, &wattveilv1.GetConsentRequest{ConsentId: id})
	if status.Code(err) == codes.InvalidArgument {
		return nil, errNotThere
	}
	if err != nil {
		return nil, err
	}
	c := resp.GetConsent()
	if !wasGranted(c) {
		return nil, errNotThere
	}
	s := &subscription{consent: c, Subscription: espi.Subscription{
		Site: r.site, ID: c.GetId(), Published: time.Unix(c.GetDecidedAt(), 0), Updated: d.Now(),
	}}
	for _, p := range c.GetTerms().GetUsagePoints() {
		zone, err := time.LoadLocation(c.GetZones()[p])
		if err != nil {
			zone = time.UTC
		}
		s.points = append(s.points, espi.Point{UsagePoint: meter.UsagePoint(p), Zone: zone})
	}
	return s, nil
}

// wasGranted reports whether a consent was granted, whatever came of it.
func wasGranted(c *wattveilv1.Consent) bool {
	return c.GetDecidedAt() != 0 && c.GetState() != wattveilv1.ConsentState_CONSENT_STATE_DENIED
}

// point returns the usage point of the path.
func (s *subscription) point(name string) (espi.Point, error) {
	for _, p := range s.points {
		if s.Names().UsagePoint(p.UsagePoint) == name {
			return p, nil
		}
	}
	return espi.Point{}, errNotThere
}

// register is the values of one register of a usage point in one step, by time.
type register struct {
	espi.Meter
	parts []meter.Series
}

// read opens the readings of the usage points, as far as the query asks for them and the
// consent covers them: one access, on record. Without any range left nothing is opened.
func (d *door) read(r *request, s *subscription, q query, points ...espi.Point) (map[meter.UsagePoint][]register, error) {
	t := s.consent.GetTerms()
	now := d.Now().Unix()
	from, until := max(t.GetDataFrom(), q.publishedMin), min(t.GetDataUntil(), now+1)
	if q.publishedMax != 0 {
		until = min(until, q.publishedMax)
	}
	if q.publishedMin == 0 {
		from = max(from, until-maxDays*86400)
	}
	switch {
	case from >= until:
		return nil, nil
	case until-from > maxDays*86400:
		return nil, &parameterError{"published-min", "is more than 400 days before the end of what is asked for"}
	}
	names := make([]string, len(points))
	for i, p := range points {
		names[i] = string(p.UsagePoint)
	}
	resp, err := d.readings.ReadSeries(r.ctx, &wattveilv1.ReadSeriesRequest{
		RequestId: r.id, ConsentId: s.ID, UsagePoints: names, From: from, Until: until, Purpose: t.GetPurpose().GetCode(),
	})
	if err != nil {
		return nil, err
	}
	if len(resp.GetSeries()) == 0 && d.onItsWay(s, until) {
		return nil, &pendingError{time.Hour}
	}
	return sorted(resp.GetSeries(), t.GetGranularity())
}

// onItsWay reports whether nothing up to an instant may only mean that it has not come
// yet: meters are read a day or two behind.
func (d *door) onItsWay(s *subscription, until int64) bool {
	const patience = 48 * 3600
	now := d.Now().Unix()
	return until > now-patience || s.consent.GetDecidedAt() > now-patience
}

// sorted puts what was read into registers, by usage point, register, step and time.
func sorted(in []*wattveilv1.Series, g wattveilv1.Granularity) (map[meter.UsagePoint][]register, error) {
	out := map[meter.UsagePoint][]register{}
	for _, w := range in {
		r, err := meter.ParseRegister(w.GetRegister())
		if err != nil {
			return nil, err
		}
		s := meter.Series{
			UsagePoint: meter.UsagePoint(w.GetUsagePoint()), Register: r, Start: w.GetStart(), Length: w.GetLengthSeconds(),
			Values: w.GetValues(), Revision: w.GetRevision(),
		}
		for _, q := range w.GetQualities() {
			s.Quality = append(s.Quality, meter.Quality(q))
		}
		m := espi.Meter{Register: r, Step: stepOf(g, s.Length)}
		if _, err := espi.ReadingTypeOf(r, m.Step, 0); err != nil {
			continue // ESPI has no words for it; the plain API gives it
		}
		of := out[s.UsagePoint]
		i := slices.IndexFunc(of, func(have register) bool { return have.Meter == m })
		if i < 0 {
			i, of = len(of), append(of, register{Meter: m})
		}
		of[i].parts = append(of[i].parts, s)
		out[s.UsagePoint] = of
	}
	for _, of := range out {
		slices.SortFunc(of, func(a, b register) int {
			return cmp.Or(cmp.Compare(a.Register.String(), b.Register.String()), cmp.Compare(a.Step.Length(), b.Step.Length()))
		})
		for _, r := range of {
			slices.SortFunc(r.parts, func(a, b meter.Series) int { return cmp.Compare(a.Start, b.Start) })
		}
	}
	return out, nil
}

// stepOf is the step of series of so many seconds an interval.
func stepOf(g wattveilv1.Granularity, seconds int64) espi.Step {
	switch g {
	case wattveilv1.Granularity_GRANULARITY_DAY:
		return espi.Daily
	case wattveilv1.Granularity_GRANULARITY_MONTH:
		return espi.Monthly
	default:
		return espi.Every(seconds)
	}
}
