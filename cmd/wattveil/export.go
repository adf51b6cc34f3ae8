package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/server/store"
)

func exportCommand() *cobra.Command {
	var url, dir string
	cmd := &cobra.Command{
		Use:   "export --store URL --dir DIR",
		Short: "Copy the ledger's public files out of a store",
		Long: "Copy the ledger's public files, checkpoint and tiles, out of a store into a directory that any server of static files\n" +
			"can serve and `wattveil verify log --dir` checks. Done again, it adds what is new; it never replaces what is there by\n" +
			"less or by another history. A hub does the same by itself where its configuration names ledger.export.",
		Example: "  wattveil export --store sqlite:hub.db --dir public/",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := store.Open(cmd.Context(), url, store.Options{})
			if err != nil {
				return err
			}
			defer s.Close()
			size, err := ledger.NewExporter(s, dir).Export(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, map[string]any{"size": size})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "exported: %d records\n", size)
			return err
		},
	}
	cmd.Flags().StringVar(&url, "store", "", "sqlite:PATH or postgres:// URL")
	cmd.Flags().StringVar(&dir, "dir", "", "directory to write to")
	for _, name := range []string{"store", "dir"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return cmd
}
