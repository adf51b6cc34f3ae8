package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/server/store/plain"
)

// benchLedger measures third parties' accesses until they are recorded, proved and
// signed, beside what audit logs usually are and beside another verifiable log.
type benchLedger struct {
	store      string
	households int
	rounds     int
	length     time.Duration
	callers    int
	capacity   int
	tessera    string
	profile    string

	results benchLedgerReport
}

type benchLedgerReport struct {
	Wattveil         contender     `json:"wattveil"`
	AuditRow         contender     `json:"audit_row"`
	GroupCommit      contender     `json:"group_commit"`
	HashChain        contender     `json:"hash_chain"`
	WattveilCapacity contender     `json:"wattveil_capacity"`
	Tessera          *contender    `json:"tessera"` // null: not run
	TesseraCapacity  *contender    `json:"tessera_capacity"`
	RatioTessera     *float64      `json:"ratio_tessera"`
	RatioCapacity    *float64      `json:"ratio_tessera_capacity"`
	RatioGroupCommit float64       `json:"ratio_group_commit"`
	NotRun           []string      `json:"not_run"`
	Rounds           []ledgerRound `json:"rounds"`
	Settings         []string      `json:"settings"`
	Checked          ledgerChecked `json:"checked"`
}

// contender is one side: events a second, and milliseconds until the caller has what
// it waited for.
type contender struct {
	Rate float64 `json:"rate"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
}

type ledgerRound map[string]contender

// ledgerChecked is what held of what the run wrote, before a rate was printed.
type ledgerChecked struct {
	Records    uint64 `json:"records"`
	Households int    `json:"households"`
}

func benchLedgerCommand() *cobra.Command {
	b := &benchLedger{}
	cmd := &cobra.Command{
		Use:   "ledger --store URL",
		Short: "Recorded, proved and signed accesses beside audit tables and another log",
		Long: "In each round all contenders take turns on the same machine and server, in changing order, callers in a closed loop:\n" +
			"this ledger with all its features (a third party's access decided on its consent, chained, sealed to a regulator, in\n" +
			"a signed checkpoint of two signatures, remembered by the witness file, with map heads beside it); plain audit rows,\n" +
			"one commit each and in groups; a chain of hashes in SQL; and Tessera's POSIX log, where --tessera names the program\n" +
			"that .ci/rivals builds. Then this ledger and Tessera once more with --capacity callers. Before a rate is printed the\n" +
			"whole ledger is verified, and the records of 100 households.",
		Example: "  wattveil bench ledger --store 'postgres://user@127.0.0.1:5432/postgres?sslmode=disable' --tessera ./tessera --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.households < 100 || b.rounds < 1 || b.callers < 1 || b.capacity < 1 || b.length < 50*time.Millisecond {
				return fmt.Errorf("--households must be at least 100, --rounds, --callers and --capacity at least 1, --for at least 50ms")
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
	cmd.Flags().IntVar(&b.households, "households", 10_000, "households, each with a consent that is read")
	cmd.Flags().IntVar(&b.rounds, "rounds", 5, "rounds")
	cmd.Flags().DurationVar(&b.length, "for", 5*time.Second, "how long each contender runs in each round")
	cmd.Flags().IntVar(&b.callers, "callers", 64, "callers in a closed loop")
	cmd.Flags().IntVar(&b.capacity, "capacity", 4096, "callers of the comparison of capacities")
	cmd.Flags().StringVar(&b.tessera, "tessera", "", "the program of .ci/rivals/tessera")
	cmd.Flags().StringVar(&b.profile, "cpuprofile", "", "write a processor profile of the last round's ledger to this file")
	if err := cmd.MarkFlagRequired("store"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// run measures all rounds.
func (b *benchLedger) run(ctx context.Context, progress io.Writer) error {
	if err := b.settings(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wattveil-bench-")
	if err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	defer os.RemoveAll(dir)
	ours, dropOurs, err := b.scratch(ctx, dir, "hub.db")
	if err != nil {
		return err
	}
	defer dropOurs()
	theirs, dropTheirs, err := b.scratch(ctx, dir, "audit.db")
	if err != nil {
		return err
	}
	defer dropTheirs()
	w, err := newLedgerWorld(ctx, ours, dir, b.households)
	if err != nil {
		return err
	}
	defer w.close()
	audit, err := plain.OpenAudit(ctx, theirs)
	if err != nil {
		return err
	}
	defer func() { _ = audit.Close() }()
	b.results.Settings = append(b.results.Settings, w.settings(), "plain: "+strings.Join(strings.Fields(plain.AuditSchema), " "))
	stored := map[string]int{}
	for n := range b.rounds {
		round := ledgerRound{}
		steps := b.contenders(w, audit, dir, n, stored)
		slices.Reverse(steps[:1+n%len(steps)]) // another goes first each time
		for _, s := range steps {
			c, err := s.run(ctx)
			if err != nil {
				return fmt.Errorf("round %d: %s: %w", n+1, s.name, err)
			}
			round[s.name] = c
			fmt.Fprintf(progress, "round %d: %-17s %8.0f/s  p50 %7.2f ms  p99 %7.2f ms\n", n+1, s.name, c.Rate, c.P50, c.P99)
		}
		b.results.Rounds = append(b.results.Rounds, round)
	}
	rows, chained, err := audit.Count(ctx)
	if err != nil {
		return err
	}
	if rows != int64(stored["audit_row"]+stored["group_commit"]) || chained != int64(stored["hash_chain"]) {
		return errors.New("the audit tables do not hold what was acknowledged")
	}
	if b.results.Checked, err = w.check(ctx); err != nil {
		return fmt.Errorf("what the run wrote does not hold: %w", err)
	}
	b.summarise()
	return nil
}

// settings prints what the server promises, and refuses one that promises less than
// production.
func (b *benchLedger) settings(ctx context.Context) error {
	if !strings.HasPrefix(b.store, "postgres") {
		b.results.Settings = append(b.results.Settings, "SQLite, WAL, synchronous=FULL")
		return nil
	}
	for _, name := range []string{"server_version", "synchronous_commit", "fsync", "full_page_writes", "wal_level", "shared_buffers"} {
		v, err := plain.Setting(ctx, b.store, name)
		if err != nil {
			return err
		}
		b.results.Settings = append(b.results.Settings, name+"="+v)
		if (name == "synchronous_commit" || name == "fsync" || name == "full_page_writes") && v != "on" {
			return fmt.Errorf("the server has %s=%s: nothing measured on it would be durable", name, v)
		}
	}
	return nil
}

// scratch returns the URL of an empty database.
func (b *benchLedger) scratch(ctx context.Context, dir, file string) (string, func(), error) {
	if at, ok := strings.CutPrefix(b.store, "sqlite:"); ok {
		if at != "" {
			own, err := os.MkdirTemp(at, "wattveil-bench-")
			if err != nil {
				return "", nil, fmt.Errorf("making directory: %w", err)
			}
			return "sqlite:" + filepath.Join(own, file), func() { _ = os.RemoveAll(own) }, nil
		}
		return "sqlite:" + filepath.Join(dir, file), func() {}, nil
	}
	return plain.Scratch(ctx, b.store)
}

type benchStep struct {
	name string
	run  func(context.Context) (contender, error)
}

// eventBytes is about what a sealed payload takes; rivals store as much.
const eventBytes = 200

func (b *benchLedger) contenders(w *ledgerWorld, audit *plain.Audit, dir string, n int, stored map[string]int) []benchStep {
	payload := bytes.Repeat([]byte{7}, eventBytes)
	rows := func(name string, store func(context.Context, time.Time, []byte) error) benchStep {
		return benchStep{name, func(ctx context.Context) (contender, error) {
			c, events, err := closedLoop(ctx, b.callers, b.length, func(ctx context.Context, _, _ int) error { return store(ctx, time.Now(), payload) })
			stored[name] += events
			return c, err
		}}
	}
	ours := func(name string, callers int) benchStep {
		return benchStep{name, func(ctx context.Context) (c contender, err error) {
			if b.profile != "" && n == b.rounds-1 && name == "wattveil" {
				f, err := os.Create(b.profile)
				if err != nil {
					return c, err
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					return c, err
				}
				defer pprof.StopCPUProfile()
			}
			c, _, err = closedLoop(ctx, callers, b.length, w.access(fmt.Sprintf("%s-%d", name, n)))
			return c, err
		}}
	}
	steps := []benchStep{
		ours("wattveil", b.callers), rows("audit_row", audit.Row), rows("group_commit", audit.Group), rows("hash_chain", audit.Chain),
	}
	if b.tessera != "" {
		steps = append(steps, b.rival("tessera", dir, n, "-callers", fmt.Sprint(b.callers), "-batch", "256", "-age", "5ms"))
	}
	steps = append(steps, ours("wattveil_capacity", b.capacity))
	if b.tessera != "" {
		steps = append(steps, b.rival("tessera_capacity", dir, n, "-callers", fmt.Sprint(b.capacity), "-batch", "1024", "-age", "50ms"))
	}
	return steps
}

// rival runs Tessera in a process of its own.
func (b *benchLedger) rival(name, dir string, n int, args ...string) benchStep {
	return benchStep{name, func(ctx context.Context) (c contender, err error) {
		own := filepath.Join(dir, fmt.Sprint(name, n))
		if err := os.Mkdir(own, 0o700); err != nil {
			return c, fmt.Errorf("making directory: %w", err)
		}
		defer os.RemoveAll(own)
		cmd := exec.CommandContext(ctx, b.tessera, append(args, "-dir", own, "-for", b.length.String(), "-bytes", fmt.Sprint(eventBytes))...) //nolint:gosec // the operator names the program
		out, err := cmd.Output()
		if err != nil {
			return c, fmt.Errorf("running %s: %w", filepath.Base(b.tessera), err)
		}
		var said struct {
			contender
			Settings string `json:"settings"`
		}
		if err := json.Unmarshal(out, &said); err != nil {
			return c, fmt.Errorf("reading what %s measured: %w", filepath.Base(b.tessera), err)
		}
		if !slices.Contains(b.results.Settings, said.Settings) {
			b.results.Settings = append(b.results.Settings, said.Settings)
		}
		return said.contender, nil
	}}
}

// errAllCalled ends a closed loop before its time: there is nothing left to call for.
var errAllCalled = errors.New("nothing is left to call for")

// closedLoop lets callers call one after the other, each waiting for its answer, for
// a time, or until errAllCalled. It returns what it measured and how many calls were answered.
func closedLoop(ctx context.Context, callers int, length time.Duration, call func(ctx context.Context, caller, n int) error) (contender, int, error) {
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	began := time.Now()
	for c := range callers {
		wg.Go(func() {
			var mine []time.Duration
			for n := 0; time.Since(began) < length; n++ {
				at := time.Now()
				err := call(ctx, c, n)
				if errors.Is(err, errAllCalled) {
					break
				}
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if failed != nil || len(took) == 0 {
		return contender{}, 0, cmp.Or(failed, errors.New("nothing was answered"))
	}
	slices.Sort(took)
	at := func(part float64) float64 { return took[int(part*float64(len(took)-1))].Seconds() * 1000 }
	return contender{Rate: float64(len(took)) / elapsed.Seconds(), P50: at(0.5), P99: at(0.99)}, len(took), nil
}

// summarise takes medians over the rounds.
func (b *benchLedger) summarise() {
	r := &b.results
	of := func(name string) *contender {
		var all []contender
		for _, round := range r.Rounds {
			if c, ok := round[name]; ok {
				all = append(all, c)
			}
		}
		if len(all) == 0 {
			return nil
		}
		return &contender{
			Rate: middle(all, func(c contender) float64 { return c.Rate }), P50: middle(all, func(c contender) float64 { return c.P50 }),
			P99: middle(all, func(c contender) float64 { return c.P99 }),
		}
	}
	ratio := func(ours, theirs string) *float64 {
		if of(theirs) == nil {
			return nil
		}
		x := middle(r.Rounds, func(l ledgerRound) float64 { return l[ours].Rate / l[theirs].Rate })
		return &x
	}
	r.Wattveil, r.AuditRow, r.GroupCommit, r.HashChain, r.WattveilCapacity = *of("wattveil"), *of("audit_row"), *of("group_commit"), *of("hash_chain"), *of("wattveil_capacity")
	r.Tessera, r.TesseraCapacity = of("tessera"), of("tessera_capacity")
	r.RatioTessera, r.RatioCapacity = ratio("wattveil", "tessera"), ratio("wattveil_capacity", "tessera_capacity")
	r.RatioGroupCommit = *ratio("wattveil", "group_commit")
	r.NotRun = []string{}
	if b.tessera == "" {
		r.NotRun = append(r.NotRun, "tessera: --tessera names no program; .ci/rivals builds one")
	}
}

func middle[E any](all []E, value func(E) float64) float64 {
	values := make([]float64, len(all))
	for i, e := range all {
		values[i] = value(e)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (b *benchLedger) print(w io.Writer) error {
	r := b.results
	var out strings.Builder
	fmt.Fprintf(&out, "ledger, %d callers, medians of %d rounds; %d records verified, %d households' records checked\n", b.callers, len(r.Rounds), r.Checked.Records, r.Checked.Households)
	line := func(name string, c *contender) {
		if c != nil {
			fmt.Fprintf(&out, "  %-18s %8.0f/s  p50 %7.2f ms  p99 %7.2f ms\n", name, c.Rate, c.P50, c.P99)
		}
	}
	line("wattveil", &r.Wattveil)
	line("audit rows", &r.AuditRow)
	line("group commit", &r.GroupCommit)
	line("hash chain", &r.HashChain)
	line("tessera", r.Tessera)
	line(fmt.Sprintf("wattveil, %d", b.capacity), &r.WattveilCapacity)
	line(fmt.Sprintf("tessera, %d", b.capacity), r.TesseraCapacity)
	fmt.Fprintf(&out, "  ratio to group commit %.2f", r.RatioGroupCommit)
	if r.RatioTessera != nil {
		fmt.Fprintf(&out, ", to tessera %.2f, of capacities %.2f", *r.RatioTessera, *r.RatioCapacity)
	}
	for _, s := range append(r.NotRun, r.Settings...) {
		fmt.Fprintf(&out, "\n  %s", s)
	}
	_, err := fmt.Fprintln(w, out.String())
	return err
}
