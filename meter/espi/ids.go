package espi

import (
	"crypto/sha1" //nolint:gosec // what names of version 5 are made of; nothing is kept secret by it
	"fmt"
	"strconv"

	"github.com/wattveil/wattveil/meter"
)

// uuid is a UUID of version 5: a name within a namespace (RFC 9562, section 5.5). The
// libraries that make one reach database/sql.
type uuid [16]byte

func newUUID(space uuid, name []byte) (id uuid) {
	sum := sha1.Sum(append(space[:], name...)) //nolint:gosec // see above
	copy(id[:], sum[:])
	id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80
	return id
}

func (u uuid) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// root is the namespace of every identifier here: UUIDv5 of this package's name in that
// of URLs (RFC 9562, appendix B.1).
var root = newUUID(uuid{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8},
	[]byte("https://github.com/wattveil/wattveil/meter/espi"))

// Names derives the identifiers of what one subscription covers: UUIDv5 (RFC
// 9562) in a namespace made of the subscription's id, 36 characters each. The
// same names come out of every process, and those of two subscriptions have
// nothing in common. A name hides its usage point from who does not know the
// subscription's id; who does can test a guess.
type Names struct{ space uuid }

// NewNames returns the names of a subscription, whose id is the consent's.
func NewNames(subscription string) Names {
	return Names{newUUID(root, []byte(subscription))}
}

func (n Names) of(name string) string { return newUUID(n.space, []byte(name)).String() }

// UsagePoint returns the name of a usage point.
func (n Names) UsagePoint(p meter.UsagePoint) string { return n.of(string(p)) }

// MeterReading returns the name of a register's readings of one step. A slash
// stands in no usage point, so that no two kinds of name can meet.
func (n Names) MeterReading(p meter.UsagePoint, r meter.Register, s Step) string {
	return n.of("MeterReading/" + string(p) + "/" + r.String() + "/" + s.String())
}

// ReadingType returns the name of that meter reading's own reading type.
func (n Names) ReadingType(p meter.UsagePoint, r meter.Register, s Step) string {
	return n.of("ReadingType/" + string(p) + "/" + r.String() + "/" + s.String())
}

// LocalTime returns the name of a zone's time parameters.
func (n Names) LocalTime(zone string) string { return n.of("LocalTimeParameters/" + zone) }

// UsageSummary returns the name of a usage point's summary of the period that
// begins at start, unix seconds.
func (n Names) UsageSummary(p meter.UsagePoint, r meter.Register, start int64) string {
	return n.of("UsageSummary/" + string(p) + "/" + r.String() + "/" + strconv.FormatInt(start, 10))
}

// Document returns the name of a feed, from the words of its address.
func (n Names) Document(address string) string { return n.of("Document/" + address) }

// URN returns an identifier as Atom writes it.
func URN(id string) string { return "urn:uuid:" + id }

// maxEpoch is the last second that ten digits can write, in the year 2286.
const maxEpoch = 9_999_999_999

// blockID names the block of a meter reading that spans [start, until), unix
// seconds. It says its own range, so that whoever follows a block's link can be
// answered without a table of blocks: "1774738800-1774825200".
func blockID(start, until int64) string { return fmt.Sprintf("%010d-%010d", start, until) }

// ParseBlockID returns the range, unix seconds [start, until), that a block's
// identifier names, and false for a text that no block is named by.
func ParseBlockID(id string) (start, until int64, ok bool) {
	if len(id) != 21 || id[10] != '-' {
		return 0, 0, false
	}
	start, ok = epoch(id[:10])
	if !ok {
		return 0, 0, false
	}
	until, ok = epoch(id[11:])
	return start, until, ok && start < until
}

func epoch(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int64(s[i]-'0')
	}
	return n, true
}
