package population

import (
	"errors"
	"fmt"
	"math"
)

// Model is a random household, its feeder and its days, in numbers. [Default]
// is calibrated; a Model made by hand, the zero one included, is checked by
// [Generate].
type Model struct {
	// Level is what a household without car or electric heating uses on
	// average, in Wh per half hour, appliances left out.
	Level float64
	// LevelSpread and FeederSpread are standard deviations of the logarithm of
	// the level: of households within a feeder, and of feeders.
	LevelSpread, FeederSpread float64

	// BaseShare is the mean part of the level that is always on. A household's
	// own part is uniform between nothing and twice this.
	BaseShare float64
	// The rest follows activity: a constant 1, with a peak added in the morning
	// and one in the evening, times a fresh exponential draw every half hour.
	Morning, Evening Peak

	Appliances Appliances
	Cars       Cars
	Heating    Heating
}

// Peak is a bell in the course of the day.
type Peak struct {
	At     float64 // hours after midnight
	Width  float64 // hours, standard deviation of the bell
	Height float64 // times the activity outside of peaks
	Shift  float64 // hours, standard deviation of At among households
}

// Appliances are bursts that start the likelier the more activity there is, the
// same for small households and large ones.
type Appliances struct {
	PerDay   float64 // mean number of bursts
	Low, Top float64 // Wh per half hour; uniform
	Longest  int     // half hours, 1 to 16; uniform from 1
}

// Cars are charged at home, in one go, on some days.
type Cars struct {
	Share       float64 // of the households, mean over feeders
	ShareSpread float64 // standard deviation of the logarithm of a feeder's share
	Days        float64 // probability that a car is charged on a day
	Night       float64 // part of the cars that charge from midnight on, not in the evening
	Low, Top    float64 // kW; a household's charger is uniform
	Least, Most float64 // kWh; a day's charge is uniform
}

// Heating follows the hour more than what people do.
type Heating struct {
	Share       float64 // of the households, mean over feeders
	ShareSpread float64 // standard deviation of the logarithm of a feeder's share
	Low, Top    float64 // Wh per half hour at full heat; a household's is uniform
	Setback     float64 // part of it left from 22:00 to 05:00
}

// ErrModel means that a parameter is not a number or out of its range.
var ErrModel = errors.New("population: impossible model")

// Default returns the calibrated model; the package comment says how well it
// matches.
func Default() Model {
	return Model{
		Level: 167, LevelSpread: 0.76, FeederSpread: 0.235,
		BaseShare:  0.16,
		Morning:    Peak{At: 7.25, Width: 0.55, Height: 0.6, Shift: 1.4},
		Evening:    Peak{At: 18.6, Width: 1.7, Height: 1.5, Shift: 1.4},
		Appliances: Appliances{PerDay: 2.7, Low: 250, Top: 500, Longest: 3},
		Cars:       Cars{Share: 0.056, ShareSpread: 0.65, Days: 0.48, Night: 0.5, Low: 3.6, Top: 7.4, Least: 4, Most: 25},
		Heating:    Heating{Share: 0.09, ShareSpread: 0.9, Low: 100, Top: 1000, Setback: 0.8},
	}
}

func (m Model) check() error {
	for _, p := range []struct {
		name            string
		value, low, top float64
	}{
		{"Level", m.Level, 1, 5000},
		{"LevelSpread", m.LevelSpread, 0, 2},
		{"FeederSpread", m.FeederSpread, 0, 2},
		{"BaseShare", m.BaseShare, 0, 0.5},
		{"Morning.At", m.Morning.At, 0, 24},
		{"Morning.Width", m.Morning.Width, 0.25, 6},
		{"Morning.Height", m.Morning.Height, 0, 20},
		{"Morning.Shift", m.Morning.Shift, 0, 3},
		{"Evening.At", m.Evening.At, 0, 24},
		{"Evening.Width", m.Evening.Width, 0.25, 6},
		{"Evening.Height", m.Evening.Height, 0, 20},
		{"Evening.Shift", m.Evening.Shift, 0, 3},
		{"Appliances.PerDay", m.Appliances.PerDay, 0, 24},
		{"Appliances.Low", m.Appliances.Low, 0, m.Appliances.Top},
		{"Appliances.Top", m.Appliances.Top, 0, Cap},
		{"Appliances.Longest", float64(m.Appliances.Longest), 1, 16},
		{"Cars.Share", m.Cars.Share, 0, 1},
		{"Cars.ShareSpread", m.Cars.ShareSpread, 0, 2},
		{"Cars.Days", m.Cars.Days, 0, 1},
		{"Cars.Night", m.Cars.Night, 0, 1},
		{"Cars.Low", m.Cars.Low, 1, m.Cars.Top},
		{"Cars.Top", m.Cars.Top, 1, 2 * Cap / 1000.},
		{"Cars.Least", m.Cars.Least, 0, m.Cars.Most},
		// A charge that runs into itself a day later would not be one charge.
		{"Cars.Most", m.Cars.Most, 0, 20 * m.Cars.Low},
		{"Heating.Share", m.Heating.Share, 0, 1},
		{"Heating.ShareSpread", m.Heating.ShareSpread, 0, 2},
		{"Heating.Low", m.Heating.Low, 0, m.Heating.Top},
		{"Heating.Top", m.Heating.Top, 0, Cap},
		{"Heating.Setback", m.Heating.Setback, 0, 1},
	} {
		if math.IsNaN(p.value) || p.value < p.low || p.value > p.top {
			return fmt.Errorf("%w: %s is %g, not between %g and %g", ErrModel, p.name, p.value, p.low, p.top)
		}
	}
	return nil
}
