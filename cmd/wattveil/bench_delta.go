package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store/plain"
)

// benchDelta measures what third parties spend every day: a call with a cursor for each
// household, when its day has arrived and when nothing has, beside a plain read of the
// same day.
type benchDelta struct {
	store      string
	households int
	callers    int
	rounds     int

	log     *slog.Logger
	access  benchAccess
	cursors []string // by household
	results benchDeltaReport
}

type benchDeltaReport struct {
	Subscriptions int          `json:"subscriptions"`
	Callers       int          `json:"callers"`
	Wattveil      deltaSide    `json:"wattveil"` // a day has arrived
	Idle          deltaSide    `json:"idle"`     // nothing has
	Plain         deltaSide    `json:"plain"`
	Rounds        []deltaRound `json:"rounds"`
	Settings      []string     `json:"settings"`
}

// deltaSide is how long all subscriptions took, and what one call waited for.
type deltaSide struct {
	Seconds float64 `json:"seconds"`
	latency
}

type deltaRound struct {
	Wattveil deltaSide `json:"wattveil"`
	Idle     deltaSide `json:"idle"`
	Plain    deltaSide `json:"plain"`
}

// deltaGoal is for 1,000 subscriptions on a machine of two cores, in seconds.
const deltaGoal = 30

func benchDeltaCommand() *cobra.Command {
	b := &benchDelta{}
	cmd := &cobra.Command{
		Use:   "delta --store URL",
		Short: "Third parties' calls for what has changed, beside a plain read of it",
		Long: "Every household has granted its month and the days after it, by the hour, and third parties hold a cursor for each.\n" +
			"Every round a day of each arrives; then all are asked for what has changed, over gRPC with mutual TLS, which opens that\n" +
			"day and nothing else, and once more, when nothing has. Every answer is compared with what was sent. Beside it the same\n" +
			"day from a plain table on the same engine.",
		Example: "  wattveil bench delta --store 'postgres://user@127.0.0.1:5432/postgres?sslmode=disable' --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if b.households < 1 || b.callers < 1 || b.rounds < 1 || b.rounds > 20 {
				return errors.New("--households and --callers must be at least 1, --rounds 1 to 20")
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
	cmd.Flags().IntVar(&b.households, "households", 1000, "households, each a subscription")
	cmd.Flags().IntVar(&b.callers, "callers", 8, "calls under way at once")
	cmd.Flags().IntVar(&b.rounds, "rounds", 5, "rounds, each a day")
	if err := cmd.MarkFlagRequired("store"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// run fills a hub and the plain table with a month, and measures the days after it.
func (b *benchDelta) run(ctx context.Context, progress io.Writer) error {
	b.access = benchAccess{store: b.store, households: b.households, later: b.rounds, log: b.log}
	b.access.db.store = b.store
	if err := b.access.db.settings(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wattveil-bench-")
	if err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	defer os.RemoveAll(dir)
	b.results = benchDeltaReport{Subscriptions: b.households, Callers: b.callers, Settings: append(b.access.db.results.Settings,
		fmt.Sprintf("%d households with %d days of %d intervals each stored before, granted by the hour; %d third parties with a certificate and a connection each", b.households, accessDays, dayIntervals, accessParties),
		"plain: "+plain.ReadingsTable(b.store)+", prepared statement, in this process without a server between; its reader knows the day")}
	ours, err := b.access.world(ctx, filepath.Join(dir, "hub"), nil)
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := b.access.plainReads(ctx, dir)
	if err != nil {
		return err
	}
	defer theirs.close()
	b.cursors = make([]string, b.households)
	for h := range b.households { // begin: the month, which is bench access's
		if err := b.poll(ctx, ours, h, "begin", accessFirst, accessDays); err != nil {
			return err
		}
	}
	for n := range b.rounds {
		r, err := b.round(ctx, ours, theirs, n)
		if err != nil {
			return fmt.Errorf("round %d: %w", n+1, err)
		}
		b.results.Rounds = append(b.results.Rounds, r)
		fmt.Fprintf(progress, "round %d: a day arrived %6.2f s, nothing did %6.2f s, plain %6.2f s\n", n+1, r.Wattveil.Seconds, r.Idle.Seconds, r.Plain.Seconds)
	}
	of := func(side func(deltaRound) deltaSide) deltaSide {
		of := func(what func(deltaSide) float64) float64 {
			return middle(b.results.Rounds, func(r deltaRound) float64 { return what(side(r)) })
		}
		return deltaSide{of(func(s deltaSide) float64 { return s.Seconds }), latency{of(func(s deltaSide) float64 { return s.P50 }), of(func(s deltaSide) float64 { return s.P99 })}}
	}
	b.results.Wattveil, b.results.Idle, b.results.Plain = of(func(r deltaRound) deltaSide { return r.Wattveil }), of(func(r deltaRound) deltaSide { return r.Idle }), of(func(r deltaRound) deltaSide { return r.Plain })
	return nil
}

// round lets a day of every household arrive and close, and has it asked for.
func (b *benchDelta) round(ctx context.Context, ours *accessWorld, theirs *plainReads, n int) (r deltaRound, err error) {
	day := accessFirst + accessDays + meter.Day(n)
	sender := b.access.accessSender()
	sender.day = day
	ours.ahead.Add(int64(24 * time.Hour))
	if err := sender.send(ctx, ours.rig, accessDays+n); err != nil {
		return r, err
	}
	if err := ours.rig.hub.Tend(ctx); err != nil { // nothing is left to close while calls are measured
		return r, err
	}
	group := make([]plain.Series, b.households)
	for h := range group {
		group[h] = plain.Series{UsagePoint: benchPoint(h), Start: day.Start(), Length: 900, Values: sender.values(h, 0, dayIntervals)}
	}
	if err := errors.Join(theirs.table.Load(ctx, group), theirs.table.Settle(ctx)); err != nil {
		return r, err
	}
	if r.Wattveil, err = b.all(ctx, func(ctx context.Context, h int) error {
		return b.poll(ctx, ours, h, fmt.Sprint(n), day, 1)
	}); err != nil {
		return r, err
	}
	if r.Idle, err = b.all(ctx, func(ctx context.Context, h int) error {
		return b.poll(ctx, ours, h, fmt.Sprint("idle-", n), day, 0)
	}); err != nil {
		return r, err
	}
	r.Plain, err = b.all(ctx, func(ctx context.Context, h int) error {
		rows, err := theirs.table.Read(ctx, benchPoint(h), day.Start(), day.End())
		if err != nil {
			return err
		}
		hours := make([]int64, 24)
		for _, row := range rows {
			hours[(row.Start-day.Start())/3600] += row.Value
		}
		return b.check(h, day, 1, []*wattveilv1.Series{{UsagePoint: benchPoint(h), LengthSeconds: 3600, Start: day.Start(), Values: hours}})
	})
	return r, err
}

// all makes a call for every household, once.
func (b *benchDelta) all(ctx context.Context, call func(ctx context.Context, household int) error) (deltaSide, error) {
	turns := newTurns(b.households, 0)
	began := time.Now()
	c, _, err := closedLoop(ctx, b.callers, time.Hour, func(ctx context.Context, _, _ int) error {
		h, ok := turns.next()
		if !ok {
			return errAllCalled
		}
		return call(ctx, h)
	})
	return deltaSide{time.Since(began).Seconds(), latency{c.P50, c.P99}}, err
}

// poll asks for what has changed of a household, and checks that it is those days.
func (b *benchDelta) poll(ctx context.Context, w *accessWorld, household int, request string, first meter.Day, days int) error {
	got, err := w.readers[household%accessParties].ReadChanges(ctx, &wattveilv1.ReadChangesRequest{
		RequestId: fmt.Sprintf("%s-%d", request, household), ConsentId: w.consents[household], Purpose: accessPurpose, Cursor: b.cursors[household],
	})
	if err != nil {
		return fmt.Errorf("asking for changes: %w", err)
	}
	if got.GetMore() || (got.GetReceipt() != nil) != (days > 0) {
		return errNotSent
	}
	b.cursors[household] = got.GetCursor()
	return b.check(household, first, days, got.GetSeries())
}

// check compares an answer with what was sent on so many days: every hour, once, in order.
func (b *benchDelta) check(household int, first meter.Day, days int, series []*wattveilv1.Series) error {
	sender := b.access.accessSender()
	var want []int64
	for d := range days {
		sender.day = first + meter.Day(d)
		quarters := sender.values(household, 0, dayIntervals)
		for i := 0; i < len(quarters); i += 4 {
			want = append(want, quarters[i]+quarters[i+1]+quarters[i+2]+quarters[i+3])
		}
	}
	n := 0
	for _, s := range series {
		if s.GetUsagePoint() != benchPoint(household) || s.GetLengthSeconds() != 3600 || s.GetStart() != first.Start()+int64(n)*3600 || n+len(s.GetValues()) > len(want) {
			return errNotSent
		}
		for _, v := range s.GetValues() {
			if v != want[n] {
				return errNotSent
			}
			n++
		}
	}
	if n != len(want) {
		return errNotSent
	}
	return nil
}

func (b *benchDelta) print(w io.Writer) error {
	r := b.results
	var out strings.Builder
	fmt.Fprintf(&out, "%d subscriptions, %d callers, medians of %d rounds\n", r.Subscriptions, r.Callers, len(r.Rounds))
	for _, line := range []struct {
		name string
		side deltaSide
		goal string
	}{
		{"a day arrived", r.Wattveil, fmt.Sprintf("  (goal: %.1f s)", deltaGoal*float64(r.Subscriptions)/1000)}, {"nothing did", r.Idle, ""}, {"plain", r.Plain, ""},
	} {
		fmt.Fprintf(&out, "  %-13s %8.2f s  p50 %7.2f ms  p99 %7.2f ms%s\n", line.name, line.side.Seconds, line.side.P50, line.side.P99, line.goal)
	}
	for _, s := range r.Settings {
		fmt.Fprintf(&out, "  %s\n", s)
	}
	_, err := fmt.Fprint(w, out.String())
	return err
}
