package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/wattveil/wattveil/server"
)

// authority is a throw-away certificate authority for the demo and the
// benchmarks. Its key never leaves memory; the certificates it makes last a day.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	pem  []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making certificate authority: %w", err)
	}
	t := template("Wattveil throw-away authority")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making certificate authority: %w", err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool(), pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	a.pool.AddCert(cert)
	return a, nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue makes a certificate and its key in PEM.
func (a *authority) issue(t *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("making certificate: %w", err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), nil
}

// writeServer writes a server certificate for this machine, of a hub or of a part of one,
// into dir and returns the listener's configuration.
func (a *authority) writeServer(dir string, roles ...string) (server.ListenConfig, error) {
	t := template("localhost")
	for _, r := range roles {
		t.URIs = append(t.URIs, server.CertificateURI("role", r))
	}
	t.DNSNames, t.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	cert, key, err := a.issue(t)
	if err != nil {
		return server.ListenConfig{}, err
	}
	l := server.ListenConfig{
		Listen: "127.0.0.1:0", Cert: filepath.Join(dir, "hub.pem"), Key: filepath.Join(dir, "hub.key"), ClientCA: filepath.Join(dir, "ca.pem"),
	}
	for path, b := range map[string][]byte{l.Cert: cert, l.Key: key, l.ClientCA: a.pem} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return server.ListenConfig{}, fmt.Errorf("writing certificate: %w", err)
		}
	}
	return l, nil
}

// client makes the TLS configuration of a caller of the given kind and name.
func (a *authority) client(kind, id string) (*tls.Config, error) {
	t := template(id)
	t.URIs = []*url.URL{server.CertificateURI(kind, id)}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, key, err := a.issue(t)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("pairing certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: a.pool, MinVersion: tls.VersionTLS13}, nil
}
