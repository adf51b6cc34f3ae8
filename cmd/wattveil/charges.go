package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// leavesAt checks a whole ledger and returns those of some leaves that it has, by
// index. A ledger that does not hold is a *ledger.Violation.
func leavesAt(cmd *cobra.Command, v *ledger.Verifier, src ledger.TileSource, indices map[uint64]bool) (map[uint64]ledger.Leaf, ledger.Report, error) {
	bar := newProgress(cmd, -1, "records checked")
	defer bar.finish()
	found := make(map[uint64]ledger.Leaf, len(indices))
	var done uint64
	report, err := ledger.VerifyLog(cmd.Context(), v, src, ledger.VerifyOptions{
		Leaf: func(index uint64, leaf ledger.Leaf) {
			if indices[index] {
				found[index] = leaf
			}
		},
		Progress: func(n, _ uint64) {
			bar.add(int(n - done))
			done = n
		},
	})
	return found, report, err
}

// opened is what a record that is public says, or in what it is not the leaf that
// stands in the ledger.
func opened(payload, nonce []byte, leaf ledger.Leaf, kind ledger.Kind) (_ ledger.Payload, wrong string) {
	p, err := ledger.DecodePayload(payload)
	switch {
	case len(nonce) != len(ledger.Hash{}) || ledger.Commit(ledger.Hash(nonce), payload) != leaf.Commitment:
		return p, "the record does not commit to it"
	case err != nil:
		return p, "the record is not readable"
	case p.Kind != kind || leaf.Class != kind.Class():
		return p, "the record is no " + string(kind)
	}
	return p, ""
}

// misstated says in what a charge is not what its leaf commits to, or nothing.
func misstated(c *wattveilv1.BudgetCharge, leaf ledger.Leaf) string {
	p, wrong := opened(c.GetPayload(), c.GetNonce(), leaf, ledger.KindBudgetSpend)
	if wrong == "" && (p.Product != c.GetProduct() || p.RhoNano != c.GetNanoRho() || p.DayCharge() != c.GetDayNanoRho() || !slices.Equal(daysOf(p), c.GetDays())) {
		wrong = "the record says another product, other days or another price"
	}
	return wrong
}

// daysOf writes the days that a release or a charge is for.
func daysOf(p ledger.Payload) []string {
	var days []string
	for d := range p.EachDay() {
		days = append(days, meter.Day(d).String())
	}
	return days
}

// recordsOf are the records that charges name.
func recordsOf(charges []*wattveilv1.BudgetCharge) map[uint64]bool {
	indices := map[uint64]bool{}
	for _, c := range charges {
		indices[c.GetLeafIndex()] = true
	}
	delete(indices, 0) // made before charges were recorded
	return indices
}
