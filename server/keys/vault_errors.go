package keys

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"github.com/hashicorp/vault/api"
	"github.com/wattveil/wattveil/privacy/seal"
)

// vaultFault turns an error of the client library into one of seal's. Neither
// the library's text nor Vault's own is passed on: they hold URLs, key names,
// and whatever the server chose to repeat.
//
// seal.ErrKeyGone is never the answer here, because Vault says "not found" of a
// missing engine, a missing namespace and a missing key alike; see Vault.missing.
func vaultFault(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w", seal.ErrUnavailable, ctxErr)
	}
	if errors.Is(err, seal.ErrUnavailable) || errors.Is(err, seal.ErrRefused) {
		return err
	}
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w: vault: %s", seal.ErrUnavailable, networkCause(err))
	}
	switch status := answer.StatusCode; {
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return fmt.Errorf("%w: vault denies permission", seal.ErrRefused)
	case status == http.StatusServiceUnavailable:
		return fmt.Errorf("%w: vault is sealed or not ready", seal.ErrUnavailable)
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: vault answers %d", seal.ErrUnavailable, status)
	default:
		return fmt.Errorf("%w: vault answers %d", seal.ErrRefused, status)
	}
}

// networkCause names what went wrong below HTTP, from a closed list.
func networkCause(err error) string {
	var (
		network     net.Error
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		tooLong     *http.MaxBytesError
		syntax      *json.SyntaxError
		shape       *json.UnmarshalTypeError
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &certificate):
		return "certificate is not trusted"
	case errors.As(err, &name):
		return "host name not found"
	case errors.As(err, &tooLong):
		return "answer too long"
	case errors.As(err, &syntax), errors.As(err, &shape):
		return "answer not understood"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return "credential file cannot be read"
	case errors.As(err, &network) && network.Timeout():
		return "timed out"
	}
	return "connection or answer broken off"
}

// isStatus tells whether the error is an answer of Vault with that status.
func isStatus(err error, status int) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == status
}
