package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/ledger/ledgertest"
	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// goldenDay is the day of the golden releases, whose price is goldenRho nano-rho.
const (
	goldenOrigin = "release.example/log"
	goldenDay    = meter.Day(17_840) // 2018-11-05
	goldenRho    = 800_000_000
)

// goldenRelease is the golden release of a version.
func goldenRelease(t *testing.T, version int) *wattveilv1.GetReleaseResponse {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("../../privacy/release/testdata/day-curve-v%d.json", version))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Key  []byte `json:"public_key"`
		Sign []byte `json:"signature"`
		Body string `json:"body"`
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	return &wattveilv1.GetReleaseResponse{Body: golden.Body, PublicKey: golden.Key, Signature: golden.Sign}
}

// paper is a ledger whose owner records what they like, in files.
type paper struct {
	t    *testing.T
	dir  string
	log  *ledgertest.Log[*ledgertest.Tx]
	year wattveilv1.GetBudgetResponse
}

func newPaper(t *testing.T) *paper {
	t.Helper()
	p := &paper{t: t, dir: t.TempDir(), log: ledgertest.Start(t, ledgertest.NewMemory(goldenOrigin))}
	p.record(ledger.Payload{Kind: ledger.KindAdmin, Detail: "first"}) // a charge is never record 0
	return p
}

func (p *paper) record(payload ledger.Payload) ledger.Receipt {
	p.t.Helper()
	name := fmt.Sprintf("%s/%x", payload.Kind, sha256.Sum256(fmt.Append(nil, payload, len(p.year.GetCharges()))))
	r, err := p.log.Propose(p.t.Context(), name, func(context.Context, *ledgertest.Tx, ledger.Position) (ledger.Payload, error) { return payload, nil })
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// charge records a charge and lists it.
func (p *paper) charge(payload ledger.Payload) {
	p.t.Helper()
	r := p.record(payload)
	p.year.Charges = append(p.year.Charges, &wattveilv1.BudgetCharge{
		Product: payload.Product, Days: daysOf(payload), NanoRho: payload.RhoNano, DayNanoRho: payload.DayCharge(),
		LeafIndex: r.Index, Payload: r.Payload, Nonce: r.Nonce[:],
	})
}

// publish records a release and returns it with what opens its record.
func (p *paper) publish(got *wattveilv1.GetReleaseResponse, payload ledger.Payload) *wattveilv1.GetReleaseResponse {
	p.t.Helper()
	r := p.record(payload)
	got.LeafIndex, got.Payload, got.Nonce = r.Index, r.Payload, r.Nonce[:]
	return got
}

// verify runs verify release over files alone.
func (p *paper) verify(got *wattveilv1.GetReleaseResponse, args ...string) (int, releaseVerdict) {
	p.t.Helper()
	if _, err := ledger.NewExporter(p.log.Store.(*ledgertest.Memory), filepath.Join(p.dir, "log")).Export(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	for name, m := range map[string]proto.Message{"release.json": got, "budget.json": &p.year} {
		b, err := protojson.Marshal(m)
		if err != nil {
			p.t.Fatal(err)
		}
		write(p.t, filepath.Join(p.dir, name), string(b))
	}
	in := func(name string) string { return filepath.Join(p.dir, name) }
	code, stdout, stderr := wattveil(p.t, append([]string{
		"verify", "--json", "release", "--key", p.log.VKey, "--release", in("release.json"), "--budget", in("budget.json"), "--dir", in("log"),
	}, args...)...)
	var v releaseVerdict
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		p.t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	return code, v
}

// A hub that holds every key records and charges what it likes, and is found out all the
// same: what it signed, what it recorded and what it charged must be one thing, in this
// order. It would catch a release recorded at half its price, or paid for afterwards.
func TestVerifyReleaseOfADishonestHub(t *testing.T) {
	const first, charge, published = 0, 1, 2 // records
	paid := func(change func(*ledger.Payload)) ledger.Payload {
		p := ledger.Payload{Kind: ledger.KindBudgetSpend, Product: "day-curve", Day: int32(goldenDay), RhoNano: goldenRho}
		change(&p)
		return p
	}
	recorded := func(got *wattveilv1.GetReleaseResponse, change func(*ledger.Payload)) ledger.Payload {
		p := ledger.Payload{Kind: ledger.KindRelease, Product: "day-curve", Day: int32(goldenDay), RhoNano: goldenRho, Nodes: 3, Digest: sha256.Sum256([]byte(got.GetBody()))}
		change(&p)
		return p
	}
	same := func(*ledger.Payload) {}
	for name, c := range map[string]struct {
		paid, recorded func(*ledger.Payload)
		says           string
		at             uint64
	}{
		"honest":                      {same, same, "", published},
		"recorded as another product": {same, func(p *ledger.Payload) { p.Product = "x" }, "another product or other days", published},
		"recorded for another day":    {same, func(p *ledger.Payload) { p.Day++ }, "another product or other days", published},
		"recorded for more days":      {same, func(p *ledger.Payload) { p.Days = 1 }, "another product or other days", published},
		"recorded at half the price":  {same, func(p *ledger.Payload) { p.RhoNano /= 2 }, "another price", published},
		"recorded with cheaper days":  {same, func(p *ledger.Payload) { p.DayRhoNano = 1 }, "another price", published},
		"recorded with fewer nodes":   {same, func(p *ledger.Payload) { p.Nodes-- }, "number of nodes", published},
		"recorded of another text":    {same, func(p *ledger.Payload) { p.Digest[0]++ }, "another text", published},
		"recorded as a charge":        {same, func(p *ledger.Payload) { p.Kind = ledger.KindBudgetSpend }, "no release", published},
		"charged at half the price":   {func(p *ledger.Payload) { p.RhoNano /= 2 }, same, "its charge: it is of another price", charge},
		"charged with cheaper days":   {func(p *ledger.Payload) { p.DayRhoNano = 1 }, same, "its charge: it is of another price", charge},
		"charged for another day":     {func(p *ledger.Payload) { p.Day-- }, same, "no budget was charged", published},
		"charged as another product":  {func(p *ledger.Payload) { p.Product = "x" }, same, "no budget was charged", published},
		"charged by a release":        {func(p *ledger.Payload) { p.Kind = ledger.KindRelease }, same, "its charge: the record is no budget.spend", charge},
	} {
		p := newPaper(t)
		got := goldenRelease(t, 3)
		p.charge(paid(c.paid))
		p.publish(got, recorded(got, c.recorded))
		code, v := p.verify(got)
		if v.OK != (c.says == "") || (code == 0) != v.OK || v.Index == nil || *v.Index != c.at || !strings.Contains(v.What, c.says) {
			t.Errorf("%s: exit code %d, %+v", name, code, v)
		}
	}

	p := newPaper(t)
	got := goldenRelease(t, 3)
	p.publish(got, recorded(got, same))
	p.charge(paid(same))
	if code, v := p.verify(got); code != 1 || *v.Index != p.year.GetCharges()[0].GetLeafIndex() || !strings.Contains(v.What, "after the release") {
		t.Errorf("paid for afterwards: exit code %d, %+v", code, v)
	}
	p.year.Charges[0].LeafIndex = first
	if code, v := p.verify(got); code != 1 || !strings.Contains(v.What, "no budget was charged") {
		t.Errorf("charged before charges were recorded, it says: exit code %d, %+v", code, v)
	}

	// Two attempts died, and the third was published: it is the last that paid for it.
	p = newPaper(t)
	got = goldenRelease(t, 3)
	for range 3 {
		p.charge(paid(same))
	}
	p.publish(got, recorded(got, same))
	if code, v := p.verify(got); code != 0 || *v.Charge != 3 {
		t.Errorf("the third attempt: exit code %d, %+v", code, v)
	}
	p.year.Charges[1].NanoRho-- // is nobody's to explain here: privacy budget finds it
	if code, v := p.verify(got); code != 0 || *v.Charge != 3 {
		t.Errorf("an attempt that is misstated: exit code %d, %+v", code, v)
	}
}

// Releases of earlier versions are verified still: signature, record, charge; and without
// a charge on record only as long as none had been made. It would catch an old number
// that nobody can check any more, and a new one that passes for old.
func TestVerifyLegacyRelease(t *testing.T) {
	for _, version := range []int{1, 2} {
		p := newPaper(t)
		got := goldenRelease(t, version)
		record := ledger.Payload{Kind: ledger.KindRelease, Product: "day-curve", Day: int32(goldenDay), RhoNano: goldenRho, Nodes: 3, Digest: sha256.Sum256([]byte(got.GetBody()))}
		p.publish(got, record)
		if code, v := p.verify(got); code != 1 || !strings.Contains(v.What, "no budget was charged") {
			t.Errorf("version %d that nobody paid for: exit code %d, %+v", version, code, v)
		}
		unrecorded := &wattveilv1.BudgetCharge{Product: "day-curve", Days: []string{goldenDay.String()}, NanoRho: goldenRho, DayNanoRho: goldenRho}
		p.year.Charges = append(p.year.Charges, unrecorded)
		code, v := p.verify(got)
		if code != 0 || v.Version != version || v.Charge != nil || v.Estimates || v.Nodes != 3 || v.RhoNano != goldenRho || *v.Index != got.GetLeafIndex() {
			t.Errorf("version %d from before charges: exit code %d, %+v", version, code, v)
		}
		if code, v := p.verify(got, "--catalogue", "../../docs/catalogue.example.yaml"); code != 1 || !strings.Contains(v.What, "names no catalogue entry") {
			t.Errorf("version %d of a catalogue: exit code %d, %+v", version, code, v)
		}
		p.charge(ledger.Payload{Kind: ledger.KindBudgetSpend, Product: "day-curve", Day: int32(goldenDay) - 1, RhoNano: goldenRho})
		p.publish(got, record)
		if code, v := p.verify(got); code != 1 || !strings.Contains(v.What, "no budget was charged") {
			t.Errorf("version %d, unpaid when charges were recorded: exit code %d, %+v", version, code, v)
		}
		p.charge(ledger.Payload{Kind: ledger.KindBudgetSpend, Product: "day-curve", Day: int32(goldenDay), RhoNano: goldenRho})
		p.publish(got, record)
		if code, v := p.verify(got); code != 0 || v.Charge == nil {
			t.Errorf("version %d, paid on record: exit code %d, %+v", version, code, v)
		}
	}
}
