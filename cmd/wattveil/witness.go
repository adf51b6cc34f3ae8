package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/witness"
)

func witnessCommand() *cobra.Command {
	var dir, listen, name, cert, key string
	var logs []string
	cmd := &cobra.Command{
		Use:   "witness --dir DIR --name NAME --log KEY…",
		Short: "Watch ledgers, and cosign only what extends what was seen before",
		Long: "Run a witness (c2sp.org/tlog-witness): it remembers the newest checkpoint of each ledger and cosigns only what\n" +
			"extends it, so that nobody can show two people two histories. Run it under another administration than the hub's.\n" +
			"Its keys and what it has cosigned are in DIR; a witness whose DIR was lost or set back needs a new name.",
		Example: "  wattveil witness --dir /var/lib/witness --name witness.example/w1 --log hub.vkey --listen 0.0.0.0:7381 \\\n" +
			"    --cert w1.pem --tls-key w1.key",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := witnessKeys(dir, name)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)) // here --log is something else
			texts := make([]string, len(logs))
			for i, l := range logs {
				if texts[i], err = keyText(l); err != nil {
					return err
				}
			}
			w, err := witness.New(dir, keys, texts)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("listening: %w", err)
			}
			scheme := "http"
			if cert != "" {
				scheme = "https"
			}
			if err := announceWitness(cmd, name, scheme+"://"+l.Addr().String(), keys); err != nil {
				return errors.Join(err, l.Close())
			}
			return serveWitness(cmd.Context(), followKeys(w, logs, texts, log), l, cert, key)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the witness's keys and memory; it must exist")
	cmd.Flags().StringVar(&name, "name", "", "the witness's name, a URL without its scheme")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:7381", "host:port")
	cmd.Flags().StringVar(&cert, "cert", "", "PEM certificate, for TLS")
	cmd.Flags().StringVar(&key, "tls-key", "", "PEM key of the certificate")
	cmd.Flags().StringArrayVar(&logs, "log", nil, "a ledger's verifier keys, or a file that holds them and is read again when it changes; may be repeated")
	for _, f := range []string{"dir", "name", "log"} {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err) // the flag was defined a few lines above
		}
	}
	cmd.MarkFlagsRequiredTogether("cert", "tls-key")
	return cmd
}

// witnessKeys reads the witness's seeds from its directory, or makes them.
func witnessKeys(dir, name string) ([]ledger.WitnessKey, error) {
	path := filepath.Join(dir, "witness.seed")
	seeds, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		seeds = make([]byte, 64)
		if _, err := io.ReadFull(rand.Reader, seeds); err != nil {
			return nil, fmt.Errorf("drawing keys: %w", err)
		}
		err = writeNew(path, seeds)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the witness's keys: %w", err)
	}
	if len(seeds) != 64 {
		return nil, fmt.Errorf("reading the witness's keys: %s holds %d bytes, not 64", filepath.Base(path), len(seeds))
	}
	return ledger.NewWitnessKeys(name, seeds[:32], seeds[32:], time.Now)
}

// writeNew writes a secret file that must not exist yet, durably.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// announceWitness prints where the witness listens, and its keys as the lines of a
// policy.
func announceWitness(cmd *cobra.Command, name, url string, keys []ledger.WitnessKey) error {
	label := strings.NewReplacer("/", "-", ".", "-").Replace(name)
	var lines []string
	for i, k := range keys {
		lines = append(lines, fmt.Sprintf("witness %s-%d %s %s", label, i+1, k.VerifierKey(), url))
	}
	lines = append(lines, fmt.Sprintf("group %s all %s-1 %s-2", label, label, label))
	if asJSON(cmd) {
		return printJSON(cmd, map[string]any{"listen": url, "policy": lines})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "listening on %s\nfor a policy (c2sp.org/tlog-policy):\n%s\n", url, strings.Join(lines, "\n"))
	return err
}

func serveWitness(ctx context.Context, h http.Handler, l net.Listener, cert, key string) error {
	srv := &http.Server{Handler: h, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() {
		if cert != "" {
			served <- srv.ServeTLS(l, cert, key)
			return
		}
		served <- srv.Serve(l)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(stopping); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}
