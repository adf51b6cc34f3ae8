// Command wattveil is the hub and its tools: it serves, ingests, decodes,
// verifies, measures itself, and shows itself.
//
// Exit codes: 0 for yes, 1 when the answer is no (a verification that fails, an
// ingest with refusals that were not allowed), 2 for misuse or trouble.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // zones on machines without them

	"github.com/spf13/cobra"
)

func main() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // libraries that log by themselves: the hub's log is handed down
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errNo says that a command ran well and its answer is no.
var errNo = errors.New("the answer is no")

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return 1
	default:
		fmt.Fprintln(stderr, "wattveil:", err)
		return 2
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "wattveil",
		Short: "A data hub for smart meters that need not be trusted",
		Long: "Wattveil takes readings from utilities, seals them per household, opens them only for whom the\n" +
			"household agreed to and only after the opening is on record, and publishes noised totals.\n\n" +
			"Start with: wattveil demo",
		Example:      "  wattveil demo\n  wattveil serve --config hub.yaml",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().Bool("json", false, "print one JSON object, for machines")
	root.PersistentFlags().String("log", "warn", "least level logged to standard error: debug, info, warn or error")
	root.AddCommand(demoCommand(), sandboxCommand(), serveCommand(), ingestCommand(), decodeCommand(), verifyCommand(), witnessCommand(), regulatorCommand(), keysCommand(), exportCommand(), privacyCommand(), benchCommand(), migrateCommand(), configCommand())
	return root
}

// group is a command that only holds others: alone, or with a word that names
// none of them, it is misuse.
func group(use, short, example string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("say which: see %s --help", cmd.CommandPath())
		},
	}
	cmd.AddCommand(members...)
	return cmd
}

// asJSON reports whether --json was given.
func asJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}

// printJSON prints v as one JSON object on one line.
func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// logger logs structured lines to standard error.
func logger(cmd *cobra.Command) (*slog.Logger, error) {
	text, err := cmd.Flags().GetString("log")
	if err != nil {
		return nil, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return nil, fmt.Errorf("--log must be debug, info, warn or error")
	}
	return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

// terminal reports whether w is a terminal that a person looks at.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
