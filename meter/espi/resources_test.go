package espi_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/espi"
)

// feed returns a feed of entries, and entry a document of one.
func feed(t testing.TB, h espi.Head, entries ...espi.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	return written(t, &b, espi.NewFeed(&b, h), entries...)
}

func entry(t testing.TB, e espi.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	return written(t, &b, espi.NewEntry(&b), e)
}

func written(t testing.TB, b *bytes.Buffer, f *espi.Feed, entries ...espi.Entry) []byte {
	t.Helper()
	for _, e := range entries {
		if err := f.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// application is a registration with every element the schema has, or with none
// that it does not ask for.
func application(full bool) espi.ApplicationInformation {
	a := espi.ApplicationInformation{
		CustodianStatus: 1, NotifyURI: "https://third.example/notify", AuthorizationEndpoint: "https://hub.example/oauth/authorize",
		TokenEndpoint: "https://hub.example/oauth/token", ClientID: "third", RedirectURIs: []string{"https://third.example/cb"}, TokenAuthMethod: "client_secret_basic",
		Scopes: []string{"FB=4_5_15"}, GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: "code", ClientName: "A & B <Energie>",
	}
	if full {
		two := int64(2)
		a.DataCustodianID, a.Description, a.Status, a.Type, a.Use, a.Phone = "hub", "Advice", &two, &two, &two, "+41 00 000 00 00"
		a.AuthorizationServer, a.RegistrationEndpoint, a.BulkRequestURI, a.ResourceEndpoint = "https://hub.example", "https://hub.example/oauth/register", "https://hub.example/b", "https://hub.example/r"
		a.ScopeSelectionURI, a.UserPortalURI, a.LogoURI, a.ClientURI, a.TermsURI, a.PolicyURI = "https://third.example/1", "https://third.example/2", "https://third.example/3", "https://third.example/4", "https://third.example/5", "https://third.example/6"
		a.SoftwareID, a.SoftwareVersion, a.ClientIssuedAt, a.SecretExpiresAt = "s", "1.0", 1774738800, 1806274800
		a.Contacts, a.Scopes, a.RegistrationURI, a.CustodianScopeURI = []string{"desk@third.example", "b"}, []string{"FB=4", "FB=5"}, "https://hub.example/oauth/register/third", "https://hub.example/7"
		a.RedirectURIs, a.GrantTypes = append(a.RedirectURIs, "https://third.example/cb2"), append(a.GrantTypes, "client_credentials")
	}
	return a
}

// Every resource by itself, as a feed and as an entry, passes both schemas and
// reads as it was made.
func TestResourcesAreValid(t *testing.T) {
	s := sub(t)
	point := espi.Point{UsagePoint: "CH-1", Zone: zone(t, "Europe/Zurich"), Summaries: true}
	m := espi.Meter{Register: meter.ActiveImport, Step: espi.Monthly}
	kind, err := s.ReadingType("CH-1", m)
	if err != nil {
		t.Fatal(err)
	}
	summary, err := s.UsageSummary("CH-1", espi.Summary{Register: meter.ActiveImport, Start: spring, Duration: 82800, Value: -3})
	if err != nil {
		t.Fatal(err)
	}
	consent := espi.Authorization{
		Authorized: &espi.Period{Duration: 0, Start: spring}, Published: &espi.Period{Duration: 86400, Start: spring - 86400}, Status: espi.Active,
		ExpiresAt: spring + 3600, GrantType: "authorization_code", Scope: strings.Repeat("é", 256), TokenType: "Bearer",
	}
	denied := espi.Authorization{Status: espi.Denied, TokenType: "Bearer", Scope: "FB=4", Error: "access_denied", ErrorDescription: "The household said no.", ErrorURI: "na", CustomerURI: s.Site.RetailCustomer(s.ID)}
	for name, c := range map[string]struct {
		address string
		e       espi.Entry
	}{
		"UsagePoint":             {s.Site.UsagePoints(s.ID), s.UsagePoint(point)},
		"LocalTimeParameters":    {s.Site.LocalTimes(), s.LocalTime(zone(t, "America/New_York"))},
		"MeterReading":           {s.Site.MeterReadings(s.ID, s.Names().UsagePoint("CH-1")), s.MeterReading("CH-1", m)},
		"ReadingType":            {s.Site.ReadingTypes(), kind},
		"UsageSummary":           {s.Site.UsageSummaries(s.ID, s.Names().UsagePoint("CH-1")), summary},
		"Authorization":          {s.Site.Authorizations(), s.Authorization(consent)},
		"Authorization, denied":  {s.Site.Authorizations(), s.Authorization(denied)},
		"ApplicationInformation": {s.Site.Applications(), espi.ApplicationEntry(s.Site, application(true), s.Published, s.Updated)},
		"the least application":  {s.Site.Applications(), espi.ApplicationEntry(s.Site, application(false), s.Published, s.Updated)},
	} {
		t.Run(name, func(t *testing.T) {
			kind := c.e.Title
			alone, inFeed := entry(t, c.e), feed(t, s.Head(kind, c.address), c.e)
			valid(t, alone)
			valid(t, inFeed)
			_, one := read(t, alone)
			head, many := read(t, inFeed)
			if diff := cmp.Diff([]espi.Entry{c.e}, one); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]espi.Entry{c.e}, many); diff != "" {
				t.Errorf("feed (-want +got):\n%s", diff)
			}
			if len(head.Links) != 1 || head.Links[0].Href != c.address || !strings.HasPrefix(c.e.Links[0].Href, c.address+"/") || c.e.Links[1].Href != c.address {
				t.Errorf("the feed at %s holds %s, up %s", head.Links[0].Href, c.e.Links[0].Href, c.e.Links[1].Href)
			}
		})
	}
	// Lists of a third party, and of nobody.
	list := espi.ListHead(s.Site, "third", "Authorization", s.Site.Authorizations(), s.Updated)
	valid(t, feed(t, list))
	valid(t, feed(t, list, s.Authorization(consent)))
	if list.ID == espi.ListHead(s.Site, "fourth", "Authorization", s.Site.Authorizations(), s.Updated).ID {
		t.Error("the lists of two third parties have one id")
	}
}

// A customer feed says that there is nothing to say about persons.
func TestRetailCustomer(t *testing.T) {
	s := sub(t)
	document := feed(t, s.RetailCustomer())
	valid(t, document)
	head, entries := read(t, document)
	if len(entries) != 0 || head.Links[0].Href != s.Site.RetailCustomer(s.ID) {
		t.Errorf("%+v, %d entries", head, len(entries))
	}
}

// The documents outside Atom.
func TestStatusAndBatchList(t *testing.T) {
	var b bytes.Buffer
	if err := espi.WriteStatus(&b, espi.ServiceStatus{Current: 1}); err != nil {
		t.Fatal(err)
	}
	valid(t, b.Bytes())
	if want := `<ServiceStatus xmlns="http://naesb.org/espi"><currentStatus>1</currentStatus></ServiceStatus>`; !strings.Contains(b.String(), want) {
		t.Errorf("%s", b.String())
	}
	list := espi.BatchList{Resources: []string{
		sub(t).Site.Batch(sub(t).ID) + "?published-min=2026-03-29T00:00:00Z&published-max=2026-03-30T00:00:00Z", sub(t).Site.Authorization(sub(t).ID),
	}}
	b.Reset()
	if err := espi.WriteBatchList(&b, list); err != nil {
		t.Fatal(err)
	}
	valid(t, b.Bytes())
	_, entries := read(t, b.Bytes())
	if diff := cmp.Diff([]espi.Entry{{Contents: []espi.Resource{&list}}}, entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.Reset()
	if err := espi.WriteBatchList(&b, espi.BatchList{}); err != nil {
		t.Fatal(err)
	}
	valid(t, b.Bytes())
}

// Blocks by themselves: the feed of a meter reading's blocks, and one block. Each
// has the identifier and the addresses that it has in a batch.
func TestBlockDocuments(t *testing.T) {
	s := sub(t)
	m := espi.Meter{Register: meter.ActiveImport, Step: quarter}
	series := quarters(meter.ActiveImport, spring, 8)
	_, batch := read(t, write(t, s, func(b *espi.Batch) error {
		return errors.Join(b.UsagePoint(espi.Point{UsagePoint: "CH-1"}), b.Meter(m, series))
	}))
	want := batch[len(batch)-1]
	for name, begin := range map[string]func(*bytes.Buffer) (*espi.Block, error){
		"feed":  func(b *bytes.Buffer) (*espi.Block, error) { return espi.NewBlockFeed(b, s, "CH-1", m, series.End()) },
		"entry": func(b *bytes.Buffer) (*espi.Block, error) { return espi.NewBlockEntry(b, s, "CH-1", m, series.End()) },
	} {
		var b bytes.Buffer
		block, err := begin(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(block.Values(series.Trim(spring, spring+1800)), block.Values(series.Trim(spring+1800, series.End())), block.Close()); err != nil {
			t.Fatal(err)
		}
		valid(t, b.Bytes())
		_, entries := read(t, b.Bytes())
		if diff := cmp.Diff([]espi.Entry{want}, entries); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		b.Reset()
		if block, err = begin(&b); err != nil {
			t.Fatal(err)
		}
		switch err := block.Close(); {
		case name == "feed" && err != nil:
			t.Errorf("an empty feed: %v", err)
		case name == "feed":
			valid(t, b.Bytes())
		case !errors.Is(err, espi.ErrSequence) || b.Len() > 0:
			t.Errorf("no block: %v, %d bytes", err, b.Len())
		}
	}
	if _, err := espi.NewBlockFeed(new(bytes.Buffer), s, "CH-1", espi.Meter{Register: meter.Register{7, 0, 3, 1, 0, 255}, Step: quarter}, 1); !errors.Is(err, espi.ErrRegister) {
		t.Errorf("gas: %v", err)
	}
}

// The batch itself, byte for byte: third parties store its identifiers and parse
// its form. To change it on purpose, delete the file and run the test twice.
func TestGoldenBatch(t *testing.T) {
	got := write(t, sub(t), home(t))
	golden := filepath.Join("testdata", "batch.golden.xml")
	want, err := os.ReadFile(golden)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Fatal("the golden file was not there and has been written")
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the batch changed (-want +got):\n%s", diff)
	}
}

// Texts longer than the schema holds are refused by the name of the element: a
// scope of 257 characters cannot be said, and must not be cut.
func TestTextsThatDoNotFit(t *testing.T) {
	s := sub(t)
	var b bytes.Buffer
	err := espi.NewEntry(&b).Write(s.Authorization(espi.Authorization{Scope: strings.Repeat("é", 257)}))
	if !errors.Is(err, espi.ErrText) || !strings.Contains(err.Error(), "scope, 256 characters") || strings.Contains(err.Error(), "é") {
		t.Errorf("%v", err)
	}
	a := application(false)
	a.ClientID = strings.Repeat("x", 65)
	if err := espi.NewEntry(&b).Write(espi.ApplicationEntry(s.Site, a, time.Time{}, time.Time{})); !errors.Is(err, espi.ErrText) {
		t.Errorf("%v", err)
	}
}

// Names of applications come from outside: none may break out of its element.
func TestTextsAreEscaped(t *testing.T) {
	a := application(false)
	a.ClientName = "</client_name><admin>\x00&\"'\u2028"
	document := entry(t, espi.ApplicationEntry(sub(t).Site, a, time.Time{}, time.Time{}))
	_, entries := read(t, document)
	if got := entries[0].Contents[0].(*espi.ApplicationInformation).ClientName; got != "</client_name><admin>\uFFFD&\"'\u2028" {
		t.Errorf("%q", got)
	}
}

// Secrets that someone else's registration holds are not kept.
func TestSecretsAreNotKept(t *testing.T) {
	_, entries := read(t, []byte(feedOf(entryOf("", `<ApplicationInformation xmlns="http://naesb.org/espi"><client_secret>hush</client_secret><registration_access_token>hush</registration_access_token><client_id>c</client_id></ApplicationInformation>`),
		entryOf("", `<Authorization xmlns="http://naesb.org/espi"><access_token>hush</access_token><refresh_token>hush</refresh_token></Authorization>`))))
	if again := string(feed(t, espi.Head{}, entries...)); strings.Contains(again, "hush") || !strings.Contains(again, "<client_id>c</client_id>") {
		t.Errorf("%s", again)
	}
}

// Addresses below which a hub can serve, and others.
func TestParseSite(t *testing.T) {
	for _, good := range []string{"https://hub.example/espi/1_1/resource", "http://127.0.0.1:8080/DataCustodian/espi/1_1/resource/"} {
		if s, err := espi.ParseSite(good); err != nil || strings.HasSuffix(string(s), "/") {
			t.Errorf("%s: %s, %v", good, s, err)
		}
	}
	for _, bad := range []string{"", "/espi", "hub.example/espi", "ftp://hub.example", "https://user@hub.example", "https://hub.example?x=1", "https://hub.example#x", "https://hub.example?", "https:///espi", "https://h/" + strings.Repeat("x", 1024), ":"} {
		if s, err := espi.ParseSite(bad); !errors.Is(err, espi.ErrSite) {
			t.Errorf("%s: %s, %v", bad, s, err)
		}
	}
}

// A block's identifier is its range; whoever follows one must not be able to ask
// for another form of it.
func TestParseBlockID(t *testing.T) {
	if start, until, ok := espi.ParseBlockID("1774738800-1774825200"); !ok || start != 1774738800 || until != 1774825200 {
		t.Errorf("%d, %d, %v", start, until, ok)
	}
	for _, bad := range []string{"", "1774738800", "1774825200-1774738800", "1774738800-1774738800", "1774738800_1774825200", "-774738800-1774825200", "1774738800-177482520", "+774738800-1774825200", "1774738800-17748252000"} {
		if _, _, ok := espi.ParseBlockID(bad); ok {
			t.Errorf("%q is an id", bad)
		}
	}
}

// Registers and their reading types name one another, and what is no energy of
// electricity has none.
func TestReadingTypes(t *testing.T) {
	s := espi.Every(900)
	for _, c := range []struct {
		register         string
		flow, uom, phase int64
		accumulation     int64
	}{
		{"1-0:1.29.0*255", 1, 72, 0, 4},
		{"1-0:2.29.0*255", 19, 72, 0, 4},
		{"1-0:16.29.0*255", 4, 72, 0, 4},
		{"1-0:15.29.0*255", 20, 72, 0, 4},
		{"1-0:21.29.0*255", 1, 72, 128, 4},
		{"1-0:42.29.0*255", 19, 72, 64, 4},
		{"1-0:61.29.0*255", 1, 72, 32, 4},
		{"1-0:1.8.0*255", 1, 72, 0, 1},
		{"1-0:2.8.1*255", 19, 72, 0, 1},
		{"1-0:3.29.0*255", 2, 73, 0, 4},
		{"1-0:5.29.0*255", 15, 73, 0, 4},
		{"1-0:9.29.0*255", 1, 71, 0, 4},
	} {
		r, err := meter.ParseRegister(c.register)
		if err != nil {
			t.Fatal(err)
		}
		got, err := espi.ReadingTypeOf(r, s, 0)
		if err != nil || *got.FlowDirection != c.flow || *got.UOM != c.uom || *got.Phase != c.phase || *got.Accumulation != c.accumulation || *got.PowerOfTen != 0 || *got.IntervalLength != 900 {
			t.Errorf("%s: %+v, %v", c.register, got, err)
			continue
		}
		if back, ok := got.Register(); !ok || back != r {
			t.Errorf("%s comes back as %s, %v", c.register, back, ok)
		}
	}
	for _, register := range []string{"1-0:1.7.0*255", "1-0:32.7.0*255", "1-0:1.9.0*255", "7-0:3.29.0*255", "1-0:0.8.0*255", "1-0:90.8.0*255", "1-0:13.29.0*255", "1-0:11.29.0*255"} {
		r, err := meter.ParseRegister(register)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := espi.ReadingTypeOf(r, s, 0); !errors.Is(err, espi.ErrRegister) {
			t.Errorf("%s: %+v, %v", register, got, err)
		}
	}
	for uom, want := range map[int64]string{72: "Wh", 169: "therm", 42: "m3", 0: "", 9999: "uom(9999)"} {
		if got := (&espi.ReadingType{UOM: &uom}).Unit(); got != want {
			t.Errorf("uom %d is %q, want %q", uom, got, want)
		}
	}
}
