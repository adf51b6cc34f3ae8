package server

import (
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// replace writes a file as certificate tools do, later than what was there.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	info, err := os.Stat(path)
	ok(t, err)
	ok(t, os.WriteFile(path, content, 0o600))
	ok(t, os.Chtimes(path, time.Time{}, info.ModTime().Add(time.Second)))
}

// An operator replaces the hub's certificate and then the authority of its callers while
// the hub runs: who comes after is met by the new ones, calls that stand go on, and files
// that do not fit change nothing. It would catch a hub that has to be restarted for a
// certificate that ends, one that half a renewal puts out of service, and one that lets
// callers of an authority in that was taken away.
func TestCertificatesAreReadAgain(t *testing.T) {
	w := newTown(t, onSQLite(t))
	standing := w.operator // connected under the first certificates
	_, err := standing.GetKeyStatus(t.Context(), &wattveilv1.GetKeyStatusRequest{})
	ok(t, err)
	call := func(a *authority) error {
		t.Helper()
		conn, err := grpc.NewClient(w.hub.GRPCAddr(), grpc.WithTransportCredentials(credentials.NewTLS(a.client(t, "operator", "somebody"))))
		ok(t, err)
		defer func() { _ = conn.Close() }()
		_, err = wattveilv1.NewRegistryServiceClient(conn).GetKeyStatus(t.Context(), &wattveilv1.GetKeyStatusRequest{})
		return err
	}
	ok(t, call(w.ca))
	next := newAuthority(t)
	dir := t.TempDir()
	files := next.serverFiles(t, dir)
	read := func(path string) []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		ok(t, err)
		return b
	}
	if call(next) == nil {
		t.Fatal("a stranger's authority is trusted: it proves nothing")
	}

	replace(t, w.cfg.GRPC.Cert, read(files.Cert)) // and not yet its key
	ok(t, call(w.ca))
	if !strings.Contains(string(w.log.bytes()), "do not fit") || strings.Contains(string(w.log.bytes()), w.cfg.GRPC.Cert) {
		t.Error("the log does not say that the files do not fit, or says where they are")
	}
	replace(t, w.cfg.GRPC.Key, read(files.Key))
	if call(w.ca) == nil { // it does not know who signed the new certificate
		t.Error("the hub shows its old certificate")
	}
	both := append(read(files.ClientCA), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.cert.Raw})...)
	replace(t, w.cfg.GRPC.ClientCA, both)
	ok(t, call(next))
	w.ca.pool.AddCert(next.cert) // its callers trust the new authority
	ok(t, call(w.ca))
	replace(t, w.cfg.GRPC.ClientCA, read(files.ClientCA))
	ok(t, call(next))
	if call(w.ca) == nil {
		t.Error("a caller of the old authority gets in")
	}
	if _, err := standing.GetKeyStatus(t.Context(), &wattveilv1.GetKeyStatusRequest{}); err != nil {
		t.Errorf("a connection that stood: %v", err)
	}
	ok(t, os.Remove(w.cfg.GRPC.Cert))
	ok(t, call(next))
}
