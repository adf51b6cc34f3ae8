package ledger

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"
)

// The canonical encoding of a payload: the version byte, then its non-zero
// fields in ascending order of their numbers, each as
//
//	number(1) | length(4, big-endian) | value
//
// Strings and hashes are their bytes, integers are big-endian two's complement
// of their Go width, and a list is each element as length(4) | bytes. A field
// of value zero is absent. One payload thus has one encoding, which a household
// can recompute in any language, and every encoding one payload.
//
// The version is the lowest that has the payload's kind and every field that is
// present, so that a payload which version 1 can express has the bytes it always
// had. Version 2 adds fields 30 to 33, version 4 fields 34 and 35, version 5 field 36; versionOfKind
// names the kinds that came later. An element of field 30 is index(8) | recipient's
// number(8) | recipient. Field 35 is absent where it would repeat field 23.
const maxPayloadVersion = 5

// payloadFields numbers the fields. A number is never reused.
var payloadFields = []struct {
	number byte
	id     bool // an identifier, see Payload
	of     func(*Payload) any
}{
	{1, true, func(p *Payload) any { return (*string)(&p.Kind) }},
	{2, false, func(p *Payload) any { return &p.Time }},
	{3, true, func(p *Payload) any { return &p.Subject }},
	{4, true, func(p *Payload) any { return &p.Recipient }},
	{5, false, func(p *Payload) any { return &p.Purpose }},
	{6, false, func(p *Payload) any { return &p.PurposeText }},
	{7, true, func(p *Payload) any { return &p.Consent }},
	{8, false, func(p *Payload) any { return &p.UsagePoints }},
	{9, false, func(p *Payload) any { return &p.Registers }},
	{10, false, func(p *Payload) any { return &p.Granularity }},
	{11, false, func(p *Payload) any { return &p.From }},
	{12, false, func(p *Payload) any { return &p.Until }},
	{13, false, func(p *Payload) any { return &p.KeyFrom }},
	{14, false, func(p *Payload) any { return &p.KeyUntil }},
	{15, false, func(p *Payload) any { return &p.PermissionUntil }},
	{16, false, func(p *Payload) any { return &p.Intervals }},
	{17, false, func(p *Payload) any { return &p.Reason }},
	{18, false, func(p *Payload) any { return &p.Session }},
	{19, false, func(p *Payload) any { return &p.Terms }},
	{20, false, func(p *Payload) any { return &p.Product }},
	{21, false, func(p *Payload) any { return &p.Day }},
	{22, false, func(p *Payload) any { return &p.Nodes }},
	{23, false, func(p *Payload) any { return &p.RhoNano }},
	{24, false, func(p *Payload) any { return &p.Digest }},
	{25, false, func(p *Payload) any { return &p.Detail }},
	{26, false, func(p *Payload) any { return &p.SubjectSeq }},
	{27, false, func(p *Payload) any { return &p.SubjectPrev }},
	{28, false, func(p *Payload) any { return &p.RecipientSeq }},
	{29, false, func(p *Payload) any { return &p.RecipientPrev }},
	{firstFieldOfVersion2, true, func(p *Payload) any { return &p.Erased }},
	{31, false, func(p *Payload) any { return &p.MapKeys }},
	{32, false, func(p *Payload) any { return &p.MapSize }},
	{33, false, func(p *Payload) any { return &p.MapUntil }},
	{firstFieldOfVersion4, false, func(p *Payload) any { return &p.Days }},
	{35, false, func(p *Payload) any { return &p.DayRhoNano }},
	{firstFieldOfVersion5, false, func(p *Payload) any { return &p.Conditions }},
}

const (
	firstFieldOfVersion2 = 30
	firstFieldOfVersion4 = 34
	firstFieldOfVersion5 = 36
)

// versionOfKind names the kinds that came after version 1.
var versionOfKind = map[Kind]byte{
	KindRekey: 2, KindBudgetSpend: 3,
	KindConsentExtend: 5, KindConsentSuspend: 5, KindConsentResume: 5, KindConsentTerminate: 5, KindConsentFulfil: 5, KindConsentInvalidate: 5,
}

// version returns the lowest version that has the kind and the field.
func version(k Kind, lastField byte) byte {
	switch v := max(1, versionOfKind[k]); {
	case lastField >= firstFieldOfVersion5:
		return max(5, v)
	case lastField >= firstFieldOfVersion4:
		return max(4, v)
	case lastField >= firstFieldOfVersion2:
		return max(2, v)
	default:
		return v
	}
}

// fieldHeader is the length of number and length before each value.
const fieldHeader = 5

// Encode returns the canonical bytes of p. It returns ErrPayload, naming the
// field by number, if the kind is unknown, the time is not positive, an
// identifier or string is malformed, a list holds an empty element, a day would
// be beyond int32, DayRhoNano repeats RhoNano, or the result would exceed
// MaxPayload.
func (p Payload) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	b := []byte{version(p.Kind, 0)}
	for _, f := range payloadFields {
		v, err := appendValue(nil, f.of(&p), f.id)
		if err != nil {
			return nil, fmt.Errorf("%w: field %d: %w", ErrPayload, f.number, err)
		}
		if len(v) == 0 {
			continue
		}
		b[0] = version(p.Kind, f.number)
		b = append(b, f.number)
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	if len(b) > MaxPayload {
		return nil, fmt.Errorf("%w: %d bytes", ErrPayload, len(b))
	}
	return b, nil
}

// DecodePayload reads what Payload.Encode writes, and nothing else: an unknown
// version or field, a field out of order, of zero value or of the wrong length
// is ErrPayload.
func DecodePayload(b []byte) (Payload, error) {
	var p Payload
	switch {
	case len(b) > MaxPayload:
		return Payload{}, fmt.Errorf("%w: %d bytes", ErrPayload, len(b))
	case len(b) == 0:
		return Payload{}, fmt.Errorf("%w: empty", ErrPayload)
	case b[0] < 1 || b[0] > maxPayloadVersion:
		return Payload{}, fmt.Errorf("%w: version %d", ErrPayload, b[0])
	}
	claimed, last := b[0], byte(0)
	fields := payloadFields
	for b = b[1:]; len(b) > 0; {
		number := b[0]
		last = number
		for len(fields) > 0 && fields[0].number < number {
			fields = fields[1:]
		}
		if len(fields) == 0 || fields[0].number != number {
			return Payload{}, fmt.Errorf("%w: field %d is unknown or out of order", ErrPayload, number)
		}
		v, rest, err := cutField(b)
		if err == nil {
			err = setValue(fields[0].of(&p), v, fields[0].id)
		}
		if err != nil {
			return Payload{}, fmt.Errorf("%w: field %d: %w", ErrPayload, number, err)
		}
		fields, b = fields[1:], rest
	}
	if err := p.check(); err != nil {
		return Payload{}, err
	}
	if claimed != version(p.Kind, last) {
		return Payload{}, fmt.Errorf("%w: version %d for what is of another", ErrPayload, claimed)
	}
	return p, nil
}

func (p Payload) check() error {
	switch {
	case !p.Kind.Class().Valid():
		return fmt.Errorf("%w: unknown kind", ErrPayload)
	case p.Time <= 0:
		return fmt.Errorf("%w: no time", ErrPayload)
	case int64(p.Day)+int64(bits.Len32(p.Days)) > math.MaxInt32:
		return fmt.Errorf("%w: days after the last", ErrPayload)
	case p.DayRhoNano != 0 && p.DayRhoNano == p.RhoNano:
		return fmt.Errorf("%w: one price twice", ErrPayload)
	}
	return nil
}

// valueError says what is wrong with a value, never what it is.
type valueError string

func (e valueError) Error() string { return string(e) }

const (
	errTruncated  valueError = "truncated"
	errLength     valueError = "wrong length"
	errZero       valueError = "zero value present"
	errText       valueError = "not UTF-8"
	errIdentifier valueError = "not an identifier"
	errElement    valueError = "empty element"
)

func cutField(b []byte) (value, rest []byte, err error) {
	if len(b) < fieldHeader {
		return nil, nil, errTruncated
	}
	n := binary.BigEndian.Uint32(b[1:fieldHeader])
	b = b[fieldHeader:]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, errTruncated
	}
	return b[:n], b[n:], nil
}

// appendValue appends the value that field points to, or nothing if it is zero.
func appendValue(b []byte, field any, id bool) ([]byte, error) {
	switch v := field.(type) {
	case *string:
		return append(b, *v...), checkText(*v, id)
	case *[]string:
		for _, s := range *v {
			if s == "" {
				return nil, errElement
			}
			if err := checkText(s, id); err != nil {
				return nil, err
			}
			b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
		return b, nil
	case *[]Hash:
		for _, h := range *v {
			b = binary.BigEndian.AppendUint32(b, uint32(len(h)))
			b = append(b, h[:]...)
		}
		return b, nil
	case *[]Erased:
		for _, e := range *v {
			if err := checkText(e.Recipient, id); err != nil {
				return nil, err
			}
			b = binary.BigEndian.AppendUint32(b, uint32(erasedHeader+len(e.Recipient)))
			b = binary.BigEndian.AppendUint64(b, e.Index)
			b = binary.BigEndian.AppendUint64(b, e.RecipientSeq)
			b = append(b, e.Recipient...)
		}
		return b, nil
	case *Hash:
		if *v == (Hash{}) {
			return b, nil
		}
		return append(b, v[:]...), nil
	case *int64:
		return appendUint64(b, uint64(*v)), nil
	case *uint64:
		return appendUint64(b, *v), nil
	case *int32:
		return appendUint32(b, uint32(*v)), nil
	case *uint32:
		return appendUint32(b, *v), nil
	}
	panic("ledger: payload field of unknown type")
}

func appendUint64(b []byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.BigEndian.AppendUint64(b, v)
}

func appendUint32(b []byte, v uint32) []byte {
	if v == 0 {
		return b
	}
	return binary.BigEndian.AppendUint32(b, v)
}

// setValue is the inverse of appendValue and refuses what it would not write.
func setValue(field any, b []byte, id bool) error {
	if len(b) == 0 {
		return errZero
	}
	switch v := field.(type) {
	case *string:
		*v = string(b)
		return checkText(*v, id)
	case *[]string:
		return eachElement(b, func(e []byte) error {
			if len(e) == 0 {
				return errElement
			}
			*v = append(*v, string(e))
			return checkText(string(e), id)
		})
	case *[]Hash:
		return eachElement(b, func(e []byte) error {
			if len(e) != hashSize {
				return errLength
			}
			*v = append(*v, Hash(e))
			return nil
		})
	case *[]Erased:
		return eachElement(b, func(e []byte) error {
			if len(e) < erasedHeader {
				return errLength
			}
			recipient := string(e[erasedHeader:])
			*v = append(*v, Erased{binary.BigEndian.Uint64(e), recipient, binary.BigEndian.Uint64(e[8:])})
			return checkText(recipient, id)
		})
	case *Hash:
		if len(b) != len(v) {
			return errLength
		}
		*v = Hash(b)
		return refuseZero(*v == Hash{})
	case *int64:
		return setUint(b, 8, func(u uint64) { *v = int64(u) })
	case *uint64:
		return setUint(b, 8, func(u uint64) { *v = u })
	case *int32:
		return setUint(b, 4, func(u uint64) { *v = int32(uint32(u)) })
	case *uint32:
		return setUint(b, 4, func(u uint64) { *v = uint32(u) })
	}
	panic("ledger: payload field of unknown type")
}

// erasedHeader is the length of an Erased before its recipient.
const erasedHeader = 16

// eachElement calls f with every element of a list.
func eachElement(b []byte, f func([]byte) error) error {
	for len(b) > 0 {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return errTruncated
		}
		n := 4 + int(binary.BigEndian.Uint32(b))
		if err := f(b[4:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func setUint(b []byte, width int, set func(uint64)) error {
	if len(b) != width {
		return errLength
	}
	var u uint64
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	set(u)
	return refuseZero(u == 0)
}

func refuseZero(zero bool) error {
	if zero {
		return errZero
	}
	return nil
}

// maxIdentifier is the greatest length of an identifier, in bytes.
const maxIdentifier = 64

func checkText(s string, id bool) error {
	if !id {
		if !utf8.ValidString(s) {
			return errText
		}
		return nil
	}
	if len(s) > maxIdentifier {
		return errIdentifier
	}
	for _, c := range []byte(s) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == ':', c == '-':
		default:
			return errIdentifier
		}
	}
	return nil
}
