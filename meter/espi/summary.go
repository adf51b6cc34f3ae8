package espi

// UsageSummary is a resource: what a period came to.
type UsageSummary struct {
	// Electric says that the element is called ElectricPowerUsageSummary, as
	// before ESPI 1.1; its content is the same.
	Electric bool

	BillingPeriod            *Period
	BillLastPeriod           *int64 // hundred-thousandths of the currency, as all costs
	BillToDate               *int64
	CostAdditionalLastPeriod *int64
	CostAdditionalDetail     []LineItem
	Currency                 *int64
	OverallLastPeriod        *Measurement
	CurrentPeriodOverall     *Measurement
	CurrentDayLastYearNet    *Measurement
	CurrentDayNet            *Measurement
	CurrentDayOverall        *Measurement
	PeakDemand               *Measurement
	PreviousDayLastYearAll   *Measurement
	PreviousDayNet           *Measurement
	PreviousDayOverall       *Measurement
	Quality                  *int64
	RatchetDemand            *Measurement
	RatchetDemandPeriod      *Period
	StatusTimeStamp          int64 // unix seconds
	Commodity                *int64
	TariffProfile            string
	ReadCycle                string
}

func (u *UsageSummary) element() string {
	if u.Electric {
		return "ElectricPowerUsageSummary"
	}
	return "UsageSummary"
}

func (u *UsageSummary) fields() []field {
	measured := func(at **Measurement) slot { return one[Measurement, *Measurement]{at} }
	return []field{
		{name: "billingPeriod", at: one[Period, *Period]{&u.BillingPeriod}},
		{name: "billLastPeriod", at: &u.BillLastPeriod},
		{name: "billToDate", at: &u.BillToDate},
		{name: "costAdditionalLastPeriod", at: &u.CostAdditionalLastPeriod},
		{name: "costAdditionalDetailLastPeriod", at: many[LineItem, *LineItem]{&u.CostAdditionalDetail}},
		{name: "currency", at: &u.Currency},
		{name: "overallConsumptionLastPeriod", at: measured(&u.OverallLastPeriod)},
		{name: "currentBillingPeriodOverAllConsumption", at: measured(&u.CurrentPeriodOverall)},
		{name: "currentDayLastYearNetConsumption", at: measured(&u.CurrentDayLastYearNet)},
		{name: "currentDayNetConsumption", at: measured(&u.CurrentDayNet)},
		{name: "currentDayOverallConsumption", at: measured(&u.CurrentDayOverall)},
		{name: "peakDemand", at: measured(&u.PeakDemand)},
		{name: "previousDayLastYearOverallConsumption", at: measured(&u.PreviousDayLastYearAll)},
		{name: "previousDayNetConsumption", at: measured(&u.PreviousDayNet)},
		{name: "previousDayOverallConsumption", at: measured(&u.PreviousDayOverall)},
		{name: "qualityOfReading", at: &u.Quality},
		{name: "ratchetDemand", at: measured(&u.RatchetDemand)},
		{name: "ratchetDemandPeriod", at: one[Period, *Period]{&u.RatchetDemandPeriod}},
		{name: "statusTimeStamp", at: &u.StatusTimeStamp},
		{name: "commodity", at: &u.Commodity},
		{name: "tariffProfile", at: &u.TariffProfile, max: 256},
		{name: "readCycle", at: &u.ReadCycle, max: 256},
	}
}

// Measurement is a SummaryMeasurement.
type Measurement struct {
	PowerOfTen     *int64
	TimeStamp      *int64 // unix seconds
	UOM            *int64
	Value          *int64
	ReadingTypeRef string
}

func (m *Measurement) fields() []field {
	return []field{
		{name: "powerOfTenMultiplier", at: &m.PowerOfTen},
		{name: "timeStamp", at: &m.TimeStamp},
		{name: "uom", at: &m.UOM},
		{name: "value", at: &m.Value},
		{name: "readingTypeRef", at: &m.ReadingTypeRef},
	}
}

// LineItem is one charge of a bill.
type LineItem struct {
	Amount      *int64
	Rounding    *int64
	DateTime    *int64
	Note        string
	Measurement *Measurement
	ItemKind    int64
	UnitCost    *int64
	ItemPeriod  *Period
}

func (l *LineItem) fields() []field {
	return []field{
		{name: "amount", at: &l.Amount},
		{name: "rounding", at: &l.Rounding},
		{name: "dateTime", at: &l.DateTime},
		{name: "note", at: &l.Note, max: 256, always: true},
		{name: "measurement", at: one[Measurement, *Measurement]{&l.Measurement}},
		{name: "itemKind", at: &l.ItemKind},
		{name: "unitCost", at: &l.UnitCost},
		{name: "itemPeriod", at: one[Period, *Period]{&l.ItemPeriod}},
	}
}

// PowerQuality is a resource, ElectricPowerQualitySummary: read, never written of
// our own accord.
type PowerQuality struct {
	FlickerPlt, FlickerPst, HarmonicVoltage, LongInterruptions, MainsVoltage *int64
	Protocol, PowerFrequency, RapidVoltageChanges, ShortInterruptions        *int64
	Interval                                                                 *Period
	VoltageDips, VoltageImbalance, VoltageVariations, TempOvervoltage        *int64
}

func (*PowerQuality) element() string { return "ElectricPowerQualitySummary" }
func (p *PowerQuality) fields() []field {
	return []field{
		{name: "flickerPlt", at: &p.FlickerPlt},
		{name: "flickerPst", at: &p.FlickerPst},
		{name: "harmonicVoltage", at: &p.HarmonicVoltage},
		{name: "longInterruptions", at: &p.LongInterruptions},
		{name: "mainsVoltage", at: &p.MainsVoltage},
		{name: "measurementProtocol", at: &p.Protocol},
		{name: "powerFrequency", at: &p.PowerFrequency},
		{name: "rapidVoltageChanges", at: &p.RapidVoltageChanges},
		{name: "shortInterruptions", at: &p.ShortInterruptions},
		{name: "summaryInterval", at: one[Period, *Period]{&p.Interval}},
		{name: "supplyVoltageDips", at: &p.VoltageDips},
		{name: "supplyVoltageImbalance", at: &p.VoltageImbalance},
		{name: "supplyVoltageVariations", at: &p.VoltageVariations},
		{name: "tempOvervoltage", at: &p.TempOvervoltage},
	}
}
