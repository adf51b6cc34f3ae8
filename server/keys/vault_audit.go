package keys

import (
	"context"
	"net/http"
	"strconv"

	"github.com/wattveil/wattveil/privacy/seal"
)

// AuditHeader is the HTTP header that goes with every decryption made under a context
// that seal.WithAccess marked: the index of the access's leaf in the ledger, in decimal.
// Vault's audit log records it in the clear once an operator has told it to:
//
//	vault write sys/config/auditing/request-headers/X-Wattveil-Leaf hmac=false
//
// An index is public, as the ledger is. No header is sent without a mark, and none with
// any other call.
const AuditHeader = "X-Wattveil-Leaf"

// auditTransport writes the header. It does so for each request by the request's own
// context, because headers of the client are shared by all who call at once.
type auditTransport struct{ next http.RoundTripper }

func (t auditTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if index, ok := r.Context().Value(decryptionKey{}).(uint64); ok {
		r = r.Clone(r.Context())
		r.Header.Set(AuditHeader, strconv.FormatUint(index, 10))
	}
	return t.next.RoundTrip(r)
}

// ofDecryption says that the one request made under the context it answers decrypts for
// the access that ctx is marked with, if it is.
func ofDecryption(ctx context.Context) context.Context {
	if index, ok := seal.AccessOf(ctx); ok {
		return context.WithValue(ctx, decryptionKey{}, index)
	}
	return ctx
}

type decryptionKey struct{}
