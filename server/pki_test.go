package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wattveil/wattveil/server/store"
)

// authority is a throw-away certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	tmpl := template()
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	ok(t, err)
	cert, err := x509.ParseCertificate(der)
	ok(t, err)
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func template() *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func (a *authority) issue(t testing.TB, tmpl *x509.Certificate) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	ok(t, err)
	k, err := x509.MarshalPKCS8PrivateKey(key)
	ok(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

// serverFiles writes the hub's certificate, or that of a part of it, and the authority's
// into dir.
func (a *authority) serverFiles(t testing.TB, dir string, roles ...store.Role) ListenConfig {
	t.Helper()
	tmpl := template()
	for _, r := range roles {
		tmpl.URIs = append(tmpl.URIs, CertificateURI(roleName, string(r)))
	}
	tmpl.DNSNames, tmpl.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	cert, key := a.issue(t, tmpl)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	l := ListenConfig{Listen: "127.0.0.1:0", Cert: filepath.Join(dir, "hub.pem"), Key: filepath.Join(dir, "hub.key"), ClientCA: filepath.Join(dir, "ca.pem")}
	for path, b := range map[string][]byte{l.Cert: cert, l.Key: key, l.ClientCA: ca} {
		ok(t, os.WriteFile(path, b, 0o600))
	}
	return l
}

// client makes the TLS configuration of a caller of the kind and name.
func (a *authority) client(t testing.TB, kind, id string) *tls.Config {
	t.Helper()
	return a.clientWith(t, func(c *x509.Certificate) { c.URIs = []*url.URL{CertificateURI(kind, id)} })
}

// clientWith makes one of a certificate that the test has changed.
func (a *authority) clientWith(t testing.TB, change func(*x509.Certificate)) *tls.Config {
	t.Helper()
	tmpl := template()
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	change(tmpl)
	pair, err := tls.X509KeyPair(a.issue(t, tmpl))
	ok(t, err)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: a.pool, MinVersion: tls.VersionTLS13}
}
