package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// What a secret is for stands before its random characters, so that people and programs
// that look for leaked secrets, and the hub itself, can tell them apart.
const (
	prefixAccess       = "wv_at_"
	prefixClientAccess = "wv_ct_"
	prefixRefresh      = "wv_rt_"
	prefixCode         = "wv_ac_"
	prefixSecret       = "wv_cs_"
	prefixRegistration = "wv_reg_"
	prefixRequest      = "urn:ietf:params:oauth:request_uri:" // RFC 9126, section 2.2
)

// secretBytes is how many random bytes a secret has.
const secretBytes = 32

// draw returns a new secret and its hash.
func draw(random io.Reader, prefix string) (secret string, hash [32]byte, err error) {
	var raw [secretBytes]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", hash, fmt.Errorf("drawing a secret: %w", err)
	}
	secret = prefix + base64.RawURLEncoding.EncodeToString(raw[:])
	return secret, hashOf(secret), nil
}

// hashOf is how a secret is stored and looked up: an unkeyed hash is enough for 256 random
// bits, and a lookup by it compares no secret.
func hashOf(secret string) [32]byte { return sha256.Sum256([]byte("wattveil oauth v1\x00" + secret)) }

// matches compares a secret with a stored hash, in a time that does not tell where they
// differ. The zero hash, of who has no secret, matches nothing.
func matches(secret string, hash [32]byte) bool {
	presented := hashOf(secret)
	return hash != [32]byte{} && subtle.ConstantTimeCompare(presented[:], hash[:]) == 1
}

// BearerHash returns the hash under which a bearer token of this package is stored, and
// whether the text is one at all: only then is it anybody's but a household's session.
func BearerHash(token string) ([32]byte, bool) {
	if !strings.HasPrefix(token, prefixAccess) && !strings.HasPrefix(token, prefixClientAccess) || len(token) > 64 {
		return [32]byte{}, false
	}
	return hashOf(token), true
}
