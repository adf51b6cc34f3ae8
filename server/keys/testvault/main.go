// Command testvault is a Vault server small enough to be built by the tests of
// the package keys: Vault's own core, HTTP handler, transit engine, AppRole
// method and file audit device, without Vault's command line. It listens on a
// loopback address only, and it is never shipped; README.md beside it says why
// it exists and why its version is old.
//
// It prints one line, "listening URL", once it answers requests. Without
// -dev-root-token it starts as a production server does: not initialised, or
// sealed when its storage already is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/command/server"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

type options struct {
	listen    string
	rootToken string
	storage   string
	cert, key string
	logLevel  string
	stdin     bool
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks one")
	flag.StringVar(&o.rootToken, "dev-root-token", "", "initialise, unseal and accept this `token` as root (in-memory storage only)")
	flag.StringVar(&o.storage, "storage", "", "keep state in this `directory`; empty keeps it in memory")
	flag.StringVar(&o.cert, "tls-cert", "", "PEM `file` of the server's certificate; empty serves plain HTTP")
	flag.StringVar(&o.key, "tls-key", "", "PEM `file` of the certificate's private key")
	flag.StringVar(&o.logLevel, "log-level", "error", "`level` of Vault's log on standard error")
	flag.BoolVar(&o.stdin, "stdin", false, "stop when standard input closes, so that the server dies with its parent")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "testvault: takes flags only")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "testvault:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.rootToken != "" && o.storage != "" {
		return errors.New("-dev-root-token needs in-memory storage")
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.LevelFromString(o.logLevel), Output: os.Stderr})
	backend, err := storage(o.storage, logger)
	if err != nil {
		return fmt.Errorf("opening storage: %w", err)
	}
	listener, err := listen(o.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	scheme := "http"
	if o.cert != "" {
		scheme = "https"
	}
	url := scheme + "://" + listener.Addr().String()

	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           backend,
		RedirectAddr:       url,
		LogicalBackends:    logicalBackends(),
		CredentialBackends: credentialBackends(),
		AuditBackends:      auditBackends(),
		BuiltinRegistry:    emptyRegistry{},
		DisableMlock:       true,
		Logger:             logger,
		LogLevel:           o.logLevel,
		RawConfig:          &server.Config{SharedConfig: &configutil.SharedConfig{DisableMlock: true}},
	})
	if err != nil {
		return fmt.Errorf("making the core: %w", err)
	}
	if o.rootToken != "" {
		if err := initialise(core, o.rootToken); err != nil {
			return fmt.Errorf("initialising: %w", err)
		}
	}

	srv := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core: core,
			ListenerConfig: &configutil.Listener{
				Type:               "tcp",
				Address:            listener.Addr().String(),
				MaxRequestSize:     vaulthttp.DefaultMaxRequestSize,
				MaxRequestDuration: vault.DefaultMaxRequestDuration,
			},
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          logger.StandardLogger(nil),
	}
	if o.stdin {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	served := make(chan error, 1)
	go func() {
		if o.cert != "" {
			served <- srv.ServeTLS(listener, o.cert, o.key)
		} else {
			served <- srv.Serve(listener)
		}
	}()
	fmt.Println("listening", url)

	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	_ = srv.Close()
	return core.Shutdown()
}

// listen refuses every address but a loopback one: this server is for tests.
func listen(address string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("reading -listen: %w", err)
	}
	if !tcp.IP.IsLoopback() {
		return nil, errors.New("-listen must be a loopback address")
	}
	return net.ListenTCP("tcp", tcp)
}

func storage(dir string, logger hclog.Logger) (physical.Backend, error) {
	if dir == "" {
		return inmem.NewInmem(nil, logger)
	}
	return file.NewFileBackend(map[string]string{"path": dir}, logger)
}

// initialise makes a one-share Vault, unseals it, and swaps its root token for
// the given one.
func initialise(core *vault.Core, token string) error {
	ctx := namespace.ContextWithNamespace(context.Background(), namespace.RootNamespace)
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: one})
	if err != nil {
		return err
	}
	unsealed, err := core.Unseal(made.SecretShares[0])
	if err != nil {
		return err
	}
	if !unsealed {
		return errors.New("one share did not unseal")
	}
	create := &logical.Request{
		ID: "testvault-root", Operation: logical.UpdateOperation, Path: "auth/token/create",
		ClientToken: made.RootToken,
		Data: map[string]any{
			"id": token, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
		},
	}
	answer, err := core.HandleRequest(ctx, create)
	if err != nil {
		return err
	}
	if answer == nil || answer.Auth == nil {
		return errors.New("no root token was made")
	}
	_, err = core.HandleRequest(ctx, &logical.Request{
		ID: "testvault-revoke", Operation: logical.UpdateOperation, Path: "auth/token/revoke-self",
		ClientToken: made.RootToken,
	})
	return err
}
