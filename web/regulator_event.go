package web

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/ledger"
)

// regulatorEventPage answers: what does this entry record, and is it proved?
type regulatorEventPage struct {
	Entry, Number string
	File          string // name of the proof when it is saved
	Fits          bool
	Contradicts   bool
	Size, Root    string // of the checkpoint that the proof leads to
	What          string // "" if the payload cannot be read
	Facts         []fact
	Hashes        []fact
	Erased        []erased
	Proof         string
	Payload       string // hex, in groups of four
	Nonce         string
}

// fact is one thing that a payload says.
type fact struct{ Name, Value string }

// erased names an entry that an erasure closed, and its place in its recipient's
// chain.
type erased struct{ Number, Recipient, Sequence string }

func (p *portal) regulatorEvent(ctx context.Context, r *http.Request) (answer, error) {
	index, receipt, err := p.receipt(ctx, r)
	if status.Code(err) == codes.NotFound {
		return nil, errNoEntry
	}
	if err != nil {
		return nil, err
	}
	proved, outcome := p.check(ctx, index, receipt)
	page := regulatorEventPage{
		Fits: outcome == fits, Contradicts: outcome == contradicts,
		Proof: receipt.GetProof(), Payload: groups(receipt.GetPayload()), Nonce: groups(receipt.GetNonce()),
	}
	page.Entry, page.Number = entryName(index)
	page.File = proofName(page.Entry)
	if page.Fits {
		page.Size, page.Root = many(proved.Size, "entry", "entries"), hex.EncodeToString(proved.Root[:])
	}
	if said := proved.Payload; said.Kind != "" {
		page.What = outcomeOf(said.Kind, said.Purpose)
		page.Facts, page.Hashes, page.Erased = factsOf(said), hashesOf(said), erasedBy(said)
	}
	return show("regulator_event", "Entry "+page.Number, "regulator", page), nil
}

// factsOf lists what a payload says, field by field, and nothing that it leaves
// out. Times are in UTC; ends of ranges are exclusive, as in the payload.
func factsOf(l ledger.Payload) []fact {
	var facts []fact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, fact{name, value})
		}
	}
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return count(n)
	}
	add("Kind", string(l.Kind))
	add("Recorded", time.UnixMicro(l.Time).UTC().Format("2 January 2006, 15:04:05.000000"))
	add("Household", l.Subject)
	add("Number in the household’s chain", number(l.SubjectSeq))
	add("Company or service", l.Recipient)
	add("Number in its chain", number(l.RecipientSeq))
	add("Purpose", l.Purpose)
	add("Permission", l.Consent)
	add("Why it was refused", l.Reason)
	add("Meters", strings.Join(l.UsagePoints, ", "))
	add("Registers", strings.Join(l.Registers, ", "))
	add("Finest step", l.Granularity)
	add("From", instant(l.From))
	add("Until", instant(l.Until))
	if l.Kind == ledger.KindAccess {
		add("Days whose keys may be opened", utcDay(l.KeyFrom)+" to "+utcDay(l.KeyUntil))
		add("Figures stored there, at most so many were read", count(l.Intervals))
	}
	add("Permission ends", instant(l.PermissionUntil))
	add("Product", l.Product)
	if l.Kind == ledger.KindRelease || l.Kind == ledger.KindBudgetSpend {
		if l.Days == 0 {
			add("Day of the totals", utcDay(l.Day))
		} else {
			within, without := spanOf(l)
			add("Days of the totals", within)
			add("Left out between them", without)
		}
	}
	add("Places", number(uint64(l.Nodes)))
	if l.RhoNano != 0 {
		add("Cost, in ρ", nano(l.RhoNano))
	}
	if l.DayRhoNano != 0 {
		add("Cost, in ρ, to each day’s account", nano(l.DayRhoNano))
	}
	add("What was done, or on what ground", l.Detail)
	if l.Kind == ledger.KindMapHead {
		add("Places in the map", count(l.MapSize))
		add("Covers the entries before", count(l.MapUntil))
	}
	return facts
}

// hashesOf lists the hashes of a payload.
func hashesOf(l ledger.Payload) []fact {
	type named struct {
		name string
		hash ledger.Hash
	}
	all := []named{
		{"Terms of the permission", l.Terms},
		{"Text of the purpose", l.PurposeText},
		{"Session of the household", l.Session},
		{"Content, or root of the map", l.Digest},
		{"Entry before in the household’s chain", l.SubjectPrev},
		{"Entry before in the company’s chain", l.RecipientPrev},
	}
	for _, key := range l.MapKeys {
		all = append(all, named{"Place in the map that the erased household had", key})
	}
	var hashes []fact
	for _, h := range all {
		if h.hash != (ledger.Hash{}) {
			hashes = append(hashes, fact{h.name, hex.EncodeToString(h.hash[:])})
		}
	}
	return hashes
}

func erasedBy(l ledger.Payload) []erased {
	var all []erased
	for _, e := range l.Erased {
		row := erased{Number: count(e.Index), Recipient: e.Recipient}
		if e.Recipient != "" {
			row.Sequence = count(e.RecipientSeq)
		}
		all = append(all, row)
	}
	return all
}

// instant names a second in UTC; "" for 0, which payloads have for none.
func instant(t int64) string {
	if t == 0 {
		return ""
	}
	return time.Unix(t, 0).UTC().Format("2 January 2006, 15:04:05")
}

// utcDay names a UTC day by its number since 1970.
func utcDay(d int32) string { return dateOf(int64(d)*86400, time.UTC).String() }

// spanOf names the days of a payload by the first, the last and how many they are,
// "5 to 30 November 2026, 22 days", and lists what it leaves out between them.
func spanOf(l ledger.Payload) (within, without string) {
	days := slices.Collect(l.EachDay())
	var out []string
	for d, rest := l.Day, days; len(rest) > 0; d++ {
		if d == rest[0] {
			rest = rest[1:]
		} else {
			out = append(out, utcDay(d))
		}
	}
	first, last := dateOf(int64(l.Day)*86400, time.UTC), dateOf(int64(days[len(days)-1])*86400, time.UTC)
	from := onDay(first).Text
	switch {
	case first.year == last.year && first.month == last.month:
		from = strconv.Itoa(first.day)
	case first.year == last.year:
		from = first.utc().Format("2 January")
	}
	return from + " to " + onDay(last).Text + ", " + many(uint64(len(days)), "day", "days"), strings.Join(out, ", ")
}
