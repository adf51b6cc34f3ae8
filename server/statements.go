package server

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// statements signs what the hub states to others in JSON: JWS in compact form (RFC 7515),
// EdDSA (RFC 8037). Safe for concurrent use.
type statements struct {
	signer jose.Signer
	public jose.JSONWebKeySet
}

// newStatements makes the signer of a seed. A key's id is a hash of the public key.
func newStatements(seed []byte) (*statements, error) {
	private := ed25519.NewKeyFromSeed(seed)
	public, _ := private.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(public)
	id := fmt.Sprintf("%x", sum[:8])
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: id}},
		(&jose.SignerOptions{}).WithType("consent-receipt+jwt"))
	if err != nil {
		return nil, fmt.Errorf("making the signer of statements: %w", err)
	}
	return &statements{signer, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: id, Algorithm: string(jose.EdDSA), Use: "sig"}}}}, nil
}

// sign returns the signed statement.
func (s *statements) sign(statement any) (string, error) {
	return jwt.Signed(s.signer).Claims(statement).Serialize()
}
