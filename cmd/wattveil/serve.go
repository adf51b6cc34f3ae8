package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/server"
	"github.com/wattveil/wattveil/server/keys"
	"github.com/wattveil/wattveil/server/store"
)

func serveCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "serve --config FILE",
		Short:   "Run the hub",
		Example: "  wattveil serve --config /etc/wattveil/hub.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := keepMemory(); err != nil {
				return err
			}
			cfg, err := server.LoadConfig(path)
			if err != nil {
				return err
			}
			log, err := logger(cmd)
			if err != nil {
				return err
			}
			hub, closeHub, err := openHub(cmd.Context(), cfg, time.Now, log)
			if err != nil {
				return err
			}
			defer closeHub()
			announce(cmd.OutOrStdout(), hub)
			return hub.Serve(cmd.Context())
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// openHub opens what a configuration names, and makes the hub over it.
func openHub(ctx context.Context, cfg server.Config, clock func() time.Time, log *slog.Logger) (*server.Hub, func(), error) {
	deps := server.Deps{Clock: clock, Random: rand.Reader, Log: log}
	closeAll := func() {}
	if cfg.Store != "" { // a portal alone has none
		s, err := store.Open(ctx, cfg.Store, store.Options{})
		if err != nil {
			return nil, nil, err
		}
		wrapper, closeKeys, err := openKeys(cfg.Keys)
		if err != nil {
			_ = s.Close()
			return nil, nil, err
		}
		deps.Store, deps.Keys = s, wrapper
		closeAll = func() {
			closeKeys()
			_ = s.Close()
		}
	}
	hub, err := server.New(ctx, cfg, deps)
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return hub, func() {
		hub.Close()
		closeAll()
	}, nil
}

// announce says where a hub listens, and by what keys its ledger is verified.
func announce(w io.Writer, hub *server.Hub) {
	if addr := hub.GRPCAddr(); addr != "" {
		fmt.Fprintf(w, "gRPC %s\n", addr)
	}
	fmt.Fprintf(w, "HTTP %s\n", hub.HTTPAddr())
	for key := range strings.Lines(hub.VerifierKey()) {
		fmt.Fprintf(w, "ledger %s\n", strings.TrimSpace(key))
	}
}

func migrateCommand() *cobra.Command {
	var path, url string
	cmd := &cobra.Command{
		Use:     "migrate (--config FILE | --store URL)",
		Short:   "Bring the store's schema up to date",
		Long:    "Apply the migrations that the store lacks, each in a transaction, under a lock. Migrations are only ever added;\na store that holds a migration this program does not know is refused.",
		Example: "  wattveil migrate --config /etc/wattveil/hub.yaml\n  wattveil migrate --store sqlite:hub.db",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (path == "") == (url == "") {
				return fmt.Errorf("give either --config or --store")
			}
			if path != "" {
				cfg, err := server.LoadConfig(path)
				if err != nil {
					return err
				}
				url = cfg.Store
			}
			s, err := store.Open(cmd.Context(), url, store.Options{Migrate: true})
			if err != nil {
				return err
			}
			defer s.Close()
			applied, err := s.Migrations(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, map[string]any{"schema_version": len(applied)})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "schema version %d\n", len(applied))
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "configuration file")
	cmd.Flags().StringVar(&url, "store", "", "sqlite:PATH or postgres:// URL")
	return cmd
}

func configCommand() *cobra.Command {
	var path string
	check := &cobra.Command{
		Use:     "check --config FILE",
		Short:   "Say whether a configuration file is valid",
		Example: "  wattveil config check --config /etc/wattveil/hub.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := server.LoadConfig(path)
			if unread := (*fs.PathError)(nil); errors.As(err, &unread) {
				return err // nothing to judge
			}
			if asJSON(cmd) {
				out := map[string]any{"valid": err == nil}
				if err != nil {
					out["error"] = err.Error()
				}
				if perr := printJSON(cmd, out); perr != nil {
					return perr
				}
			} else if err == nil {
				year, day, derr := cfg.Catalogue.Cost()
				if derr != nil {
					return derr
				}
				fmt.Fprintf(cmd.OutOrStdout(), "valid: %d products, a year costs at most rho %s of %s, a day %s of %s\n",
					len(cfg.Catalogue.Products), year, cfg.Catalogue.YearlyCap, day, cfg.Catalogue.DailyCap)
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), "not valid:", err)
			}
			if err != nil {
				return errNo
			}
			return nil
		},
	}
	configFlag(check, &path)
	return group("config", "Work with configuration files", "  wattveil config check --config /etc/wattveil/hub.yaml", check)
}

func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "config", "", "configuration file (YAML)")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag was defined a line above
	}
}

// openKeys opens the key service that the configuration names.
func openKeys(c server.KeysConfig) (server.KeyService, func(), error) {
	if c.Vault == nil {
		k, err := keys.OpenKeyring(c.Keyring, rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("opening keyring: %w", err)
		}
		return k, func() { _ = k.Close() }, nil
	}
	v, err := keys.NewVault(keys.VaultConfig{
		Address: c.Vault.Address, Mount: c.Vault.Mount, Prefix: c.Vault.Prefix, Namespace: c.Vault.Namespace, CAFile: c.Vault.CAFile,
		TokenFile: c.Vault.TokenFile, AppRole: keys.AppRole{RoleID: c.Vault.RoleID, SecretIDFile: c.Vault.SecretIDFile},
		Kubernetes: keys.Kubernetes{Role: c.Vault.KubernetesRole, Mount: c.Vault.KubernetesMount, TokenFile: c.Vault.KubernetesTokenFile},
		Now:        time.Now,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to Vault: %w", err)
	}
	return v, keepToken(v), nil
}

// keepToken has the token to Vault renewed while the hub has no reason to call, until the
// function it answers is called. A renewal that fails is for the next call to report.
func keepToken(v *keys.Vault) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		minute := time.NewTicker(time.Minute)
		defer minute.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-minute.C:
				_ = v.Renew(ctx)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
