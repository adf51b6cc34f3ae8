package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/server/store/plain"
)

// benchAccess measures a third party's read of a household's month through the whole
// gate, beside a plain read of the same month.
type benchAccess struct {
	store      string
	households int
	later      int // days after the month that are granted, and not sent with it
	enrolled   int
	rounds     int
	length     time.Duration
	vault      string
	profile    string

	log     *slog.Logger
	db      benchLedger // makes scratch databases, and looks at what the server promises
	results benchAccessReport
}

type benchAccessReport struct {
	Wattveil         contender     `json:"wattveil"`
	Single           latency       `json:"single"`
	Plain            contender     `json:"plain"`
	PlainSingle      latency       `json:"plain_single"`
	Vault            *contender    `json:"vault"` // null: not run
	VaultSingle      *latency      `json:"vault_single"`
	Enrolment        *enrolment    `json:"enrolment"` // by Vault; null: not run
	EnrolmentKeyring enrolment     `json:"enrolment_keyring"`
	PerHousehold     float64       `json:"ingest_bytes_per_household"`
	Rounds           []accessRound `json:"rounds"`
	Settings         []string      `json:"settings"`
	NotRun           []string      `json:"not_run"`
}

// latency is what one caller waits, in milliseconds.
type latency struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// enrolment is how long households took to be created, keys made and wrapped, and how long
// a round took that gave each of them a new pair.
type enrolment struct {
	Households int     `json:"households"`
	Seconds    float64 `json:"seconds"`
	Pairs      float64 `json:"pair_round_seconds"`
}

type accessRound map[string]contender

// What the hub is to do on a machine of two cores.
const (
	accessCallers       = 64
	accessGoalSingle    = 15  // ms, median of one caller
	accessGoalRate      = 300 // reads a second by accessCallers
	accessGoalEnrolment = 60  // s for 100,000 households
	accessGoalMemory    = 1024
)

func benchAccessCommand() *cobra.Command {
	b := &benchAccess{}
	cmd := &cobra.Command{
		Use:   "access --store URL",
		Short: "Third parties' reads of a household's month, beside a plain read",
		Long: "Each read is a month of quarter hours, answered in hours over gRPC with mutual TLS: the consent decided, the leaf in a\n" +
			"signed checkpoint and proved, the household's key unwrapped, 31 day keys opened, blocks checked and opened, reduced to\n" +
			"what was granted. By 64 callers and by one, each waiting for its answer; within a turn no household is read twice, and\n" +
			"every answer is compared with what was sent. Beside it the same month from a plain table on the same engine. With --vault\n" +
			"a second hub, whose keys a Vault in a process of its own wraps. Then households are created, and half-filled memory is\n" +
			"looked at: what one more household that sends its day costs ingest.",
		Example: "  wattveil bench access --store 'postgres://user@127.0.0.1:5432/postgres?sslmode=disable' --vault ./testvault --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if b.households < 1 || b.enrolled < 4 || b.rounds < 1 || b.length < 50*time.Millisecond {
				return fmt.Errorf("--households and --rounds must be at least 1, --enrolled at least 4, --for at least 50ms")
			}
			if b.log, err = logger(cmd); err != nil {
				return err
			}
			if err := b.run(cmd.Context(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			if asJSON(cmd) {
				return printJSON(cmd, b.results)
			}
			return b.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&b.store, "store", "", "a PostgreSQL server on which databases may be made, or sqlite:DIR")
	cmd.Flags().IntVar(&b.households, "households", 3000, "households whose month is read")
	cmd.Flags().IntVar(&b.enrolled, "enrolled", 100_000, "households that are created, and send one day, a quarter of them first")
	cmd.Flags().IntVar(&b.rounds, "rounds", 5, "rounds")
	cmd.Flags().DurationVar(&b.length, "for", 5*time.Second, "how long each contender reads in each round; sooner ended when every household has been read")
	cmd.Flags().StringVar(&b.vault, "vault", "", "the program of server/keys/testvault")
	cmd.Flags().StringVar(&b.profile, "cpuprofile", "", "write a processor profile of the last round's 64 callers to this file")
	if err := cmd.MarkFlagRequired("store"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// run fills the hubs and the plain table, and measures all rounds.
func (b *benchAccess) run(ctx context.Context, progress io.Writer) error {
	b.db.store = b.store
	if err := b.db.settings(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wattveil-bench-")
	if err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	defer os.RemoveAll(dir)
	b.results.NotRun = []string{}
	b.results.Settings = append(b.db.results.Settings,
		fmt.Sprintf("%d households, %d days of %d intervals each, granted by the hour; %d third parties with a certificate and a connection each, 600 reads a minute each", b.households, accessDays, dayIntervals, accessParties),
		"plain: "+plain.ReadingsTable(b.store)+", loaded household by household, prepared statement, in this process without a server between")
	var key *benchVault
	if b.vault == "" {
		b.results.NotRun = append(b.results.NotRun, "vault, vault_single, enrolment: --vault names no program; server/keys/testvault is one")
	} else {
		if key, err = startBenchVault(ctx, b.vault, dir); err != nil {
			return err
		}
		defer key.stop()
		b.results.Settings = append(b.results.Settings, "vault: in-memory storage, transit engine, file audit device, HTTP on loopback")
	}
	if err := b.rounded(ctx, dir, key, progress); err != nil {
		return err
	}
	if err := b.enrol(ctx, dir, key, progress); err != nil {
		return err
	}
	b.summarise()
	return nil
}

// rounded measures the reads.
func (b *benchAccess) rounded(ctx context.Context, dir string, key *benchVault, progress io.Writer) error {
	ours, err := b.world(ctx, filepath.Join(dir, "keyring"), nil)
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := b.plainReads(ctx, dir)
	if err != nil {
		return err
	}
	defer theirs.close()
	steps := func(n int) []benchStep {
		s := []benchStep{
			b.step("wattveil", accessCallers, n, ours.read), b.step("single", 1, n, ours.read),
			b.step("plain", accessCallers, n, theirs.read), b.step("plain_single", 1, n, theirs.read),
		}
		return s
	}
	if key != nil {
		vaulted, err := b.world(ctx, filepath.Join(dir, "vault"), key.wrapper)
		if err != nil {
			return err
		}
		defer vaulted.close()
		alone := steps
		steps = func(n int) []benchStep {
			return append(alone(n), b.step("vault", accessCallers, n, vaulted.read), b.step("vault_single", 1, n, vaulted.read))
		}
	}
	for n := range b.rounds {
		round, all := accessRound{}, steps(n)
		slices.Reverse(all[:1+n%len(all)]) // another goes first each time
		for _, s := range all {
			c, err := s.run(ctx)
			if err != nil {
				return fmt.Errorf("round %d: %s: %w", n+1, s.name, err)
			}
			round[s.name] = c
			fmt.Fprintf(progress, "round %d: %-12s %7.0f/s  p50 %7.2f ms  p99 %7.2f ms\n", n+1, s.name, c.Rate, c.P50, c.P99)
		}
		b.results.Rounds = append(b.results.Rounds, round)
	}
	return nil
}

// step is a turn of one contender. It begins with another household each round, and
// reads none twice.
func (b *benchAccess) step(name string, callers, n int, read func(ctx context.Context, request string, household int) error) benchStep {
	return benchStep{name, func(ctx context.Context) (c contender, err error) {
		if b.profile != "" && n == b.rounds-1 && name == "wattveil" {
			f, err := os.Create(b.profile)
			if err != nil {
				return c, err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			if err := pprof.StartCPUProfile(f); err != nil {
				return c, fmt.Errorf("profiling: %w", err)
			}
			defer pprof.StopCPUProfile()
		}
		turns := newTurns(b.households, n*b.households/b.rounds)
		c, _, err = closedLoop(ctx, callers, b.length, func(ctx context.Context, _, _ int) error {
			household, ok := turns.next()
			if !ok {
				return errAllCalled
			}
			return read(ctx, fmt.Sprintf("%s-%d-%d", name, n, household), household)
		})
		return c, err
	}}
}

// summarise takes medians over the rounds.
func (b *benchAccess) summarise() {
	r := &b.results
	of := func(name string) *contender {
		if _, ran := r.Rounds[0][name]; !ran {
			return nil
		}
		return &contender{
			Rate: middle(r.Rounds, func(a accessRound) float64 { return a[name].Rate }), P50: middle(r.Rounds, func(a accessRound) float64 { return a[name].P50 }),
			P99: middle(r.Rounds, func(a accessRound) float64 { return a[name].P99 }),
		}
	}
	alone := func(name string) *latency {
		if c := of(name); c != nil {
			return &latency{c.P50, c.P99}
		}
		return nil
	}
	r.Wattveil, r.Single, r.Plain, r.PlainSingle = *of("wattveil"), *alone("single"), *of("plain"), *alone("plain_single")
	r.Vault, r.VaultSingle = of("vault"), alone("vault_single")
}

func (b *benchAccess) print(w io.Writer) error {
	r := b.results
	var out strings.Builder
	fmt.Fprintf(&out, "a household's month, %d callers and one, medians of %d rounds\n", accessCallers, len(r.Rounds))
	line := func(name string, c *contender, l *latency, goal string) {
		if c != nil && l != nil {
			fmt.Fprintf(&out, "  %-8s %7.0f/s  p50 %7.2f ms  p99 %7.2f ms; one caller: p50 %7.2f ms  p99 %7.2f ms%s\n", name, c.Rate, c.P50, c.P99, l.P50, l.P99, goal)
		}
	}
	line("wattveil", &r.Wattveil, &r.Single, fmt.Sprintf("  (goals: %d/s; one caller %d ms)", accessGoalRate, accessGoalSingle))
	line("vault", r.Vault, r.VaultSingle, "")
	line("plain", &r.Plain, &r.PlainSingle, "")
	if e := r.Enrolment; e != nil {
		fmt.Fprintf(&out, "  %d households created in %.1f s with Vault (goal: 100000 in %d s), given new pairs in %.1f s\n", e.Households, e.Seconds, accessGoalEnrolment, e.Pairs)
	}
	fmt.Fprintf(&out, "  %d households created in %.1f s with the keyring, given new pairs in %.1f s\n", r.EnrolmentKeyring.Households, r.EnrolmentKeyring.Seconds, r.EnrolmentKeyring.Pairs)
	fmt.Fprintf(&out, "  %.0f bytes of ingest's memory a household that sent its day (goal: %d)", r.PerHousehold, accessGoalMemory)
	for _, s := range append(r.NotRun, r.Settings...) {
		fmt.Fprintf(&out, "\n  %s", s)
	}
	_, err := fmt.Fprintln(w, out.String())
	return err
}

// committers is how many transactions of ingest are under way at once.
func (b *benchAccess) committers() int {
	if strings.HasPrefix(b.store, "postgres") {
		return 2
	}
	return 1
}
