package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wattveil/wattveil/server/store"
)

// PeersConfig says where the parts of the hub are that run in other processes.
type PeersConfig struct {
	// Cert and Key are PEM files of the certificate that this process shows the
	// others: see [CertificateURI]. CA is the PEM file that theirs are verified with.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	CA   string `yaml:"ca"`
	// The gRPC addresses of roles, host:port. The host is what the other's certificate
	// is for.
	Release  string `yaml:"release"`
	Access   string `yaml:"access"`
	Keyguard string `yaml:"keyguard"`
	Ledger   string `yaml:"ledger"`
}

// needs are the roles of other processes that each role calls.
var needs = map[roleSet]roleSet{
	onIngest:   onRelease | onLedger,
	onRelease:  onLedger,
	onAccess:   onKeyguard | onLedger,
	onKeyguard: onLedger,
	onPortal:   onAccess | onRelease | onLedger,
}

// needed are the roles that a process calls elsewhere.
func (s roleSet) needed() (others roleSet) {
	for role, called := range needs {
		if s.has(role) {
			others |= called
		}
	}
	return others &^ s
}

func (p *PeersConfig) address(role roleSet) string {
	return map[roleSet]string{onRelease: p.Release, onAccess: p.Access, onKeyguard: p.Keyguard, onLedger: p.Ledger}[role]
}

// problem says what is wrong with the addresses of the others, or nothing.
func (p *PeersConfig) problem(s roleSet) string {
	needed := s.needed()
	for _, r := range inOrder {
		address := p.address(r.set)
		switch _, _, err := net.SplitHostPort(address); {
		case needed.has(r.set) && err != nil:
			return fmt.Sprintf("peers.%s must be host:port: this process calls that part", r.name)
		case !needed.has(r.set) && address != "":
			return fmt.Sprintf("peers.%s: this process has no call for that part", r.name)
		}
	}
	if mine := p.Cert != "" && p.Key != "" && p.CA != ""; mine != (needed != 0) {
		return "peers needs cert, key and ca, where other parts are called"
	}
	return ""
}

// peers are connections to the parts of the hub in other processes.
type peers map[roleSet]*grpc.ClientConn

// dialPeers makes the connections; they are opened when they are used, and again when
// they were lost.
func dialPeers(c PeersConfig, needed roleSet) (peers, error) {
	p := peers{}
	for _, r := range inOrder {
		if !needed.has(r.set) {
			continue
		}
		config, err := clientTLS(c, c.address(r.set), r.name)
		if err != nil {
			p.close()
			return nil, err
		}
		p[r.set], err = grpc.NewClient(c.address(r.set), grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy(),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}, MinConnectTimeout: 5 * time.Second}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))
		if err != nil {
			p.close()
			return nil, fmt.Errorf("%w: peers.%s: %w", ErrConfig, r.name, err)
		}
	}
	return p, nil
}

func (p peers) close() {
	for _, conn := range p {
		_ = conn.Close()
	}
}

// clientTLS returns the configuration of connections to the part that a role is, which
// must show a certificate for the host and of that role: whoever has taken another part
// does not pass for it. Certificate and authority are read again for every connection:
// renewed ones need no restart.
func clientTLS(c PeersConfig, address string, role store.Role) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: peers: %w", ErrConfig, err)
	}
	if _, err := readPool(c.CA); err != nil {
		return nil, fmt.Errorf("%w: peers.ca: %w", ErrConfig, err)
	}
	var inUse atomic.Pointer[tls.Certificate]
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: peers.cert: %w", ErrConfig, withoutPath(err))
	}
	inUse.Store(&cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if fresh, err := tls.LoadX509KeyPair(c.Cert, c.Key); err == nil { // half renewed, the one before stays
				inUse.Store(&fresh)
			}
			return inUse.Load(), nil
		},
		// Verified below, by the authority as it lies in its file now.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection: func(state tls.ConnectionState) error {
			pool, err := readPool(c.CA)
			if err != nil {
				return err
			}
			between := x509.NewCertPool()
			for _, cert := range state.PeerCertificates[1:] {
				between.AddCert(cert)
			}
			server := state.PeerCertificates[0]
			if _, err := server.Verify(x509.VerifyOptions{DNSName: host, Roots: pool, Intermediates: between}); err != nil {
				return err
			}
			want := CertificateURI(roleName, string(role)).String()
			if !slices.ContainsFunc(server.URIs, func(u *url.URL) bool { return u.String() == want }) {
				return fmt.Errorf("server: the certificate of another part is not of the role %s", role)
			}
			return nil
		},
	}, nil
}

// readPool reads the certificates of authorities. Its errors name no path.
func readPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("holds no certificate")
	}
	return pool, nil
}

// api is the whole API as this process reaches it: what its own roles answer in
// process, the rest at the parts that answer it. It is what REST and the pages call.
type api struct {
	own   grpc.ClientConnInterface // or nil, where there is nothing of its own
	roles roleSet
	peers peers
}

// to returns who answers a call.
func (a *api) to(method string) (grpc.ClientConnInterface, error) {
	by := Matrix[method].By
	if a.own != nil && a.roles.has(by) {
		return a.own, nil
	}
	for _, r := range inOrder {
		if conn := a.peers[r.set]; conn != nil && by.has(r.set) && a.roles.has(onPortal) {
			return withoutPrincipal{conn}, nil
		}
	}
	return nil, withReason(errElsewhere.code, errElsewhere.reason, errElsewhere.words)
}

// Invoke implements grpc.ClientConnInterface.
func (a *api) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, err := a.to(method)
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (a *api) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := a.to(method)
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

// withoutPrincipal keeps to this process what its HTTP edge tells the in-process server.
type withoutPrincipal struct{ conn grpc.ClientConnInterface }

func stripPrincipal(ctx context.Context) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		return ctx
	}
	md = md.Copy()
	md.Delete(internalPrincipal)
	return metadata.NewOutgoingContext(ctx, md)
}

func (w withoutPrincipal) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return w.conn.Invoke(stripPrincipal(ctx), method, args, reply, opts...)
}

func (w withoutPrincipal) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return w.conn.NewStream(stripPrincipal(ctx), desc, method, opts...)
}

// errPartAway says that a part of the hub in another process does not answer.
var errPartAway = errors.New("server: a part of the hub cannot be reached")

// partError turns the status of a call to another part into the error that it was
// there, if it is one of those that are known by their reason, and into errPartAway
// where nobody answered.
func partError(err error, known ...error) error {
	s := status.Convert(err)
	reason := reasonOf(s)
	for _, core := range known {
		out, _ := toStatus(core)
		if reason != "" && reasonOf(status.Convert(out)) == reason {
			return core
		}
	}
	switch {
	case reason == "" && s.Code() == codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case reason == "" && s.Code() == codes.Canceled:
		return context.Canceled
	case reason == "" && s.Code() == codes.Unavailable:
		return errPartAway
	}
	return fmt.Errorf("server: another part of the hub says %s, %q", s.Code(), reason)
}
