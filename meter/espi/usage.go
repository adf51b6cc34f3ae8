package espi

// Resource is the content of an entry: one of the types of this package whose
// comment says so, or Other.
type Resource interface {
	node
	// element returns the name of the resource's element.
	element() string
}

// Other is a resource that this package does not know; what it holds is not kept.
type Other struct{ Space, Name string }

func (o *Other) element() string { return o.Name }
func (*Other) fields() []field   { return nil }

// Period is a DateTimeInterval: unix seconds [Start, Start+Duration).
type Period struct{ Duration, Start int64 }

func (p *Period) fields() []field {
	return []field{{name: "duration", at: &p.Duration}, {name: "start", at: &p.Start}}
}

// UsagePoint is a resource: the place where a service is metered.
type UsagePoint struct {
	RoleFlags  string           // hexadecimal, two bytes
	Category   *ServiceCategory // 0 electricity, 1 gas, 2 water, 4 heat
	Status     *int64           // 0 off, 1 on
	Connection *int64
	Phase      *int64
	ReadCycle  string
}

func (*UsagePoint) element() string { return "UsagePoint" }
func (u *UsagePoint) fields() []field {
	return []field{
		{name: "roleFlags", at: &u.RoleFlags, max: 4},
		{name: "ServiceCategory", at: one[ServiceCategory, *ServiceCategory]{&u.Category}},
		{name: "status", at: &u.Status},
		{name: "connectionState", at: &u.Connection},
		{name: "phaseCode", at: &u.Phase},
		{name: "readCycle", at: &u.ReadCycle, max: 256},
	}
}

// ServiceCategory holds the kind of a service; nil where the element is empty.
type ServiceCategory struct{ Kind *int64 }

func (s *ServiceCategory) fields() []field { return []field{{name: "kind", at: &s.Kind}} }

// LocalTimeParameters is a resource: the clock on the wall. See [LocalTime].
type LocalTimeParameters struct {
	DSTEndRule   string // as [ParseDSTRule] reads it
	DSTOffset    int64  // seconds
	DSTStartRule string
	TZOffset     int64 // seconds east of UTC, without daylight saving
}

func (*LocalTimeParameters) element() string { return "LocalTimeParameters" }
func (l *LocalTimeParameters) fields() []field {
	return []field{
		{name: "dstEndRule", at: &l.DSTEndRule, max: 8, always: true},
		{name: "dstOffset", at: &l.DSTOffset},
		{name: "dstStartRule", at: &l.DSTStartRule, max: 8, always: true},
		{name: "tzOffset", at: &l.TZOffset},
	}
}

// MeterReading is a resource that says everything by its links.
type MeterReading struct {
	// Type is a reading type that stands inside, as some feeds have it against
	// the schema. It is written only if it was read.
	Type *ReadingType
}

func (*MeterReading) element() string { return "MeterReading" }
func (m *MeterReading) fields() []field {
	return []field{{name: "ReadingType", at: one[ReadingType, *ReadingType]{&m.Type}}}
}

// ReadingType is a resource: what the numbers of a meter reading are. The codes
// are those of IEC 61968-9, annex C.
type ReadingType struct {
	Accumulation    *int64
	Commodity       *int64
	Tier            *int64
	Currency        *int64 // ISO 4217
	Qualifier       *int64
	DefaultQuality  *int64 // of readings that state none
	FlowDirection   *int64
	IntervalLength  *int64 // seconds, nominal
	Kind            *int64
	Phase           *int64
	PowerOfTen      *int64
	TimeAttribute   *int64
	TOU             *int64
	UOM             *int64
	CPP             *int64
	Interharmonic   *Ratio
	MeasuringPeriod *int64
	Argument        *Ratio
}

func (*ReadingType) element() string { return "ReadingType" }
func (t *ReadingType) fields() []field {
	return []field{
		{name: "accumulationBehaviour", at: &t.Accumulation},
		{name: "commodity", at: &t.Commodity},
		{name: "consumptionTier", at: &t.Tier},
		{name: "currency", at: &t.Currency},
		{name: "dataQualifier", at: &t.Qualifier},
		{name: "defaultQuality", at: &t.DefaultQuality},
		{name: "flowDirection", at: &t.FlowDirection},
		{name: "intervalLength", at: &t.IntervalLength},
		{name: "kind", at: &t.Kind},
		{name: "phase", at: &t.Phase},
		{name: "powerOfTenMultiplier", at: &t.PowerOfTen},
		{name: "timeAttribute", at: &t.TimeAttribute},
		{name: "tou", at: &t.TOU},
		{name: "uom", at: &t.UOM},
		{name: "cpp", at: &t.CPP},
		{name: "interharmonic", at: one[Ratio, *Ratio]{&t.Interharmonic}},
		{name: "measuringPeriod", at: &t.MeasuringPeriod},
		{name: "argument", at: one[Ratio, *Ratio]{&t.Argument}},
	}
}

// Ratio is a RationalNumber.
type Ratio struct{ Numerator, Denominator *int64 }

func (r *Ratio) fields() []field {
	return []field{{name: "numerator", at: &r.Numerator}, {name: "denominator", at: &r.Denominator}}
}
