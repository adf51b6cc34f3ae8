package web

import (
	"testing"
)

// Catches a drawn line that is not the readings: gaps stay gaps, an estimated
// stretch is drawn apart and joined on, power is energy over time.
func TestDraw(t *testing.T) {
	c := chart{Base: 1000}
	c.draw([]step{
		{0, 900, 100, false},
		{900, 1800, 300, false},
		{1800, 2700, 200, true},
		{2700, 3600, 400, false},
		{5400, 6300, 500, false}, // after a gap
	})
	for _, tt := range []struct{ name, got, want string }{
		{"line", c.Line, "M0 900H900V700H1800M2700 800V600H3600M5400 500H6300"},
		{"doubtful", c.Doubtful, "M1800 700V800H2700"},
		{"area", c.Area, "M0 1000V900H900V700H1800V800H2700V600H3600V1000M5400 1000V500H6300V1000"},
		{"band", c.between([]step{{0, 10, 50, false}, {10, 20, 150, false}}, []step{{0, 10, 150, false}, {10, 20, 250, false}}), "M0 850H10V750H20V850H10V950H0Z"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, tt.got, tt.want)
		}
	}
	for _, tt := range []struct{ wh, seconds, want int64 }{{250, 900, 1000}, {1, 900, 4}, {1, 7200, 1}, {-1, 7200, -1}, {1, 14400, 0}, {0, 900, 0}} {
		if got := watts(tt.wh, tt.seconds); got != tt.want {
			t.Errorf("%d Wh in %d s are %d W, want %d", tt.wh, tt.seconds, got, tt.want)
		}
	}
}

// Catches a value cut off at the top or bottom of its chart, and a power axis
// whose zero is not where the line's zero is.
func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		lowest, highest int64
		labels          []string
	}{
		{0, 0, []string{"0.1 kW", "0.05 kW", "0 kW"}},
		{0, 100, []string{"0.1 kW", "0.05 kW", "0 kW"}},
		{10, 101, []string{"0.12 kW", "0.06 kW", "0 kW"}},
		{0, 5561, []string{"6 kW", "3 kW", "0 kW"}},
		{-700, 60_000, []string{"60 kW", "30 kW", "0 kW", "−0.8 kW"}},
	} {
		var c chart
		c.plan(tt.lowest, tt.highest)
		if c.Base < tt.highest || c.Height-c.Base < -tt.lowest {
			t.Errorf("%d to %d is cut off in a chart from %d to %d", tt.lowest, tt.highest, c.Base-c.Height, c.Base)
		}
		if len(c.Y) != len(tt.labels) {
			t.Fatalf("%v, want %v", c.Y, tt.labels)
		}
		for i, y := range c.Y {
			if y.Text != tt.labels[i] {
				t.Errorf("label %q, want %q", y.Text, tt.labels[i])
			}
			if y.Text == "0 kW" && y.At != percent(c.Base, c.Height) {
				t.Errorf("zero is labelled at %s and drawn at %s", y.At, percent(c.Base, c.Height))
			}
		}
	}
}
