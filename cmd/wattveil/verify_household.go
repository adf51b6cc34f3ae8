package main

import (
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// householdVerdict is what verify household prints with --json.
type householdVerdict struct {
	verdict
	Events   uint64            `json:"events"`
	Newer    uint64            `json:"newer"`    // of them not yet vouched for by the map
	Own      uint64            `json:"own"`      // readings by the household itself
	Accesses map[string]uint64 `json:"accesses"` // third parties', by recipient
}

func verifyHouseholdCommand() *cobra.Command {
	var from logFlags
	var record string
	cmd := &cobra.Command{
		Use:   "household --key KEY --record FILE [--url URL | --dir DIR]",
		Short: "Check that a household has been shown every event of its own",
		Long: "Check, from the household's own secret, that its record is whole: every event opens its record in the ledger and follows\n" +
			"the one before, and the chain ends where the ledger's newest map head says it does, so that nothing is missing.\n" +
			"FILE is what GET /v1/household/record answers to the household's session. With the ledger's files the whole ledger is\n" +
			"searched for the household's marks as well.",
		Example: "  wattveil verify household --key hub.vkey --record record.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := verifierOf(cmd)
			if err != nil {
				return err
			}
			src, err := from.source()
			if err != nil {
				return err
			}
			rec, err := readRecord(record)
			if err != nil {
				return err
			}
			report, err := v.Household(rec)
			if err == nil && src != nil {
				_, err = ledger.FindOwn(cmd.Context(), v, src, rec, ledger.VerifyOptions{})
			}
			out := householdVerdict{Events: report.Events, Newer: report.Newer, Own: report.Own, Accesses: report.Accesses}
			if bad, ok := violated(err); ok {
				out.verdict = bad
				return out.deliver(cmd, bad.words())
			}
			if err != nil {
				return err
			}
			out.verdict = verdict{OK: true, Size: report.Size, Root: hex.EncodeToString(report.Root[:])}
			return out.deliver(cmd, householdWords(report))
		},
	}
	from.add(cmd)
	cmd.Flags().StringVar(&record, "record", "", "file with the household's record, JSON")
	if err := cmd.MarkFlagRequired("record"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

func (v householdVerdict) deliver(cmd *cobra.Command, words string) error {
	if !asJSON(cmd) {
		return v.verdict.deliver(cmd, words)
	}
	if err := printJSON(cmd, v); err != nil {
		return err
	}
	if !v.OK {
		return errNo
	}
	return nil
}

// householdWords says what was found, to a person.
func householdWords(r ledger.HouseholdReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "verified: %d events, none is missing, in a ledger of %d records", r.Events, r.Size)
	if r.Newer > 0 {
		fmt.Fprintf(&b, "\n  %d of them are newer than the ledger's last map: ask again in a moment", r.Newer)
	}
	for _, recipient := range slices.Sorted(maps.Keys(r.Accesses)) {
		fmt.Fprintf(&b, "\n  %s read %d times", recipient, r.Accesses[recipient])
	}
	if len(r.Accesses) == 0 {
		b.WriteString("\n  nobody else has read anything")
	}
	fmt.Fprintf(&b, "\n  read by yourselves: %d", r.Own)
	return b.String()
}

// readRecord reads the answer of GetHouseholdRecord, in JSON.
func readRecord(file string) (ledger.HouseholdRecord, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return ledger.HouseholdRecord{}, fmt.Errorf("reading record: %w", err)
	}
	var in wattveilv1.GetHouseholdRecordResponse
	if err := protojson.Unmarshal(b, &in); err != nil {
		return ledger.HouseholdRecord{}, fmt.Errorf("reading record: not a household's record in JSON")
	}
	return recordFromWire(&in)
}

func recordFromWire(in *wattveilv1.GetHouseholdRecordResponse) (ledger.HouseholdRecord, error) {
	var bad error
	hash := func(b []byte) (h ledger.Hash) {
		if len(b) != len(h) {
			bad = fmt.Errorf("reading record: a hash has %d bytes", len(b))
			return h
		}
		return ledger.Hash(b)
	}
	rec := ledger.HouseholdRecord{
		Household: in.GetHousehold(), MapPayload: in.GetMapHead().GetPayload(), MapNonce: hash(in.GetMapHead().GetNonce()), MapReceipt: []byte(in.GetMapHead().GetProof()),
	}
	for _, k := range in.GetTagKeys() {
		rec.TagKeys = append(rec.TagKeys, ledger.TagKey{FromSeq: k.GetFromSequence(), Key: hash(k.GetKey())})
	}
	for _, e := range in.GetEvents() {
		event := ledger.HouseholdEvent{Index: e.GetIndex(), Payload: e.GetPayload(), Nonce: hash(e.GetNonce())}
		if len(e.GetEnvelopeHash()) > 0 {
			event.Envelope = hash(e.GetEnvelopeHash())
		}
		rec.Events = append(rec.Events, event)
	}
	for _, s := range in.GetMapSiblings() {
		rec.MapProof.Siblings = append(rec.MapProof.Siblings, hash(s))
	}
	if len(in.GetMapOtherKey()) > 0 {
		rec.MapProof.Other = &ledger.MapEntry{Key: hash(in.GetMapOtherKey()), Value: hash(in.GetMapOtherValue())}
	}
	return rec, bad
}
