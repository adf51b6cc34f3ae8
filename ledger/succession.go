package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// SigningKeys are one generation of the keys that sign a log's checkpoints, Ed25519 and
// ML-DSA-44. They are safe for concurrent use.
type SigningKeys struct {
	origin string
	keys   []note.Signer
	vkeys  string
}

// NewSigningKeys makes keys of the log named origin from seeds of 32 bytes, which the
// caller may erase afterwards. ML-DSA-44 signatures carry the time of now.
func NewSigningKeys(origin string, ed25519Seed, mldsaSeed []byte, now func() time.Time) (*SigningKeys, error) {
	ed, err := newSigningKey(origin, algEd25519, ed25519Seed, nil)
	if err != nil {
		return nil, fmt.Errorf("making signing keys: %w", err)
	}
	pq, err := newSigningKey(origin, algMLDSA44, mldsaSeed, now)
	if err != nil {
		return nil, fmt.Errorf("making signing keys: %w", err)
	}
	return &SigningKeys{origin, []note.Signer{ed, pq}, ed.vkey + "\n" + pq.vkey}, nil
}

// VerifierKeys returns the generation's public keys, Ed25519 and ML-DSA-44, one a line.
func (k *SigningKeys) VerifierKeys() string { return k.vkeys }

// Bind returns the statement with which these keys vouch for the next generation of their
// log's keys, from the leaf at that index on: a note that they have signed. Anybody who
// may record in the log can record a leaf that names keys; whose keys those are is for
// the older ones to say.
func (k *SigningKeys) Bind(next string, index uint64) (statement []byte, err error) {
	statement, err = note.Sign(&note.Note{Text: bindingText(k.origin, next, index)}, k.keys...)
	if err != nil {
		return nil, fmt.Errorf("binding keys: %w", err)
	}
	return statement, nil
}

// bindingText is what keys sign to vouch for the next ones. It has the form of a
// checkpoint, which both algorithms sign, of an origin that no log can have, since it
// holds a blank; the size is the leaf's index, the root the keys' digest.
func bindingText(origin, vkeys string, index uint64) string {
	return checkpoint{origin + " keys", index, VerifierKeysDigest(vkeys)}.text()
}

// ErrNoKeys: no generation of keys signs checkpoints of that size.
var ErrNoKeys = errors.New("ledger: no keys sign a checkpoint of that size")

// NewTermSigner returns a signer of the log named origin whose keys change as its leaves
// say. Before each signature it asks which generations sign a checkpoint of that size
// (see Term). What it is told must come from the log as it is committed: the leaf that
// binds a generation, or retires one, is covered by the very next checkpoint.
func NewTermSigner(origin string, terms func(ctx context.Context, size uint64) ([]*SigningKeys, error)) *NoteSigner {
	return &NoteSigner{origin: origin, terms: terms}
}

// inForce returns the keys that sign a checkpoint of that size.
func (s *NoteSigner) inForce(ctx context.Context, size uint64) ([]note.Signer, error) {
	if s.terms == nil {
		return s.keys, nil
	}
	generations, err := s.terms(ctx, size)
	if err != nil {
		return nil, err
	}
	var keys []note.Signer
	for _, g := range generations {
		if g.origin != s.origin {
			return nil, ErrOrigin
		}
		keys = append(keys, g.keys...)
	}
	if len(keys) == 0 {
		return nil, ErrNoKeys
	}
	return keys, nil
}

// Successor returns a verifier that knows the next generation of the log's keys, too,
// which the newest that v knows vouch for by their statement: from the leaf at index on
// they are not enough any more. ErrVerifierKey if those are no keys of one generation, or
// the leaf does not come after the one before it; ErrProof without the statement.
//
// That the leaf says so is another question: see Succeed.
func (v *Verifier) Successor(vkeys string, index uint64, statement []byte) (*Verifier, error) {
	if _, one, err := parseGenerations(vkeys); err != nil || len(one) != 1 {
		return nil, fmt.Errorf("reading the next keys: %w", ErrVerifierKey)
	}
	newest := (*v.keys.Load())[0]
	n, err := newest.open(statement, nil)
	if err != nil || n.Text != bindingText(v.origin, vkeys, index) {
		return nil, fmt.Errorf("%w: the newest keys do not vouch for the next ones", ErrProof)
	}
	next, err := NewVerifier(fmt.Sprintf("%s\n%s %d\n%s", vkeys, untilWord, index, v.Keys()))
	if err != nil {
		return nil, err
	}
	return next.WithPolicy(v.policy), nil
}

// Succeed is Successor with the opening of the leaf that binds the keys, under a
// checkpoint that v accepts, and returns what it has proved. It is ErrProof if the leaf
// binds nothing, or other keys.
//
// Whoever has stolen the older keys could make statement, leaf and checkpoint. That the
// leaf is in the log that others see is for the caller to check, as VerifyLog does.
func (v *Verifier) Succeed(vkeys string, statement []byte, binding Opening) (*Verifier, Verified, error) {
	got, err := v.Proof(binding.Payload, binding.Nonce, binding.Proof)
	if err != nil {
		return nil, Verified{}, err
	}
	if p := got.Payload; p.Kind != KindAdmin || p.Detail != DetailLedgerKeys || p.Digest != VerifierKeysDigest(vkeys) {
		return nil, Verified{}, fmt.Errorf("%w: the leaf does not bind these keys", ErrProof)
	}
	next, err := v.Successor(vkeys, got.Index, statement)
	if err != nil {
		return nil, Verified{}, err
	}
	return next, got, nil
}

// Generation is one generation of a log's keys, with what leads to it from the one before:
// nothing, for the first.
type Generation struct {
	VerifierKeys string // one a line
	Statement    []byte
	Index        uint64 // of the leaf that binds it
	Binding      Opening
}

// Follow is Succeed from the newest generation that v knows to the last of all, which are
// oldest first, without the cosignatures that v may demand: under them the leaves are
// looked for in the log. It returns what each leaf has proved, or a *Violation that says
// which one does not follow.
func (v *Verifier) Follow(all []Generation) (*Verifier, []Verified, error) {
	next := len(all) // the first that v does not know
	for next > 0 && !v.knows(all[next-1].VerifierKeys) {
		next--
	}
	if next == 0 {
		return nil, nil, &Violation{Index: NoIndex, What: "the log's keys do not follow from the keys at hand", Err: ErrVerifierKey}
	}
	newer := v.WithPolicy(nil)
	var proved []Verified
	for i := next; i < len(all); i++ {
		g := all[i]
		if len(g.Binding.Proof) == 0 {
			return nil, nil, &Violation{Index: g.Index, What: "it opens to no keys"}
		}
		following, at, err := newer.Succeed(g.VerifierKeys, g.Statement, g.Binding)
		if err == nil && at.Index != g.Index {
			err = fmt.Errorf("%w: it is of another leaf", ErrProof)
		}
		if err != nil {
			return nil, nil, &Violation{Index: g.Index, What: fmt.Sprintf("it does not bind the keys of generation %d", i+1), Err: err}
		}
		newer, proved = following, append(proved, at)
	}
	return newer.WithPolicy(v.policy), proved, nil
}

// knows reports whether a text is one of v's generations.
func (v *Verifier) knows(vkeys string) bool {
	return slices.ContainsFunc(*v.keys.Load(), func(g generation) bool { return g.text == vkeys })
}

// Strange reports whether a checkpoint carries a signature in the log's name by a key
// that v does not know: the log may have changed its keys. It proves nothing, since
// anybody can add such a line.
func (v *Verifier) Strange(signed []byte) bool {
	_, err := note.Open(signed, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return false
	}
	for _, s := range unverified.Note.UnverifiedSigs {
		known := s.Name != v.origin
		for _, g := range *v.keys.Load() {
			for _, k := range g.keys {
				known = known || k.hash == s.Hash
			}
		}
		if !known {
			return true
		}
	}
	return false
}
