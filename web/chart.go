package web

import (
	"slices"
	"strconv"
	"strings"
)

// chart is a step line of mean power over time, drawn by parts/chart.html. All
// coordinates are integers: seconds from the left edge, watts from the top.
type chart struct {
	ID          string // unique on its page
	Title, Desc string // for those who do not see it
	Width       int64  // seconds
	Height      int64  // watts
	Base        int64  // y of zero
	Area        string // filled below the line
	Line        string
	Doubtful    string // the line where values are estimated
	Outer       string // the band that holds the truth 19 times in 20
	Inner       string // the band that holds it 1 time in 2
	Gaps        []gap
	X, Y        []tick
	Published   bool // a total that was published, not a home's own
}

// gap is a stretch without readings.
type gap struct{ From, Length int64 }

// tick is a label of an axis. It stands in an SVG that is not stretched, so that
// its text keeps its size.
type tick struct {
	At     string // per cent of the axis
	Text   string
	Anchor string // class: "first", "last" or "mid"
	Minor  bool   // left out where there is little room
	Row    int    // 0 for the hours, 1 and 2 for an hour that comes twice
}

// step is one interval of a chart, in seconds from its left edge.
type step struct {
	from, to int64
	watts    int64
	doubtful bool // estimated, substituted or suspect
}

// watts returns the mean power of an energy over a length in seconds, rounded
// half away from zero.
func watts(wh, seconds int64) int64 {
	n := wh * 3600
	if n < 0 {
		return -((-n + seconds/2) / seconds)
	}
	return (n + seconds/2) / seconds
}

// ceiling returns a round number of watts not below w, at least 100.
func ceiling(w int64) int64 {
	for unit := int64(100); ; unit *= 10 {
		for _, f := range []int64{10, 12, 15, 20, 30, 40, 50, 60, 80} {
			if n := unit / 10 * f; n >= w {
				return n
			}
		}
	}
}

// plan gives the chart its height and power axis for values from lowest to
// highest.
func (c *chart) plan(lowest, highest int64) {
	c.Base = ceiling(max(highest, 0))
	c.Height = c.Base
	below := int64(0)
	if lowest < 0 {
		below = ceiling(-lowest)
		c.Height += below
	}
	for _, w := range []int64{c.Base, c.Base / 2, 0, -below} {
		if w == 0 && below == 0 && len(c.Y) == 3 {
			break // zero is there already
		}
		c.Y = append(c.Y, tick{At: percent(c.Base-w, c.Height), Text: kW(w) + " kW"})
	}
}

// draw draws the steps, which are in order of time. Where one does not follow
// the other the line breaks off; where values are estimated another begins.
func (c *chart) draw(steps []step) {
	var line, doubtful, area pen
	var last step // none before the first: it ends where nothing begins
	for i, s := range steps {
		y, joined := c.Base-s.watts, i > 0 && last.to == s.from
		if !joined {
			if i > 0 {
				area.v(c.Base)
			}
			area.m(s.from, c.Base)
		}
		area.v(y)
		area.h(s.to)

		drawn := &line
		if s.doubtful {
			drawn = &doubtful
		}
		switch {
		case !joined:
			drawn.m(s.from, y)
		case last.doubtful != s.doubtful:
			drawn.m(s.from, c.Base-last.watts)
			drawn.v(y)
		default:
			drawn.v(y)
		}
		drawn.h(s.to)
		last = s
	}
	if len(steps) > 0 {
		area.v(c.Base)
	}
	c.Line, c.Doubtful, c.Area = line.String(), doubtful.String(), area.String()
}

// between outlines the values from lower to upper steps, which follow each other without
// a gap.
func (c *chart) between(lower, upper []step) string {
	var p pen
	for i, s := range upper {
		if y := c.Base - s.watts; i == 0 {
			p.m(s.from, y)
		} else {
			p.v(y)
		}
		p.h(s.to)
	}
	for _, s := range slices.Backward(lower) {
		p.v(c.Base - s.watts)
		p.h(s.from)
	}
	p.WriteByte('Z')
	return p.String()
}

// pen writes the d attribute of an SVG path.
type pen struct{ strings.Builder }

func (p *pen) m(x, y int64) {
	p.WriteString("M" + strconv.FormatInt(x, 10) + " " + strconv.FormatInt(y, 10))
}

func (p *pen) h(x int64) { p.WriteString("H" + strconv.FormatInt(x, 10)) }
func (p *pen) v(y int64) { p.WriteString("V" + strconv.FormatInt(y, 10)) }

// percent writes part of whole in per cent, to a thousandth.
func percent(part, whole int64) string {
	if whole <= 0 {
		return "0%"
	}
	n := part * 100_000 / whole
	s := strconv.FormatInt(n/1000, 10)
	if n%1000 != 0 {
		s += "." + strings.TrimRight(strconv.FormatInt(1000+n%1000, 10)[1:], "0")
	}
	return s + "%"
}
