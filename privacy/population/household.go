package population

import "crypto/aes"

// The order of a household's draws, in 16 bits each, is part of what a seed
// means: a change needs another name for the streams.
const (
	drawFeederLevel = iota
	drawFeederCars
	drawFeederHeating
	feederDraws = 8
)

const (
	drawLevel = iota
	drawBase
	drawMorning
	drawEvening
	drawCar
	drawCharger
	drawCarNight
	drawHeating
	drawHeat
	traitDraws = 16
)

const (
	drawNoise   = 0         // one for each interval
	drawBurst   = Intervals // one for each interval
	drawCharges = 2*Intervals + iota - 2
	drawChargeStart
	drawCharge
	drawHeatOn = 104 // a byte for each interval
	dayDraws   = 128 // whole blocks, so that a day begins with one
)

const (
	traitBlocks = traitDraws * 2 / aes.BlockSize
	dayBlocks   = dayDraws * 2 / aes.BlockSize
)

// household is what stays the same about one from day to day.
type household struct {
	population *Population
	number     uint64
	base       int64            // 1/256 Wh in every interval
	active     [Intervals]int64 // 1/256 Wh, mean
	starts     [Intervals]int64 // of 65,536, that a burst starts
	charger    int64            // Wh per half hour, 0 without a car
	night      bool
	heat       int64 // Wh per half hour, 0 without electric heating
}

func (p *Population) household(number int) *household {
	t := p.tables
	feeder := make(draws, 2*feederDraws)
	feeder.read(stream(p.feeders, uint64(number/FeederSize), 0))
	d := make(draws, 2*traitDraws)
	d.read(stream(p.people, uint64(number), 0))

	h := &household{population: p, number: uint64(number)}
	level := t.level * t.feeder[feeder.row(drawFeederLevel)] / one * t.spread[d.row(drawLevel)] / one
	share := t.baseShare * d.at(drawBase) >> 16
	h.base = level * share / one
	level -= h.base
	morning, evening := t.morningShift[d.row(drawMorning)], t.eveningShift[d.row(drawEvening)]
	for i := range h.active {
		// The bells are read at the middle of the interval.
		at := int64(4*i+2) + steps
		activity := one + t.morning[(at-morning)%steps] + t.evening[(at-evening)%steps]
		h.active[i] = level * activity / t.activity
		h.starts[i] = t.starts * activity / t.activity
	}
	if d.at(drawCar) < t.carShare[feeder.row(drawFeederCars)] {
		h.charger = d.between(drawCharger, t.carLow, t.carTop)
		h.night = d.at(drawCarNight) < t.carNight
	}
	if d.at(drawHeating) < t.heatingShare[feeder.row(drawFeederHeating)] {
		h.heat = d.between(drawHeat, t.heatLow, t.heatTop)
	}
	return h
}

// days fills wh with the mean of some days, rounded.
func (h *household) days(first uint64, days int, wh []int64) {
	clear(wh)
	h.each(first, days, func(d draws, _ int) { h.addDay(d, wh) })
	if days == 1 {
		return
	}
	n := int64(days)
	for i := range wh {
		wh[i] = (wh[i] + n/2) / n
	}
}

// each draws some days.
func (h *household) each(first uint64, days int, use func(d draws, day int)) {
	s := stream(h.population.people, h.number, traitBlocks+first*dayBlocks)
	d := make(draws, 2*dayDraws)
	for day := range days {
		d.read(s)
		use(d, day)
	}
}

func (h *household) addDay(d draws, wh []int64) {
	t := h.population.tables
	var day [Intervals]int64
	for i := range day {
		noise := t.noise[d.row(drawNoise+i)]
		day[i] += (h.base + h.active[i]*noise/one) >> 8
		if h.heat > 0 {
			// A thermostat that is on for a part of the half hour.
			day[i] += h.heat * t.heat[i] / one * int64(d[2*drawHeatOn+i]) >> 8
		}
		if u := d.at(drawBurst + i); u < h.starts[i] {
			// Below the bound, u is uniform again; the four bits that the
			// noise left are the length.
			power := t.burstLow + (t.burstTop-t.burstLow)*u/h.starts[i]
			length := 1 + (d.at(drawNoise+i)&15*t.longest)>>4
			for j := range length {
				day[(int64(i)+j)%Intervals] += power
			}
		}
	}
	if h.charger > 0 && d.at(drawCharges) < t.carDays {
		h.charge(d, &day)
	}
	for i := range day {
		wh[i] += min(day[i], Cap)
	}
}

// charge adds a charge that starts after midnight or when people come home. What
// would reach into the next day is put where the day before left off.
func (h *household) charge(d draws, day *[Intervals]int64) {
	start := d.between(drawChargeStart, 34, 42)
	if h.night {
		start = d.between(drawChargeStart, 0, 8)
	}
	t := h.population.tables
	left := d.between(drawCharge, t.chargeLeast, t.chargeMost)
	for i := start; left > 0; i++ {
		wh := min(left, h.charger)
		day[i%Intervals] += wh
		left -= wh
	}
}
