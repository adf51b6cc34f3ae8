package server

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// secret stands for what must not leave with an error: the core's errors are
// wrapped in words of the moment.
const secret = "up-17 drew 4711 Wh"

// Every row of the table gives its code, its reason and its own words, and
// nothing of what the error was wrapped in. Reasons are for programs: they are
// stable and spelled alike.
func TestErrorTable(t *testing.T) {
	spelling := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, row := range errorTable {
		out, _ := toStatus(fmt.Errorf("%s: %w", secret, row.core))
		s := status.Convert(out)
		if s.Code() != row.code || reasonOf(s) != row.reason || s.Message() != row.words {
			t.Errorf("%v: %s, %q, %q", row.core, s.Code(), reasonOf(s), s.Message())
		}
		if !spelling.MatchString(row.reason) || row.words == "" || strings.Contains(s.String(), secret) || row.code == codes.OK || row.code == codes.Internal || row.code == codes.Unknown {
			t.Errorf("%v: %s", row.core, s)
		}
	}
}

// What came to nothing for a reason of the moment is worth another try, and
// says so by its code; what did not, does not. Clients repeat on Unavailable.
func TestErrorsWorthAnotherTry(t *testing.T) {
	again := []string{
		"recorded_not_signed", "outcome_unknown", "not_recorded", "closing", "key_service_unavailable", "store_unavailable", "store_busy",
		"no_map_head", "not_cosigned", "part_unavailable",
	}
	for _, row := range errorTable {
		if got, want := row.code == codes.Unavailable, slices.Contains(again, row.reason); got != want {
			t.Errorf("%s: worth another try %t, want %t", row.reason, got, want)
		}
	}
}

// internalErrors are the exported errors that no caller can bring about: if one
// reaches the edge, something is broken, and the caller learns that and no more.
var internalErrors = []string{
	"consent.ErrEncoding", "consent.ErrGranularity", "consent.ErrNoPermit", "consent.ErrSum",
	"keyguard.ErrAnswer", "keyguard.ErrConsent", "keyguard.ErrLeaf", "keyguard.ErrOutside", "keyguard.ErrProof",
	"ledger.ErrAddCheckpoint", "ledger.ErrCheckpoint", "ledger.ErrEnvelope", "ledger.ErrFenced", "ledger.ErrLeaf", "ledger.ErrMapProof", "ledger.ErrNoEnvelopeHead", "ledger.ErrNoHead", "ledger.ErrNoKeys",
	"ledger.ErrNoTile", "ledger.ErrPanic", "ledger.ErrPayload", "ledger.ErrPolicy", "ledger.ErrProof", "ledger.ErrRequestID", "ledger.ErrVerifierKey", "ledger.ErrWitnessFile",
	"notify.ErrMark", "notify.ErrNoKey",
	"release.ErrCatalogue", "release.ErrFormat", "release.ErrMisstated", "release.ErrOverBudget", "release.ErrSignature",
	"seal.ErrFormat", "seal.ErrKey", "seal.ErrKeyMismatch", "seal.ErrOpen", "seal.ErrPermit", "seal.ErrRefused", "seal.ErrRunningSize", "seal.ErrSeries", "seal.ErrSignature",
	"store.ErrGroups", "store.ErrNotRoom", "store.ErrOAuthGone", "store.ErrOAuthReplayed", "store.ErrOAuthTooMany", "store.ErrPrivilege", "store.ErrReservation", "store.ErrSchemaChanged", "store.ErrSchemaNewer", "store.ErrSchemaPending", "store.ErrURL",
}

// Every exported error of the core has a row in the table or is known to be
// internal. It catches a new error that callers would be told nothing about.
func TestErrorTableIsWhole(t *testing.T) {
	inTable := map[string]bool{"consent.ErrRefused": true} // by its type, with its own reason
	table, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	ok(t, err)
	ast.Inspect(table, func(n ast.Node) bool {
		if s, is := n.(*ast.SelectorExpr); is {
			if pkg, is := s.X.(*ast.Ident); is && strings.HasPrefix(s.Sel.Name, "Err") {
				inTable[pkg.Name+"."+s.Sel.Name] = true
			}
		}
		return true
	})
	exist := map[string]bool{}
	for _, dir := range []string{"../consent", "../ledger", "../privacy/keyguard", "../privacy/release", "../privacy/seal", "notify", "store"} {
		pkgs, err := parser.ParseDir(token.NewFileSet(), dir, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0) //nolint:staticcheck // names are enough here
		ok(t, err)
		for name, pkg := range pkgs {
			for _, f := range pkg.Files {
				for _, d := range f.Decls {
					gen, is := d.(*ast.GenDecl)
					if !is || gen.Tok != token.VAR {
						continue
					}
					for _, spec := range gen.Specs {
						for _, id := range spec.(*ast.ValueSpec).Names {
							if strings.HasPrefix(id.Name, "Err") {
								exist[name+"."+id.Name] = true
							}
						}
					}
				}
			}
		}
	}
	for name := range exist {
		if inTable[name] == slices.Contains(internalErrors, name) && name != "store.ErrUnknownOutcome" { // which is the ledger's
			t.Errorf("%s: in the table %t, and so is it internal", name, inTable[name])
		}
	}
	for _, name := range internalErrors {
		if !exist[name] {
			t.Errorf("%s does not exist", name)
		}
	}
}

// What is in no table, and what gRPC says in its own words.
func TestOtherErrors(t *testing.T) {
	for what, c := range map[string]struct {
		err      error
		code     codes.Code
		reason   string
		internal bool
	}{
		"nothing":                {nil, codes.OK, "", false},
		"unknown":                {errors.New(secret), codes.Internal, "internal", true},
		"internal":               {fmt.Errorf("%s: %w", secret, seal.ErrOpen), codes.Internal, "internal", true},
		"the caller's":           {fmt.Errorf("%s: %w", secret, invalid("bad_day", "no")), codes.InvalidArgument, "bad_day", false},
		"a refusal":              {fmt.Errorf("%s: %w", secret, &consent.Refused{Reason: consent.ReasonRevoked}), codes.PermissionDenied, "revoked", false},
		"too large for gRPC":     {status.Error(codes.ResourceExhausted, secret), codes.ResourceExhausted, "message_too_large", false},
		"malformed for gRPC":     {fmt.Errorf("x: %w", status.Error(codes.Internal, secret)), codes.InvalidArgument, "malformed_message", false},
		"unknown to gRPC":        {status.Error(codes.Unknown, secret), codes.Internal, "internal", true},
		"a client that left":     {status.FromContextError(context.Canceled).Err(), codes.Canceled, "canceled", false},
		"answered already":       {withReason(codes.NotFound, "not_found", "no"), codes.NotFound, "not_found", false},
		"an outcome in the dark": {fmt.Errorf("%w: %w", errorTable[index(t, "outcome_unknown")].core, context.DeadlineExceeded), codes.Unavailable, "outcome_unknown", true},
	} {
		out, internal := toStatus(c.err)
		s := status.Convert(out)
		if s.Code() != c.code || reasonOf(s) != c.reason || internal != c.internal || strings.Contains(s.String(), secret) {
			t.Errorf("%s: %s, %q, internal %t: %s", what, s.Code(), reasonOf(s), internal, s.Message())
		}
	}
}

func index(t *testing.T, reason string) int {
	t.Helper()
	i := slices.IndexFunc(errorTable, func(row tableRow) bool { return row.reason == reason })
	if i < 0 {
		t.Fatalf("no row %s", reason)
	}
	return i
}

// A panic in a call is that call's internal error: on a unary call, in a batch
// of a stream, behind REST. The hub lives, nothing of the panic's value is
// logged or answered, and the log says where it was, without arguments.
func TestPanicInCall(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keys.breakWith(func() { panic(secret) })
	_, err := w.operator.CreateHouseholds(t.Context(), &wattveilv1.CreateHouseholdsRequest{Households: []*wattveilv1.NewHousehold{{UsagePoints: []string{empty}}}})
	refused(t, err, codes.Internal, "internal")
	answers, err := submit(t.Context(), w.utility, batch("b-1", series(home, yesterday, 1, 2)))
	refused(t, err, codes.Internal, "internal")
	if len(answers) != 0 {
		t.Error("acknowledged")
	}
	w.keys.mend()
	w.keep(batch("b-1", series(home, yesterday, 1, 2)))
	log := string(w.log.bytes())
	for _, frame := range []string{"CreateHouseholds", "preparer"} {
		if !strings.Contains(log, "panic") || !strings.Contains(log, frame) {
			t.Errorf("the log does not say that %s panicked", frame)
		}
	}
	if strings.Contains(log, "4711") || strings.Contains(log, "0x") {
		t.Error("the log holds the panic's value, or words of its stack")
	}
}

// A key service that is away is an answer of its own: the client sends again.
func TestKeyServiceAway(t *testing.T) {
	w := newTown(t, onSQLite(t))
	w.keys.away.Store(true)
	_, err := w.operator.CreateHouseholds(t.Context(), &wattveilv1.CreateHouseholdsRequest{Households: []*wattveilv1.NewHousehold{{UsagePoints: []string{empty}}}})
	refused(t, err, codes.Unavailable, "key_service_unavailable")
	_, err = submit(t.Context(), w.utility, batch("b-1", series(home, yesterday, 1, 2)))
	refused(t, err, codes.Unavailable, "key_service_unavailable")
	w.keys.away.Store(false)
	w.keep(batch("b-1", series(home, yesterday, 1, 2)))
}

// parameterOf returns the name of the parameter that an error from the wire is about.
func parameterOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetMetadata()["parameter"]
		}
	}
	return ""
}
