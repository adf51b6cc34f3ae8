package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/wattveil/wattveil/ledger"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
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
	newer, proved, err := v.Follow(server.KeyGenerations(got.GetKeys()))
	if err != nil {
		return nil, fmt.Errorf("taking up the ledger's keys: %w", err)
	}
	s := &succession{v: newer, bound: make(map[uint64]ledger.Leaf)}
	for _, at := range proved {
		s.bound[at.Index] = at.Leaf
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
