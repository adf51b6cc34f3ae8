package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/server/store/pgtest"
)

// TestMain makes the test binary act as the program wherever a test starts
// "wattveil": that it is killed, signalled and started again is what many of
// these tests are about.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"wattveil": asProgram, "wattveil-clocked": asClockedHub})
}

type suite struct{ m *testing.M }

// Run stops the shared PostgreSQL after the tests.
func (s suite) Run() int { return pgtest.Main(s.m) }

// lifelineVariable names, to a program started by [site.launch], the file
// descriptor that is closed when the test binary ends.
const lifelineVariable = "WATTVEIL_TEST_LIFELINE"

// asProgram is the program in a process of its own. One that would run for ever
// must not outlive the tests, however they end.
func asProgram() {
	hangOn()
	main()
}

// hangOn ends this process when the test binary that started it ends.
func hangOn() {
	if os.Getenv(lifelineVariable) != "" {
		go func() {
			_, _ = io.ReadAll(os.NewFile(3, "lifeline"))
			os.Exit(3)
		}()
	}
}

// wattveil runs the program inside the test, so that coverage and the race
// detector see it.
func wattveil(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// every calls visit with each command that a person can call.
func every(visit func(cmd *cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		visit(cmd)
		for _, c := range cmd.Commands() {
			if c.Name() != "help" && c.Name() != "completion" {
				walk(c)
			}
		}
	}
	walk(command())
}

// Catches a command that does not say what it is for, and an example that the
// program itself would refuse: a flag renamed, a word missing.
func TestHelp(t *testing.T) {
	every(func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		args := append(strings.Fields(path)[1:], "--help")
		code, stdout, stderr := wattveil(t, args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Examples:\n  wattveil") || !strings.Contains(stdout, "--json") {
			t.Errorf("%s --help: exit code %d\n%s%s", path, code, stdout, stderr)
		}
		if cmd.Short == "" || !strings.Contains(cmd.Example, path) {
			t.Errorf("%s: no short text, or an example of something else: %q", path, cmd.Example)
		}
		for example := range strings.Lines(strings.ReplaceAll(cmd.Example, "\\\n", "")) {
			checkExample(t, path, strings.Fields(example))
		}
	})
}

// checkExample lets the program read a command line as far as to its flags.
func checkExample(t *testing.T, path string, words []string) {
	t.Helper()
	found, rest, err := command().Find(words[1:])
	if err == nil {
		err = found.ParseFlags(rest)
	}
	if err == nil {
		err = found.ValidateRequiredFlags()
	}
	if err == nil {
		err = found.ValidateArgs(found.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: example %q: %v", path, strings.Join(words, " "), err)
	}
}

// Misuse is exit code 2 and one line that says what is wrong, never a help text
// to search through, never exit code 0.
func TestMisuse(t *testing.T) {
	ingest := []string{"ingest", "--hub", "127.0.0.1:1", "--cert", "c", "--key", "k", "--ca", "a"}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"bogus"}, `unknown command "bogus"`},
		{[]string{"demo", "--bogus"}, "unknown flag: --bogus"},
		{[]string{"demo", "bogus"}, `unknown command "bogus"`},
		{[]string{"demo", "--households", "0"}, "--households must be 1 to 322"},
		{[]string{"demo", "--households", "323"}, "--households must be 1 to 322"},
		{[]string{"demo", "--days", "50"}, "--days 1 to 49"},
		{[]string{"demo", "--days", "many"}, "invalid argument"},
		{[]string{"demo", "--dir", "."}, "is not empty"},
		{[]string{"demo", "--store", "x"}, "neither sqlite:PATH nor postgres://"},
		{[]string{"demo", "--log", "loud"}, "--log must be debug, info, warn or error"},
		{[]string{"serve"}, `"config" not set`},
		{[]string{"serve", "--config", "none.yaml"}, "no such file"},
		{[]string{"decode", "main.go"}, `"norm" not set`},
		{[]string{"decode", "--norm", "profile"}, "at least 1 arg"},
		{[]string{"decode", "--norm", "edifact", "main.go"}, "--norm must be profile"},
		{[]string{"decode", "--norm", "profile", "--zone", "Local", "main.go"}, "--zone must be an IANA name"},
		{[]string{"decode", "--norm", "profile", "--zone", "Mars/Olympus", "main.go"}, "--zone must be an IANA name"},
		{[]string{"decode", "--norm", "profile", "--unit", "J", "main.go"}, "--unit must be kWh or Wh"},
		{[]string{"decode", "--norm", "profile", "none.csv"}, "no such file"},
		{[]string{"ingest", "--norm", "profile", "main.go"}, "not set"},
		{append(ingest, "--norm", "edifact", "main.go"), "--norm must be profile"},
		{append(ingest, "--norm", "profile", "main.go"), "loading certificate"},
		{[]string{"verify"}, "not set"},
		{[]string{"verify", "bogus"}, `unknown command "bogus"`},
		{[]string{"verify", "log", "."}, `"key" not set`},
		{[]string{"verify", "log", "--key", "a+b+c", "."}, "not a verifier key"},
		{[]string{"verify", "log", "--key", "none.vkey", "."}, "no such file"},
		{[]string{"verify", "proof", "--key", "main.go"}, "[receipt payload] is required"},
		{[]string{"verify", "proof", "--key", "main.go", "--receipt", "main.go", "--payload", "main.go"}, "[payload nonce proof]"},
		{[]string{"verify", "release", "--key", "main.go", "--url", "http://x"}, "[release id] is required"},
		{[]string{"verify", "release", "--key", "main.go", "--url", "http://x", "--id", "a/b", "--release", "main.go"}, "[id release]"},
		{[]string{"verify", "release", "--key", "main.go", "--dir", ".", "--id", "a/b"}, "[dir id]"},
		{[]string{"bench"}, "say which"},
		{[]string{"bench", "ingest"}, `"store" not set`},
		{[]string{"bench", "ingest", "--store", "sqlite:x"}, "--store must be a postgres:// URL"},
		{[]string{"bench", "ingest", "--store", "postgres://x", "--shape", "round"}, "--shape must be day or live"},
		{[]string{"bench", "ingest", "--store", "postgres://x", "--households", "99"}, "--households must be at least 100"},
		{[]string{"bench", "ingest", "--store", "postgres://x", "--connections", "65"}, "--connections 1 to 64"},
		{[]string{"migrate"}, "either --config or --store"},
		{[]string{"migrate", "--config", "a", "--store", "b"}, "either --config or --store"},
		{[]string{"migrate", "--store", "mysql://x"}, "neither sqlite:PATH nor postgres://"},
		{[]string{"config"}, "say which"},
		{[]string{"config", "check"}, `"config" not set`},
		{[]string{"config", "check", "--config", "none.yaml"}, "no such file"},
	} {
		code, stdout, stderr := wattveil(t, c.args...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, c.says) || !strings.HasPrefix(stderr, "wattveil: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("wattveil %s: exit code %d, stdout %q, stderr %q, want %q", strings.Join(c.args, " "), code, stdout, stderr, c.says)
		}
	}
}
