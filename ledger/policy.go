package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ErrPolicy: text that is not a policy of c2sp.org/tlog-policy.
var ErrPolicy = errors.New("ledger: malformed witness policy")

// ErrNotCosigned: too few witnesses have cosigned the checkpoint for the policy.
var ErrNotCosigned = errors.New("ledger: not cosigned as the policy demands")

// Policy says whose cosignatures a checkpoint needs (c2sp.org/tlog-policy): lines
// of
//
//	log <vkey> [<url>]                         ignored: a Verifier knows its log
//	witness <name> <vkey> [<url>]
//	group <name> <k | any | all> <member>...
//	quorum <name | none>
//
// in any order that defines a name before it is used; blank lines and lines that
// begin with # are skipped. A member is in one group at most, so that nobody
// counts twice.
type Policy struct {
	witnesses []policyWitness
	quorum    *member // nil for none
}

type policyWitness struct {
	name string
	key  *verifierKey
	url  string // submission prefix; may be empty
}

// member is a witness, or a group of which need must be satisfied.
type member struct {
	witness *verifierKey
	need    int
	of      []*member
	used    bool
}

const (
	maxPolicy        = 64 << 10 // bytes
	maxPolicyMembers = 256
)

// ParsePolicy reads a policy. Errors are ErrPolicy with the line's number.
func ParsePolicy(text []byte) (*Policy, error) {
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrPolicy, maxPolicy)
	}
	p := &Policy{}
	b := policyParser{policy: p, members: make(map[string]*member), keys: make(map[string]bool)}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		fields := strings.Fields(string(line))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if what := b.line(fields); what != "" {
			return nil, fmt.Errorf("%w: line %d: %s", ErrPolicy, n, what)
		}
	}
	if !b.quorum {
		return nil, fmt.Errorf("%w: no quorum", ErrPolicy)
	}
	return p, nil
}

type policyParser struct {
	policy  *Policy
	members map[string]*member
	keys    map[string]bool
	quorum  bool
}

// line takes in one line, and says what is wrong with it.
func (b *policyParser) line(fields []string) string {
	switch fields[0] {
	case "log":
		if len(fields) < 2 || len(fields) > 3 {
			return "a log has a key and perhaps a URL"
		}
		if _, err := parseVerifierKey(fields[1]); err != nil {
			return "the log's key is not one"
		}
		return ""
	case "witness":
		return b.witness(fields)
	case "group":
		return b.group(fields)
	case "quorum":
		if len(fields) != 2 || b.quorum {
			return "there is one quorum, which is one name"
		}
		b.quorum = true
		if fields[1] == "none" {
			return ""
		}
		m, what := b.use(fields[1])
		b.policy.quorum = m
		return what
	}
	return "unknown keyword"
}

func (b *policyParser) define(name string, m *member) string {
	switch {
	case b.members[name] != nil:
		return "the name is taken"
	case name == "none" || name == "any" || name == "all":
		return "the name is a keyword"
	case len(b.members) == maxPolicyMembers:
		return "too many names"
	}
	b.members[name] = m
	return ""
}

func (b *policyParser) use(name string) (*member, string) {
	m := b.members[name]
	if m == nil || m.used {
		return nil, "a name is not defined before, or used twice"
	}
	m.used = true
	return m, ""
}

func (b *policyParser) witness(fields []string) string {
	if len(fields) < 3 || len(fields) > 4 {
		return "a witness has a name, a key, and perhaps a URL"
	}
	key, err := parseVerifierKey(fields[2])
	if err != nil || key.alg == algEd25519 {
		return "the witness's key is not one that cosigns"
	}
	if b.keys[fields[2]] {
		return "the witness's key is another's"
	}
	b.keys[fields[2]] = true
	w := policyWitness{name: fields[1], key: key}
	if len(fields) == 4 {
		u, err := url.Parse(fields[3])
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return "the witness's URL is not one"
		}
		w.url = strings.TrimSuffix(fields[3], "/")
	}
	b.policy.witnesses = append(b.policy.witnesses, w)
	return b.define(fields[1], &member{witness: key})
}

func (b *policyParser) group(fields []string) string {
	if len(fields) < 4 {
		return "a group has a name, a threshold and members"
	}
	g := &member{}
	for _, name := range fields[3:] {
		m, what := b.use(name)
		if what != "" {
			return what
		}
		g.of = append(g.of, m)
	}
	switch fields[2] {
	case "any":
		g.need = 1
	case "all":
		g.need = len(g.of)
	default:
		n, err := strconv.ParseUint(fields[2], 10, 16)
		if err != nil || n < 1 || int(n) > len(g.of) || strconv.FormatUint(n, 10) != fields[2] {
			return "the threshold is not between 1 and the number of members"
		}
		g.need = int(n)
	}
	return b.define(fields[1], g)
}

// verifiers returns the keys of all witnesses.
func (p *Policy) verifiers() []note.Verifier {
	var keys []note.Verifier
	if p != nil {
		for _, w := range p.witnesses {
			keys = append(keys, w.key)
		}
	}
	return keys
}

// satisfied reports whether the signatures, which are all verified, are enough.
func (p *Policy) satisfied(sigs []note.Signature) bool {
	return p == nil || p.quorum == nil || p.quorum.satisfied(sigs)
}

func (m *member) satisfied(sigs []note.Signature) bool {
	if m.witness != nil {
		return signedBy(sigs, m.witness)
	}
	n := 0
	for _, c := range m.of {
		if c.satisfied(sigs) {
			n++
		}
	}
	return n >= m.need
}

func signedBy(sigs []note.Signature, key *verifierKey) bool {
	for _, s := range sigs {
		if s.Name == key.name && s.Hash == key.hash {
			return true
		}
	}
	return false
}

// DetailKeyPolicy is the Detail of the admin leaf that a hub writes at every start:
// its Digest is a KeyPolicyDigest.
const DetailKeyPolicy = "key_policy"

// KeyPolicyDigest is the SHA-256 of "wattveil key policy v1" and, each preceded by
// a zero byte and its length as 8 bytes big-endian, the log's verifier keys as they
// are published, one a line; what is required before a key is released, "signed" or
// "cosigned"; and the text of the witness policy, empty without one.
func KeyPolicyDigest(verifierKeys, requires string, policy []byte) Hash {
	h := sha256.New()
	h.Write([]byte("wattveil key policy v1"))
	for _, part := range [][]byte{[]byte(verifierKeys), []byte(requires), policy} {
		h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(len(part))))
		h.Write(part)
	}
	return Hash(h.Sum(nil))
}
