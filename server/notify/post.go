package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Answer is what a call came to.
type Answer struct {
	Status     int           // HTTP; 0 if there was no answer
	Problem    Problem       // none if Status is a success
	RetryAfter time.Duration // as the receiver asked; 0 if it did not
}

// Sender makes one call. It returns when there is an answer, or when ctx ends.
type Sender interface {
	Send(ctx context.Context, url string, m Message) Answer
}

// Poster calls receivers over HTTP: signed, through a Guard, following no redirect and using
// no proxy. Safe for concurrent use.
type Poster struct {
	client *http.Client
	keys   *Keys
	clock  func() time.Time
}

// idle bounds the connections that are kept for the next call.
const (
	idleConns   = 512
	idleTimeout = 30 * time.Second
	maxAnswer   = 4 << 10 // bytes of an answer that are read, so that its connection may be used again
)

// NewPoster returns a Poster that verifies receivers with roots, the system's if nil.
func NewPoster(g *Guard, keys *Keys, roots *x509.CertPool, clock func() time.Time) *Poster {
	return &Poster{keys: keys, clock: clock, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: g.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2: true, MaxIdleConns: idleConns, MaxIdleConnsPerHost: 2, IdleConnTimeout: idleTimeout,
			MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
		},
	}}
}

// Send implements Sender.
func (p *Poster) Send(ctx context.Context, url string, m Message) Answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.Body))
	if err != nil {
		return Answer{Problem: ConnectionProblem}
	}
	key, err := p.keys.Signing()
	if err != nil {
		return Answer{Problem: ConnectionProblem}
	}
	req.Header.Set("Content-Type", m.ContentType)
	req.Header.Set("User-Agent", "wattveil")
	sign(req, m.Body, key, p.clock().Unix())
	resp, err := p.client.Do(req)
	if err != nil {
		return Answer{Problem: problemOf(err)} // the error itself quotes the URL
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	a := Answer{Status: resp.StatusCode, RetryAfter: p.retryAfter(resp.Header.Get("Retry-After"))}
	if a.Status/100 != 2 {
		a.Problem = StatusProblem
	}
	return a
}

func problemOf(err error) Problem {
	var unverified *tls.CertificateVerificationError
	var netErr net.Error
	switch {
	case errors.Is(err, ErrAddress), errors.Is(err, ErrURL):
		return AddressProblem
	case errors.Is(err, ErrName):
		return NameProblem
	case errors.As(err, &unverified):
		return CertificateProblem
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &netErr) && netErr.Timeout():
		return TimeoutProblem
	}
	return ConnectionProblem
}

// retryAfter reads RFC 9110's Retry-After: seconds, or a date.
func (p *Poster) retryAfter(s string) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, at.Sub(p.clock()))
	}
	return 0
}
