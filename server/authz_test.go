package server

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/wattveil/wattveil/proto"
)

// What nobody but these may do, whatever else changes. It catches a row of the
// matrix that was widened, which every test that reads the matrix would follow.
func TestNobodyElseMay(t *testing.T) {
	for what, c := range map[string]struct {
		methods string
		who     Kind
	}{
		"submit readings":             {"MeterService/", UtilityKind},
		"change the registry":         {"RegistryService/", OperatorKind},
		"read a household's readings": {"ReadingService/ReadSeries", RecipientKind},
		"read as the household":       {"ReadingService/ReadOwnSeries", HouseholdKind},
		"read what has changed":       {"ReadingService/ReadChanges", RecipientKind},
		"stream readings":             {"ReadingService/StreamSeries", RecipientKind},
		"stream as the household":     {"ReadingService/StreamOwnSeries", HouseholdKind},
		"ask for consent":             {"ConsentService/RequestConsent", RecipientKind},
		"grant":                       {"ConsentService/GrantConsent", HouseholdKind},
		"deny":                        {"ConsentService/DenyConsent", HouseholdKind},
		"revoke":                      {"ConsentService/RevokeConsent", HouseholdKind},
		"narrow":                      {"ConsentService/NarrowConsent", HouseholdKind},
		"see a consent":               {"ConsentService/GetConsent", HouseholdKind | RecipientKind},
		"see consents":                {"ConsentService/ListConsents", HouseholdKind | RecipientKind},
		"give up a consent":           {"ConsentService/WithdrawConsent", RecipientKind},
		"end another's consent":       {"ConsentService/TerminateConsent", OperatorKind | RegulatorKind},
		"hold another's consent":      {"ConsentService/SuspendConsent", OperatorKind | RegulatorKind},
		"lift a hold":                 {"ConsentService/ResumeConsent", OperatorKind | RegulatorKind},
		"see events":                  {"AuditService/ListEvents", HouseholdKind | RecipientKind | RegulatorKind},
		"see receipts":                {"AuditService/GetReceipt", HouseholdKind | RecipientKind | RegulatorKind},
		"be told of changes":          {"NotificationService/PutEndpoint", RecipientKind},
		"pull notifications":          {"NotificationService/ListNotifications", RecipientKind},
		"see who is told":             {"NotificationService/ListEndpoints", OperatorKind},
		"end a session":               {"SessionService/CloseSession", HouseholdKind},
		"be a household":              {"SessionService/GetHousehold", HouseholdKind},
		"decide on a third party":     {"AuthorizationService/DecideAuthorization", HouseholdKind},
		"see clients":                 {"AuthorizationService/ListClients", OperatorKind},
		"make a client":               {"AuthorizationService/PutClient", OperatorKind},
		"vouch for a client":          {"AuthorizationService/ApproveClient", OperatorKind},
		"turn a client away":          {"AuthorizationService/RefuseClient", OperatorKind},
		"suspend a client":            {"AuthorizationService/SuspendClient", OperatorKind},
		"ask for block keys":          {"KeyService/", AccessRole},
		"have a head signed":          {"CheckpointService/", IngestRole | ReleaseRole | AccessRole | KeyguardRole},
		"ask for windows":             {"WindowService/", IngestRole},
	} {
		n := 0
		for method, rule := range Matrix {
			if !strings.HasPrefix(method, "/wattveil.v1."+c.methods) || method == "/wattveil.v1.RegistryService/ListGridNodes" { // the tree is public
				continue
			}
			n++
			if rule.For&^c.who != 0 {
				t.Errorf("%s: %s lets others", what, method)
			}
		}
		if n == 0 {
			t.Errorf("%s: no such method as %s", what, c.methods)
		}
	}
	if allowed("/wattveil.v1.MeterService/NoSuch", everyone) || allowed("", everyone) {
		t.Error("what is not in the matrix is not denied")
	}
}

// methods lists what is registered, by full name; true for streams.
func methods(s *grpc.Server) map[string]bool {
	out := map[string]bool{}
	for service, info := range s.GetServiceInfo() {
		for _, m := range info.Methods {
			out["/"+service+"/"+m.Name] = m.IsClientStream || m.IsServerStream
		}
	}
	return out
}

// Every registered method has a row and every row names a registered method. It
// catches a service that was added without a decision who may call it.
func TestMatrixIsWhole(t *testing.T) {
	r := newRig(t, onSQLite(t), servingParts)
	outer := methods(r.hub.grpc)
	for m := range outer {
		if Matrix[m].For == 0 || Matrix[m].By == 0 {
			t.Errorf("%s has no row, or one that nobody answers or can call", m)
		}
	}
	for m := range Matrix {
		if _, registered := outer[m]; !registered {
			t.Errorf("%s is not a registered method", m)
		}
	}
	for m := range methods(r.hub.internal) {
		if _, registered := outer[m]; !registered {
			t.Errorf("%s is only registered behind REST", m)
		}
	}
}

// call makes a call with an empty message and returns whether authorisation let
// it through: whatever came after that is not of interest.
func call(ctx context.Context, conn grpc.ClientConnInterface, method string, stream bool) (through bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if stream {
		var s grpc.ClientStream
		if s, err = conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method); err == nil {
			_ = s.SendMsg(&emptypb.Empty{})
			_ = s.CloseSend()
			err = s.RecvMsg(&emptypb.Empty{})
		}
	} else {
		err = conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	}
	switch reasonOf(status.Convert(err)) {
	case "no_identity", "not_for_you":
		return false, err
	}
	if c := status.Code(err); c == codes.Unavailable || c == codes.Unauthenticated {
		return false, fmt.Errorf("not answered by authorisation: %w", err)
	}
	return true, err
}

// Every kind of caller calls every method, over mutual TLS or with a session, and
// gets through exactly where the matrix says so.
func TestMatrixOverTheWire(t *testing.T) {
	w := newTown(t, onSQLite(t), servingParts)
	for name, kind := range map[string]Kind{
		"nobody": Public, "utility": UtilityKind, "recipient": RecipientKind, "household": HouseholdKind, "operator": OperatorKind, "regulator": RegulatorKind,
		"role/ingest": IngestRole, "role/release": ReleaseRole, "role/access": AccessRole, "role/keyguard": KeyguardRole, "role/ledger": LedgerRole,
		"role/portal": Public, // it is its visitors, and here nobody
	} {
		server := w.hub.grpc
		var conn grpc.ClientConnInterface
		switch kind {
		case Public:
			if server, conn = w.hub.internal, w.public().conn; name == "role/portal" {
				server, conn = w.hub.grpc, w.as("role", "portal").conn
			}
		case HouseholdKind:
			c, _ := w.signIn(w.homes[home])
			server, conn = w.hub.internal, c.conn
		default:
			of, id, role := strings.Cut(name, "/")
			if !role {
				id = map[Kind]string{UtilityKind: utility, RecipientKind: recipient, OperatorKind: "somebody", RegulatorKind: "somebody"}[kind]
			}
			conn = w.as(of, id).conn
		}
		all := methods(server)
		order := slices.Sorted(maps.Keys(all))
		slices.SortStableFunc(order, func(a, b string) int { return strings.Count(a, "CloseSession") - strings.Count(b, "CloseSession") }) // it ends the caller
		for _, method := range order {
			through, err := call(t.Context(), conn, method, all[method])
			want := Matrix[method].For&kind != 0
			if through != want {
				t.Errorf("%s calls %s: let through %t, want %t (%v)", name, method, through, want, err)
			}
			if !want && kind == Public {
				refused(t, err, codes.Unauthenticated, "no_identity")
			} else if !want {
				refused(t, err, codes.PermissionDenied, "not_for_you")
			}
		}
	}
}

// Every way in over HTTP is in the table of routes, with its guard. It catches a
// door that was added beside them.
func TestRoutes(t *testing.T) {
	r := newRig(t, onSQLite(t))
	nothing := http.NotFoundHandler()
	got := map[string]string{}
	for _, route := range r.hub.routes(nothing, nothing) {
		got[route.Pattern] = route.Guard
	}
	want := map[string]string{
		"/v1/": guardMatrix, "/": guardPortal, "GET /v1/readings/export": guardMatrix, "GET /v1/readings/own/export": guardMatrix,
		"/oauth/token": guardOAuth, "/oauth/revoke": guardOAuth, "/oauth/introspect": guardOAuth, "/oauth/par": guardOAuth,
		"/oauth/register": guardOAuth, "/oauth/register/{id}": guardOAuth, "GET /.well-known/oauth-authorization-server": guardOAuth,
		"GET /openapi.json": guardPublic, "GET /checkpoint": guardPublic, "GET /checkpoints": guardPublic, "GET /checkpoints/": guardPublic, "GET /tile/": guardPublic, "GET /healthz": guardPublic, "GET /readyz": guardPublic,
		"GET /.well-known/jwks.json": guardPublic,
	}
	for _, pattern := range greenButtonDoors {
		want[pattern] = guardMatrix
	}
	if !maps.Equal(got, want) {
		t.Errorf("routes %v, want %v", got, want)
	}
}

// greenButtonDoors are the resources of Green Button below both prefixes, and what EDDIE
// asks beside them.
var greenButtonDoors = func() []string {
	doors := []string{"GET /api/v2/meters", "GET /api/v2/meters/{meter}", "POST /api/v2/meters/historical-collection", "POST /api/v2/authorizations/{sub}/revoke"}
	for _, prefix := range []string{"/espi/1_1/resource", "/DataCustodian/espi/1_1/resource"} {
		for _, path := range []string{
			"/ReadServiceStatus", "/ApplicationInformation", "/ApplicationInformation/{client}", "/Authorization", "/Authorization/{sub}",
			"/Batch/Subscription/{sub}", "/Batch/Subscription/{sub}/UsagePoint/{point}", "/Batch/RetailCustomer/{sub}", "/Batch/Bulk/{bulk}",
			"/Subscription/{sub}/UsagePoint", "/Subscription/{sub}/UsagePoint/{point}", "/Subscription/{sub}/UsagePoint/{point}/UsageSummary",
			"/Subscription/{sub}/UsagePoint/{point}/MeterReading", "/Subscription/{sub}/UsagePoint/{point}/MeterReading/{reading}",
			"/Subscription/{sub}/UsagePoint/{point}/MeterReading/{reading}/IntervalBlock", "/Subscription/{sub}/UsagePoint/{point}/MeterReading/{reading}/IntervalBlock/{block}",
			"/ReadingType/{type}", "/LocalTimeParameters/{clock}",
		} {
			doors = append(doors, "GET "+prefix+path)
		}
		doors = append(doors, "PUT "+prefix+"/Authorization/{sub}", "DELETE "+prefix+"/Authorization/{sub}")
	}
	return doors
}()

// Each part opens the doors of its roles and no other: a process that takes readings in
// has neither pages nor the record's files, and a regulator's certificate ends where its
// calls are answered.
func TestRoutesOfParts(t *testing.T) {
	record := []string{"GET /checkpoint", "GET /checkpoints", "GET /checkpoints/", "GET /tile/"}
	access := []string{ // what it states about consents, and tokens
		"/oauth/introspect", "/oauth/par", "/oauth/register", "/oauth/register/{id}", "/oauth/revoke", "/oauth/token",
		"GET /.well-known/jwks.json", "GET /.well-known/oauth-authorization-server",
	}
	access = append(access, greenButtonDoors...)
	for roles, want := range map[roleSet][]string{
		onIngest: nil, onRelease: nil, onAccess: access, onKeyguard: nil, onIngest | onRelease | onAccess | onKeyguard: access,
		onLedger:            append([]string{"GET /regulator", "GET /regulator/", "GET /static/"}, record...),
		onPortal:            {"/"},
		onLedger | onPortal: append([]string{"/"}, record...),
	} {
		var got []string
		for _, r := range (&Hub{roles: roles}).routes(nil, nil) {
			switch r.Pattern {
			case "/v1/", "GET /v1/readings/export", "GET /v1/readings/own/export", "GET /openapi.json", "GET /healthz", "GET /readyz":
			default:
				got = append(got, r.Pattern)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", roles, got, want)
		}
	}
}

// What the REST description offers is guarded by the same matrix: a visitor
// without session is let through exactly where it names the public.
func TestRESTPassesTheMatrix(t *testing.T) {
	r := newRig(t, onSQLite(t))
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string   `json:"operationId"`
			Tags        []string `json:"tags"`
		} `json:"paths"`
	}
	ok(t, json.Unmarshal([]byte(proto.OpenAPI), &doc))
	n := 0
	for path, verbs := range doc.Paths {
		for verb, op := range verbs {
			n++
			row, known := Matrix["/wattveil.v1."+strings.Join(op.Tags, "")+"/"+op.OperationID]
			if !known {
				t.Errorf("%s is not in the matrix", op.OperationID)
			}
			filled := strings.NewReplacer("{id}", "a/b", "{index}", "0", "{", "", "}", "").Replace(path)
			code, _, reason := r.rest("").raw(t, strings.ToUpper(verb), filled, []byte("{}"))
			through := reason != "no_identity" && reason != "not_for_you" && reason != "no_such_call"
			if through != (row.For&Public != 0) {
				t.Errorf("%s %s: let through %t (%d, %s), the matrix says %t", verb, filled, through, code, reason, row.For&Public != 0)
			}
		}
	}
	if n < 20 {
		t.Fatalf("%d calls in the description", n)
	}
}

// A panic in a page ends that request and nothing else, and its value is not
// logged.
func TestPanicInPage(t *testing.T) {
	book := &logbook{}
	srv := httptest.NewServer(edge(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("secret value")
		}
	}), func() error { return nil }, book.logger()))
	defer srv.Close()
	if resp, err := http.Get(srv.URL + "/panic"); err == nil { //nolint:noctx // a test server
		resp.Body.Close()
		t.Errorf("answered %d", resp.StatusCode)
	}
	resp, err := http.Get(srv.URL + "/") //nolint:noctx // a test server
	ok(t, err)
	resp.Body.Close()
	if log := string(book.bytes()); !strings.Contains(log, "TestPanicInPage") || strings.Contains(log, "secret value") {
		t.Errorf("log: %s", log)
	}
}
