package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
)

func verifyConsistencyCommand() *cobra.Command {
	var from logFlags
	var older, newer string
	cmd := &cobra.Command{
		Use:   "consistency --key KEY --old FILE --new FILE (--url URL | --dir DIR)",
		Short: "Check that a newer checkpoint extends an older one",
		Long: "Check that the ledger under a newer checkpoint still begins with the ledger under an older one. The proof is made from\n" +
			"the ledger's public files and checked against both signatures: nothing is taken on trust from whoever serves them.",
		Example: "  wattveil verify consistency --key hub.vkey --old march.checkpoint --new april.checkpoint --dir mirror/",
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
			var notes [2][]byte
			var sizes [2]uint64
			for i, file := range []string{older, newer} {
				if notes[i], err = os.ReadFile(file); err != nil {
					return fmt.Errorf("reading a checkpoint: %w", err)
				}
				if sizes[i], _, err = v.Checkpoint(notes[i]); err != nil {
					what := fmt.Sprintf("%s: %v", file, err)
					return verdict{What: what}.deliver(cmd, "NOT VERIFIED: "+what)
				}
			}
			var hashes []ledger.Hash
			if 0 < sizes[0] && sizes[0] < sizes[1] {
				if src == nil {
					return fmt.Errorf("the sizes differ: say where the ledger's files are, --url or --dir")
				}
				hashes, err = ledger.NewProver(ledger.SourceReader(src)).Consistency(cmd.Context(), sizes[0], sizes[1])
				if err != nil && !errors.Is(err, ledger.ErrNoTile) && !errors.Is(err, ledger.ErrNoEntry) {
					return err
				}
			}
			if err == nil {
				err = v.Consistent(notes[0], notes[1], hashes)
			}
			if err != nil {
				size := min(sizes[0], sizes[1])
				return verdict{Index: &size, What: err.Error()}.deliver(cmd, fmt.Sprintf("NOT VERIFIED: from %d to %d records: %v", sizes[0], sizes[1], err))
			}
			return verdict{OK: true, Size: sizes[1]}.deliver(cmd, fmt.Sprintf("verified: the ledger of %d records begins with that of %d", sizes[1], sizes[0]))
		},
	}
	from.add(cmd)
	cmd.Flags().StringVar(&older, "old", "", "file of the older signed checkpoint")
	cmd.Flags().StringVar(&newer, "new", "", "file of the newer signed checkpoint")
	for _, name := range []string{"old", "new"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return cmd
}

func verifyEquivocationCommand() *cobra.Command {
	var from logFlags
	cmd := &cobra.Command{
		Use:   "equivocation --key KEY FILE… [--url URL | --dir DIR]",
		Short: "Look for two stories among checkpoints from different places",
		Long: "Look whether a ledger has told two stories: two checkpoints, both validly signed, of one size and different roots are\n" +
			"proof of it, to be shown to anyone. With the ledger's files every checkpoint is also held against that ledger: one that\n" +
			"is not on it was shown to somebody else. Without them only checkpoints of one size can be compared.",
		Example: "  wattveil verify equivocation --key hub.vkey mine.checkpoint neighbours.checkpoint --url https://hub.example",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			v, err := verifierOf(cmd)
			if err != nil {
				return err
			}
			src, err := from.source()
			if err != nil {
				return err
			}
			if src == nil && len(files) < 2 {
				return fmt.Errorf("give two checkpoints, or the ledger's files to hold one against")
			}
			type seen struct {
				file string
				root ledger.Hash
			}
			bySize := make(map[uint64]seen)
			var notes [][]byte
			for _, file := range files {
				note, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("reading a checkpoint: %w", err)
				}
				size, root, err := v.Checkpoint(note)
				if err != nil { // signed by somebody else, it proves nothing
					what := fmt.Sprintf("%s is no checkpoint of this ledger: %v", file, err)
					return verdict{What: what}.deliver(cmd, "NOT VERIFIED: "+what)
				}
				if other, ok := bySize[size]; ok && other.root != root {
					what := fmt.Sprintf("%s and %s are both signed, of one size, and of different roots", other.file, file)
					return verdict{Index: &size, What: what}.deliver(cmd, fmt.Sprintf("TWO STORIES: size %d: %s", size, what))
				}
				bySize[size] = seen{file, root}
				notes = append(notes, note)
			}
			if src == nil {
				return verdict{OK: true, What: "only checkpoints of one size were compared"}.deliver(cmd,
					fmt.Sprintf("no contradiction among %d checkpoints of %d sizes; with --url or --dir each would be held against the ledger", len(files), len(bySize)))
			}
			report, err := ledger.VerifyLog(cmd.Context(), v, src, ledger.VerifyOptions{Seen: notes})
			if bad, ok := violated(err); ok {
				return bad.deliver(cmd, "TWO STORIES, or a damaged ledger: "+bad.words())
			}
			if err != nil {
				return err
			}
			return verdict{OK: true, Size: report.Size}.deliver(cmd, fmt.Sprintf("verified: all %d checkpoints are on the one ledger of %d records", len(files), report.Size))
		},
	}
	from.add(cmd)
	return cmd
}
