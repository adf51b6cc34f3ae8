package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// registryService implements RegistryService.
type registryService struct {
	wattveilv1.UnimplementedRegistryServiceServer
	store *store.Store
	keys  KeyService
	// rotations are of the keys that wrap what is stored.
	rotations []*rotation
	pairs     *pairRotation // of households' own
	codes     letterCodes
	eraser    *eraser
	clock     Clock
	random    io.Reader
}

// PutUtilities adds or renames utilities.
func (r *registryService) PutUtilities(ctx context.Context, req *wattveilv1.PutUtilitiesRequest) (*wattveilv1.PutUtilitiesResponse, error) {
	if len(req.GetUtilities()) > 1000 {
		return nil, tooMany("1,000 utilities")
	}
	us := make([]store.Utility, len(req.GetUtilities()))
	for i, u := range req.GetUtilities() {
		id, err := meter.ParseUtility(u.GetId())
		if err != nil {
			return nil, badName("utility")
		}
		if us[i] = (store.Utility{ID: id, Name: u.GetName()}); !shownName(us[i].Name) {
			return nil, badName("utility's shown")
		}
	}
	return &wattveilv1.PutUtilitiesResponse{}, r.store.PutUtilities(ctx, us)
}

// PutRecipients registers third parties.
func (r *registryService) PutRecipients(ctx context.Context, req *wattveilv1.PutRecipientsRequest) (*wattveilv1.PutRecipientsResponse, error) {
	if len(req.GetRecipients()) > 1000 {
		return nil, tooMany("1,000 recipients")
	}
	rs := make([]store.Recipient, len(req.GetRecipients()))
	for i, p := range req.GetRecipients() {
		if _, err := meter.ParseUtility(p.GetId()); err != nil {
			return nil, badName("recipient")
		}
		if rs[i] = (store.Recipient{ID: consent.Recipient(p.GetId()), Name: p.GetName()}); !shownName(rs[i].Name) {
			return nil, badName("recipient's shown")
		}
	}
	return &wattveilv1.PutRecipientsResponse{}, r.store.PutRecipients(ctx, rs)
}

// PutGridNodes adds nodes of the public tree, parents first. A node never
// moves: what was published of it would change its meaning.
func (r *registryService) PutGridNodes(ctx context.Context, req *wattveilv1.PutGridNodesRequest) (*wattveilv1.PutGridNodesResponse, error) {
	if len(req.GetNodes()) > 10_000 {
		return nil, tooMany("10,000 nodes")
	}
	ns := make([]store.GridNode, len(req.GetNodes()))
	for i, n := range req.GetNodes() {
		if _, err := meter.ParseUtility(n.GetId()); err != nil {
			return nil, badName("node")
		}
		if _, err := meter.ParseUtility(n.GetKind()); err != nil {
			return nil, badName("node's kind")
		}
		if (n.GetParent() == "") != (n.GetLevel() == 0) || n.GetLevel() > 15 {
			return nil, invalid("bad_tree", "a root has level 0 and no parent, every other node a parent one level above")
		}
		ns[i] = store.GridNode{ID: n.GetId(), Parent: n.GetParent(), Level: int(n.GetLevel()), Kind: n.GetKind()}
	}
	return &wattveilv1.PutGridNodesResponse{}, r.store.PutGridNodes(ctx, ns)
}

// ListGridNodes lists the public tree, parents first.
func (r *registryService) ListGridNodes(ctx context.Context, _ *wattveilv1.ListGridNodesRequest) (*wattveilv1.ListGridNodesResponse, error) {
	ns, err := r.store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListGridNodesResponse{Nodes: make([]*wattveilv1.GridNode, len(ns))}
	for i, n := range ns {
		resp.Nodes[i] = &wattveilv1.GridNode{Id: n.ID, Parent: n.Parent, Level: uint32(n.Level), Kind: n.Kind, UsagePoints: n.UsagePoints}
	}
	return resp, nil
}

// PutUsagePoints adds usage points, or changes their cap, zone and tariff group.
func (r *registryService) PutUsagePoints(ctx context.Context, req *wattveilv1.PutUsagePointsRequest) (*wattveilv1.PutUsagePointsResponse, error) {
	if len(req.GetPoints()) > 10_000 {
		return nil, tooMany("10,000 usage points")
	}
	ps := make([]store.UsagePoint, len(req.GetPoints()))
	for i, p := range req.GetPoints() {
		id, err := meter.ParseUsagePoint(p.GetId())
		if err != nil {
			return nil, badName("usage point")
		}
		utility, err := meter.ParseUtility(p.GetUtility())
		if err != nil {
			return nil, badName("utility")
		}
		if _, err := meter.ParseUtility(p.GetNode()); err != nil {
			return nil, badName("node")
		}
		zone := p.GetZone()
		if zone == "" {
			zone = "UTC"
		}
		if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
			return nil, invalid("bad_zone", "the zone is not an IANA name such as Europe/Zurich")
		}
		limit := p.GetCapWatts()
		if limit == 0 {
			limit = meter.DefaultCapWatts
		}
		if limit < 0 || limit > maxCapWatts {
			return nil, invalid("bad_cap", "the cap must lie between 1 W and 1 GW")
		}
		if !tariffName(p.GetTariff()) {
			return nil, badName("tariff group")
		}
		ps[i] = store.UsagePoint{ID: id, Utility: utility, Node: p.GetNode(), CapWatts: limit, Zone: zone, Tariff: p.GetTariff()}
	}
	return &wattveilv1.PutUsagePointsResponse{}, r.store.PutUsagePoints(ctx, ps)
}

// tariffName accepts what a catalogue can name as a tariff group, or "" for none: a
// group of another name could never be published.
func tariffName(s string) bool {
	_, err := meter.ParseUtility(s)
	return s == "" || err == nil && !strings.Contains(s, ":")
}

// maxCapWatts keeps the value of an interval of a day within 35 bits.
const maxCapWatts = 1_000_000_000

// CreateHouseholds makes key pairs, wraps the private halves, and stores
// everything of all the households in one transaction. The private halves exist
// in memory only between these two steps.
func (r *registryService) CreateHouseholds(ctx context.Context, req *wattveilv1.CreateHouseholdsRequest) (*wattveilv1.CreateHouseholdsResponse, error) {
	n := len(req.GetHouseholds())
	if n == 0 || n > 1000 {
		return nil, tooMany("1,000 households")
	}
	round, err := r.store.LastPairRound(ctx) // before any pair is made
	if err != nil {
		return nil, err
	}
	hs := make([]store.NewHousehold, n)
	items := make([]seal.Item, n)
	resp := &wattveilv1.CreateHouseholdsResponse{Households: make([]*wattveilv1.CreatedHousehold, n)}
	for i, in := range req.GetHouseholds() {
		if !inCalendar(in.GetFrom()) {
			return nil, errInstant
		}
		id, err := randomID(r.random)
		if err != nil {
			return nil, err
		}
		private, err := seal.NewPrivateKey(r.random)
		if err != nil {
			return nil, fmt.Errorf("making household key: %w", err)
		}
		code, hash, err := r.codes.draw(r.random)
		if err != nil {
			return nil, err
		}
		var subjectKey ledger.Hash
		if _, err := io.ReadFull(r.random, subjectKey[:]); err != nil {
			return nil, fmt.Errorf("drawing household secret: %w", err)
		}
		h := store.NewHousehold{
			ID: consent.Household(id), Generation: 1, PublicKey: private.Public().Bytes(), PairRound: round.Round, SubjectKey: subjectKey,
			CodeHash: hash, From: in.GetFrom(), CreatedAt: r.clock().Unix(),
		}
		for _, p := range in.GetUsagePoints() {
			u, err := meter.ParseUsagePoint(p)
			if err != nil {
				return nil, badName("usage point")
			}
			h.UsagePoints = append(h.UsagePoints, u)
		}
		if len(h.UsagePoints) == 0 || len(h.UsagePoints) > maxPoints {
			return nil, errPointCount
		}
		hs[i], items[i] = h, seal.Item{Context: []byte(id), Data: private.Seed()}
		resp.Households[i] = &wattveilv1.CreatedHousehold{Household: id, LetterCode: code}
	}
	defer func() {
		for i := range items {
			clear(items[i].Data)
		}
	}()
	err = r.storeHouseholds(ctx, hs, items)
	if errors.Is(err, store.ErrKeyRetired) { // rotated between the two steps: a version lasts for days
		err = r.storeHouseholds(ctx, hs, items)
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// storeHouseholds wraps households' private keys and stores the households.
func (r *registryService) storeHouseholds(ctx context.Context, hs []store.NewHousehold, keys []seal.Item) error {
	wrapped, err := r.keys.Wrap(ctx, keyguard.HouseholdKey, keys)
	if err != nil {
		return fmt.Errorf("wrapping household keys: %w", err)
	}
	for i := range hs {
		hs[i].WrappedPrivate = wrapped[i]
		if hs[i].KeyVersion, err = r.keys.VersionOf(wrapped[i]); err != nil {
			return fmt.Errorf("wrapping household keys: %w", err)
		}
	}
	return r.store.CreateHouseholds(ctx, hs)
}

// MoveOut ends a household's occupancies.
func (r *registryService) MoveOut(ctx context.Context, req *wattveilv1.MoveOutRequest) (*wattveilv1.MoveOutResponse, error) {
	if _, err := meter.ParseUtility(req.GetHousehold()); err != nil {
		return nil, badName("household")
	}
	if !inCalendar(req.GetAt()) {
		return nil, errInstant
	}
	return &wattveilv1.MoveOutResponse{}, r.store.MoveOut(ctx, consent.Household(req.GetHousehold()), req.GetAt())
}

// AddUsagePoints gives a household more usage points.
func (r *registryService) AddUsagePoints(ctx context.Context, req *wattveilv1.AddUsagePointsRequest) (*wattveilv1.AddUsagePointsResponse, error) {
	if _, err := meter.ParseUtility(req.GetHousehold()); err != nil {
		return nil, badName("household")
	}
	if !inCalendar(req.GetFrom()) {
		return nil, errInstant
	}
	more, err := points(req.GetUsagePoints())
	if err != nil {
		return nil, err
	}
	if len(more) == 0 || len(more) > maxPoints {
		return nil, errPointCount
	}
	return &wattveilv1.AddUsagePointsResponse{}, r.store.AddUsagePoints(ctx, consent.Household(req.GetHousehold()), more, req.GetFrom(), maxPoints)
}

// IssueLetterCode makes a new letter code for a household; what codes it had
// and did not use end in the same transaction.
func (r *registryService) IssueLetterCode(ctx context.Context, req *wattveilv1.IssueLetterCodeRequest) (*wattveilv1.IssueLetterCodeResponse, error) {
	if _, err := meter.ParseUtility(req.GetHousehold()); err != nil {
		return nil, badName("household")
	}
	code, hash, err := r.codes.draw(r.random)
	if err != nil {
		return nil, err
	}
	if err := r.store.ReplaceLetterCode(ctx, consent.Household(req.GetHousehold()), hash); err != nil {
		return nil, err
	}
	return &wattveilv1.IssueLetterCodeResponse{LetterCode: code}, nil
}

// maxPoints bounds the usage points of a household.
const maxPoints = 64

var errPointCount = invalid("bad_count", "a household has between 1 and 64 usage points")

func tooMany(limit string) error { return invalid("too_many", "at most "+limit+" a call") }

func badName(what string) error { return invalid("bad_name", "a "+what+" name is not well formed") }

// inCalendar accepts the instants that can be moved in and out at, agreed to and
// asked for: unix seconds of the years 1970 to 9999.
func inCalendar(t int64) bool { return t >= 0 && t <= 253402300799 }

var errInstant = invalid("bad_time", "a time is not in the years 1970 to 9999")

// shownName bounds the names that people see to what a page can show as it is:
// direction overrides and the like would let one name read as another.
func shownName(s string) bool {
	if s == "" || len(s) > 200 || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}
