// Package espi reads and writes Green Button documents: the Energy Services
// Provider Interface of NAESB REQ.21 (ESPI), XML resources in Atom (RFC 4287).
//
// The promise: an energy is a whole number of Wh on the way out (uom 72,
// powerOfTenMultiplier 0) and an exact decimal on the way in; no number passes
// through a float; an interval without a value is left out, never written as
// zero. What is written passes the schemas of ESPI 3.3 and 4.0 and the
// function-block rules of certification; what is read may pass either, because
// feeds in the field pass one or the other. A document that cannot be read is
// refused with the kind and the offset of the fault, never with its content.
//
// # Writing
//
// A [Subscription] names and links what one consent covers. [NewBatch] writes
// its feed as the values come, holding no more than a buffer:
//
//	UsagePoint, LocalTimeParameters, then for each register
//	MeterReading, ReadingType, IntervalBlock
//
// Readers in the field rely on more than the standard says, and the feed keeps
// to it: titles are the names of the resources; a MeterReading precedes its
// block and has one block in a document; every MeterReading has a ReadingType of
// its own, whose first related link is the MeterReading; identifiers have fixed
// lengths, because links are compared by prefix; Atom is the default namespace
// and each content declares its own.
//
// Single resources are written by [NewFeed] and [NewEntry] with the same entries
// that a batch holds.
//
// # Reading
//
// [Decoder] yields the entries of a document one by one, in its order, as they
// stand. [Reader] follows the links between them and yields values with their
// unit. Both hold no more than the limits below allow; document types and
// entities are refused unread.
package espi

import "errors"

// The namespaces.
const (
	AtomSpace     = "http://www.w3.org/2005/Atom"
	Space         = "http://naesb.org/espi"
	CustomerSpace = "http://naesb.org/espi/customer"
)

// MediaType is what documents are served as.
const MediaType = "application/atom+xml"

// Limits of what is read. A document beyond them is refused.
const (
	MaxDocument = 1 << 30  // bytes, after decompression
	MaxToken    = 64 << 10 // bytes in one tag, text or comment
	MaxDepth    = 32       // elements within one another
	MaxEntry    = 1 << 20  // readings in one entry; other things kept count for more
	MaxText     = 1 << 20  // bytes of text kept of one entry
	MaxHeld     = 1 << 22  // readings whose reading type has not come yet
)

// Errors of the encoders.
var (
	ErrSite     = errors.New("espi: base address is not an absolute http or https URL without query")
	ErrRegister = errors.New("espi: register has no reading type")
	ErrStep     = errors.New("espi: interval does not have the length of its meter reading")
	ErrOrder    = errors.New("espi: readings are not in order of their starts")
	ErrRange    = errors.New("espi: number or time is outside what the schema holds")
	ErrText     = errors.New("espi: text is longer than the schema allows")
	ErrSequence = errors.New("espi: entries are written out of turn")
	ErrSeries   = errors.New("espi: series has not one quality for each value")
)
