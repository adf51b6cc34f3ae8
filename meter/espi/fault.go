package espi

import "fmt"

// Kind names a fault of a document in a stable word.
type Kind string

// The kinds of fault.
const (
	Empty                Kind = "empty_document"
	Unreadable           Kind = "unreadable"
	TruncatedGzip        Kind = "truncated_gzip"
	CorruptGzip          Kind = "corrupt_gzip"
	Truncated            Kind = "truncated_document"
	Malformed            Kind = "malformed_xml"
	DocumentType         Kind = "document_type_declaration"
	EntityDeclaration    Kind = "entity_declaration"
	UndeclaredEntity     Kind = "undeclared_entity"
	UnknownEncoding      Kind = "unknown_encoding"
	DocumentTooLong      Kind = "document_too_long"
	PieceTooLong         Kind = "piece_too_long"
	TooDeep              Kind = "too_deep"
	EntryTooLong         Kind = "entry_too_long"
	TrailingContent      Kind = "trailing_content"
	NotGreenButton       Kind = "not_green_button"
	BadNumber            Kind = "bad_number"
	IncompletePeriod     Kind = "incomplete_period"
	DurationOutOfRange   Kind = "duration_out_of_range"
	TimeOutOfRange       Kind = "time_out_of_range"
	MultiplierOutOfRange Kind = "multiplier_out_of_range"
	TooManyUnresolved    Kind = "too_many_unresolved_readings"
)

var explanations = map[Kind]string{
	Empty:                "the document holds nothing",
	Unreadable:           "reading the document",
	TruncatedGzip:        "the compressed document is cut short",
	CorruptGzip:          "the compressed document is damaged",
	Truncated:            "the document is cut short",
	Malformed:            "the document is no well-formed XML in UTF-8",
	DocumentType:         "a document type is declared, which no Green Button document needs",
	EntityDeclaration:    "entities are declared, which no Green Button document needs",
	UndeclaredEntity:     "an entity is used that XML does not know",
	UnknownEncoding:      "the document is in another encoding than UTF-8",
	DocumentTooLong:      "the document is longer than is read",
	PieceTooLong:         "a tag, a text or a comment is longer than is read",
	TooDeep:              "elements lie deeper within one another than in any document of this norm",
	EntryTooLong:         "an entry holds more than is read",
	TrailingContent:      "the document goes on after its end",
	NotGreenButton:       "the document is neither an Atom feed or entry nor a resource of ESPI",
	BadNumber:            "a number is not one, or does not fit 64 bits",
	IncompletePeriod:     "a period lacks its start or its duration",
	DurationOutOfRange:   "a duration is below zero or above 32 bits",
	TimeOutOfRange:       "a start is outside the years 0 to 9999",
	MultiplierOutOfRange: "a power of ten is beyond 24",
	TooManyUnresolved:    "more readings and links wait for one another than are held",
}

// Error is a fault of a document: its kind and place, never its content.
type Error struct {
	Kind   Kind
	Offset int64 // bytes from the beginning of the document, decompressed, to where it was noticed
	Err    error // what the reader reported, if Kind is Unreadable
}

// Error returns the place, the kind and a sentence.
func (e *Error) Error() string {
	s := fmt.Sprintf("espi: byte %d: %s: %s", e.Offset, e.Kind, explanations[e.Kind])
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
