package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// auditVerdict is what verify audit prints with --json.
type auditVerdict struct {
	verdict
	Opened   uint64                       `json:"opened"`
	Erased   uint64                       `json:"erased"`
	Kinds    map[ledger.Kind]uint64       `json:"kinds"`
	Own      uint64                       `json:"own"`
	Accesses map[string]map[string]uint64 `json:"accesses"` // by recipient and purpose
	Refusals map[string]uint64            `json:"refusals"` // by reason
	RhoNano  map[int]uint64               `json:"rho_nano"` // by year; what touches two years counts in both
	Map      uint64                       `json:"map_entries"`
	Findings []auditFinding               `json:"findings"`
	More     uint64                       `json:"more_findings,omitempty"`

	MaxDayRhoNano uint64 `json:"max_day_rho_nano"`  // the most that a UTC day was charged
	MaxDay        string `json:"max_day,omitempty"` // that day, the earliest of equals; absent if none was charged
}

type auditFinding struct {
	Index *uint64          `json:"index"` // null if what is wrong is no record
	Code  ledger.AuditCode `json:"code"`
	What  string           `json:"what"`
}

func verifyAuditCommand() *cobra.Command {
	var from logFlags
	var hub hubFlags
	var keyFiles []string
	var yearlyCap, dailyCap uint64
	cmd := &cobra.Command{
		Use:   "audit --key KEY --hub ADDR --envelope-key FILE… (--url URL | --dir DIR)",
		Short: "Check a whole ledger as a regulator: every record opened, every rule held",
		Long: "Complete mode: open every record with the regulator's own envelope keys, which never leave this machine, and check that\n" +
			"none is missing, that no read lies outside the consent that stood at that record, that budgets add up, and that the map\n" +
			"of households is what the records say. Exit code 1 and every finding by record and code if not.\n\n" +
			"Case mode needs no key: `wattveil verify proof --receipt FILE` checks one record that the hub has opened, offline, as a\n" +
			"court would.",
		Example: "  wattveil verify audit --key hub.vkey --hub hub.example:7443 --cert regulator.pem --client-key regulator.key --ca ca.pem \\\n" +
			"    --envelope-key 2026-03.envelope-key --url https://hub.example --cap-nano 1000000000",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
			keys, err := readEnvelopeKeys(keyFiles)
			if err != nil {
				return err
			}
			conn, err := hub.dial(cmd)
			if err != nil {
				return err
			}
			defer conn.Close()
			bar := newProgress(cmd, -1, "records checked")
			var done uint64
			opt := ledger.AuditOptions{YearlyCapNano: yearlyCap, DailyCapNano: dailyCap}
			opt.Verify.Progress = func(n, _ uint64) {
				bar.add(int(n - done))
				done = n
			}
			report, err := ledger.AuditLog(cmd.Context(), v, src, auditSource{wattveilv1.NewAuditServiceClient(conn)}, keys, opt)
			bar.finish()
			if err != nil {
				return err
			}
			return deliverAudit(cmd, report)
		},
	}
	from.add(cmd)
	hub.add(cmd, "the regulator's", "client-key")
	cmd.Flags().StringArrayVar(&keyFiles, "envelope-key", nil, "file with a private envelope key, as `wattveil regulator key` makes it; may be repeated")
	cmd.Flags().Uint64Var(&yearlyCap, "cap-nano", 0, "most that the releases of a calendar year may cost, in 1e-9 rho; 0 checks no bound")
	cmd.Flags().Uint64Var(&dailyCap, "day-cap-nano", 0, "most that a UTC day may be charged by all releases that touch it, in 1e-9 rho; 0 checks no bound")
	if err := cmd.MarkFlagRequired("envelope-key"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

func deliverAudit(cmd *cobra.Command, r ledger.AuditReport) error {
	out := auditVerdict{
		verdict: verdict{OK: len(r.Findings) == 0, Size: r.Log.Size, Root: hex.EncodeToString(r.Log.Root[:])},
		Opened:  r.Opened, Erased: r.Erased, Kinds: r.Kinds, Own: r.Own, Accesses: r.Accesses, Refusals: r.Refusals, RhoNano: r.RhoNano,
		Map: r.MapSize, Findings: []auditFinding{}, More: r.More, MaxDayRhoNano: r.MaxDayRhoNano,
	}
	if r.MaxDayRhoNano > 0 {
		out.MaxDay = meter.Day(r.MaxDay).String()
	}
	for _, f := range r.Findings {
		found := auditFinding{Code: f.Code, What: f.What}
		if f.Index != ledger.NoIndex {
			found.Index = &f.Index
		}
		if out.Index == nil && out.What == "" {
			out.Index, out.What = found.Index, string(f.Code)+": "+f.What
		}
		out.Findings = append(out.Findings, found)
	}
	if asJSON(cmd) {
		if err := printJSON(cmd, out); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(cmd.OutOrStdout(), auditWords(r))
	}
	if !out.OK {
		return errNo
	}
	return nil
}

// auditWords says what was found, to a person.
func auditWords(r ledger.AuditReport) string {
	var b strings.Builder
	if len(r.Findings) == 0 {
		fmt.Fprintf(&b, "verified: %d records, %d of them opened, %d erased; root %s", r.Log.Size, r.Opened, r.Erased, hex.EncodeToString(r.Log.Root[:]))
	} else {
		fmt.Fprintf(&b, "NOT VERIFIED: %d findings", uint64(len(r.Findings))+r.More)
		for _, f := range r.Findings {
			where := "the ledger"
			if f.Index != ledger.NoIndex {
				where = fmt.Sprintf("record %d", f.Index)
			}
			fmt.Fprintf(&b, "\n  %s: %s: %s", where, f.Code, f.What)
		}
	}
	for _, recipient := range slices.Sorted(maps.Keys(r.Accesses)) {
		for _, purpose := range slices.Sorted(maps.Keys(r.Accesses[recipient])) {
			fmt.Fprintf(&b, "\n  %s read %d times for %s", recipient, r.Accesses[recipient][purpose], purpose)
		}
	}
	for _, year := range slices.Sorted(maps.Keys(r.RhoNano)) {
		fmt.Fprintf(&b, "\n  releases of days of %d cost %d nano-rho, those included that nobody saw", year, r.RhoNano[year])
	}
	if r.MaxDayRhoNano > 0 {
		fmt.Fprintf(&b, "\n  no day was charged more than %s: %d nano-rho", meter.Day(r.MaxDay), r.MaxDayRhoNano)
	}
	fmt.Fprintf(&b, "\n  households' own readings: %d; entries of the map: %d", r.Own, r.MapSize)
	return b.String()
}

// auditSource reads from a hub what it shows a regulator.
type auditSource struct {
	client wattveilv1.AuditServiceClient
}

func (s auditSource) Map(ctx context.Context) (uint64, []ledger.MapEntry, error) {
	stream, err := s.client.ListMap(ctx, &wattveilv1.ListMapRequest{})
	if err != nil {
		return 0, nil, err
	}
	var head uint64
	var entries []ledger.MapEntry
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return head, entries, nil
		}
		if err != nil {
			return 0, nil, err
		}
		if len(part.GetKeys()) != len(part.GetValues()) || len(entries) > 0 && part.GetMapHead() != head {
			return 0, nil, errors.New("the hub's map is torn")
		}
		head = part.GetMapHead()
		for i, k := range part.GetKeys() {
			v := part.GetValues()[i]
			if len(k) != len(ledger.Hash{}) || len(v) != len(ledger.Hash{}) {
				return 0, nil, errors.New("the hub's map holds what is no hash")
			}
			entries = append(entries, ledger.MapEntry{Key: ledger.Hash(k), Value: ledger.Hash(v)})
		}
	}
}

func (s auditSource) Records(ctx context.Context) iter.Seq2[ledger.AuditRecord, error] {
	return func(yield func(ledger.AuditRecord, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := s.client.ListRecords(ctx, &wattveilv1.ListRecordsRequest{})
		if err != nil {
			yield(ledger.AuditRecord{}, err)
			return
		}
		for {
			part, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(ledger.AuditRecord{}, err)
				return
			}
			heads := make([]ledger.EnvelopeHead, 0, len(part.GetHeads()))
			for _, h := range part.GetHeads() {
				if len(h.GetKeyId()) == len(ledger.Hash{}) {
					heads = append(heads, ledger.EnvelopeHead{FirstIndex: h.GetFirstIndex(), KeyID: ledger.Hash(h.GetKeyId()), Sealed: h.GetSealed()})
				}
			}
			for _, r := range part.GetRecords() {
				rec := ledger.AuditRecord{Heads: heads, Index: r.GetIndex(), Envelope: r.GetEnvelope(), Payload: r.GetPayload()}
				heads = nil // taken in once
				if len(r.GetNonce()) == len(rec.Nonce) {
					rec.Nonce = ledger.Hash(r.GetNonce())
				}
				if len(r.GetMapKey()) == len(rec.MapKey) {
					rec.MapKey = ledger.Hash(r.GetMapKey())
				}
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
}

// readEnvelopeKeys reads private envelope keys.
func readEnvelopeKeys(files []string) ([]ledger.EnvelopePrivateKey, error) {
	var keys []ledger.EnvelopePrivateKey
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading envelope key: %w", err)
		}
		seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("reading envelope key: %w", ledger.ErrEnvelopeKey)
		}
		key, err := ledger.ParseEnvelopePrivateKey(seed)
		if err != nil {
			return nil, fmt.Errorf("reading envelope key: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
