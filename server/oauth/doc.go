// Package oauth lets third parties in by OAuth 2.0: it reads what they ask of a
// household, hands out codes and tokens for what the household agreed to, and answers
// the endpoints of RFC 6749 and of those beside it.
//
// It promises that a token is of use for what one household has agreed to, and no
// longer than that: it carries the name of one consent, and whoever shows it is asked
// for again at every call. What is agreed to is the consent's affair; nothing here
// grants anything.
//
// Codes and tokens are 256 random bits, and only their SHA-256 is stored. A code works
// once; a second use revokes what the first one gave (RFC 6749, section 4.1.2). A
// refresh token works once as well, and an old one that comes back revokes all tokens of
// its consent (RFC 9700, section 4.14.2). PKCE is S256 and cannot be left out by public
// clients (RFC 7636); an answer names its issuer (RFC 9207).
//
// The wire, up to a parsed request and down from an error, is package op of
// zitadel/oidc; [Server] implements its op.Server over the hub's store, clock and
// randomness. Ahead of it stands a front that is stricter than the library: POST alone,
// no parameter in the address or twice, no file.
package oauth
