package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

func regulatorCommand() *cobra.Command {
	return group("regulator", "Make and post the keys that a regulator opens records with",
		"  wattveil regulator key --out 2026-03.envelope-key", regulatorKeyCommand(), regulatorPostCommand())
}

func regulatorKeyCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "key --out FILE",
		Short:   "Make a private envelope key, which never leaves its owner",
		Long:    "Make a private envelope key and print its name. One serves about a month, so that what it opens is bounded in time:\nmake one for each month, post the public half ahead, and keep FILE where nobody else can read it.",
		Example: "  wattveil regulator key --out 2026-03.envelope-key",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := ledger.NewEnvelopePrivateKey(rand.Reader)
			if err != nil {
				return err
			}
			seed, err := key.Bytes()
			if err != nil {
				return err
			}
			if err := writeNew(out, []byte(hex.EncodeToString(seed)+"\n")); err != nil {
				return fmt.Errorf("writing the key: %w", err)
			}
			id := key.ID()
			if asJSON(cmd) {
				return printJSON(cmd, map[string]string{"id": hex.EncodeToString(id[:])})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "envelope key %x\n", id)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write; it must not exist")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

func regulatorPostCommand() *cobra.Command {
	var hub hubFlags
	var file, from, until string
	cmd := &cobra.Command{
		Use:   "post --hub ADDR --envelope-key FILE --from DATE --until DATE",
		Short: "Post the public half of an envelope key to a hub",
		Long: "Post the public half of an envelope key: from DATE on, everything the hub records is sealed to it. While no regulator's\n" +
			"key is valid, no third party reads. The private half stays here.",
		Example: "  wattveil regulator post --hub hub.example:7443 --cert regulator.pem --client-key regulator.key --ca ca.pem \\\n" +
			"    --envelope-key 2026-03.envelope-key --from 2026-03-01 --until 2026-04-01",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := readEnvelopeKeys([]string{file})
			if err != nil {
				return err
			}
			var days [2]time.Time
			for i, text := range []string{from, until} {
				if days[i], err = time.Parse(time.DateOnly, text); err != nil {
					return fmt.Errorf("--from and --until are days such as 2026-03-01, UTC")
				}
			}
			conn, err := hub.dial(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			id := keys[0].ID()
			got, err := wattveilv1.NewAuditServiceClient(conn).PutEnvelopeKey(cmd.Context(), &wattveilv1.PutEnvelopeKeyRequest{
				RequestId: hex.EncodeToString(id[:]), PublicKey: keys[0].Public(), From: days[0].Unix(), Until: days[1].Unix(),
			})
			if err != nil {
				return fmt.Errorf("posting the key: %w", err)
			}
			if asJSON(cmd) {
				return printJSON(cmd, map[string]any{"id": hex.EncodeToString(id[:]), "index": got.GetKey().GetIndex()})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "posted: record %d of the ledger\n", got.GetKey().GetIndex())
			return err
		},
	}
	hub.add(cmd, "the regulator's", "client-key")
	cmd.Flags().StringVar(&file, "envelope-key", "", "file with the private envelope key")
	cmd.Flags().StringVar(&from, "from", "", "first UTC day")
	cmd.Flags().StringVar(&until, "until", "", "the UTC day after the last")
	for _, name := range []string{"envelope-key", "from", "until"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return cmd
}
