package ledger_test

import (
	"bytes"
	"encoding/binary"
	"errors"
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
	full := samplePayloads()["every-field-2"]
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
		"version 4":             append([]byte{4}, bytesOf(kind, when)[1:]...),
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
		"unknown field 34":      append([]byte{2}, bytesOf(kind, when, field(34, "x"))[1:]...),
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
	} {
		p := good
		edit(&p)
		_, err := p.Encode()
		if !errors.Is(err, ledger.ErrPayload) || strings.Contains(err.Error(), "ecret") {
			t.Errorf("%s: %v", name, err)
		}
	}
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
