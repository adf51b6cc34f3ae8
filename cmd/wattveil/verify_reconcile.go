package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/keys"
)

// reconcileVerdict is what verify reconcile prints with --json.
type reconcileVerdict struct {
	verdict
	Accesses uint64             `json:"accesses"` // records of reads, the households' own included
	Unopened uint64             `json:"unopened"` // of them, without an opening: nothing was stored, or the answer was lost before
	Openings uint64             `json:"openings"` // by the key service
	Erased   uint64             `json:"erased"`   // of them, for events that have been erased since: nobody can tell what they were
	Findings []reconcileFinding `json:"findings"`
	More     uint64             `json:"more_findings,omitempty"`
}

type reconcileFinding struct {
	Index *uint64 `json:"index"` // of the record that the opening names; null if it names none
	Line  int     `json:"line"`  // of the audit log; 0 for what is not in it
	Code  string  `json:"code"`
	What  string  `json:"what"`
}

// What a reconciliation may find. The words are stable.
const (
	openingUnmarked  = "opening_without_record"    // it names no record
	openingUnknown   = "opening_of_unknown_record" // it names one that the ledger does not have
	openingOfOther   = "opening_of_another_record" // it names one that is no read
	openingElsewhen  = "opening_at_another_time"   // it was not made when the record was
	openingErased    = "opening_of_erased_record"  // it was made after the record was erased
	openingOfKey     = "key_taken_out"             // the key service gave the key itself away
	openingNone      = "no_openings"               // the log holds none, and the ledger holds reads
	openingRepeated  = "opened_more_than_once"     // a third party's record is good for one
	openingInLedger  = "ledger_not_verified"       // the ledger itself does not hold: see verify audit
	reconcileMaximum = 1000                        // findings kept
)

// recordedAccess is a record of a read, as far as an opening must fit it.
type recordedAccess struct {
	at       time.Time
	own      bool // of a household's own readings: good for many, on its UTC day
	openings int
}

// reconciler holds a key service's openings against the records of a ledger.
type reconciler struct {
	within   time.Duration // most between record and opening; 0 checks no time
	size     uint64
	accesses map[uint64]*recordedAccess
	opened   map[uint64]bool            // records that open, reads or not
	erased   map[uint64]*recordedAccess // events that an erasure names, and when it was
	seen     map[string]bool            // Vault's ids of calls: log files may overlap
	out      reconcileVerdict
}

func verifyReconcileCommand() *cobra.Command {
	var from logFlags
	var hub hubFlags
	var keyFiles, logs []string
	var key string
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "reconcile --vault-audit FILE… --key KEY --hub ADDR --envelope-key FILE… (--url URL | --dir DIR)",
		Short: "Hold the key service's own log against the ledger",
		Long: "Check, as a regulator with a copy of Vault's audit log, that households' keys were opened for reads on record alone: every\n" +
			"decryption that the log holds names a record, the record is a read that the audited ledger holds, it was made at that time,\n" +
			"and a third party's record was good for one. The two logs are kept by different machines; who opens without a record has to\n" +
			"forge both. Whose key was opened Vault logs as a hash alone: within a household's own record of a day this check counts nothing.\n" +
			"Exit code 1 and every finding by line and record if not.",
		Example: "  wattveil verify reconcile --vault-audit audit.log --key hub.vkey --hub hub.example:7443 --cert regulator.pem \\\n" +
			"    --client-key regulator.key --ca ca.pem --envelope-key 2026-03.envelope-key --url https://hub.example",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if within < 0 {
				return errors.New("--within must not be negative")
			}
			v, err := verifierOf(cmd)
			if err != nil {
				return err
			}
			src, err := from.source()
			if err != nil {
				return err
			}
			if src == nil {
				return fmt.Errorf("say where the ledger's public files are: --url or --dir")
			}
			private, err := readEnvelopeKeys(keyFiles)
			if err != nil {
				return err
			}
			conn, err := hub.dial(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			r := &reconciler{within: within, accesses: map[uint64]*recordedAccess{}, opened: map[uint64]bool{}, erased: map[uint64]*recordedAccess{}, seen: map[string]bool{}}
			bar := newProgress(cmd, -1, "records checked")
			var done uint64
			opt := ledger.AuditOptions{Record: r.record}
			opt.Verify.Progress = func(n, _ uint64) {
				bar.add(int(n - done))
				done = n
			}
			report, err := ledger.AuditLog(cmd.Context(), v, src, auditSource{wattveilv1.NewAuditServiceClient(conn)}, private, opt)
			bar.finish()
			if err != nil {
				return err
			}
			r.size = report.Log.Size
			for _, f := range report.Findings {
				r.find(indexOf(f), 0, openingInLedger, fmt.Sprintf("%s: %s", f.Code, f.What))
			}
			for _, path := range logs {
				if err := r.read(path, key); err != nil {
					return err
				}
			}
			return r.deliver(cmd, report)
		},
	}
	from.add(cmd)
	hub.add(cmd, "the regulator's", "client-key")
	cmd.Flags().StringArrayVar(&keyFiles, "envelope-key", nil, "file with a private envelope key, as `wattveil regulator key` makes it; may be repeated")
	cmd.Flags().StringArrayVar(&logs, "vault-audit", nil, "file of Vault's audit log, JSON lines; may be repeated, oldest first")
	cmd.Flags().StringVar(&key, "vault-key", "wattveil-households", "name in Vault of the key that wraps households' keys")
	cmd.Flags().DurationVar(&within, "within", 10*time.Minute, "most between a third party's record and its opening, by two clocks; 0 checks no time")
	for _, name := range []string{"envelope-key", "vault-audit"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return cmd
}

func indexOf(f ledger.AuditFinding) *uint64 {
	if f.Index == ledger.NoIndex {
		return nil
	}
	return &f.Index
}

// record takes in what a record says.
func (r *reconciler) record(index uint64, p ledger.Payload) {
	r.opened[index] = true
	if p.Kind == ledger.KindAccess {
		r.accesses[index] = &recordedAccess{at: time.UnixMicro(p.Time), own: p.Recipient == ""}
	}
	for _, e := range p.Erased {
		r.erased[e.Index] = &recordedAccess{at: time.UnixMicro(p.Time), own: e.Recipient == ""}
	}
}

func (r *reconciler) read(path, key string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer f.Close()
	for d, err := range keys.ReadVaultAudit(f, key) {
		if err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		r.opening(d)
	}
	return nil
}

// opening holds one opening against the records.
func (r *reconciler) opening(d keys.Decryption) {
	if d.Request != "" && r.seen[d.Request] {
		return
	}
	r.seen[d.Request] = true
	if d.Key {
		r.find(nil, d.Line, openingOfKey, "the key service gave away the key itself, for export or backup: what it opens from then on is in no log")
		return
	}
	r.out.Openings++
	if !d.Marked {
		r.find(nil, d.Line, openingUnmarked, "a household's key was opened for no record")
		return
	}
	a, isAccess := r.accesses[d.Index]
	gone, isErased := r.erased[d.Index]
	switch {
	case d.Index >= r.size:
		r.find(&d.Index, d.Line, openingUnknown, "a household's key was opened for a record that the ledger does not have")
	case isAccess:
		r.ofAccess(a, d)
	case isErased && !r.opened[d.Index]:
		r.out.Erased++
		gone.openings++
		if r.within > 0 && d.Time.After(gone.at.Add(r.within)) {
			r.find(&d.Index, d.Line, openingErased, "a household's key was opened for a record that had been erased")
		}
		r.once(gone, d)
	default:
		r.find(&d.Index, d.Line, openingOfOther, "a household's key was opened for a record that is no read")
	}
}

// ofAccess holds an opening against the record of a read.
func (r *reconciler) ofAccess(a *recordedAccess, d keys.Decryption) {
	a.openings++
	late := d.Time.Sub(a.at)
	sameDay := meter.DayOf(d.Time.Unix()) == meter.DayOf(a.at.Unix())
	switch {
	case r.within == 0, -clockSkew <= late && late <= r.within, a.own && sameDay && late >= -clockSkew:
	default:
		r.find(&d.Index, d.Line, openingElsewhen, fmt.Sprintf("a household's key was opened %s after its record", late.Round(time.Second)))
	}
	r.once(a, d)
}

// once finds the second opening for a third party's record.
func (r *reconciler) once(a *recordedAccess, d keys.Decryption) {
	if a.openings == 2 && !a.own {
		r.find(&d.Index, d.Line, openingRepeated, "a household's key was opened again for a third party's read, which is good for one")
	}
}

// clockSkew is how far the key service's clock may be behind the hub's: the record comes
// before the opening.
const clockSkew = time.Minute

func (r *reconciler) find(index *uint64, line int, code, what string) {
	if len(r.out.Findings) == reconcileMaximum {
		r.out.More++
		return
	}
	r.out.Findings = append(r.out.Findings, reconcileFinding{index, line, code, what})
}

func (r *reconciler) deliver(cmd *cobra.Command, report ledger.AuditReport) error {
	for _, a := range r.accesses {
		r.out.Accesses++
		if a.openings == 0 {
			r.out.Unopened++
		}
	}
	if r.out.Openings == 0 && r.out.Accesses > 0 {
		r.find(nil, 0, openingNone, "the audit log holds no opening under that key, and the ledger holds reads: is it the right key, and the whole log?")
	}
	r.out.OK, r.out.Size, r.out.Root = len(r.out.Findings) == 0, report.Log.Size, fmt.Sprintf("%x", report.Log.Root)
	if !r.out.OK {
		r.out.Index, r.out.What = r.out.Findings[0].Index, r.out.Findings[0].Code+": "+r.out.Findings[0].What
	} else {
		r.out.Findings = []reconcileFinding{}
	}
	if asJSON(cmd) {
		if err := printJSON(cmd, r.out); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintln(cmd.OutOrStdout(), r.words()); err != nil {
		return err
	}
	if !r.out.OK {
		return errNo
	}
	return nil
}

// words says what was found, to a person.
func (r *reconciler) words() string {
	var b strings.Builder
	if r.out.OK {
		fmt.Fprintf(&b, "reconciled: %d openings of households' keys, each for a read on record; %d reads, of which %d opened nothing; root %s",
			r.out.Openings, r.out.Accesses, r.out.Unopened, r.out.Root)
	} else {
		fmt.Fprintf(&b, "NOT RECONCILED: %d findings", uint64(len(r.out.Findings))+r.out.More)
	}
	for _, f := range r.out.Findings {
		where := "the ledger"
		if f.Line > 0 {
			where = fmt.Sprintf("line %d", f.Line)
		}
		if f.Index != nil {
			where += fmt.Sprintf(", record %d", *f.Index)
		}
		fmt.Fprintf(&b, "\n  %s: %s: %s", where, f.Code, f.What)
	}
	if r.out.Erased > 0 {
		fmt.Fprintf(&b, "\n  %d openings are for events that were erased since", r.out.Erased)
	}
	return b.String()
}
