package population

import "math"

const (
	// Draws are 16 bits of a stream; the upper 12 choose a row of a table of
	// quantiles. 4,096 rows keep a table in the processor's nearest cache.
	rows = 1 << 12
	// steps is how finely peaks are placed: eighths of an hour, four to an
	// interval.
	steps       = 4 * Intervals
	stepsAnHour = steps / 24

	one = 1 << 12 // of the fixed-point numbers below
)

// tables is a Model made integer. Floating-point numbers end here: each entry
// is rounded once, so that the last bits of a machine's exponential do not reach
// a household, and every value after this is made of integers alone.
type tables struct {
	level                   int64 // 1/256 Wh
	spread, feeder          [rows]int64
	noise                   [rows]int64
	carShare, heatingShare  [rows]int64 // of 65,536
	baseShare               int64       // twice the mean
	morning, evening        [steps]int64
	morningShift            [rows]int64 // steps
	eveningShift            [rows]int64
	activity                int64 // mean of 1 + peaks
	starts                  int64 // of 65,536, a burst at mean activity
	burstLow, burstTop      int64
	longest                 int64
	carDays, carNight       int64 // of 65,536
	carLow, carTop          int64 // Wh per half hour
	chargeLeast, chargeMost int64 // Wh
	heatLow, heatTop        int64 // Wh per half hour
	heat                    [Intervals]int64
}

func (m Model) tables() *tables {
	t := &tables{
		level:     fixed(m.Level, 256),
		baseShare: fixed(2*m.BaseShare, one),
		starts:    fixed(m.Appliances.PerDay/Intervals, 1<<16),
		burstLow:  fixed(m.Appliances.Low, 1), burstTop: fixed(m.Appliances.Top, 1),
		longest: int64(m.Appliances.Longest),
		carDays: fixed(m.Cars.Days, 1<<16), carNight: fixed(m.Cars.Night, 1<<16),
		carLow: fixed(m.Cars.Low, 500), carTop: fixed(m.Cars.Top, 500),
		chargeLeast: fixed(m.Cars.Least, 1000), chargeMost: fixed(m.Cars.Most, 1000),
		heatLow: fixed(m.Heating.Low, 1), heatTop: fixed(m.Heating.Top, 1),
	}
	total := 0.0
	for i := range rows {
		u := (float64(i) + 0.5) / rows
		z := math.Sqrt2 * math.Erfinv(2*u-1)
		t.spread[i] = fixed(lognormal(m.LevelSpread, z), one)
		t.feeder[i] = fixed(lognormal(m.FeederSpread, z), one)
		t.carShare[i] = fixed(min(1, m.Cars.Share*lognormal(m.Cars.ShareSpread, z)), 1<<16)
		t.heatingShare[i] = fixed(min(1, m.Heating.Share*lognormal(m.Heating.ShareSpread, z)), 1<<16)
		t.noise[i] = fixed(-math.Log(1-u), one)
		t.morningShift[i] = shift(m.Morning.Shift, z)
		t.eveningShift[i] = shift(m.Evening.Shift, z)
	}
	for i := range steps {
		morning, evening := m.Morning.bell(i), m.Evening.bell(i)
		t.morning[i], t.evening[i] = fixed(morning, one), fixed(evening, one)
		total += 1 + morning + evening
	}
	t.activity = fixed(total/steps, one)
	for i := range t.heat {
		t.heat[i] = one
		if hour := i / 2; hour >= 22 || hour < 5 {
			t.heat[i] = fixed(m.Heating.Setback, one)
		}
	}
	return t
}

func fixed(x, unit float64) int64 { return int64(math.Round(x * unit)) }

// lognormal has mean 1, so that a spread does not move what it spreads.
func lognormal(spread, z float64) float64 {
	return math.Exp(spread*z - spread*spread/2)
}

// shift stays within six hours, where the bells around midnight end.
func shift(spread, z float64) int64 {
	return fixed(max(-6, min(6, spread*z)), stepsAnHour)
}

// bell is the peak's height at the middle of a step, the day being a circle.
func (p Peak) bell(step int) float64 {
	away := math.Abs((float64(step)+0.5)/stepsAnHour - p.At)
	away = min(away, 24-away) / p.Width
	return p.Height * math.Exp(-away*away/2)
}
