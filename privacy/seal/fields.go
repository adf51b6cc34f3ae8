package seal

import "encoding/binary"

// Every label of the formats. A label is the first field of whatever is
// authenticated or derived, so that bytes of one kind never pass for another.
const (
	labelBlock          = "wattveil/seal/block"
	labelBlockKey       = "wattveil/seal/block-key"
	labelDayKeyWrap     = "wattveil/seal/day-key-wrap"
	labelSpoolKeyWrap   = "wattveil/seal/spool-key-wrap"
	labelSpoolRecord    = "wattveil/seal/spool-record"
	labelRunningKeyWrap = "wattveil/seal/running-key-wrap"
	labelRunningRecord  = "wattveil/seal/running-record"
	labelSignature      = "wattveil/seal/signature"
	labelMessage        = "wattveil/seal/message"
)

// fields is a run of length-prefixed fields: uint16 length, then the bytes;
// integers big endian at their full width.
type fields []byte

func (f fields) text(s string) fields {
	return append(binary.BigEndian.AppendUint16(f, uint16(len(s))), s...)
}

func (f fields) bytes(b []byte) fields {
	return append(binary.BigEndian.AppendUint16(f, uint16(len(b))), b...)
}

func (f fields) byte(b byte) fields { return append(f, 0, 1, b) } //nolint:unparam // a format's version, of which there is one so far

func (f fields) uint32(v uint32) fields {
	return binary.BigEndian.AppendUint32(append(f, 0, 4), v)
}

func (f fields) uint64(v uint64) fields {
	return binary.BigEndian.AppendUint64(append(f, 0, 8), v)
}
