package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// pairReport is how households' key pairs stand, for --json.
type pairReport struct {
	Round      uint64 `json:"round"`
	Began      string `json:"began_at,omitempty"`
	Households uint64 `json:"households"`
	Old        uint64 `json:"old"`
	Lost       uint64 `json:"lost"`
	Private    uint64 `json:"private_halves"`
}

// pairReportOf returns nil where the hub says nothing of pairs.
func pairReportOf(p *wattveilv1.PairStatus) *pairReport {
	if p == nil {
		return nil
	}
	r := &pairReport{Round: p.GetRound(), Households: p.GetHouseholds(), Old: p.GetOld(), Lost: p.GetLost(), Private: p.GetPrivateHalves()}
	if r.Round > 0 {
		r.Began = time.Unix(p.GetBeganAt(), 0).UTC().Format(time.RFC3339)
	}
	return r
}

func (r *pairReport) String() string {
	if r == nil {
		return ""
	}
	began := "no round yet"
	if r.Round > 0 {
		began = fmt.Sprintf("round %d, begun %s", r.Round, r.Began)
	}
	return fmt.Sprintf("household-pairs: %s, on demand; %d households, of which %d use a pair from before it and %d one whose private half is missing; %d private halves\n",
		began, r.Households, r.Old, r.Lost, r.Private)
}

// rotatePairs runs a round of new key pairs, or goes on with one, and prints how pairs stand
// then. The time the round began is what it is worth: nothing from before opens what is
// sealed now.
func rotatePairs(cmd *cobra.Command, client wattveilv1.RegistryServiceClient) error {
	before, err := pairsOf(cmd.Context(), client)
	if err != nil {
		return err
	}
	stream, err := client.RotateKeys(cmd.Context(), &wattveilv1.RotateKeysRequest{Pairs: true})
	if err != nil {
		return fmt.Errorf("rotating: %w", err)
	}
	left := before.Old
	if left == 0 {
		left = before.Households
	}
	bar, seen := newProgress(cmd, int64(left), "household-pairs"), uint64(0)
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("rotating: %w", err)
		}
		bar.add(int(got.GetSeen() - seen))
		seen = got.GetSeen()
	}
	bar.finish()
	now, err := pairsOf(cmd.Context(), client)
	if err != nil {
		return err
	}
	if asJSON(cmd) {
		return printJSON(cmd, map[string]any{"pairs": now})
	}
	if before.Old > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "this finished a round that was under way: what came out after it began needs another")
	}
	_, err = io.WriteString(cmd.OutOrStdout(), now.String())
	return err
}

// pairsOf asks a hub how pairs stand.
func pairsOf(ctx context.Context, client wattveilv1.RegistryServiceClient) (*pairReport, error) {
	got, err := client.GetKeyStatus(ctx, &wattveilv1.GetKeyStatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("asking for the keys: %w", err)
	}
	r := pairReportOf(got.GetPairs())
	if r == nil {
		return nil, fmt.Errorf("the key service is %s", got.GetState())
	}
	return r, nil
}
