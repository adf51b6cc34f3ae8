package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

func keysCommand() *cobra.Command {
	return group("keys", "Look at a hub's keys, rotate them, erase a household",
		"  wattveil keys status --hub hub.example:7443 --cert operator.pem --key operator.key --ca ca.pem",
		keysStatusCommand(), keysRotateCommand(), keysEraseCommand())
}

// keyReport is how one key stands, for --json.
type keyReport struct {
	Name    string `json:"name"`
	Oldest  uint64 `json:"oldest_version"`
	Newest  uint64 `json:"newest_version"`
	Rotated string `json:"rotated_at"`
	Due     string `json:"due_at"`
	Stored  uint64 `json:"stored"`
	Old     uint64 `json:"old"`
	Lost    uint64 `json:"lost"`
	Retires string `json:"retires_at,omitempty"`
}

func keysStatusCommand() *cobra.Command {
	var hub hubFlags
	cmd := &cobra.Command{
		Use:     "status --hub ADDR",
		Short:   "How the key service is, and how the keys stand that wrap what is stored, or sign the ledger",
		Long:    "Ask a hub how its key service is, and of each key that wraps what is stored which versions open, when it was rotated and\nis due, and how much is wrapped under an older version; of households' key pairs, when they were last renewed, and how many\nare still to be; and which generations of keys sign the ledger. Of a hub in several processes, the keyguard and the ledger\neach tell of their own. The exit code is 1 unless the service is ready.",
		Example: "  wattveil keys status --hub hub.example:7443 --cert operator.pem --key operator.key --ca ca.pem --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := hub.dial(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			got, err := wattveilv1.NewRegistryServiceClient(conn).GetKeyStatus(cmd.Context(), &wattveilv1.GetKeyStatusRequest{})
			apart := status.Code(err) == codes.Unimplemented // a part that signs, and has no key of the service to tell of
			if err != nil && !apart {
				return fmt.Errorf("asking for the keys: %w", err)
			}
			reports := []keyReport{}
			var text strings.Builder
			if !apart {
				fmt.Fprintf(&text, "key service: %s\n", got.GetState())
			}
			for _, k := range got.GetKeys() {
				r := keyReport{
					k.GetName(), k.GetOldestVersion(), k.GetNewestVersion(), time.Unix(k.GetRotatedAt(), 0).UTC().Format(time.RFC3339),
					time.Unix(k.GetDueAt(), 0).UTC().Format(time.RFC3339), k.GetStored(), k.GetOld(), k.GetLost(), "",
				}
				if k.GetDueAt() == 0 {
					r.Due = "on demand"
				}
				if k.GetRetiresAt() > 0 {
					r.Retires = time.Unix(k.GetRetiresAt(), 0).UTC().Format(time.RFC3339)
				}
				reports = append(reports, r)
				fmt.Fprintf(&text, "%s: version %d, opens from %d on; rotated %s, due %s; wraps %d, of which %d under an older version and %d that open no more\n",
					r.Name, r.Newest, r.Oldest, r.Rotated, r.Due, r.Stored, r.Old, r.Lost)
				if r.Retires != "" {
					fmt.Fprintf(&text, "  older versions are destroyed at %s\n", r.Retires)
				}
			}
			pairs := pairReportOf(got.GetPairs())
			if !apart {
				text.WriteString(pairs.String())
			}
			ledgerKeys, err := wattveilv1.NewAuditServiceClient(conn).GetLedgerKeys(cmd.Context(), &wattveilv1.GetLedgerKeysRequest{})
			if err != nil && (apart || status.Code(err) != codes.Unimplemented) { // by an earlier hub, or a part of one
				return fmt.Errorf("asking for the ledger's keys: %w", err)
			}
			generations := generationReports(ledgerKeys.GetKeys())
			for _, g := range generations {
				fmt.Fprintln(&text, g.words())
			}
			if asJSON(cmd) {
				err = printJSON(cmd, map[string]any{"state": got.GetState(), "keys": reports, "pairs": pairs, "ledger": generations})
			} else {
				_, err = io.WriteString(cmd.OutOrStdout(), text.String())
			}
			if err == nil && !apart && got.GetState() != "ready" {
				err = errNo
			}
			return err
		},
	}
	hub.add(cmd, "the operator's", "key")
	return cmd
}

func keysRotateCommand() *cobra.Command {
	var hub hubFlags
	var now, pairs, signing bool
	cmd := &cobra.Command{
		Use:   "rotate --hub ADDR [--pairs | --ledger]",
		Short: "Rotate the keys that wrap what is stored, or that sign the ledger, now",
		Long: "Give each key that wraps what is stored a new version and wrap everything anew; the hub destroys the older versions when\n" +
			"backups have had time to take in what is new, by erasure.retire_after, or at once with --retire-now. A hub does all of it by\n" +
			"itself when it is due. Nothing stops meanwhile. A rotation that was interrupted is finished, by this command or by the hub.\n" +
			"Back up the table household_keys in between: older backups of it open nothing any more once the versions are destroyed.\n\n" +
			"With --pairs, leave those keys alone and give every household a new key pair instead, or go on with a round that was\n" +
			"interrupted. What is stored opens as it did, what comes is sealed to the new pairs. No hub does that by itself.\n\n" +
			"With --ledger the keys that sign the ledger rotate instead, and the verifier keys that everybody is to have are printed: a\n" +
			"next generation signs beside the one before, which the hub retires after ledger.key_overlap, or at once when it is called\n" +
			"again with --retire-now. Whoever has not taken up the new verifier keys by then verifies nothing new.",
		Example: "  wattveil keys rotate --hub hub.example:7443 --cert operator.pem --key operator.key --ca ca.pem\n" +
			"  wattveil keys rotate --ledger --hub hub.example:7443 --cert operator.pem --key operator.key --ca ca.pem",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := hub.dial(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			if signing {
				return rotateLedgerKeys(cmd, wattveilv1.NewAuditServiceClient(conn), now)
			}
			client := wattveilv1.NewRegistryServiceClient(conn)
			if pairs {
				return rotatePairs(cmd, client)
			}
			before, err := client.GetKeyStatus(cmd.Context(), &wattveilv1.GetKeyStatusRequest{})
			if err != nil {
				return fmt.Errorf("asking for the keys: %w", err)
			}
			stored := map[string]int64{}
			for _, k := range before.GetKeys() {
				stored[k.GetName()] = int64(k.GetStored())
			}
			stream, err := client.RotateKeys(cmd.Context(), &wattveilv1.RotateKeysRequest{RetireNow: now})
			if err != nil {
				return fmt.Errorf("rotating: %w", err)
			}
			versions, retires := map[string]uint64{}, map[string]int64{}
			var bar progress
			name, seen := "", uint64(0)
			for {
				got, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return fmt.Errorf("rotating: %w", err)
				}
				if got.GetName() != name || got.GetSeen() < seen { // another key, or another look
					bar.finish()
					bar, name, seen = newProgress(cmd, stored[got.GetName()], got.GetName()), got.GetName(), 0
				}
				bar.add(int(got.GetSeen() - seen))
				seen = got.GetSeen()
				if got.GetVersion() > 0 {
					versions[name], retires[name] = got.GetVersion(), got.GetRetiresAt()
				}
			}
			bar.finish()
			if asJSON(cmd) {
				return printJSON(cmd, map[string]any{"versions": versions, "retires_at": retires})
			}
			for _, k := range before.GetKeys() {
				then := "nothing older opens"
				if at := retires[k.GetName()]; at > 0 {
					then = "older versions are destroyed at " + time.Unix(at, 0).UTC().Format(time.RFC3339) + ": back up what is wrapped anew before"
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: version %d; %s\n", k.GetName(), versions[k.GetName()], then); err != nil {
					return err
				}
			}
			return nil
		},
	}
	hub.add(cmd, "the operator's", "key")
	cmd.Flags().BoolVar(&now, "retire-now", false, "destroy the older versions at once, before any backup holds what is wrapped anew; with --ledger, retire the older generation")
	cmd.Flags().BoolVar(&pairs, "pairs", false, "give every household a new key pair")
	cmd.Flags().BoolVar(&signing, "ledger", false, "rotate the keys that sign the ledger")
	cmd.MarkFlagsMutuallyExclusive("retire-now", "pairs")
	cmd.MarkFlagsMutuallyExclusive("ledger", "pairs")
	return cmd
}

func keysEraseCommand() *cobra.Command {
	var hub hubFlags
	var basis string
	var sure bool
	cmd := &cobra.Command{
		Use:   "erase --hub ADDR --basis BASIS --yes HOUSEHOLD",
		Short: "Destroy what opens a household's readings and records",
		Long: "Destroy a household's keys, consents and what opens its records, on record with a legal basis. It cannot be taken back. Copies\n" +
			"live in backups until the keys have rotated and the backups are gone: see \"keys status\" and the documentation.",
		Example: "  wattveil keys erase --hub hub.example:7443 --cert operator.pem --key operator.key --ca ca.pem --basis gdpr-17-1-b --yes h-5c1f",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !sure {
				return errors.New("an erasure cannot be taken back: say --yes")
			}
			conn, err := hub.dial(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			got, err := wattveilv1.NewRegistryServiceClient(conn).EraseHousehold(cmd.Context(), &wattveilv1.EraseHouseholdRequest{Household: args[0], LegalBasis: basis})
			if err != nil {
				return fmt.Errorf("erasing: %w", err)
			}
			if asJSON(cmd) {
				return printJSON(cmd, map[string]any{"indices": got.GetIndices(), "events": got.GetEvents()})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "erased; %d events open no more; recorded at %v\n", got.GetEvents(), got.GetIndices())
			return err
		},
	}
	hub.add(cmd, "the operator's", "key")
	cmd.Flags().StringVar(&basis, "basis", "", "legal basis, such as gdpr-17-1-b")
	cmd.Flags().BoolVar(&sure, "yes", false, "it is meant")
	if err := cmd.MarkFlagRequired("basis"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}
