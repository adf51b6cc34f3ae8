package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// homePage answers: how much does my home use, and when?
type homePage struct {
	NoData bool // not a single reading yet
	Sealed bool // the readings could not be opened just now
	Day    string
	Used   string // kWh drawn on the day, "" without a reading
	Prev   *dayLink
	Next   *dayLink
	Monday string // first day of the week around the day
	Week   []weekBar
	Meters []meterDay
	Clock  string // what the clock did on the day, "" on most
	Zone   string
	// First and Last bound the days that can be chosen.
	First, Last string
	Asking      int // requests that wait
	Allowed     int // permissions in force
	Unknown     bool
	// Entry is the record's entry of this look at one's own readings.
	Entry  string
	Number string // Entry for people
}

// dayLink leads to a day.
type dayLink struct{ Date, Long string }

// weekBar is one day of the week around the day shown.
type weekBar struct {
	Date, Long string
	Name       string // of the weekday, short
	Number     int    // of the day in its month
	KWh        string // "" without a reading
	Part       int64  // of the highest day, in per cent
	Top        int64  // 100 - Part
	Current    bool
}

// meterDay is a meter's day in one direction.
type meterDay struct {
	Heading string
	Fed     bool // fed into the grid rather than drawn from it
	Total   string
	Most    string // when and how much
	Missing string // how long nothing was read, "" for a full day
	Guessed string // how much was not measured, "" if all was
	Until   moment // the end of the last reading of the day
	Partial bool   // the day has no readings after Until
	Chart   chart
	Rows    []row
	Offsets bool // the clock changes: rows carry their offset from UTC
}

// row is one interval of the table beside a chart.
type row struct {
	Time         moment
	Offset       string
	Value        string
	Quality      string
	Lower, Upper string // of a published total
}

func (p *portal) home(ctx context.Context, r *http.Request) (answer, error) {
	h, err := p.sessions.GetHousehold(ctx, &wattveilv1.GetHouseholdRequest{})
	if err != nil {
		return nil, err
	}
	page := homePage{}
	if err := p.countSharing(ctx, &page); err != nil {
		return nil, err
	}
	first, ok1 := parseDate(h.GetFirstDay())
	last, ok2 := parseDate(h.GetLastDay())
	if !ok1 || !ok2 {
		page.NoData = true
		return show("home", "My energy", "home", page), nil
	}
	zone := zoneOf(h)
	look := window{
		zone: zone,
		from: first.start(time.UTC), until: last.add(1).start(time.UTC),
	}
	chosen := false
	if text := r.URL.Query().Get("day"); text != "" {
		if look.day, chosen = parseDate(text); !chosen {
			return nil, errBadForm
		}
	}
	if !chosen {
		look.day = dateOf(look.until-1, zone)
	}
	w, err := p.readWeek(ctx, look)
	if err == nil && !chosen && !w.has(look.day) && len(w.days) > 0 {
		// The last UTC day ends in the small hours of a local day that has
		// nothing yet.
		look.day = w.newest()
		w, err = p.readWeek(ctx, look)
	}
	switch status.Code(err) {
	case codes.OK:
		page.fill(look, w)
	case codes.Unavailable, codes.DeadlineExceeded:
		page.Sealed = true
		page.Day = look.day.long()
	default:
		return nil, err
	}
	return show("home", "My energy", "home", page), nil
}

// countSharing counts what waits and what is allowed. A part that fails leaves
// the rest of the page alone.
func (p *portal) countSharing(ctx context.Context, page *homePage) error {
	all, err := p.permissions(ctx)
	switch status.Code(err) {
	case codes.OK:
	case codes.Unavailable, codes.DeadlineExceeded:
		page.Unknown = true
		return nil
	default:
		return err
	}
	now := p.now().Unix()
	for _, c := range all {
		switch standing(c, now) {
		case asking:
			page.Asking++
		case allowed:
			page.Allowed++
		case ended:
		}
	}
	return nil
}

// zoneOf returns the zone of the home: that of its meters, those it has now
// before those it had.
func zoneOf(h *wattveilv1.GetHouseholdResponse) *time.Location {
	own := slices.Clone(h.GetOccupancies())
	slices.SortStableFunc(own, func(a, b *wattveilv1.Occupancy) int {
		over := func(o *wattveilv1.Occupancy) int { return min(1, int(min(o.GetUntil(), 1))) }
		return cmp.Or(cmp.Compare(over(a), over(b)), cmp.Compare(b.GetFrom(), a.GetFrom()))
	})
	for _, o := range own {
		if zone := zoneNamed(o.GetZone()); zone != time.UTC {
			return zone
		}
	}
	return time.UTC
}

// zoneNamed returns a zone by its IANA name; UTC for none and one that is not known.
func zoneNamed(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" {
		return time.UTC
	}
	return zone
}

// window is a look at the week around a day.
type window struct {
	day         date
	zone        *time.Location
	from, until int64 // the home has readings in here only, unix seconds
}

// bounds returns what is read for the window: the week, and a day on either
// side so that it is known whether there is anything to go on to.
func (l window) bounds() (from, until int64) {
	monday := l.day.monday()
	return max(l.from, monday.add(-1).start(l.zone)), min(l.until, monday.add(8).start(l.zone))
}

// readWeek opens the readings of the window. It asks for nothing where there is
// nothing.
func (p *portal) readWeek(ctx context.Context, l window) (week, error) {
	from, until := l.bounds()
	if from >= until {
		return week{}, nil
	}
	resp, err := p.readings.ReadOwnSeries(ctx, &wattveilv1.ReadOwnSeriesRequest{From: from, Until: until})
	if err != nil {
		return week{}, err
	}
	return sortIntoDays(resp, l.zone), nil
}

// fill draws the day and its week.
func (page *homePage) fill(l window, w week) {
	page.Day = l.day.long()
	page.Zone = l.zone.String()
	page.Clock = clockNote(l.day, l.zone)
	first, last := dateOf(l.from, l.zone), dateOf(l.until-1, l.zone)
	page.First, page.Last = first.String(), last.String()
	if w.receipt != nil {
		page.Entry, page.Number = entryName(w.receipt.GetIndex())
	}
	// A neighbour counts if it was read and has something, or if it lies in the
	// middle of the history, where a gap is worth seeing.
	reachable := func(d date) *dayLink {
		if d.before(first) || last.before(d) || (d == first || d == last) && !w.has(d) {
			return nil
		}
		return &dayLink{d.String(), d.long()}
	}
	page.Prev, page.Next = reachable(l.day.add(-1)), reachable(l.day.add(1))

	highest := int64(0)
	for i := range 7 {
		highest = max(highest, w.days[l.day.monday().add(i)].used)
	}
	for i := range 7 {
		d := l.day.monday().add(i)
		b := weekBar{
			Date: d.String(), Long: d.long(), Name: d.utc().Format("Mon"), Number: d.day, Current: d == l.day,
		}
		if day := w.days[d]; day.measured {
			b.KWh = thousandths(day.used, 1)
			if highest > 0 {
				b.Part = max(day.used, 0) * 100 / highest
			}
		}
		b.Top = 100 - b.Part
		page.Week = append(page.Week, b)
	}

	today := w.days[l.day]
	if today.measured {
		page.Used = roundKWh(today.used)
	}
	page.Monday = l.day.monday().utc().Format("2 January")
	shown := today.sorted()
	for _, c := range shown {
		m := drawMeter(c, today.channels[c], l, len(w.points) > 1)
		if len(shown) == 1 && !m.Fed {
			m.Heading, m.Total = "When you used it", "" // the page's heading has said it
		}
		page.Meters = append(page.Meters, m)
	}
}
