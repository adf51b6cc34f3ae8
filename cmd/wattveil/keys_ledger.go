package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// generationReport is how one generation of the ledger's keys stands, for --json. Times
// are RFC 3339, empty for what has not happened.
type generationReport struct {
	Generation uint32  `json:"generation"`
	Keys       string  `json:"verifier_keys"`
	Bound      string  `json:"bound_at"`
	Record     *uint64 `json:"bound_by,omitempty"` // index of the record; the first has none
	Retires    string  `json:"retires_at,omitempty"`
	Retired    string  `json:"retired_at,omitempty"`
}

func generationReports(keys *wattveilv1.LedgerKeys) []generationReport {
	at := func(seconds int64) string {
		if seconds == 0 {
			return ""
		}
		return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	reports := []generationReport{}
	for _, g := range keys.GetGenerations() {
		r := generationReport{g.GetNumber(), g.GetVerifierKeys(), at(g.GetBoundAt()), nil, at(g.GetRetiresAt()), at(g.GetRetiredAt())}
		if b := g.GetBinding(); b != nil {
			index := b.GetIndex()
			r.Record = &index
		}
		reports = append(reports, r)
	}
	return reports
}

// words says to a person how a generation stands.
func (g generationReport) words() string {
	text := fmt.Sprintf("ledger, generation %d: since %s", g.Generation, g.Bound)
	if g.Record != nil {
		text += fmt.Sprintf(", by record %d", *g.Record)
	}
	switch {
	case g.Retired != "":
		text += ", retired " + g.Retired
	case g.Retires != "":
		text += ", signs until " + g.Retires
	default:
		text += ", signs"
	}
	return text
}

// rotateLedgerKeys rotates the keys that sign the ledger, or retires the older ones, and
// says what everybody is to have.
func rotateLedgerKeys(cmd *cobra.Command, client wattveilv1.AuditServiceClient, retire bool) error {
	got, err := client.RotateLedgerKeys(cmd.Context(), &wattveilv1.RotateLedgerKeysRequest{RetireNow: retire})
	if err != nil {
		return fmt.Errorf("rotating the ledger's keys: %w", err)
	}
	generations := generationReports(got.GetKeys())
	if asJSON(cmd) {
		return printJSON(cmd, map[string]any{"ledger": generations, "verifier_keys": got.GetKeys().GetVerifierKeys()})
	}
	out := cmd.OutOrStdout()
	for _, g := range generations {
		fmt.Fprintln(out, g.words())
	}
	_, err = fmt.Fprintf(out, "publish these verifier keys, and have witnesses and everybody who verifies take them up:\n%s\n", got.GetKeys().GetVerifierKeys())
	return err
}
