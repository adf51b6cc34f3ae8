package main

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/encoding/protojson"
)

// The scripts tell how each command behaves to whoever types it: what it prints,
// to the letter where machines read it, and its exit code.
//
// Beside testscript's own commands they have:
//
//	code N PROGRAM ARGS…     run a program and want exit code N
//	hub start HOME…          a hub on SQLite in $WORK/hub; homes live there since 2024-01-01. Sets $HUB, $HTTP, $VKEY;
//	                         certificates of callers are in hub/tls: works (their utility), other (a utility without
//	                         usage points), operator, and stranger (of nobody's authority)
//	hub stop                 stop it by SIGTERM and want exit code 0
//	read HOME                what the household reads of itself: a line an interval, start and value
//	receipt HOME DIR         the receipt of that reading: receipt.json, payload, nonce, proof
//	mirror DIR               copy the ledger's public files
//	gz FILE OUT              compress
//	cut FILE N OUT           the file without its last N bytes
//	flip FILE N              change a bit in byte N
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROOT", root)
			env.Values["hub"] = &scriptHub{sessions: map[string]*restClient{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": scriptCode, "hub": scriptHubCommand, "read": scriptRead, "receipt": scriptReceipt, "mirror": scriptMirror,
			"gz": scriptGzip, "cut": scriptCut, "flip": scriptFlip,
		},
	})
}

// scriptHub is the hub of one script.
type scriptHub struct {
	site     *site
	hub      *hubProcess
	codes    map[string]string
	sessions map[string]*restClient
}

func hubOf(ts *testscript.TestScript) *scriptHub {
	return ts.Value("hub").(*scriptHub)
}

// since is when the households of scripts moved in.
var since = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()

// scriptPatience bounds what one command of a script waits for.
const scriptPatience = 30 * time.Second

func scriptCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptHubCommand(ts *testscript.TestScript, _ bool, args []string) {
	s := hubOf(ts)
	ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
	defer cancel()
	switch args[0] {
	case "stop":
		ts.Check(s.hub.stop())
	case "start":
		var err error
		if s.site == nil {
			dir := ts.MkAbs("hub")
			ts.Check(os.Mkdir(dir, 0o700))
			s.site, err = newSite(ctx, dir, "sqlite:"+filepath.Join(dir, "hub.db"))
			ts.Check(err)
			ts.Check(s.certify())
		}
		s.hub, err = s.site.launch()
		ts.Check(err)
		ts.Defer(s.hub.kill)
		ts.Check(s.hub.await(ctx))
		if len(args) > 1 {
			s.codes, err = s.site.register(ctx, s.hub, args[1:], since)
			ts.Check(err)
		}
		for _, c := range s.sessions { // sessions outlive the hub, not its address
			c.base = "http://" + s.hub.http
		}
		ts.Setenv("HUB", s.hub.grpc)
		ts.Setenv("HTTP", s.hub.http)
		ts.Setenv("VKEY", s.hub.vkey)
	default:
		ts.Fatalf("hub start or hub stop")
	}
}

// certify writes certificates of callers.
func (s *scriptHub) certify() error {
	stranger, err := newAuthority()
	if err != nil {
		return err
	}
	dir := s.site.path("tls")
	return errors.Join(
		s.site.ca.writeClient(dir, "works", "utility", testUtility),
		s.site.ca.writeClient(dir, "other", "utility", "other"),
		s.site.ca.writeClient(dir, "operator", "operator", "test"),
		s.site.ca.writeClient(dir, "nobody", "gardener", "test"),
		stranger.writeClient(dir, "stranger", "utility", testUtility),
		os.WriteFile(filepath.Join(dir, "stranger-ca.pem"), stranger.pem, 0o600),
	)
}

func (s *scriptHub) session(ctx context.Context, home string) (*restClient, error) {
	if s.sessions[home] == nil {
		c, err := signIn(ctx, s.hub.http, s.codes[home])
		if err != nil {
			return nil, err
		}
		s.sessions[home] = c
	}
	return s.sessions[home], nil
}

func scriptRead(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
	defer cancel()
	c, err := hubOf(ts).session(ctx, args[0])
	ts.Check(err)
	values, _, err := readOwn(ctx, c, since, since+366*86400)
	ts.Check(err)
	for _, at := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintln(ts.Stdout(), time.Unix(at, 0).UTC().Format(time.RFC3339), values[at])
	}
}

func scriptReceipt(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
	defer cancel()
	c, err := hubOf(ts).session(ctx, args[0])
	ts.Check(err)
	_, r, err := readOwn(ctx, c, since, since+366*86400)
	ts.Check(err)
	whole, err := protojson.Marshal(r)
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	ts.Check(os.Mkdir(dir, 0o700))
	for name, b := range map[string][]byte{
		"receipt.json": whole, "payload": r.GetPayload(), "proof": []byte(r.GetProof()), "nonce": []byte(hex.EncodeToString(r.GetNonce())),
	} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	ts.Setenv("NONCE", hex.EncodeToString(r.GetNonce()))
}

func scriptMirror(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
	defer cancel()
	get := func(path string) []byte {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+hubOf(ts).hub.http+"/"+path, nil)
		ts.Check(err)
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		ts.Check(err)
		if resp.StatusCode != http.StatusOK {
			ts.Fatalf("%s: %s", path, resp.Status)
		}
		file := filepath.Join(ts.MkAbs(args[0]), filepath.FromSlash(path))
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
		ts.Check(os.WriteFile(file, b, 0o600))
		return b
	}
	// Logs of scripts fit into one tile: its width is the size in the checkpoint.
	size := strings.Split(string(get("checkpoint")), "\n")[1]
	get("tile/0/000.p/" + size)
	get("tile/entries/000.p/" + size)
	ts.Setenv("SIZE", size)
}

func scriptGzip(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	z := gzip.NewWriter(f)
	_, err = io.WriteString(z, ts.ReadFile(args[0]))
	ts.Check(errors.Join(err, z.Close(), f.Close()))
}

func scriptCut(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(b[:len(b)-n]), 0o600))
}

func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := []byte(ts.ReadFile(args[0]))
	b[n] ^= 0x10
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}
