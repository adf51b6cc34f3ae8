package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

func verifyCommand() *cobra.Command {
	cmd := group("verify", "Check what a hub says, without trusting it",
		"  wattveil verify log --key hub.vkey https://hub.example", verifyLogCommand(), verifyProofCommand())
	cmd.Long = "Check what a hub says, without trusting it. Exit code 1 and the index of the first bad record if it does not hold."
	cmd.PersistentFlags().String("key", "", "the ledger's verifier keys (NAME+HASH+KEY, one a line), or a file that holds them")
	cmd.PersistentFlags().String("policy", "", "file of c2sp.org/tlog-policy: whose cosignatures every checkpoint must carry")
	if err := cmd.MarkPersistentFlagRequired("key"); err != nil {
		panic(err) // the flag was defined a line above
	}
	return cmd
}

// verifierOf returns the verifier that --key and --policy describe.
func verifierOf(cmd *cobra.Command) (*ledger.Verifier, error) {
	key, err := cmd.Flags().GetString("key")
	if err != nil {
		return nil, err
	}
	if key, err = keyText(key); err != nil {
		return nil, err
	}
	v, err := ledger.NewVerifier(key)
	if err != nil {
		return nil, err
	}
	policy, err := cmd.Flags().GetString("policy")
	if err != nil || policy == "" {
		return v, err
	}
	text, err := os.ReadFile(policy)
	if err != nil {
		return nil, fmt.Errorf("reading witness policy: %w", err)
	}
	p, err := ledger.ParsePolicy(text)
	if err != nil {
		return nil, err
	}
	return v.WithPolicy(p), nil
}

// keyText returns verifier keys that were given as they are, or as a file.
func keyText(key string) (string, error) {
	if strings.Contains(key, "+") {
		return key, nil
	}
	b, err := os.ReadFile(key)
	if err != nil {
		return "", fmt.Errorf("reading verifier key: %w", err)
	}
	return string(b), nil
}

// verdict is what verify prints with --json.
type verdict struct {
	OK    bool    `json:"ok"`
	Size  uint64  `json:"size,omitempty"`
	Root  string  `json:"root,omitempty"`
	Index *uint64 `json:"index,omitempty"` // of the record, or of the first bad one; absent if what is wrong is no record
	What  string  `json:"what,omitempty"`  // what does not hold
	Kind  string  `json:"kind,omitempty"`
}

func (v verdict) deliver(cmd *cobra.Command, words string) error {
	if asJSON(cmd) {
		if err := printJSON(cmd, v); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(cmd.OutOrStdout(), words)
	}
	if !v.OK {
		return errNo
	}
	return nil
}

func verifyLogCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "log --key KEY (URL | DIR)",
		Short: "Check every record of a ledger against its tiles and checkpoint",
		Long:  "Check every record of a ledger against its tiles and its signed checkpoint: from a hub's address, or from a directory\nof its public files.",
		Example: "  wattveil verify log --key hub.vkey https://hub.example\n" +
			"  wattveil verify log --key hub.vkey mirror/",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := verifierOf(cmd)
			if err != nil {
				return err
			}
			src := ledger.FSSource(os.DirFS(args[0]))
			if strings.HasPrefix(args[0], "http://") || strings.HasPrefix(args[0], "https://") {
				if src, err = ledger.HTTPSource(args[0], http.DefaultClient); err != nil {
					return err
				}
			}
			return verifyLog(cmd.Context(), cmd, v, src)
		},
	}
}

func verifyLog(ctx context.Context, cmd *cobra.Command, v *ledger.Verifier, src ledger.TileSource) error {
	report, err := ledger.VerifyLog(ctx, v, src, ledger.VerifyOptions{})
	var bad *ledger.Violation
	if errors.As(err, &bad) {
		what := bad.What
		if bad.Err != nil {
			what += ": " + bad.Err.Error()
		}
		if bad.Index == ledger.NoIndex { // what is wrong is no record
			return verdict{What: what}.deliver(cmd, "NOT VERIFIED: "+what)
		}
		return verdict{Index: &bad.Index, What: what}.deliver(cmd, fmt.Sprintf("NOT VERIFIED: record %d: %s", bad.Index, what))
	}
	if err != nil {
		return err
	}
	root := hex.EncodeToString(report.Root[:])
	return verdict{OK: true, Size: report.Size, Root: root}.deliver(cmd, fmt.Sprintf("verified: %d records, root %s", report.Size, root))
}

func verifyProofCommand() *cobra.Command {
	var f proofFiles
	cmd := &cobra.Command{
		Use:   "proof --key KEY (--receipt FILE | --payload FILE --nonce HEX --proof FILE)",
		Short: "Check a receipt: that a record is in the ledger and says what it says",
		Long:  "Check a receipt, offline: that a record is in the ledger and says what it says. A receipt is the JSON object that the\nAPI answers with and the portal lets a household save; or its three parts apart.",
		Example: "  wattveil verify proof --key hub.vkey --receipt entry-14.json\n" +
			"  wattveil verify proof --key hub.vkey --payload receipt.payload --proof receipt.tlog-proof \\\n" +
			"    --nonce 5f0c…",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := verifierOf(cmd)
			if err != nil {
				return err
			}
			payload, nonce, proof, err := f.read()
			if err != nil {
				return err
			}
			got, err := v.Proof(payload, nonce, proof)
			if err != nil {
				return verdict{What: err.Error()}.deliver(cmd, "NOT VERIFIED: "+err.Error())
			}
			return verdict{OK: true, Size: got.Size, Root: hex.EncodeToString(got.Root[:]), Index: &got.Index, Kind: string(got.Payload.Kind)}.deliver(cmd,
				fmt.Sprintf("verified: record %d (%s) of a ledger of %d", got.Index, got.Payload.Kind, got.Size))
		},
	}
	cmd.Flags().StringVar(&f.receipt, "receipt", "", "file with the whole receipt, JSON")
	cmd.Flags().StringVar(&f.payload, "payload", "", "file with the record's payload")
	cmd.Flags().StringVar(&f.nonce, "nonce", "", "the record's nonce, hexadecimal")
	cmd.Flags().StringVar(&f.proof, "proof", "", "file with the proof (c2sp.org/tlog-proof@v1)")
	cmd.MarkFlagsOneRequired("receipt", "payload")
	cmd.MarkFlagsRequiredTogether("payload", "nonce", "proof")
	for _, part := range []string{"payload", "nonce", "proof"} {
		cmd.MarkFlagsMutuallyExclusive("receipt", part)
	}
	return cmd
}

// proofFiles says where a receipt is: whole, or in parts.
type proofFiles struct{ receipt, payload, nonce, proof string }

func (f proofFiles) read() (payload []byte, nonce ledger.Hash, proof []byte, err error) {
	if f.receipt != "" {
		b, err := os.ReadFile(f.receipt)
		if err != nil {
			return nil, nonce, nil, fmt.Errorf("reading receipt: %w", err)
		}
		var r wattveilv1.Receipt
		if err := protojson.Unmarshal(b, &r); err != nil || len(r.GetNonce()) != len(nonce) {
			return nil, nonce, nil, fmt.Errorf("reading receipt: not a receipt in JSON")
		}
		return r.GetPayload(), ledger.Hash(r.GetNonce()), []byte(r.GetProof()), nil
	}
	if payload, err = os.ReadFile(f.payload); err != nil {
		return nil, nonce, nil, fmt.Errorf("reading payload: %w", err)
	}
	if proof, err = os.ReadFile(f.proof); err != nil {
		return nil, nonce, nil, fmt.Errorf("reading proof: %w", err)
	}
	n, err := hex.DecodeString(f.nonce)
	if err != nil || len(n) != len(nonce) {
		return nil, nonce, nil, fmt.Errorf("--nonce must be 64 hexadecimal digits")
	}
	return payload, ledger.Hash(n), proof, nil
}
