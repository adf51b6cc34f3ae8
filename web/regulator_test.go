package web

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// Catches a regulator's page that tells somebody else that it exists: without the
// certificate, with or without a session, it is answered to the byte as a page
// that there is not, and nothing is asked of the hub.
func TestRegulatorPagesAreNotThereForOthers(t *testing.T) {
	for _, rt := range routes {
		if rt.who != regulators {
			continue
		}
		path := visits[rt.pattern].path
		for name, as := range map[string]func(testing.TB, http.Handler) *visitor{"guest": guest, "household": household} {
			hub, handler := newPortal(t)
			furnish(t, hub)
			v := as(t, handler)
			missing, there := v.get("/nowhere"), v.get(path)
			page(t, there, http.StatusNotFound)
			if there.body != missing.body || fmt.Sprint(there.header) != fmt.Sprint(missing.header) {
				t.Errorf("%s, %s: answered otherwise than a page that is not there", rt.pattern, name)
			}
			if calls := hub.called(); len(calls) != 0 {
				t.Errorf("%s, %s: called %v", rt.pattern, name, calls)
			}
		}
		hub, handler := newPortal(t)
		furnish(t, hub)
		resp := regulator(t, handler).get(path)
		carries(t, resp, page(t, resp, http.StatusOK))

		_, handler = newPortal(t, func(c *Config) { c.Regulator = nil }) // a hub without certificates
		page(t, regulator(t, handler).get(path), http.StatusNotFound)
	}
}

// Catches a certificate that opens a household's pages, or a session whose token
// travels with a regulator's calls.
func TestCertificateAndSessionAreApart(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	page(t, regulator(t, handler).get("/seen"), http.StatusUnauthorized)
	both := household(t, handler)
	both.certificate = true
	for _, path := range []string{"/regulator", "/regulator/event/0", "/seen", "/sharing/live"} { // the hub refuses both at once
		page(t, both.get(path), http.StatusOK)
	}
	for path, want := range map[string]bool{"/regulator": true, "/public": true} {
		if got := strings.Contains(page(t, regulator(t, handler).get(path), http.StatusOK), `href="/regulator"`); got != want {
			t.Errorf("%s leads to the regulator's page: %v", path, got)
		}
	}
	if strings.Contains(page(t, household(t, handler).get("/seen"), http.StatusOK), "/regulator") {
		t.Error("a household is led to the regulator's page")
	}
}

// Catches an event that is listed without who, what, why, whose and when, or with
// words meant for the household.
func TestRegulatorEvents(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	hub.set(func() {
		hub.events = []*wattveilv1.Event{
			{Index: 48_213, Kind: "access", Time: now().Unix(), Recipient: "sunwise", RecipientName: "Sunwise Advice", Purpose: "tariff.advice", ConsentId: "live", Household: "h-1", From: 1761868800, Until: 1761955200, Intervals: 2880},
			{Index: 9, Kind: "access.denied", Time: now().Unix(), Recipient: "roof", RecipientName: "roof", Purpose: "report", Reason: "usage_point_not_granted", From: 1761868800 - 7200, Until: 1761955200 - 7200, Household: "h-2"},
			{Index: 8, Kind: "access", Time: now().Unix(), Purpose: purposeSelf, Household: "h-1", Intervals: 96},
			{Index: 7, Kind: "map_head", Time: now().Unix()},
			{Index: 6, Kind: "brand.new", Time: now().Unix()},
		}
	})
	body := page(t, regulator(t, handler).get("/regulator"), http.StatusOK)
	sane(t, body)
	says(t, body,
		"The record holds 1 entry", "✓ The newest checkpoint fits.", "Name of the record wattveil.example/hub",
		"48,213 2025-11-01 12:00 Read Sunwise Advice sunwise tariff.advice h-1 2025-10-31 to 2025-11-01 2,880",
		"9 2025-11-01 12:00 ■ Read refused: usage point not granted roof report h-2 2025-10-30 22:00 to 2025-10-31 22:00",
		"8 2025-11-01 12:00 Read by the household itself self h-1 96",
		"7 2025-11-01 12:00 Map of all households", "6 2025-11-01 12:00 Entry of kind brand.new",
		"Checked by this hub", "It does not check that this list is complete.", "To be checked by you", "wattveil verify audit --key hub.vkey")
	silent(t, body, "you did not allow")
	for _, e := range []string{"48213", "9", "8", "7", "6"} {
		if !strings.Contains(body, `href="/regulator/event/`+e+`"`) {
			t.Errorf("no way to entry %s", e)
		}
	}
	hub.set(func() { hub.events = nil })
	says(t, page(t, regulator(t, handler).get("/regulator"), http.StatusOK), "No event.")
	says(t, page(t, regulator(t, handler).get("/regulator?purpose=none"), http.StatusOK), "No event matches what is filled in above.")
	says(t, page(t, regulator(t, handler).get("/regulator?before=older"), http.StatusOK), "No older event.", "← Newest")
}

// Catches a search that asks the hub for something else than was filled in, is off
// by a day, loses a field on the way to the next page, or forgets what was typed.
func TestRegulatorSearch(t *testing.T) {
	hub, handler := newPortal(t)
	furnish(t, hub)
	var asked *wattveilv1.ListEventsRequest
	hub.set(func() {
		hub.list = func(req *wattveilv1.ListEventsRequest) *wattveilv1.ListEventsResponse {
			asked = req
			resp := &wattveilv1.ListEventsResponse{NextPageToken: "77."}
			for range req.GetPageSize() {
				resp.Events = append(resp.Events, &wattveilv1.Event{Index: 99, Kind: "access", Time: now().Unix()})
			}
			return resp
		}
	})
	const query = "recipient=sun%26wise&purpose=tariff.advice&outcome=access.denied&from=2025-10-01&until=2025-10-31"
	body := page(t, regulator(t, handler).get("/regulator?"+strings.Replace(query, "sun%26wise", "+sun%26wise+", 1)), http.StatusOK)
	sane(t, body, "sun&wise", "tariff.advice", "2025-10-01", "2025-10-31")
	utc := func(y int, m time.Month, d int) int64 { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() }
	if asked.GetRecipient() != "sun&wise" || asked.GetPurpose() != "tariff.advice" || asked.GetKind() != "access.denied" ||
		asked.GetRecordedFrom() != utc(2025, 10, 1) || asked.GetRecordedUntil() != utc(2025, 11, 1) || asked.GetPageToken() != "" || asked.GetPageSize() != perPage {
		t.Errorf("asked for %v", asked)
	}
	elements, _, err := parse(body)
	if err != nil {
		t.Fatal(err)
	}
	var next string
	filled, selected := map[string]string{}, ""
	for _, e := range elements {
		if e.attr["rel"] == "next" {
			next = e.attr["href"]
		}
		if e.name == "input" {
			filled[e.attr["name"]] = e.attr["value"]
		}
		if _, ok := e.attr["selected"]; ok {
			selected += e.attr["value"]
		}
	}
	if want := map[string]string{"recipient": "sun&wise", "purpose": "tariff.advice", "from": "2025-10-01", "until": "2025-10-31"}; fmt.Sprint(filled) != fmt.Sprint(want) || selected != "access.denied" {
		t.Errorf("the form holds %v and %q", filled, selected)
	}
	page(t, regulator(t, handler).get(next), http.StatusOK)
	if asked.GetRecipient() != "sun&wise" || asked.GetPurpose() != "tariff.advice" || asked.GetKind() != "access.denied" ||
		asked.GetRecordedFrom() != utc(2025, 10, 1) || asked.GetRecordedUntil() != utc(2025, 11, 1) || asked.GetPageToken() != "77." {
		t.Errorf("the next page asks for %v", asked)
	}
	for _, bad := range []string{"from=2025-02-30", "until=yesterday"} {
		page(t, regulator(t, handler).get("/regulator?"+bad), http.StatusBadRequest)
	}
}

// Catches a page that gives up where the hub has not found anything yet, asks
// without end, or looks complete where it is not.
func TestRegulatorSearchGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		rareAt int // the call that finds something; 0 for none
		ends   int // the call that reaches the end of the record
		calls  int
		says   []string
		never  []string
	}{
		"found far back": {5, 7, 7, []string{"Read"}, []string{"Not the end.", "No event", "Look further back"}},
		"found nothing":  {0, 7, 7, []string{"No event matches"}, []string{"Not the end."}},
		"not there yet":  {0, 1000, maxLooks, []string{"None among the entries that were looked at.", "○ Not the end.", "Look further back"}, []string{"No event matches"}},
	} {
		t.Run(name, func(t *testing.T) {
			hub, handler := newPortal(t)
			furnish(t, hub)
			calls := 0
			hub.set(func() {
				hub.list = func(req *wattveilv1.ListEventsRequest) *wattveilv1.ListEventsResponse {
					if token := req.GetPageToken(); calls > 0 && token != strconv.Itoa(calls) {
						t.Errorf("call %d goes on at %q", calls+1, token)
					}
					calls++
					resp := &wattveilv1.ListEventsResponse{}
					if calls < tt.ends {
						resp.NextPageToken = strconv.Itoa(calls)
					}
					if calls == tt.rareAt {
						resp.Events = []*wattveilv1.Event{{Index: 3, Kind: "access", Time: now().Unix()}}
					}
					return resp
				}
			})
			body := page(t, regulator(t, handler).get("/regulator?purpose=rare"), http.StatusOK)
			sane(t, body, "rare")
			says(t, body, tt.says...)
			silent(t, body, tt.never...)
			if calls != tt.calls {
				t.Errorf("%d calls, want %d", calls, tt.calls)
			}
		})
	}
}

// Catches a tick without a check that ran: the checkpoint's three outcomes look
// like themselves, and none of them takes the events with it.
func TestNewestCheckpoint(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*fakeHub)
		says  string
		never []string
	}{
		"fits":                           {func(*fakeHub) {}, "✓ The newest checkpoint fits.", []string{"It is not signed", "○"}},
		"another key":                    {func(h *fakeHub) { h.log.VKey = otherKey(t) }, "■ It is not signed with the record’s keys.", []string{"✓", "○"}},
		"an older key, within its bound": {func(h *fakeHub) { h.log.VKey = otherKey(t) + "\nuntil 1000000\n" + h.log.VKey }, "✓ The newest checkpoint fits.", []string{"■", "○"}},
		"an older key, past its bound":   {func(h *fakeHub) { h.log.VKey = otherKey(t) + "\nuntil 0\n" + h.log.VKey }, "■ It is not signed with the record’s keys.", []string{"✓", "○"}},
		"no key":                         {func(h *fakeHub) { h.log.VKey = "" }, "○ Not checked.", []string{"✓", "■"}},
		"out of reach": {func(h *fakeHub) {
			h.fail[wattveilv1.AuditService_GetCheckpoint_FullMethodName] = refusal(codes.Unavailable, "store_unavailable")
		}, "○ Not checked.", []string{"✓", "■"}},
	} {
		t.Run(name, func(t *testing.T) {
			hub, handler := newPortal(t)
			furnish(t, hub)
			hub.set(func() { tt.spoil(hub) })
			body := page(t, regulator(t, handler).get("/regulator"), http.StatusOK)
			sane(t, body)
			says(t, body, tt.says, "Sunwise Advice")
			silent(t, body, tt.never...)
		})
	}
}

// otherKey is another key of a log of the same name.
func otherKey(t *testing.T) string {
	_, vkey, err := ledger.NewSigner("wattveil.example/hub", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// Catches a tick for an entry that was not checked, or whose check failed.
func TestRegulatorEvent(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*fakeHub)
		says  []string
		never []string
	}{
		"fits": {func(*fakeHub) {}, []string{
			"Entry 0: Read", "✓ The proof fits.", "It is over 1 entry; its root hash is", "Kind access", "Household home-1", "Company or service sunwise", "Number in its chain 1",
			"Purpose tariff.advice", "Permission live", "Finest step hour", "From 31 October 2025, 12:00:00", "Until 1 November 2025, 12:00:00", "at most so many were read 96",
			"wattveil verify proof --key hub.vkey --receipt wattveil-entry-0.json",
		}, []string{"■", "○"}},
		"another payload":    {func(h *fakeHub) { h.forge = func(r *wattveilv1.Receipt) { r.Payload[len(r.Payload)-1] ^= 1 } }, []string{"■ The proof does not fit."}, []string{"✓", "○"}},
		"unreadable payload": {func(h *fakeHub) { h.forge = func(r *wattveilv1.Receipt) { r.Payload = []byte{2} } }, []string{"■ The proof does not fit.", "Entry 0"}, []string{"✓", "○", "What it says"}},
		"another entry": {func(h *fakeHub) {
			h.forge = func(r *wattveilv1.Receipt) { r.Proof = strings.Replace(r.Proof, "index 0", "index 1", 1) }
		}, []string{"■ The proof does not fit."}, []string{"✓", "○"}},
		"no key": {func(h *fakeHub) {
			h.fail[wattveilv1.AuditService_GetCheckpoint_FullMethodName] = refusal(codes.Unavailable, "closing")
		}, []string{"○ Not checked.", "Kind access"}, []string{"✓", "■"}},
	} {
		t.Run(name, func(t *testing.T) {
			hub, handler := newPortal(t)
			furnish(t, hub)
			hub.set(func() { tt.spoil(hub) })
			body := page(t, regulator(t, handler).get("/regulator/event/0"), http.StatusOK)
			sane(t, body)
			says(t, body, tt.says...)
			says(t, body, "Save the proof", "To trust neither")
			silent(t, body, tt.never...)
		})
	}
	hub, handler := newPortal(t)
	furnish(t, hub)
	says(t, page(t, regulator(t, handler).get("/regulator/event/99"), http.StatusNotFound), "There is nothing to show for this entry", "a later entry of the kind “erasure” names it")
	page(t, regulator(t, handler).get("/regulator/event/x"), http.StatusNotFound)
	resp := regulator(t, handler).get("/regulator/event/0/proof")
	page(t, resp, http.StatusOK)
	if got := resp.header.Get("Content-Disposition"); got != `attachment; filename="wattveil-entry-0.json"` {
		t.Errorf("saved as %s", got)
	}
}

// Catches a kind of entry that the regulator can neither look for nor read in
// words, and a field of a payload that the page leaves out.
func TestEveryKindHasWords(t *testing.T) {
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../ledger/payload.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []ledger.Kind
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && len(spec.Values) == 1 && strings.HasPrefix(spec.Names[0].Name, "Kind") {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, ledger.Kind(text))
		}
		return true
	})
	if len(kinds) < 13 {
		t.Fatalf("found %d kinds", len(kinds))
	}
	for _, kind := range kinds {
		if !slices.ContainsFunc(outcomes, func(o outcome) bool { return o.Kind == kind }) {
			t.Errorf("%s has no words", kind)
		}
	}
	if len(outcomes) != len(kinds) {
		t.Errorf("%d outcomes for %d kinds", len(outcomes), len(kinds))
	}

	h := func(b byte) ledger.Hash { return ledger.Hash{b, 0xee} }
	full := ledger.Payload{
		Kind: ledger.KindAccess, Time: 1_500_000, Subject: "subject", Recipient: "recipient", Purpose: "purpose", PurposeText: h(1), Consent: "permission",
		UsagePoints: []string{"point-1", "point-2"}, Registers: []string{"1-0:1.29.0*255"}, Granularity: "hour", From: 86400, Until: 172800,
		KeyFrom: 1, KeyUntil: 2, PermissionUntil: 259200, Intervals: 4711, Reason: "reason", Session: h(2), Terms: h(3), Product: "product", Nodes: 17,
		RhoNano: 18_000_000, Digest: h(4), Detail: "detail", SubjectSeq: 21, SubjectPrev: h(5), RecipientSeq: 22, RecipientPrev: h(6),
		Erased: []ledger.Erased{{Index: 33, Recipient: "gone", RecipientSeq: 34}}, MapKeys: []ledger.Hash{h(7)},
	}
	text := fmt.Sprint(factsOf(full), hashesOf(full), erasedBy(full))
	for _, want := range []string{
		"access", "1 January 1970, 00:00:01.500000", "subject", "recipient", "purpose", "permission", "point-1, point-2", "1-0:1.29.0*255", "hour",
		"2 January 1970, 00:00:00", "3 January 1970, 00:00:00", "1970-01-02 to 1970-01-03", "4 January 1970", "4,711", "reason", "product", "17", "0.018", "detail", "21", "22",
		"01ee", "02ee", "03ee", "04ee", "05ee", "06ee", "07ee", "33", "gone", "34",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page leaves out %q", want)
		}
	}
	day := fmt.Sprint(factsOf(ledger.Payload{Kind: ledger.KindRelease, Day: 20_000}), factsOf(ledger.Payload{Kind: ledger.KindBudgetSpend, Day: 20_001}), factsOf(ledger.Payload{Kind: ledger.KindMapHead, MapSize: 55, MapUntil: 66}))
	for _, want := range []string{"2024-10-04", "2024-10-05", "55", "66"} {
		if !strings.Contains(day, want) {
			t.Errorf("the page leaves out %q", want)
		}
	}
}

// Catches a release over several days that is shown as of its first alone, days in
// between that pass for released, and a price of a day that is left out.
func TestDaysHaveWords(t *testing.T) {
	const november5 = 20_762 // 2026
	for name, tt := range map[string]struct {
		said  ledger.Payload
		want  []string
		never []string
	}{
		"a day": {
			ledger.Payload{Kind: ledger.KindRelease, Day: november5, RhoNano: 18_000_000},
			[]string{"{Day of the totals 2026-11-05}", "{Cost, in ρ 0.018}"},
			[]string{"Days", "day’s account"},
		},
		"a week": {
			ledger.Payload{Kind: ledger.KindBudgetSpend, Day: november5, Days: 1<<6 - 1, RhoNano: 18_000_000},
			[]string{"{Days of the totals 5 to 11 November 2026, 7 days}"},
			[]string{"{Day of", "Left out", "day’s account"},
		},
		"the work days of a week, at a price of their own": {
			ledger.Payload{Kind: ledger.KindBudgetSpend, Day: november5, Days: 0b111001, RhoNano: 18_000_000, DayRhoNano: 36_000_000},
			[]string{"{Days of the totals 5 to 11 November 2026, 5 days}", "{Left out between them 2026-11-07, 2026-11-08}", "{Cost, in ρ 0.018}", "{Cost, in ρ, to each day’s account 0.036}"},
			nil,
		},
		"two days at the ends": {
			ledger.Payload{Kind: ledger.KindRelease, Day: november5, Days: 1 << 2},
			[]string{"5 to 8 November 2026, 2 days", "{Left out between them 2026-11-06, 2026-11-07}"},
			nil,
		},
		"two months": {ledger.Payload{Kind: ledger.KindRelease, Day: november5 + 24, Days: 7}, []string{"29 November to 2 December 2026, 4 days"}, nil},
		"two years":  {ledger.Payload{Kind: ledger.KindRelease, Day: november5 + 56, Days: 1}, []string{"31 December 2026 to 1 January 2027, 2 days"}, nil},
	} {
		text := fmt.Sprint(factsOf(tt.said))
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s lacks %q", name, text, want)
			}
		}
		for _, never := range tt.never {
			if strings.Contains(text, never) {
				t.Errorf("%s: %s says %q", name, text, never)
			}
		}
	}
}
