package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/dp"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
)

// releaseVerdict is what verify release prints with --json. What a release that does
// not hold says of itself is not repeated.
type releaseVerdict struct {
	verdict
	ID         string   `json:"id,omitempty"`
	Version    int      `json:"version,omitempty"`
	Days       []string `json:"days,omitempty"`
	RhoNano    uint64   `json:"rho_nano,omitempty"`
	DayRhoNano uint64   `json:"day_rho_nano,omitempty"`
	Nodes      int      `json:"nodes,omitempty"`
	Charge     *uint64  `json:"charge_index,omitempty"` // absent if the release is from before charges were recorded
	Estimates  bool     `json:"estimates_checked"`      // made anew and compared; no longer possible for versions 1 and 2
	Catalogue  bool     `json:"catalogue_checked"`
}

// releaseFlags say where a release is, and what it is held against.
type releaseFlags struct {
	from            logFlags
	file, id        string
	budget, catalog string
}

func verifyReleaseCommand() *cobra.Command {
	var f releaseFlags
	cmd := &cobra.Command{
		Use:   "release --key KEY (--release FILE | --id ID) (--url URL | --dir DIR --budget FILE) [--catalogue FILE]",
		Short: "Check a published total: signed, on record, paid for, and true of its own numbers",
		Long: "Check a release as anybody can: that it is signed; that its record in the ledger is of this text, these days and this\n" +
			"price; that budget was charged for it, on record, before; and that its noise, its price and its estimates are what\n" +
			"follows from its own raw integers and catalogue entry. FILE is what GET /v1/releases/ID answers, and of --budget what\n" +
			"GET /v1/budget?year=YEAR answers for the year of the release's first day: with both and --dir nothing is asked of a hub.\n" +
			"With --catalogue the entry must be one of that file's. Whether the raw integers are sums of readings nobody can see.",
		Example: "  wattveil verify release --key hub.vkey --id weekday-curve/2026-03 --url https://hub.example --catalogue catalogue.yaml\n" +
			"  wattveil verify release --key hub.vkey --release march.json --budget 2026.json --dir mirror/",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.verify(cmd) },
	}
	f.from.add(cmd)
	cmd.Flags().StringVar(&f.file, "release", "", "file with the release, JSON")
	cmd.Flags().StringVar(&f.id, "id", "", "name of the release, such as day-curve/2026-03-01, to be fetched from --url")
	cmd.Flags().StringVar(&f.budget, "budget", "", "file with the charges of the year of the release's first day, JSON (default: asked of --url)")
	cmd.Flags().StringVar(&f.catalog, "catalogue", "", "file of the catalogue that the release must be of, YAML")
	cmd.MarkFlagsOneRequired("release", "id")
	cmd.MarkFlagsMutuallyExclusive("release", "id")
	cmd.MarkFlagsMutuallyExclusive("id", "dir")
	return cmd
}

func (f *releaseFlags) verify(cmd *cobra.Command) error {
	v, err := verifierOf(cmd)
	if err != nil {
		return err
	}
	src, err := f.from.source()
	if err != nil {
		return err
	}
	if src == nil {
		return errors.New("say where the ledger is: --url or --dir")
	}
	if f.from.url == "" && f.budget == "" {
		return errors.New("say where the year's charges are: --budget, or --url of a hub")
	}
	var catalogue *release.Catalogue
	if f.catalog != "" {
		c, err := server.LoadCatalogue(f.catalog)
		if err != nil {
			return err
		}
		catalogue = &c
	}
	var got wattveilv1.GetReleaseResponse
	if err := f.read(cmd.Context(), f.file, "/v1/releases/"+(&url.URL{Path: f.id}).EscapedPath(), &got); err != nil {
		return fmt.Errorf("reading release: %w", err)
	}
	at := got.GetLeafIndex()
	no := func(wrong string) error {
		out := releaseVerdict{verdict: verdict{Index: &at, What: wrong}}
		return out.deliver(cmd, out.words())
	}
	r, wrong := readStated(&got, catalogue)
	switch {
	case wrong == "" && r.origin != v.Origin():
		wrong = "it is of the hub of another ledger"
	case wrong == "" && f.id != "" && r.id != f.id:
		wrong = "it is another release"
	}
	if wrong != "" {
		return no(wrong)
	}
	var budget wattveilv1.GetBudgetResponse
	if err := f.read(cmd.Context(), f.budget, "/v1/budget?year="+r.days[0][:len("2006")], &budget); err != nil {
		return fmt.Errorf("reading the year's charges: %w", err)
	}
	wanted := recordsOf(budget.GetCharges())
	wanted[at] = true
	leaves, log, err := leavesAt(cmd, v, src, wanted)
	if bad, ok := violated(err); ok {
		return releaseVerdict{verdict: bad}.deliver(cmd, bad.words())
	}
	if err != nil {
		return err
	}
	leaf, known := leaves[at]
	if !known {
		return no("the ledger does not have its record")
	}
	if wrong := r.differs(&got, leaf); wrong != "" {
		return no(wrong)
	}
	paid := r.payment(budget.GetCharges(), leaves, at)
	if paid.index == nil && !paid.excused(r, leaves, at) {
		if paid.at != nil {
			at = *paid.at
		}
		return no(paid.wrong)
	}
	out := releaseVerdict{
		verdict: verdict{OK: true, Size: log.Size, Root: hex.EncodeToString(log.Root[:]), Index: &at, Kind: string(ledger.KindRelease)},
		ID:      r.id, Version: r.version, Days: r.days, RhoNano: r.rho, DayRhoNano: r.dayRho, Nodes: r.nodes,
		Charge: paid.index, Estimates: r.checked, Catalogue: catalogue != nil,
	}
	return out.deliver(cmd, out.found())
}

// read reads a message from a file, or, where none is named, from the hub.
func (f *releaseFlags) read(ctx context.Context, file, path string, into proto.Message) error {
	if file == "" {
		hub := restClient{base: strings.TrimSuffix(f.from.url, "/")}
		return hub.call(ctx, "GET", path, nil, into)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(b, into); err != nil {
		return errors.New("not what the API answers, in JSON")
	}
	return nil
}

// statedRelease is what a release of any version says that its record says, too.
type statedRelease struct {
	version             int
	id, origin, product string
	days                []string // ascending, at least one
	rho, dayRho         uint64   // nano-rho
	nodes               int
	checked             bool // its estimates were made anew
}

// readStated reads a signed release of any version, or says what is wrong with it by
// itself, or with the catalogue that it should be of.
func readStated(got *wattveilv1.GetReleaseResponse, catalogue *release.Catalogue) (_ *statedRelease, wrong string) {
	key, text := ed25519.PublicKey(got.GetPublicKey()), []byte(got.GetBody())
	b, err := release.Verify(key, text, got.GetSignature())
	if errors.Is(err, release.ErrFormat) {
		if old, oldErr := release.VerifyLegacy(key, text, got.GetSignature()); oldErr == nil {
			return readLegacy(old, catalogue)
		}
	}
	if err == nil {
		err = b.Check()
	}
	if err != nil {
		return nil, strings.TrimPrefix(err.Error(), "release: ")
	}
	if catalogue != nil && !b.Of(*catalogue) {
		return nil, "its catalogue entry is none of the catalogue's"
	}
	return &statedRelease{
		version: b.Version, id: b.ID, origin: b.Origin, product: b.Product, days: b.Days,
		rho: b.Guarantee.RhoNano, dayRho: b.Guarantee.DayRhoNano, nodes: len(b.Nodes), checked: true,
	}, ""
}

func readLegacy(b release.LegacyBody, catalogue *release.Catalogue) (*statedRelease, string) {
	if _, err := meter.ParseDay(b.Day); err != nil || b.ID != b.Product+"/"+b.Day {
		return nil, "its name or day is none"
	}
	if catalogue != nil {
		return nil, fmt.Sprintf("a release of version %d names no catalogue entry", b.Version)
	}
	return &statedRelease{
		version: b.Version, id: b.ID, origin: b.Origin, product: b.Product, days: []string{b.Day},
		rho: b.Guarantee.RhoNano, dayRho: b.Guarantee.RhoNano, nodes: len(b.Nodes),
	}, ""
}

// differs says in what a release is not what its leaf commits to, or nothing.
func (r *statedRelease) differs(got *wattveilv1.GetReleaseResponse, leaf ledger.Leaf) string {
	p, wrong := opened(got.GetPayload(), got.GetNonce(), leaf, ledger.KindRelease)
	switch {
	case wrong != "":
	case p.Digest != sha256.Sum256([]byte(got.GetBody())):
		wrong = "the record is of another text"
	case p.Product != r.product || !slices.Equal(daysOf(p), r.days):
		wrong = "the record says another product or other days"
	case p.RhoNano != r.rho || p.DayCharge() != r.dayRho:
		wrong = "the record says another price"
	case uint64(p.Nodes) != uint64(r.nodes):
		wrong = "the record says another number of nodes"
	}
	return wrong
}

// payment is what was found of the charge that paid for a release: of its product and
// days, at its price, and on record before it.
type payment struct {
	index *uint64 // of its record; nil if there is none
	old   bool    // there is one from before charges were recorded
	wrong string  // why there is none
	at    *uint64 // record of the charge that is wrong; nil if it is none's
}

// payment looks among a year's charges, whose leaves are at hand. An attempt whose noise
// nobody saw was charged like the one that was published: the last before the release
// is its own, and one that is right is enough.
func (r *statedRelease) payment(charges []*wattveilv1.BudgetCharge, leaves map[uint64]ledger.Leaf, before uint64) payment {
	p := payment{wrong: "no budget was charged for it"}
	for _, c := range charges {
		if c.GetProduct() != r.product || !slices.Equal(c.GetDays(), r.days) {
			continue
		}
		index := c.GetLeafIndex()
		if index == 0 {
			p.old = true
			continue
		}
		wrong := r.unpaid(c, leaves, before)
		switch {
		case wrong == "" && (p.index == nil || *p.index < index):
			p.index = &index
		case wrong != "" && p.at == nil:
			p.wrong, p.at = "its charge: "+wrong, &index
		}
	}
	return p
}

// unpaid says why a charge for a release's product and days did not pay for it.
func (r *statedRelease) unpaid(c *wattveilv1.BudgetCharge, leaves map[uint64]ledger.Leaf, before uint64) string {
	leaf, known := leaves[c.GetLeafIndex()]
	if !known {
		return "the ledger does not have its record"
	}
	wrong := misstated(c, leaf)
	switch {
	case wrong != "":
	case c.GetNanoRho() != r.rho || c.GetDayNanoRho() != r.dayRho:
		wrong = "it is of another price"
	case c.GetLeafIndex() >= before:
		wrong = "it was recorded after the release"
	}
	return wrong
}

// excused reports whether a release needs no charge on record: it is of a version from
// before there were any, was charged all the same, and no charge of its year stands in
// the ledger before it.
func (p payment) excused(r *statedRelease, leaves map[uint64]ledger.Leaf, at uint64) bool {
	for index := range leaves {
		if index < at {
			return false
		}
	}
	return p.old && p.at == nil && r.version < 3
}

func (v releaseVerdict) deliver(cmd *cobra.Command, words string) error {
	if !asJSON(cmd) {
		return v.verdict.deliver(cmd, words)
	}
	if err := printJSON(cmd, v); err != nil {
		return err
	}
	if !v.OK {
		return errNo
	}
	return nil
}

// found says what was verified, to a person.
func (v releaseVerdict) found() string {
	var b strings.Builder
	fmt.Fprintf(&b, "verified: %s is record %d of a ledger of %d", v.ID, *v.Index, v.Size)
	if v.Charge != nil {
		fmt.Fprintf(&b, ", paid for by record %d", *v.Charge)
	} else {
		b.WriteString(", from before charges were recorded")
	}
	fmt.Fprintf(&b, "\n  %d nodes, ρ = %s for a household over %d days, %s for any one of them", v.Nodes, dp.Rho(v.RhoNano), len(v.Days), dp.Rho(v.DayRhoNano))
	if v.Estimates {
		b.WriteString("\n  prices, noise and estimates are what follows from its own numbers")
	}
	if v.Catalogue {
		b.WriteString("\n  its entry is one of the catalogue's")
	}
	return b.String()
}
