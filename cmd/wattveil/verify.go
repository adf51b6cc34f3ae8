package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
)

func verifyCommand() *cobra.Command {
	cmd := group("verify", "Check what a hub says, without trusting it",
		"  wattveil verify log --key hub.vkey --url https://hub.example", verifyLogCommand(), verifyProofCommand(),
		verifyHouseholdCommand(), verifyReleaseCommand(), verifyConsistencyCommand(), verifyEquivocationCommand(), verifyAuditCommand(), verifyReconcileCommand())
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

	// NewKeys: the ledger is signed with further keys than those at hand.
	NewKeys bool `json:"new_keys,omitempty"`
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

// logFlags say where a ledger's public files are.
type logFlags struct{ dir, url string }

func (f *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "directory of a ledger's public files")
	cmd.Flags().StringVar(&f.url, "url", "", "address of a hub, or of a server of its ledger's public files")
	cmd.MarkFlagsMutuallyExclusive("dir", "url")
}

// source returns where the ledger is to be read from; nil if it was not said.
func (f *logFlags) source() (ledger.TileSource, error) {
	switch {
	case f.dir != "":
		if _, err := os.Stat(f.dir); err != nil {
			return nil, fmt.Errorf("reading the ledger's directory: %w", err)
		}
		return ledger.FSSource(os.DirFS(f.dir)), nil
	case f.url != "":
		return ledger.HTTPSource(f.url, http.DefaultClient)
	}
	return nil, nil
}

func verifyLogCommand() *cobra.Command {
	var from logFlags
	var seen []string
	var history bool
	var save, keysFile string
	cmd := &cobra.Command{
		Use:   "log --key KEY (--url URL | --dir DIR)",
		Short: "Check every record of a ledger against its tiles and checkpoint",
		Long: "Check every record of a ledger against its tiles and its signed checkpoint: from a hub's address, or, offline, from a\n" +
			"directory of its public files. A ledger that was rolled back or rewritten by someone who holds its key shows in\n" +
			"nothing but what others remember: give checkpoints that were kept from earlier with --seen, or let the published\n" +
			"history be checked with --history.\n\n" +
			"When the ledger changes its keys, the keys at hand vouch for the new ones in a record. --save-keys asks the hub for\n" +
			"them, checks that record and the ledger, and keeps the new keys together with the old.",
		Example: "  wattveil verify log --key hub.vkey --url https://hub.example --seen last.checkpoint --save mirror/\n" +
			"  wattveil verify log --key hub.vkey --dir mirror/ --history\n" +
			"  wattveil verify log --key hub.vkey --url https://hub.example --save-keys hub.vkey",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := verifierOf(cmd)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if from.dir != "" || from.url != "" {
					return fmt.Errorf("say once where the ledger is")
				}
				if from.dir = args[0]; strings.HasPrefix(args[0], "http://") || strings.HasPrefix(args[0], "https://") {
					from.dir, from.url = "", args[0]
				}
			}
			src, err := from.source()
			if err != nil {
				return err
			}
			if src == nil {
				return fmt.Errorf("say where the ledger is: --url or --dir")
			}
			var keys *succession
			if keysFile != "" {
				if from.url == "" {
					return fmt.Errorf("new keys are asked of a hub: say --url")
				}
				keys, err = succeed(cmd.Context(), v, from.url)
				if bad, ok := violated(err); ok {
					return bad.deliver(cmd, bad.words())
				}
				if err != nil {
					return err
				}
				if err := v.Replace(keys.v.Keys()); err != nil { // under v's policy
					return err
				}
			}
			opt := ledger.VerifyOptions{}
			for _, file := range seen {
				note, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("reading a checkpoint: %w", err)
				}
				opt.Seen = append(opt.Seen, note)
			}
			if history {
				notes, err := from.history(cmd.Context(), src)
				if err != nil {
					return err
				}
				opt.Seen = append(opt.Seen, notes...)
			}
			return verifyLog(cmd, v, src, opt, save, keys, keysFile)
		},
	}
	from.add(cmd)
	cmd.Flags().StringArrayVar(&seen, "seen", nil, "file of a checkpoint kept from earlier, which the ledger must still begin with; may be repeated")
	cmd.Flags().BoolVar(&history, "history", false, "check every checkpoint of the published history as well")
	cmd.Flags().StringVar(&save, "save", "", "keep what was verified in this directory, as public files")
	cmd.Flags().StringVar(&keysFile, "save-keys", "", "ask the hub for newer keys of the ledger, check them, and keep all in this file; it may be that of --key")
	return cmd
}

// history returns the published checkpoints.
func (f *logFlags) history(ctx context.Context, src ledger.TileSource) ([][]byte, error) {
	var sizes []string
	if f.dir != "" {
		entries, err := os.ReadDir(filepath.Join(f.dir, "checkpoints"))
		if err != nil {
			return nil, fmt.Errorf("reading the history: %w", err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") {
				sizes = append(sizes, e.Name())
			}
		}
	} else {
		for after := ""; ; after = "?after=" + sizes[len(sizes)-1] {
			part, err := fetchText(ctx, strings.TrimSuffix(f.url, "/")+"/checkpoints"+after)
			if err != nil {
				return nil, fmt.Errorf("reading the history: %w", err)
			}
			more := strings.Fields(part)
			if sizes = append(sizes, more...); len(more) == 0 {
				break
			}
		}
	}
	var notes [][]byte
	for _, size := range sizes {
		note, err := src.Fetch(ctx, "checkpoints/"+size)
		if err != nil {
			return nil, fmt.Errorf("reading the history: %w", err)
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// fetchText fetches a short text.
func fetchText(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return string(b), err
}

func verifyLog(cmd *cobra.Command, v *ledger.Verifier, src ledger.TileSource, opt ledger.VerifyOptions, save string, keys *succession, keysFile string) error {
	bar := newProgress(cmd, -1, "records checked")
	var done uint64
	opt.Progress = func(n, _ uint64) {
		bar.add(int(n - done))
		done = n
	}
	leaves := make(map[uint64]ledger.Leaf)
	if keys != nil {
		opt.Leaf = func(index uint64, leaf ledger.Leaf) {
			if _, wanted := keys.bound[index]; wanted {
				leaves[index] = leaf
			}
		}
	}
	report, err := ledger.VerifyLog(cmd.Context(), v, src, opt)
	bar.finish()
	if err == nil && keys != nil {
		err = keys.found(leaves)
	}
	if bad, ok := violated(err); ok {
		words := bad.words()
		if errors.Is(err, ledger.ErrCheckpoint) {
			note, unread := src.Fetch(cmd.Context(), "checkpoint")
			bad.NewKeys = unread == nil && v.Strange(note)
		}
		if bad.NewKeys {
			words += "\n  " + newKeysWords
		}
		return bad.deliver(cmd, words)
	}
	if err != nil {
		return err
	}
	if save != "" {
		// Through the verified checkpoint, so that what is kept is what was checked.
		if _, err := ledger.NewExporter(fixedCheckpoint{ledger.SourceReader(src), report.Checkpoint}, save).Export(cmd.Context()); err != nil {
			return fmt.Errorf("keeping what was verified: %w", err)
		}
	}
	root := hex.EncodeToString(report.Root[:])
	out := verdict{OK: true, Size: report.Size, Root: root, NewKeys: v.Strange(report.Checkpoint)}
	words := fmt.Sprintf("verified: %d records, root %s", report.Size, root)
	switch {
	case keysFile != "":
		if err := server.SaveVerifierKeys(keysFile, v.Keys()); err != nil {
			return err
		}
		words += fmt.Sprintf("\n  new generations of keys: %d; all keys are in %s", len(keys.bound), keysFile)
	case out.NewKeys:
		words += "\n  " + newKeysWords
	}
	return out.deliver(cmd, words)
}

// newKeysWords says what is to be done about keys that are not at hand.
const newKeysWords = "the ledger is signed with further keys, perhaps because it has changed them: take them up with --save-keys before it signs with them alone"

// fixedCheckpoint is a log as it was under one checkpoint.
type fixedCheckpoint struct {
	ledger.Reader
	note []byte
}

func (f fixedCheckpoint) Checkpoint(context.Context) ([]byte, error) { return f.note, nil }

// violated turns a violation into the answer no, with the index.
func violated(err error) (verdict, bool) {
	var bad *ledger.Violation
	if !errors.As(err, &bad) {
		return verdict{}, false
	}
	v := verdict{What: bad.What}
	if bad.Err != nil {
		v.What += ": " + bad.Err.Error()
	}
	if bad.Index != ledger.NoIndex { // else what is wrong is no record
		v.Index = &bad.Index
	}
	return v, true
}

// words says no to a person.
func (v verdict) words() string {
	if v.Index != nil {
		return fmt.Sprintf("NOT VERIFIED: record %d: %s", *v.Index, v.What)
	}
	return "NOT VERIFIED: " + v.What
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
