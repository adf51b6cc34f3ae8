package ledger_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// vectors reads testdata/vectors.golden: one "name hex" a line, # for comments.
// The formats they fix are stored for good, so a line is never changed; a new
// version of a format adds lines.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.golden")
	if err != nil {
		t.Fatal(err)
	}
	v := make(map[string][]byte)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, digits, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(digits)
		if err != nil || v[name] != nil {
			t.Fatalf("vector %q: repeated or not hex", name)
		}
		v[name] = b
	}
	return v
}

// sequence is n bytes counting up from first: a hash that shows where it is
// in a dump.
func sequence(first byte) (h ledger.Hash) {
	for i := range h {
		h[i] = first + byte(i)
	}
	return h
}

// samplePayloads has one payload of every kind, filled as its writer fills it,
// and one with every field.
func samplePayloads() map[string]ledger.Payload {
	const at = 1_767_225_600_000_001 // 2026-01-01T00:00:00.000001Z
	asked := ledger.Payload{
		Time: at, Subject: "hh.1", Recipient: "adviser:7", Purpose: "advice", PurposeText: sequence(0x10),
		Consent: "c-1", UsagePoints: []string{"CH-0001", "CH-0002"}, Registers: []string{"1-1:1.8.0*255"},
		Granularity: "hour", From: 1_764_547_200, Until: 1_767_225_600, PermissionUntil: 1_798_761_600,
		Terms: sequence(0x30), SubjectSeq: 1, RecipientSeq: 1,
	}
	of := func(p ledger.Payload, k ledger.Kind) ledger.Payload { p.Kind = k; return p }
	decided := ledger.Payload{
		Time: at, Subject: "hh.1", Recipient: "adviser:7", Consent: "c-1",
		SubjectSeq: 3, SubjectPrev: sequence(0x50), RecipientSeq: 2, RecipientPrev: sequence(0x70),
	}
	read := asked
	read.PurposeText, read.Terms, read.PermissionUntil = ledger.Hash{}, ledger.Hash{}, 0
	read.KeyFrom, read.KeyUntil, read.Intervals = 20423, 20453, 2976
	refused := ledger.Payload{Time: at, Recipient: "adviser:7", Consent: "c-1", Reason: "revoked", RecipientSeq: 9, RecipientPrev: sequence(0x70)}
	full := ledger.Payload{
		Kind: ledger.KindAccess, Time: at, Subject: "s", Recipient: "r", Purpose: "self", PurposeText: sequence(1),
		Consent: "c", UsagePoints: []string{"a", "b"}, Registers: []string{"1-0:2.8.0*255"}, Granularity: "interval",
		From: -1, Until: 1 << 40, KeyFrom: -1, KeyUntil: 1 << 30, PermissionUntil: 3, Intervals: 1 << 63, Reason: "x",
		Session: sequence(2), Terms: sequence(3), Product: "p", Day: -2, Nodes: 1 << 31, RhoNano: 1, Digest: sequence(4),
		Detail: "d", SubjectSeq: 2, SubjectPrev: sequence(5), RecipientSeq: 3, RecipientPrev: sequence(6),
	}
	full2 := full
	full2.Erased, full2.MapKeys, full2.MapSize, full2.MapUntil = []ledger.Erased{{}, {Index: 1 << 63, Recipient: "r", RecipientSeq: 7}}, []ledger.Hash{sequence(7), {}}, 1<<40, 9
	full4 := full2
	full4.Days, full4.DayRhoNano = 1<<31|5, 1<<63
	full5 := full4
	full5.Conditions = ledger.ConditionOnce
	ended := decided
	ended.Reason = "operator"
	future := asked
	future.Conditions = ledger.ConditionFuture
	week := ledger.Payload{Kind: ledger.KindBudgetSpend, Time: at, Product: "week", Day: 20453, Days: 0b111111, RhoNano: 20_000_000}
	votes := ledger.Payload{
		Kind: ledger.KindRelease, Time: at, Product: "votes", Day: 20453, Days: 0b1001111, Nodes: 37,
		RhoNano: 20_000_000, DayRhoNano: 40_000_000, Digest: sequence(0x90),
	}
	return map[string]ledger.Payload{
		"consent.request": of(asked, ledger.KindConsentRequest),
		"consent.grant":   of(asked, ledger.KindConsentGrant),
		"consent.deny":    of(decided, ledger.KindConsentDeny),
		"consent.narrow":  of(asked, ledger.KindConsentNarrow),
		"consent.revoke":  of(decided, ledger.KindConsentRevoke),
		"consent.expire":  of(decided, ledger.KindConsentExpire),
		"access":          of(read, ledger.KindAccess),
		"access.denied":   of(refused, ledger.KindAccessDenied),
		"release":         {Kind: ledger.KindRelease, Time: at, Product: "day", Day: 20453, Nodes: 37, RhoNano: 18_000_000, Digest: sequence(0x90)},
		"erasure":         {Kind: ledger.KindErasure, Time: at, Reason: "moved_out"},
		"map_head":        {Kind: ledger.KindMapHead, Time: at, Digest: sequence(0xa0)},
		"admin":           {Kind: ledger.KindAdmin, Time: at, Detail: "log key rotated – schlüssel", Digest: sequence(0xb0)},
		"every-field":     full,

		// Version 2.
		"every-field-2": full2,
		"rekey":         {Kind: ledger.KindRekey, Time: at, Subject: "hh.1", SubjectSeq: 4, SubjectPrev: sequence(0x50)},
		"erasure-2": {
			Kind: ledger.KindErasure, Time: at, Detail: "gdpr-17-1-b", MapKeys: []ledger.Hash{sequence(0xc0)},
			Erased: []ledger.Erased{{Index: 14}, {Index: 260, Recipient: "adviser:7", RecipientSeq: 9}},
		},
		// Version 3.
		"budget.spend": {Kind: ledger.KindBudgetSpend, Time: at, Product: "day", Day: 20453, RhoNano: 18_000_000},

		"map_head-2": {Kind: ledger.KindMapHead, Time: at, Digest: sequence(0xa0), MapSize: 10_000, MapUntil: 77},

		// Version 4.
		"every-field-4":  full4,
		"budget.spend-4": week,
		"release-4":      votes,

		// Version 5.
		"every-field-5":      full5,
		"consent.grant-5":    of(future, ledger.KindConsentGrant),
		"consent.extend":     of(future, ledger.KindConsentExtend),
		"consent.suspend":    of(ended, ledger.KindConsentSuspend),
		"consent.resume":     of(decided, ledger.KindConsentResume),
		"consent.terminate":  of(ended, ledger.KindConsentTerminate),
		"consent.fulfil":     of(decided, ledger.KindConsentFulfil),
		"consent.invalidate": of(ended, ledger.KindConsentInvalidate),
	}
}

func sampleLeaf() ledger.Leaf {
	return ledger.Leaf{Class: ledger.ClassEvent, Tag: sequence(0x01), Commitment: sequence(0x41), Envelope: sequence(0x81)}
}
