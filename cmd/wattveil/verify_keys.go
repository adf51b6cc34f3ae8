package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// succession leads the holder of a ledger's older keys to its newest: from a hub come the
// keys and what binds each of them, and every step is checked with the keys before it.
type succession struct {
	v     *ledger.Verifier       // with all keys
	bound map[uint64]ledger.Leaf // the leaves that bind the keys which were taken up
}

// succeed asks the hub at a URL for the keys that follow v's. The leaves that bind them
// remain to be found in the ledger. A *ledger.Violation says that they do not follow.
func succeed(ctx context.Context, v *ledger.Verifier, url string) (*succession, error) {
	hub := restClient{base: strings.TrimSuffix(url, "/")}
	var got wattveilv1.GetLedgerKeysResponse
	if err := hub.call(ctx, "GET", "/v1/ledger-keys", nil, &got); err != nil {
		return nil, fmt.Errorf("asking for the ledger's keys: %w", err)
	}
	all := got.GetKeys().GetGenerations()
	next := len(all) // generation after the newest that v knows
	for next > 0 && !strings.Contains(v.Keys(), all[next-1].GetVerifierKeys()) {
		next--
	}
	if next == 0 {
		return nil, &ledger.Violation{Index: ledger.NoIndex, What: "the hub's keys do not follow from the keys at hand"}
	}
	s := &succession{v: v, bound: make(map[uint64]ledger.Leaf)}
	for _, g := range all[next:] {
		r := g.GetBinding()
		if len(r.GetNonce()) != len(ledger.Hash{}) {
			return nil, &ledger.Violation{Index: r.GetIndex(), What: "it opens to no keys"}
		}
		// Cosigned is the checkpoint that the leaf is looked for under, not this one.
		newer, at, err := s.v.WithPolicy(nil).Succeed(g.GetVerifierKeys(), []byte(g.GetStatement()), ledger.Opening{Payload: r.GetPayload(), Nonce: ledger.Hash(r.GetNonce()), Proof: []byte(r.GetProof())})
		if err != nil {
			return nil, &ledger.Violation{Index: r.GetIndex(), What: fmt.Sprintf("it does not bind the keys of generation %d", g.GetNumber()), Err: err}
		}
		s.v, s.bound[at.Index] = newer, at.Leaf
	}
	return s, nil
}

// found checks that the leaves are those of the ledger, which VerifyLog goes through.
func (s *succession) found(leaves map[uint64]ledger.Leaf) error {
	for index, leaf := range s.bound {
		if leaves[index] != leaf {
			return &ledger.Violation{Index: index, What: "the ledger does not have what binds the new keys"}
		}
	}
	return nil
}

// saveKeys puts verifier keys into a file, whole at any time.
func saveKeys(path, keys string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err != nil {
		return fmt.Errorf("saving verifier keys: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename it is gone
	_, err = f.WriteString(keys + "\n")
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("saving verifier keys: %w", err)
	}
	return nil
}
