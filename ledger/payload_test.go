package ledger_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// One payload of every kind encodes to bytes fixed for good, and comes back.
// It would catch a renumbered field or a changed width, which would turn every
// stored payload into one that no longer opens its leaf.
func TestPayloadVectors(t *testing.T) {
	want := vectors(t)
	for name, p := range samplePayloads() {
		b, err := p.Encode()
		if err != nil || !bytes.Equal(b, want["payload."+name]) {
			t.Errorf("%s encodes to %x, %v; want %x", name, b, err, want["payload."+name])
		}
		if got, err := ledger.DecodePayload(b); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s comes back as %+v, %v", name, got, err)
		}
	}
}

// Every kind has its class, and "access" is no more visible than "revoke".
func TestKindClass(t *testing.T) {
	open := map[ledger.Kind]ledger.Class{
		ledger.KindRelease: ledger.ClassRelease, ledger.KindBudgetSpend: ledger.ClassRelease,
		ledger.KindErasure: ledger.ClassErasure,
		ledger.KindMapHead: ledger.ClassMapHead,
		ledger.KindAdmin:   ledger.ClassAdmin,
	}
	for name, p := range samplePayloads() {
		want, ok := open[p.Kind]
		if !ok {
			want = ledger.ClassEvent
		}
		if got := p.Kind.Class(); got != want {
			t.Errorf("%s is of class %s, want %s", name, got, want)
		}
	}
	if got := ledger.Kind("consent.forget").Class(); got.Valid() {
		t.Errorf("an unknown kind is of class %s", got)
	}
}

// Every field of the struct is in the encoding, exactly once. It would catch a
// field that was added to the struct and forgotten in the table: its content
// would silently not be committed to.
func TestEveryFieldIsEncoded(t *testing.T) {
	full := samplePayloads()["every-field-5"]
	all, err := full.Encode()
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() {
			t.Fatalf("the sample leaves %s empty", name)
		}
		if name == "Kind" || name == "Time" {
			continue // required
		}
		without := full
		reflect.ValueOf(&without).Elem().Field(i).SetZero()
		b, err := without.Encode()
		if err != nil || len(b) >= len(all) {
			t.Errorf("without %s the encoding is not shorter: %v", name, err)
		}
	}
}

// What Encode would not write, DecodePayload does not read.
func TestDecodePayloadRefuses(t *testing.T) {
	field := func(number byte, value string) []byte {
		b := binary.BigEndian.AppendUint32([]byte{number}, uint32(len(value)))
		return append(b, value...)
	}
	bytesOf := func(fields ...[]byte) []byte { return append([]byte{1}, slices.Concat(fields...)...) }
	kind, when := field(1, "admin"), field(2, "\x00\x00\x00\x00\x00\x00\x00\x01")
	if _, err := ledger.DecodePayload(bytesOf(kind, when, field(25, "x"))); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, b := range map[string][]byte{
		"nothing":               nil,
		"no fields":             {1},
		"version 6":             append([]byte{6}, bytesOf(kind, when)[1:]...),
		"version 5 of 1":        append([]byte{5}, bytesOf(kind, when)[1:]...),
		"version 4 of 5":        append([]byte{4}, bytesOf(field(1, "consent.extend"), when)[1:]...),
		"field 36 in version 4": append([]byte{4}, bytesOf(kind, when, field(36, "\x00\x00\x00\x01"))[1:]...),
		"version 4 of 1":        append([]byte{4}, bytesOf(kind, when)[1:]...),
		"version 4 of 3":        append([]byte{4}, bytesOf(field(1, "budget.spend"), when)[1:]...),
		"version 3 of 4":        append([]byte{3}, bytesOf(field(1, "budget.spend"), when, field(34, "\x00\x00\x00\x01"))[1:]...),
		"field 35 in version 2": append([]byte{2}, bytesOf(kind, when, field(35, "\x00\x00\x00\x00\x00\x00\x00\x01"))[1:]...),
		"no further day":        append([]byte{4}, bytesOf(kind, when, field(34, "\x00\x00\x00\x00"))[1:]...),
		"days after the last":   append([]byte{4}, bytesOf(kind, when, field(21, "\x7f\xff\xff\xfe"), field(34, "\x00\x00\x00\x02"))[1:]...),
		"one price twice":       append([]byte{4}, bytesOf(kind, when, field(23, "\x00\x00\x00\x00\x00\x00\x00\x05"), field(35, "\x00\x00\x00\x00\x00\x00\x00\x05"))[1:]...),
		"version 3 of 2":        append([]byte{3}, bytesOf(field(1, "household.rekey"), when)[1:]...),
		"version 2 of 3":        append([]byte{2}, bytesOf(field(1, "budget.spend"), when)[1:]...),
		"version 2 of 1":        append([]byte{2}, bytesOf(kind, when)[1:]...),
		"version 1 of 2":        bytesOf(field(1, "household.rekey"), when),
		"field 31 in version 1": bytesOf(kind, when, field(31, "\x00\x00\x00\x20"+strings.Repeat("x", 32))),
		"erased event cut off":  append([]byte{2}, bytesOf(kind, when, field(30, "\x00\x00\x00\x0fx12345671234567"))[1:]...),
		"erased by a name":      append([]byte{2}, bytesOf(kind, when, field(30, "\x00\x00\x00\x12"+strings.Repeat("x", 17)+" "))[1:]...),
		"no kind":               bytesOf(when),
		"no time":               bytesOf(kind),
		"time before 1970":      bytesOf(kind, field(2, "\xff\xff\xff\xff\xff\xff\xff\xff")),
		"unknown kind":          bytesOf(field(1, "gossip"), when),
		"short map key":         append([]byte{2}, bytesOf(kind, when, field(31, "\x00\x00\x00\x01x"))[1:]...),
		"unknown field 36":      append([]byte{4}, bytesOf(kind, when, field(36, "x"))[1:]...),
		"unknown field 0":       bytesOf(field(0, "x"), kind, when),
		"order":                 bytesOf(when, kind),
		"repeated":              bytesOf(kind, when, when),
		"empty field":           bytesOf(kind, when, field(5, "")),
		"zero integer":          bytesOf(kind, when, field(11, "\x00\x00\x00\x00\x00\x00\x00\x00")),
		"zero hash":             bytesOf(kind, when, field(24, strings.Repeat("\x00", 32))),
		"narrow integer":        bytesOf(kind, when, field(11, "\x00\x00\x00\x01")),
		"wide integer":          bytesOf(kind, when, field(22, "\x00\x00\x00\x00\x00\x00\x00\x01")),
		"short hash":            bytesOf(kind, when, field(24, "x")),
		"not UTF-8":             bytesOf(kind, when, field(25, "\xff")),
		"subject with a space":  bytesOf(kind, when, field(3, "Anna Muster")),
		"subject of 65":         bytesOf(kind, when, field(3, strings.Repeat("a", 65))),
		"cut off in header":     bytesOf(kind, when, []byte{5, 0, 0}),
		"cut off in value":      bytesOf(kind, when, field(5, "xy")[:6]),
		"list cut off":          bytesOf(kind, when, field(8, "\x00\x00\x00\x09x")),
		"list of empty element": bytesOf(kind, when, field(8, "\x00\x00\x00\x00")),
		"trailing byte":         append(bytesOf(kind, when), 0),
		"too long":              bytesOf(kind, when, field(25, strings.Repeat("x", ledger.MaxPayload))),
	} {
		if p, err := ledger.DecodePayload(b); !errors.Is(err, ledger.ErrPayload) {
			t.Errorf("%s was read as %+v, %v", name, p, err)
		}
	}
}

// What cannot be read back is not written, and the refusal does not repeat it.
func TestEncodeRefuses(t *testing.T) {
	good := ledger.Payload{Kind: ledger.KindAdmin, Time: 1}
	for name, edit := range map[string]func(*ledger.Payload){
		"no kind":       func(p *ledger.Payload) { p.Kind = "" },
		"unknown kind":  func(p *ledger.Payload) { p.Kind = "secretkind" },
		"no time":       func(p *ledger.Payload) { p.Time = 0 },
		"subject":       func(p *ledger.Payload) { p.Subject = "Anna Secret" },
		"consent":       func(p *ledger.Payload) { p.Consent = "c/secret" },
		"not UTF-8":     func(p *ledger.Payload) { p.Reason = "secret\xff" },
		"empty element": func(p *ledger.Payload) { p.UsagePoints = []string{"secret", ""} },
		"too long":      func(p *ledger.Payload) { p.Detail = strings.Repeat("secret", ledger.MaxPayload) },
		"days too late": func(p *ledger.Payload) { p.Day, p.Days = math.MaxInt32, 1 },
		"price twice":   func(p *ledger.Payload) { p.RhoNano, p.DayRhoNano = 7, 7 },
	} {
		p := good
		edit(&p)
		_, err := p.Encode()
		if !errors.Is(err, ledger.ErrPayload) || strings.Contains(err.Error(), "ecret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Day comes first, then one day for each bit of Days, ascending. It would catch
// days that are charged one too early or too late, or out of the order in which a
// reader adds them up.
func TestEachDay(t *testing.T) {
	for _, c := range []struct {
		day  int32
		days uint32
		want []int32
	}{
		{20453, 0, []int32{20453}},
		{20453, 1, []int32{20453, 20454}},
		{20453, 0b10110, []int32{20453, 20455, 20456, 20458}},
		{-3, 1 << 31, []int32{-3, 29}},
		{math.MaxInt32 - 1, 1, []int32{math.MaxInt32 - 1, math.MaxInt32}},
		{0, 1<<31 - 1, counting(32)}, // the UTC days that a month of 31 local days touches
	} {
		if got := slices.Collect(ledger.Payload{Day: c.day, Days: c.days}.EachDay()); !slices.Equal(got, c.want) {
			t.Errorf("day %d with %b: %v, want %v", c.day, c.days, got, c.want)
		}
	}
	for d := range (ledger.Payload{Day: 1, Days: 3}).EachDay() {
		if d == 2 {
			break // and no panic after it
		}
	}
}

// counting is 0, 1, 2 … n-1.
func counting(n int32) (all []int32) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// A day costs what the release costs, unless another price is said. It would catch
// one-hot votes that charge a day half of what they tell about it.
func TestDayCharge(t *testing.T) {
	for _, c := range []struct{ rho, day, want uint64 }{{20, 0, 20}, {20, 40, 40}, {20, 10, 10}, {0, 5, 5}, {0, 0, 0}} {
		if got := (ledger.Payload{RhoNano: c.rho, DayRhoNano: c.day}).DayCharge(); got != c.want {
			t.Errorf("a release of %d with %d a day charges a day %d, want %d", c.rho, c.day, got, c.want)
		}
	}
}

// A payload of one day at one price is of the version it always was. It would catch
// days or prices that are written although they say nothing, which would turn the
// payloads of one-day releases into other bytes than those in the log.
func TestOneDayKeepsItsVersion(t *testing.T) {
	for name, want := range map[string]byte{"release": 1, "budget.spend": 3, "erasure-2": 2, "budget.spend-4": 4, "release-4": 4, "every-field-4": 4} {
		p := samplePayloads()[name]
		if b, err := p.Encode(); err != nil || b[0] != want {
			t.Errorf("%s begins %x, %v; want version %d", name, b[:min(1, len(b))], err, want)
		}
	}
	for name, want := range map[string]string{"release-4": "release", "budget.spend-4": "budget.spend"} {
		p, old := samplePayloads()[name], samplePayloads()[want]
		p.Product, p.Days, p.RhoNano, p.DayRhoNano = old.Product, 0, old.RhoNano, 0
		if b, err := p.Encode(); err != nil || !bytes.Equal(b, vectors(t)["payload."+want]) {
			t.Errorf("%s, of one day: %x, %v", name, b, err)
		}
	}
}

// FuzzPayloadDays: whatever days and prices are written come back, or are refused.
func FuzzPayloadDays(f *testing.F) {
	f.Add(int32(20453), uint32(0), uint64(18), uint64(0))
	f.Add(int32(20453), uint32(1<<31|3), uint64(18), uint64(36))
	f.Add(int32(math.MaxInt32), uint32(1), uint64(0), uint64(1))
	f.Add(int32(math.MinInt32), uint32(math.MaxUint32), uint64(5), uint64(5))
	f.Fuzz(func(t *testing.T, day int32, days uint32, rho, dayRho uint64) {
		p := ledger.Payload{Kind: ledger.KindBudgetSpend, Time: 1, Day: day, Days: days, RhoNano: rho, DayRhoNano: dayRho}
		b, err := p.Encode()
		if twice, late := dayRho != 0 && dayRho == rho, int64(day)+int64(bits.Len32(days)) > math.MaxInt32; twice || late {
			if !errors.Is(err, ledger.ErrPayload) {
				t.Errorf("%+v was written: %v", p, err)
			}
			return
		}
		got, readErr := ledger.DecodePayload(b)
		if err != nil || readErr != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v came back as %+v, %v, %v", p, got, err, readErr)
		}
		if (b[0] == 4) != (days != 0 || dayRho != 0) {
			t.Errorf("%+v is of version %d", p, b[0])
		}
		all := slices.Collect(p.EachDay())
		if len(all) != 1+bits.OnesCount32(days) || all[0] != day || !slices.IsSorted(all) {
			t.Errorf("%+v is of days %v", p, all)
		}
	})
}

// Decoding and encoding are inverses: only canonical bytes are read.
func FuzzDecodePayload(f *testing.F) {
	for name, b := range vectors(f) {
		if strings.HasPrefix(name, "payload.") {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ledger.DecodePayload(b)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x was read and written as %x, %v", b, again, err)
		}
	})
}
