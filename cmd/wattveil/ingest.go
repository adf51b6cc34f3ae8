package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// ingestReport is what ingest prints.
type ingestReport struct {
	Sent       uint64            `json:"readings_sent"`
	Acked      uint64            `json:"readings_acked"`
	Refused    map[string]uint64 `json:"refused"`
	Batches    int               `json:"batches"`
	Duplicates int               `json:"batches_repeated"`
	Seconds    float64           `json:"seconds"`
	Run        string            `json:"run"`
}

// patience is how long ingest waits for a hub that is away.
const patience = 10 * time.Minute

func ingestCommand() *cobra.Command {
	var f normFlags
	var to hubFlags
	var runID, refusals string
	cmd := &cobra.Command{
		Use:   "ingest --hub ADDR --norm NAME FILE…",
		Short: "Stream files of a norm to a hub",
		Long: "Stream files of a norm to a hub over mutual TLS and wait until every batch is acknowledged: sealed and durable.\n" +
			"While the hub is away for a while, it waits and sends again. A run that was interrupted goes on with --run and the\n" +
			"name that was printed: what the hub has is acknowledged again and stored once. \"-\" reads standard input.",
		Example: "  wattveil ingest --hub hub.example:7443 --norm profile --zone Europe/Zurich \\\n" +
			"    --cert utility.pem --key utility.key --ca ca.pem homes.csv.gz",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := keepMemory(); err != nil {
				return err
			}
			if _, err := f.options(); err != nil {
				return err
			}
			conn, err := to.dial(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			if runID == "" {
				// Said now: one that is killed can say nothing later.
				runID = rand.Text()
				fmt.Fprintf(cmd.ErrOrStderr(), "if this is interrupted, go on with --run %s\n", runID)
			}
			var list io.WriteCloser
			if refusals != "" {
				if list, err = os.OpenFile(refusals, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
					return err
				}
			}
			report := ingestReport{Refused: map[string]uint64{}, Run: runID}
			bar := newProgress(cmd, -1, "readings acknowledged")
			var failed, unlisted error
			s := &submitter{
				client: wattveilv1.NewMeterServiceClient(conn), prefix: runID, window: 8, patience: patience,
				answered: func(r *wattveilv1.SubmitResponse) {
					report.add(r)
					bar.add(int(r.GetAccepted()) + len(r.GetRefusals()))
					if r.GetErrorReason() != "" && failed == nil {
						failed = fmt.Errorf("a batch was refused whole: %s", r.GetErrorReason())
					}
					if list != nil {
						unlisted = errors.Join(unlisted, listRefusals(list, r.GetRefusals()))
					}
				},
				waiting: func(error) {
					fmt.Fprintf(cmd.ErrOrStderr(), "the hub does not answer: trying again for %s\n", patience)
				},
			}
			began := time.Now()
			err = s.run(cmd.Context(), pull(func(yield func(meter.Series) error) error {
				return f.each(cmd.InOrStdin(), files, func(_ string, s meter.Series) error { return yield(s) })
			}, func(readings int) { report.Sent += uint64(readings) }))
			bar.finish()
			report.Seconds = time.Since(began).Seconds()
			if list != nil {
				unlisted = errors.Join(unlisted, list.Close())
			}
			if perr := report.deliver(cmd); perr != nil {
				return perr
			}
			switch {
			case s.input != nil:
				return fmt.Errorf("%w (what was read before it is stored; with the whole file, go on: --run %s)", err, runID)
			case err != nil || failed != nil:
				return fmt.Errorf("%w (to go on: --run %s)", errors.Join(err, failed), runID)
			case unlisted != nil:
				return fmt.Errorf("listing refusals: %w", unlisted)
			case len(report.Refused) > 0:
				return errNo
			}
			return nil
		},
	}
	f.add(cmd)
	to.add(cmd, "the utility's", "key")
	cmd.Flags().StringVar(&runID, "run", "", "go on with an interrupted run")
	cmd.Flags().StringVar(&refusals, "refusals", "", "append every refused interval to this file: usage point, register, start, reason")
	return cmd
}

func (r *ingestReport) add(a *wattveilv1.SubmitResponse) {
	r.Batches++
	if a.GetDuplicate() {
		r.Duplicates++
	}
	r.Acked += a.GetAccepted()
	for _, x := range a.GetRefusals() {
		r.Refused[x.GetReason()]++
	}
}

// listRefusals writes one line an interval: usage point, register, start, reason.
func listRefusals(w io.Writer, refusals []*wattveilv1.Refusal) error {
	for _, x := range refusals {
		if _, err := fmt.Fprintf(w, "%s,%s,%s,%s\n", x.GetUsagePoint(), x.GetRegister(), time.Unix(x.GetStart(), 0).UTC().Format(time.RFC3339), x.GetReason()); err != nil {
			return err
		}
	}
	return nil
}

// deliver prints the report: of a run that failed, too, since what it says is
// acknowledged is stored.
func (r *ingestReport) deliver(cmd *cobra.Command) error {
	if asJSON(cmd) {
		return printJSON(cmd, r)
	}
	return r.print(cmd.OutOrStdout())
}

func (r *ingestReport) print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d readings sent, %d acknowledged in %.1f s (%d batches, %d repeated)\n", r.Sent, r.Acked, r.Seconds, r.Batches, r.Duplicates)
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		if err == nil {
			_, err = fmt.Fprintf(w, "refused: %s %d\n", reason, r.Refused[reason])
		}
	}
	return err
}

func clientTLS(cert, key, ca string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("loading certificate: %w", err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("reading certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca holds no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

// pull turns a source that pushes series into the batches that a submitter
// pulls; taken is told how many readings each batch holds when it is pulled.
func pull(push func(yield func(meter.Series) error) error, taken func(readings int)) source {
	type item struct {
		series   []*wattveilv1.Series
		readings int
		err      error
	}
	out := make(chan item, 2)
	go func() {
		defer close(out)
		var b batcher
		readings := 0
		hand := func() {
			out <- item{series: b.take(), readings: readings}
			readings = 0
		}
		err := push(func(s meter.Series) error {
			if b.full(len(s.Values)) {
				hand()
			}
			b.add(s)
			readings += s.Present()
			return nil
		})
		if len(b.series) > 0 { // also of a file that breaks off: what could be read is sent
			hand()
		}
		if err != nil {
			out <- item{err: err}
		}
	}()
	return func(ctx context.Context) ([]*wattveilv1.Series, error) {
		select {
		case i, ok := <-out:
			if !ok {
				return nil, io.EOF
			}
			taken(i.readings)
			return i.series, i.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// progress is a progress bar on a terminal, and nothing elsewhere.
type progress struct{ bar *progressbar.ProgressBar }

func newProgress(cmd *cobra.Command, most int64, what string) progress {
	if asJSON(cmd) || !terminal(cmd.ErrOrStderr()) {
		return progress{}
	}
	return progress{progressbar.NewOptions64(most, progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionClearOnFinish())}
}

func (p progress) add(n int) {
	if p.bar != nil {
		_ = p.bar.Add(n)
	}
}

func (p progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
