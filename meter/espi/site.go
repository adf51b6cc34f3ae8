package espi

import (
	"net/url"
	"strings"
)

// Site is the address below which a hub serves its resources, such as
// https://hub.example/espi/1_1/resource, without a slash at the end. Its methods
// return the addresses of resources; they expect identifiers that need no
// escaping: of consents, applications and [Names].
type Site string

// ParseSite returns s as a Site, or ErrSite.
func ParseSite(s string) (Site, error) {
	s = strings.TrimSuffix(s, "/")
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || len(s) > 1024 {
		return "", ErrSite
	}
	return Site(s), nil
}

// ServiceStatus returns the address that tells whether the hub serves.
func (s Site) ServiceStatus() string { return string(s) + "/ReadServiceStatus" }

// Applications returns the address of the registrations.
func (s Site) Applications() string { return string(s) + "/ApplicationInformation" }

// Application returns the address of one registration.
func (s Site) Application(id string) string { return s.Applications() + "/" + id }

// Authorizations returns the address of the consents.
func (s Site) Authorizations() string { return string(s) + "/Authorization" }

// Authorization returns the address of one consent.
func (s Site) Authorization(id string) string { return s.Authorizations() + "/" + id }

// Batch returns the address of everything that a subscription covers.
func (s Site) Batch(subscription string) string {
	return string(s) + "/Batch/Subscription/" + subscription
}

// BatchPoint returns the address of everything about one usage point.
func (s Site) BatchPoint(subscription, point string) string {
	return s.Batch(subscription) + "/UsagePoint/" + point
}

// Bulk returns the address of what a third party reads of many households.
func (s Site) Bulk(id string) string { return string(s) + "/Batch/Bulk/" + id }

// RetailCustomer returns the address of the data about a person.
func (s Site) RetailCustomer(id string) string { return string(s) + "/Batch/RetailCustomer/" + id }

// LocalTimes returns the address of the clocks, which stand beside the
// subscriptions, as the reading types do.
func (s Site) LocalTimes() string { return string(s) + "/LocalTimeParameters" }

// LocalTime returns the address of one clock.
func (s Site) LocalTime(id string) string { return s.LocalTimes() + "/" + id }

// ReadingTypes returns the address of the reading types.
func (s Site) ReadingTypes() string { return string(s) + "/ReadingType" }

// ReadingType returns the address of one reading type.
func (s Site) ReadingType(id string) string { return s.ReadingTypes() + "/" + id }

// UsagePoints returns the address of a subscription's usage points.
func (s Site) UsagePoints(subscription string) string {
	return string(s) + "/Subscription/" + subscription + "/UsagePoint"
}

// UsagePoint returns the address of one usage point.
func (s Site) UsagePoint(subscription, point string) string {
	return s.UsagePoints(subscription) + "/" + point
}

// MeterReadings returns the address of a usage point's meter readings.
func (s Site) MeterReadings(subscription, point string) string {
	return s.UsagePoint(subscription, point) + "/MeterReading"
}

// MeterReading returns the address of one meter reading.
func (s Site) MeterReading(subscription, point, reading string) string {
	return s.MeterReadings(subscription, point) + "/" + reading
}

// IntervalBlocks returns the address of a meter reading's blocks.
func (s Site) IntervalBlocks(subscription, point, reading string) string {
	return s.MeterReading(subscription, point, reading) + "/IntervalBlock"
}

// IntervalBlock returns the address of one block, whose identifier
// [ParseBlockID] reads.
func (s Site) IntervalBlock(subscription, point, reading, block string) string {
	return s.IntervalBlocks(subscription, point, reading) + "/" + block
}

// UsageSummaries returns the address of a usage point's summaries.
func (s Site) UsageSummaries(subscription, point string) string {
	return s.UsagePoint(subscription, point) + "/UsageSummary"
}

// UsageSummary returns the address of one summary.
func (s Site) UsageSummary(subscription, point, summary string) string {
	return s.UsageSummaries(subscription, point) + "/" + summary
}
