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

// doors makes the two gRPC servers (the one with mutual TLS, and the in-process
// one behind REST and pages) and the HTTP server.
func (h *Hub) doors(ctx context.Context, s services) error {
	tlsConfig, err := serverTLS(h.cfg.GRPC, tls.RequireAndVerifyClientCert, h.log, "h2")
	if err != nil {
		return err
	}
	server := func(inProcess bool, opts ...grpc.ServerOption) *grpc.Server {
		g := &gate{auth: &authenticator{directory: h.store, clock: h.clock, inProcess: inProcess}, log: h.log, mono: time.Now, sound: h.sequencer.Failure} //nolint:forbidigo // how long calls take is told in real time, whatever the hub's clock follows
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
	h.grpc = server(false, grpc.Creds(credentials.NewTLS(tlsConfig)))
	if s.key != nil { // not behind REST and pages
		wattveilv1.RegisterKeyServiceServer(h.grpc, s.key)
	}
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
	api, err := restHandler(ctx, h.conn)
	if err != nil {
		return fmt.Errorf("making REST door: %w", err)
	}
	pages, err := web.NewHandler(web.Config{Conn: h.conn, Now: h.clock, Regulator: asRegulator, SecureCookies: h.cfg.HTTP.Cert != "", Log: h.log})
	if err != nil {
		return fmt.Errorf("making pages: %w", err)
	}
	mux := http.NewServeMux()
	for _, r := range h.routes(api, pages) {
		mux.Handle(r.Pattern, r.handler)
	}
	h.http = &http.Server{
		Handler: edge(mux, h.sequencer.Failure, h.log), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, WriteTimeout: 90 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
	}
	if h.cfg.HTTP.Cert != "" {
		if h.http.TLSConfig, err = serverTLS(h.cfg.HTTP, tls.VerifyClientCertIfGiven, h.log, "h2", "http/1.1"); err != nil {
			return err
		}
	}
	return nil
}

// maxAnswerBytes bounds an answer: 400 days of quarter hours of a home's points
// fit many times over.
const maxAnswerBytes = 64 << 20

func (h *Hub) listen() (err error) {
	if h.grpcListener, err = net.Listen("tcp", h.cfg.GRPC.Listen); err != nil {
		return fmt.Errorf("listening for gRPC: %w", err)
	}
	if h.httpListener, err = net.Listen("tcp", h.cfg.HTTP.Listen); err != nil {
		return fmt.Errorf("listening for HTTP: %w", err)
	}
	return nil
}

// GRPCAddr is where gRPC listens.
func (h *Hub) GRPCAddr() string { return h.grpcListener.Addr().String() }

// HTTPAddr is where HTTP listens.
func (h *Hub) HTTPAddr() string { return h.httpListener.Addr().String() }
