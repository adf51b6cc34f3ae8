package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// This file says what a log's keys are, and how they change.
//
// A log is known by its origin, and its keys follow one another in generations. What is
// signed with which follows from the log itself: a leaf of class admin binds the next
// generation, and every checkpoint that covers this leaf is signed with it; a later leaf
// retires the generation before, which signs no checkpoint that covers that one. In
// between both sign, so that whoever has the old keys alone has time to take up the new
// ones, which the old ones vouch for: see Verifier.Succeed.
//
// Verifier keys are a text, one key a line, the newest generation first:
//
//	wattveil.example/hub+5a1bd2f0+AW…   the newest generation's Ed25519 key
//	wattveil.example/hub+9c03e77d+Bl…   its ML-DSA-44 key
//	until 4711                          index of the leaf that binds it
//	wattveil.example/hub+02c4ab19+AQ…   the generation before: believed of at most 4711 leaves
//	wattveil.example/hub+77d0c1aa+Bs…
//
// The bound is that of the binding leaf, not of the retiring one: from there on the new
// keys sign everything, so that a stolen older key signs nothing that is newer and
// believed, and the text is what it will stay before the older keys are retired. A log
// that has never changed its keys has no such line.

// Details of the admin leaves that change a log's keys. The Digest is the
// VerifierKeysDigest of the generation that is bound, or retired.
const (
	DetailLedgerKeys        = "ledger_keys"
	DetailLedgerKeysRetired = "ledger_keys_retired"
)

// VerifierKeysDigest is the SHA-256 of "wattveil ledger keys v1", a zero byte, the
// length as 8 bytes big-endian, and the verifier keys of one generation, one a line.
func VerifierKeysDigest(vkeys string) Hash {
	text := strings.Join(strings.Fields(vkeys), "\n")
	b := append([]byte("wattveil ledger keys v1"), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
	return sha256.Sum256(append(b, text...))
}

// Term is what the log says of a generation of its keys.
type Term struct {
	Bound   uint64 // index of the leaf that binds it; NoIndex for the first, which none does
	Retired uint64 // index of the leaf that retires it; NoIndex while none does
}

// Signs reports whether the generation signs checkpoints of that size.
func (t Term) Signs(size uint64) bool {
	return (t.Bound == NoIndex || size > t.Bound) && size <= t.Retired
}

func formatGenerations(newestFirst []generation) string {
	var b strings.Builder
	for i, g := range newestFirst {
		if i > 0 {
			fmt.Fprintf(&b, "\n%s %d\n", untilWord, g.until)
		}
		b.WriteString(g.text)
	}
	return b.String()
}

// untilWord begins the line before an older generation. No key is mistaken for it: a key
// holds a plus.
const untilWord = "until"

// generation is a generation of keys that checkpoints are checked with.
type generation struct {
	keys  []*verifierKey
	until uint64 // the largest size they are believed for; NoIndex for the newest
	text  string // one key a line
}

// parseGenerations reads verifier keys, newest generation first. No key is in two
// generations, and the bounds get smaller.
func parseGenerations(vkeys string) (origin string, all []generation, err error) {
	refuse := func(why string) (string, []generation, error) {
		return "", nil, fmt.Errorf("reading the log's public key: %w: %s", ErrVerifierKey, why)
	}
	fields := strings.Fields(vkeys)
	g := generation{until: NoIndex}
	seen := make(map[string]bool)
	for i := 0; i < len(fields); i++ {
		if fields[i] == untilWord {
			if len(g.keys) == 0 || i+1 == len(fields) {
				return refuse("keys stand before a bound, and after it")
			}
			i++
			until, err := strconv.ParseUint(fields[i], 10, 64)
			if err != nil || strconv.FormatUint(until, 10) != fields[i] || until >= g.until {
				return refuse("a bound is a number of leaves, and smaller than the one before")
			}
			all, g = append(all, g), generation{until: until}
			continue
		}
		key, err := parseVerifierKey(fields[i])
		if err != nil {
			return "", nil, fmt.Errorf("reading the log's public key: %w", err)
		}
		if origin == "" {
			origin = key.name
		}
		if ed := key.alg == algEd25519; ed != (len(g.keys) == 0) || key.alg == algCosigned || key.name != origin {
			return refuse("one Ed25519 key comes first, then ML-DSA-44 keys of the same name")
		}
		if seen[fields[i]] {
			return refuse("a key is there twice")
		}
		seen[fields[i]] = true
		if len(g.keys) > 0 {
			g.text += "\n"
		}
		g.keys, g.text = append(g.keys, key), g.text+fields[i]
	}
	if len(g.keys) == 0 {
		return refuse("keys are missing")
	}
	return origin, append(all, g), nil
}

// open returns a note that every key of the generation, and what the policy demands, has
// signed.
func (g generation) open(signed []byte, policy *Policy) (*note.Note, error) {
	keys := policy.verifiers()
	for _, k := range g.keys {
		keys = append(keys, k)
	}
	n, err := note.Open(signed, note.VerifierList(keys...))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	for _, k := range g.keys {
		if !signedBy(n.Sigs, k) {
			return nil, fmt.Errorf("%w: not signed with the log's key %08x", ErrCheckpoint, k.hash)
		}
	}
	if !policy.satisfied(n.Sigs) {
		return nil, ErrNotCosigned
	}
	return n, nil
}
