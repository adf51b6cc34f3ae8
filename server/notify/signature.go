package notify

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A call is signed as RFC 9421 says, with Ed25519 (section 3.3.6), over its method, its
// whole URL, and the type and digest of its body (RFC 9530). The signature's label is
// "wattveil", and its parameters, in this order: created, unix seconds; keyid, the RFC 7638
// thumbprint of the public key; alg, "ed25519"; tag, "wattveil-notification", so that it
// can be taken for nothing else that the key might sign one day.
const (
	signatureLabel = "wattveil"
	signatureTag   = "wattveil-notification"
)

// component is a component of a message, RFC 9421 section 2: its name and what stands for
// it in the signature base.
type component struct{ name, value string }

// signatureBase returns the text that is signed, section 2.5, and the signature's
// parameters as they stand in Signature-Input. The caller sees to it that no name, and no
// string among the parameters, holds a quote, a backslash or a control character.
func signatureBase(components []component, params []component) (base, input string) {
	var names []string
	var b strings.Builder
	for _, c := range components {
		names = append(names, `"`+c.name+`"`)
		b.WriteString(`"` + c.name + `": ` + c.value + "\n")
	}
	input = "(" + strings.Join(names, " ") + ")"
	for _, p := range params {
		input += ";" + p.name + "=" + p.value
	}
	return b.String() + `"@signature-params": ` + input, input
}

// sign adds digest and signature to a request that has its Content-Type and carries body.
func sign(r *http.Request, body []byte, key Key, created int64) {
	digest := sha256.Sum256(body)
	r.Header.Set("Content-Digest", "sha-256="+byteSequence(digest[:]))
	base, input := signatureBase([]component{
		{"@method", r.Method},
		{"@target-uri", targetURI(*r.URL)},
		{"content-type", r.Header.Get("Content-Type")},
		{"content-digest", r.Header.Get("Content-Digest")},
	}, []component{
		{"created", strconv.FormatInt(created, 10)}, {"keyid", `"` + key.ID + `"`}, {"alg", `"ed25519"`}, {"tag", `"` + signatureTag + `"`},
	})
	r.Header.Set("Signature-Input", signatureLabel+"="+input)
	r.Header.Set("Signature", signatureLabel+"="+byteSequence(key.sign([]byte(base))))
}

// targetURI returns the URL as the receiver knows it: what is sent to a URL without a path
// arrives at "/".
func targetURI(u url.URL) string {
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String()
}

// byteSequence writes RFC 8941's.
func byteSequence(b []byte) string { return ":" + base64.StdEncoding.EncodeToString(b) + ":" }
