package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/proto"
	gateway "github.com/wattveil/wattveil/proto/gateway"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/greenbutton"
)

// Route is one row of the HTTP routes: a pattern of net/http and what guards
// it. Every handler is mounted through this table, and a test walks it.
type Route struct {
	Pattern string
	Guard   string
	handler http.Handler
}

// What guards a route.
const (
	// guardMatrix: the call behind it passes the authorisation matrix.
	guardMatrix = "matrix"
	// guardPublic: it tells what is public anyway.
	guardPublic = "public"
	// guardPortal: the pages, which hold nothing and call the API with their
	// visitor's session, or as the regulator whose certificate came along.
	guardPortal = "portal"
	// guardOAuth: the client shows who it is, by a secret or a token of its own.
	guardOAuth = "oauth"
)

// maxHTTPBody bounds what REST and the pages take in.
const maxHTTPBody = 1 << 20

// routes is every way in over HTTP to the roles of this process.
func (h *Hub) routes(rest, pages http.Handler) []Route {
	routes := []Route{
		{"/v1/", guardMatrix, rest},
		{"GET /v1/readings/export", guardMatrix, http.HandlerFunc(h.tables.shared)},
		{"GET /v1/readings/own/export", guardMatrix, http.HandlerFunc(h.tables.own)},
		{"GET /openapi.json", guardPublic, http.HandlerFunc(serveOpenAPI)},
		{"GET /healthz", guardPublic, http.HandlerFunc(serveAlive)},
		{"GET /readyz", guardPublic, http.HandlerFunc(h.serveReady)},
	}
	if h.roles.has(onAccess) {
		routes = append(routes, Route{"GET /.well-known/jwks.json", guardPublic, http.HandlerFunc(h.serveKeys)})
	}
	if h.roles.has(onLedger) {
		tiles := ledger.TileHandler(h.store)
		for _, pattern := range []string{"GET /checkpoint", "GET /checkpoints", "GET /checkpoints/", "GET /tile/"} {
			routes = append(routes, Route{pattern, guardPublic, tiles})
		}
	}
	if h.roles.has(onAccess) {
		for pattern, handler := range h.oauth.Routes() {
			routes = append(routes, Route{pattern, guardOAuth, handler})
		}
		for pattern, handler := range greenbutton.Routes(greenbutton.Config{
			Conn: h.conn, As: callerMetadata, PublicURL: h.publicURL, Now: h.clock, Random: h.random, Log: h.log,
		}) {
			routes = append(routes, Route{pattern, guardMatrix, handler})
		}
	}
	switch {
	case h.roles.has(onPortal):
		routes = append(routes, Route{"/", guardPortal, pages})
	case h.roles.has(onLedger):
		// A regulator's certificate ends here, where its calls are answered: a portal in
		// another process could not be believed who shows it.
		for _, pattern := range []string{"GET /regulator", "GET /regulator/", "GET /static/"} {
			routes = append(routes, Route{pattern, guardPortal, pages})
		}
	}
	return routes
}

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, proto.OpenAPI)
}

// serveAlive says that the process runs.
func serveAlive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// serveReady says whether the store answers and the hub takes work, so that a
// balancer sends some here. How the key service is stands beside it and decides nothing:
// readings are taken in without it.
func (h *Hub) serveReady(w http.ResponseWriter, r *http.Request) {
	select {
	case <-h.stopping:
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "stopping"})
		return
	default:
	}
	if err := h.failure(); err != nil {
		out, _ := toStatus(err)
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": reasonOf(status.Convert(out))})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if h.store == nil { // pages alone: they are ready when the record's part says that it can be trusted
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		_, err := wattveilv1.NewAuditServiceClient(h.peers[onLedger]).GetCheckpoint(ctx, &wattveilv1.GetCheckpointRequest{})
		if err != nil {
			out, _ := toStatus(err)
			writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": reasonOf(status.Convert(out))})
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
		return
	}
	if err := h.store.Ping(ctx); err != nil {
		h.log.LogAttrs(ctx, slog.LevelWarn, "not ready", slog.String("cause", err.Error()))
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "store unavailable"})
		return
	}
	state, err := h.keys.State(ctx)
	if err != nil {
		h.log.LogAttrs(ctx, slog.LevelWarn, "the key service is not ready", slog.String("state", state.String()), slog.String("cause", err.Error()))
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready", "keys": state.String()})
}

// writeError answers as the REST door does: a google.rpc.Status in JSON.
func writeError(w http.ResponseWriter, httpCode int, err error) {
	b, merr := protojson.Marshal(status.Convert(err).Proto())
	if merr != nil { // a status always marshals
		b = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpCode)
	_, _ = w.Write(b)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// restHandler is the REST door: grpc-gateway over the API as this process reaches it.
// The certificate that TLS has verified travels as metadata which only the in-process
// server reads; no header of the client's reaches it, or another part, but
// Authorization.
func restHandler(ctx context.Context, conn grpc.ClientConnInterface) (http.Handler, error) {
	parseQueries()
	mux := runtime.NewServeMux(
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		// A field that is not known is an error: a grant with a misspelt "narrowed"
		// must not be one without.
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.JSONPb{
			MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: true}, UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
		}),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		// The gateway itself passes Authorization on.
		runtime.WithMetadata(func(_ context.Context, r *http.Request) metadata.MD { return principalMetadata(r) }),
		// What the gateway itself finds wrong gets a reason too.
		runtime.WithErrorHandler(func(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
			out, _ := toStatus(parameterFault(err))
			if reasonOf(status.Convert(out)) == reasonBadToken { // RFC 6750, section 3
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			}
			runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, out)
		}),
	)
	err := errors.Join(
		gateway.RegisterMeterServiceHandlerClient(ctx, mux, wattveilv1.NewMeterServiceClient(conn)),
		gateway.RegisterRegistryServiceHandlerClient(ctx, mux, wattveilv1.NewRegistryServiceClient(conn)),
		gateway.RegisterConsentServiceHandlerClient(ctx, mux, wattveilv1.NewConsentServiceClient(conn)),
		gateway.RegisterReadingServiceHandlerClient(ctx, mux, wattveilv1.NewReadingServiceClient(conn)),
		gateway.RegisterReleaseServiceHandlerClient(ctx, mux, wattveilv1.NewReleaseServiceClient(conn)),
		gateway.RegisterAuditServiceHandlerClient(ctx, mux, wattveilv1.NewAuditServiceClient(conn)),
		gateway.RegisterSessionServiceHandlerClient(ctx, mux, wattveilv1.NewSessionServiceClient(conn)),
		gateway.RegisterAuthorizationServiceHandlerClient(ctx, mux, wattveilv1.NewAuthorizationServiceClient(conn)),
		gateway.RegisterNotificationServiceHandlerClient(ctx, mux, wattveilv1.NewNotificationServiceClient(conn)),
	)
	if err != nil {
		return nil, err
	}
	return mux, nil
}

// principalMetadata tells the in-process server whose certificate came with a request.
func principalMetadata(r *http.Request) metadata.MD {
	md := metadata.MD{}
	if p, ok := r.Context().Value(principalKey{}).(Principal); ok && p.Kind != Public {
		md.Set(internalPrincipal, p.internal())
	}
	return md
}

// asRegulator gives the pages the only certificate that counts for them. It
// returns a context in which calls are the regulator's whose verified certificate
// came with the HTTP request that ctx is of; false for every other caller. What
// the calls may do is decided where REST's is.
func asRegulator(ctx context.Context) (context.Context, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	if !ok || p.Kind != RegulatorKind {
		return nil, false
	}
	return metadata.AppendToOutgoingContext(ctx, internalPrincipal, p.internal()), true
}

func kindName(k Kind) string {
	for name, kind := range kindOfName {
		if kind == k {
			return name
		}
	}
	for _, kind := range kindOfRole {
		if kind == k {
			return roleName
		}
	}
	return ""
}

// edge is what stands before every route: bounds, security headers, the caller's
// certificate turned into a principal, and nothing but health for a hub whose
// ledger can no longer be trusted.
func edge(next http.Handler, sound func() error, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hd := w.Header()
		hd.Set("X-Content-Type-Options", "nosniff")
		hd.Set("Referrer-Policy", "no-referrer")
		if r.TLS != nil {
			hd.Set("Strict-Transport-Security", "max-age=31536000")
			p, err := principalOf(*r.TLS)
			if err != nil {
				out, _ := toStatus(err)
				writeError(w, http.StatusUnauthorized, out)
				return
			}
			r = r.WithContext(withPrincipal(r.Context(), p))
		}
		defer func() {
			if v := recover(); v != nil {
				if v != http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
					log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("in", r.Pattern), slog.String("type", fmt.Sprintf("%T", v)), slog.Any("stack", stack()))
				}
				panic(http.ErrAbortHandler)
			}
		}()
		if err := sound(); err != nil && r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			hd.Set("Cache-Control", "no-store")
			out, _ := toStatus(err)
			writeError(w, http.StatusServiceUnavailable, out)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			hd.Set("Cache-Control", "no-store")
		}
		if r.ContentLength > maxHTTPBody {
			writeError(w, http.StatusRequestEntityTooLarge, withReason(codes.ResourceExhausted, "message_too_large", "the message is larger than the hub takes"))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxHTTPBody)
		next.ServeHTTP(w, r)
	})
}
