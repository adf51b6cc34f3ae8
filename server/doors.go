package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/test/bufconn"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/web"
)

// doors makes the gRPC servers, where there is a service for them, and the HTTP server.
func (h *Hub) doors(ctx context.Context, s *services) error {
	whole := &api{roles: h.roles, peers: h.peers}
	if h.roles.has(recording) {
		if err := h.grpcDoors(s); err != nil {
			return err
		}
		whole.own = h.conn
	}
	return h.httpDoor(ctx, whole)
}

// knows are the kinds of callers that a process of these roles can look up.
func (s roleSet) knows() (k Kind) {
	if s.has(onIngest) {
		k |= UtilityKind
	}
	if s.has(onLedger) {
		k |= RecipientKind | HouseholdKind
	}
	if s.has(onAccess) {
		k |= UtilityKind | RecipientKind | HouseholdKind
	}
	return k
}

// grpcDoors makes the two gRPC servers: the one with mutual TLS, and the in-process one
// behind REST and pages.
func (h *Hub) grpcDoors(s *services) error {
	tlsConfig, err := serverTLS(h.cfg.GRPC, tls.RequireAndVerifyClientCert, h.log, "h2")
	if err != nil {
		return err
	}
	server := func(inProcess bool, opts ...grpc.ServerOption) *grpc.Server {
		g := &gate{
			auth: &authenticator{directory: h.store, clock: h.clock, inProcess: inProcess, knows: h.roles.knows()}, log: h.log,
			mono:  time.Now, //nolint:forbidigo // how long calls take is told in real time, whatever the hub's clock follows
			sound: h.failure, roles: h.roles,
		}
		srv := grpc.NewServer(append(opts,
			grpc.UnaryInterceptor(g.unary), grpc.StreamInterceptor(g.stream),
			grpc.MaxRecvMsgSize(h.cfg.Ingest.MaxMessageBytes), grpc.MaxSendMsgSize(maxAnswerBytes),
			grpc.MaxConcurrentStreams(1024), grpc.ConnectionTimeout(10*time.Second),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		)...)
		s.register(srv)
		healthpb.RegisterHealthServer(srv, h.health)
		return srv
	}
	h.grpc = server(false, grpc.Creds(credentials.NewTLS(tlsConfig)), grpc.UnknownServiceHandler(unknown))
	s.registerInternal(h.grpc)
	reflection.Register(h.grpc)
	h.internal = server(true)
	h.bufListener = bufconn.Listen(1 << 20)
	h.conn, err = grpc.NewClient("passthrough:///hub",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.bufListener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)))
	if err != nil {
		return fmt.Errorf("connecting in process: %w", err)
	}
	return nil
}

// httpDoor makes the HTTP server: REST, pages, the record's public files, health.
func (h *Hub) httpDoor(ctx context.Context, whole *api) error {
	rest, err := restHandler(ctx, whole)
	if err != nil {
		return fmt.Errorf("making REST door: %w", err)
	}
	pages, err := web.NewHandler(web.Config{Conn: whole, Now: h.clock, Regulator: asRegulator, SecureCookies: h.cfg.HTTP.Cert != "", Log: h.log})
	if err != nil {
		return fmt.Errorf("making pages: %w", err)
	}
	h.tables = &tables{readings: wattveilv1.NewReadingServiceClient(whole), random: h.random}
	mux := http.NewServeMux()
	for _, r := range h.routes(rest, pages) {
		mux.Handle(r.Pattern, r.handler)
	}
	h.http = &http.Server{
		Handler: edge(mux, h.failure, h.log), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, WriteTimeout: 90 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
	}
	if h.cfg.HTTP.Cert != "" {
		if h.http.TLSConfig, err = serverTLS(h.cfg.HTTP, tls.VerifyClientCertIfGiven, h.log, "h2", "http/1.1"); err != nil {
			return err
		}
	}
	return nil
}

// unknown answers a call of a service that this process does not have, after the gate: of
// one that another part has the caller is told so.
func unknown(any, grpc.ServerStream) error { return errNoSuchCall }

// maxAnswerBytes bounds an answer: 400 days of quarter hours of a home's points
// fit many times over.
const maxAnswerBytes = 64 << 20

func (h *Hub) listen() (err error) {
	if h.grpc != nil {
		if h.grpcListener, err = net.Listen("tcp", h.cfg.GRPC.Listen); err != nil {
			return fmt.Errorf("listening for gRPC: %w", err)
		}
	}
	if h.httpListener, err = net.Listen("tcp", h.cfg.HTTP.Listen); err != nil {
		return fmt.Errorf("listening for HTTP: %w", err)
	}
	return nil
}

// GRPCAddr is where gRPC listens; "" for a portal alone, which has nothing to answer.
func (h *Hub) GRPCAddr() string {
	if h.grpcListener == nil {
		return ""
	}
	return h.grpcListener.Addr().String()
}

// HTTPAddr is where HTTP listens.
func (h *Hub) HTTPAddr() string { return h.httpListener.Addr().String() }
