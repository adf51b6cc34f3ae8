package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/meter/profile/sample"
)

// demoReport is what demo prints with --json.
type demoReport struct {
	ReadingsSent  uint64            `json:"readings_sent"`
	ReadingsAcked uint64            `json:"readings_acked"`
	Refused       map[string]uint64 `json:"refused"`
	SecondsIngest float64           `json:"seconds_ingest"`
	Households    int               `json:"households"`
	Days          int               `json:"days"` // UTC days closed and published
	Releases      []demoRelease     `json:"releases"`
	Reads         demoReads         `json:"reads"`
	Ledger        demoLedger        `json:"ledger"`
	Store         string            `json:"store"`
	KeyService    string            `json:"key_service"`
}

type demoRelease struct {
	Product          string  `json:"product"`
	Node             string  `json:"node"`
	Day              string  `json:"day"` // the last that it is made of
	HouseholdsPublic int     `json:"households_public"`
	Epsilon          float64 `json:"epsilon"`
	Delta            float64 `json:"delta"`
	// RMSEPercent is the root mean square error of the 48 estimates
	// against what this client sent and the hub accepted, in percent of their
	// mean; null where that is zero. The hub itself never computes an error
	// against private truth.
	RMSEPercent *float64 `json:"rmse_percent"`
}

type demoReads struct {
	Granted            int `json:"granted"`
	RefusedAfterRevoke int `json:"refused_after_revoke"`
}

type demoLedger struct {
	Size     uint64 `json:"size"`
	Root     string `json:"root"`
	Verified bool   `json:"verified"`
}

type demoFlags struct {
	serve            bool
	dir, store       string
	households, days int
}

func demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole hub on this machine, on real data, in about a minute",
		Long: "Start a hub on this machine, stream real households to it over gRPC with mutual TLS, close the days, publish noised\n" +
			"curves, let a third party ask, be granted, read with proof, be revoked and be refused, verify the ledger from outside,\n" +
			"and print what happened.",
		Example: "  wattveil demo\n  wattveil demo --serve --dir demo-data\n  wattveil demo --households 40 --days 7 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := keepMemory(); err != nil {
				return err
			}
			if f.households < 1 || f.households > sample.Households || f.days < 1 || f.days > sample.LocalDays {
				return fmt.Errorf("--households must be 1 to %d and --days 1 to %d", sample.Households, sample.LocalDays)
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().BoolVar(&f.serve, "serve", false, "stay up afterwards and print the portal's address")
	cmd.Flags().StringVar(&f.dir, "dir", "", "keep the hub's data here (default: a temporary directory, removed at the end)")
	cmd.Flags().StringVar(&f.store, "store", "", "sqlite:PATH or postgres:// URL of an empty database (default: SQLite in the directory)")
	cmd.Flags().IntVar(&f.households, "households", sample.Households, "how many of the bundled households")
	cmd.Flags().IntVar(&f.days, "days", sample.LocalDays, "how many of their days")
	return cmd
}

func (f *demoFlags) run(cmd *cobra.Command) (err error) {
	if f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "wattveil-demo-"); err != nil {
			return fmt.Errorf("making demo directory: %w", err)
		}
		defer os.RemoveAll(f.dir)
	} else if err := emptyDir(f.dir); err != nil {
		return err
	}
	say := func(format string, a ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", a...) }
	if asJSON(cmd) {
		say = func(string, ...any) {}
	}
	log, err := logger(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	rig, err := startRig(ctx, rigConfig{Dir: f.dir, Store: f.store, Start: demoStart, Log: log})
	if err != nil {
		return err
	}
	defer rig.stop()
	say("A hub runs on this machine: store %s, keys in a local keyring, ledger %q.", rig.storeName, rig.origin)

	d := &demo{stage: rig, catalogue: rig.catalogue, cmd: cmd, flags: f, say: say}
	d.report = demoReport{Refused: map[string]uint64{}, Releases: []demoRelease{}, Store: rig.storeName, KeyService: "local keyring"}
	if err := d.play(ctx); err != nil {
		return err
	}
	if asJSON(cmd) {
		if err := printJSON(cmd, d.report); err != nil {
			return err
		}
	} else {
		d.report.print(cmd.OutOrStdout())
	}
	if f.serve {
		if err := d.stay(ctx); err != nil {
			return err
		}
	} else {
		say("\nWhere to look next: `wattveil demo --serve` keeps the hub up with a household's page;\n" +
			"docs/DATAFLOW.md follows a reading through the house; docs/PRIVACY.md says what the noise promises.")
	}
	if !d.report.Ledger.Verified || d.report.Reads.RefusedAfterRevoke != 1 {
		return errNo
	}
	return nil
}

// play plays the story from its beginning to its end.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.load, d.register, d.ingest, d.collect, d.consent, d.complete, d.verify} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// emptyDir makes dir, or makes sure that nothing of an earlier run is in it.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making demo directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading demo directory: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("--dir %s is not empty: the demo starts a new hub", filepath.Base(dir))
	}
	return nil
}

// print tells a person what happened.
func (r *demoReport) print(w io.Writer) {
	p := func(format string, a ...any) { fmt.Fprintf(w, format+"\n", a...) }
	p("\nWhat happened")
	p("  %d readings of %d real homes were sent in %.1f s; %d are sealed and stored.", r.ReadingsSent, r.Households, r.SecondsIngest, r.ReadingsAcked)
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		p("  %d were refused, each by name: %s.", r.Refused[reason], reason)
	}
	p("  %d days were closed; their window keys are destroyed. %d noised curves are public.", r.Days, len(r.Releases))
	type row struct{ product, kind string }
	rows := map[row][]float64{}
	for _, x := range r.Releases {
		kind, _, _ := strings.Cut(x.Node, "-")
		if x.RMSEPercent != nil {
			rows[row{x.Product, kind}] = append(rows[row{x.Product, kind}], *x.RMSEPercent)
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(rows), func(a, b row) int { return cmp.Or(cmp.Compare(a.product, b.product), -cmp.Compare(a.kind, b.kind)) }) {
		v := rows[at]
		slices.Sort(v)
		p("    %-14s %-10s median error %7.0f %% of the mean load, over %d curves", at.product, at.kind, v[len(v)/2], len(v))
	}
	if len(r.Releases) > 0 {
		p("    So few homes hide in the noise, as they must: the same catalogue is off by a few percent for 100,000 (wattveil privacy plan).")
	}
	p("  A third party asked, was granted, read with proof (%d), was revoked, and was then refused (%d): all of it is in the ledger.", r.Reads.Granted, r.Reads.RefusedAfterRevoke)
	if r.Ledger.Verified {
		p("  The ledger of %d records was verified from outside, from its public tiles alone: root %s.", r.Ledger.Size, r.Ledger.Root)
	} else {
		p("  THE LEDGER DID NOT VERIFY.")
	}
}
