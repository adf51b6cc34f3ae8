package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server"
)

// enrolmentBatch is how many households are created in a call, the most there may be.
const enrolmentBatch = 1000

// enrol measures how long households take to be created and to be given new key pairs with
// either key service, and on the keyring's hub what one that sends its day costs in memory.
func (b *benchAccess) enrol(ctx context.Context, dir string, key *benchVault, progress io.Writer) error {
	if key != nil {
		e, err := b.enrolOnce(ctx, filepath.Join(dir, "enrol-vault"), key.wrapper, nil)
		if err != nil {
			return fmt.Errorf("enrolling with Vault: %w", err)
		}
		fmt.Fprintf(progress, "%d households created in %.1f s with Vault, given new pairs in %.1f s\n", e.Households, e.Seconds, e.Pairs)
		b.results.Enrolment = &e
	}
	e, err := b.enrolOnce(ctx, filepath.Join(dir, "enrol-keyring"), nil, func(r *rig) (err error) {
		b.results.PerHousehold, err = b.perHousehold(ctx, r)
		return err
	})
	if err != nil {
		return fmt.Errorf("enrolling with the keyring: %w", err)
	}
	fmt.Fprintf(progress, "%d households created in %.1f s with the keyring, given new pairs in %.1f s; %.0f bytes each in ingest's memory\n", e.Households, e.Seconds, e.Pairs, b.results.PerHousehold)
	b.results.EnrolmentKeyring = e
	return nil
}

// enrolOnce creates the households in a fresh hub, and then does what is asked.
func (b *benchAccess) enrolOnce(ctx context.Context, dir string, wrapper server.KeyService, then func(*rig) error) (e enrolment, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return e, fmt.Errorf("making directory: %w", err)
	}
	url, drop, err := b.db.scratch(ctx, dir, "hub.db")
	if err != nil {
		return e, err
	}
	defer drop()
	r, err := startRig(ctx, rigConfig{Dir: dir, Store: url, Start: time.Unix(accessFirst.End()+600, 0), Log: b.log, Committers: b.committers(), Keys: wrapper})
	if err != nil {
		return e, err
	}
	defer r.stop()
	conn, err := r.dial("operator", "bench")
	if err != nil {
		return e, err
	}
	reg := wattveilv1.NewRegistryServiceClient(conn)
	if err := registerGrid(ctx, reg); err != nil {
		return e, err
	}
	e.Households = b.enrolled
	for first := 0; first < b.enrolled; first += enrolmentBatch {
		points, homes := newHomes(first, min(first+enrolmentBatch, b.enrolled), accessFirst.Start()-86400)
		if _, err := reg.PutUsagePoints(ctx, &wattveilv1.PutUsagePointsRequest{Points: points}); err != nil {
			return e, fmt.Errorf("registering usage points: %w", err)
		}
		began := time.Now()
		made, err := reg.CreateHouseholds(ctx, &wattveilv1.CreateHouseholdsRequest{Households: homes})
		if err != nil {
			return e, fmt.Errorf("creating households: %w", err)
		}
		e.Seconds += time.Since(began).Seconds()
		if len(made.GetHouseholds()) != len(homes) {
			return e, errors.New("not every household was created")
		}
	}
	if e.Pairs, err = newPairs(ctx, reg); err != nil || then == nil {
		return e, err
	}
	return e, then(r)
}

// newPairs gives every household a new key pair, and returns how many seconds that took.
func newPairs(ctx context.Context, reg wattveilv1.RegistryServiceClient) (float64, error) {
	began := time.Now()
	stream, err := reg.RotateKeys(ctx, &wattveilv1.RotateKeysRequest{Pairs: true})
	for err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("rotating key pairs: %w", err)
	}
	return time.Since(began).Seconds(), nil
}

// perHousehold lets a quarter of the households send a day, then all others, and
// returns what each of the latter added to what lives on the heap.
func (b *benchAccess) perHousehold(ctx context.Context, r *rig) (float64, error) {
	sender := b.accessSender()
	quarter := b.enrolled / 4
	var live [2]uint64
	for i, until := range []int{quarter, b.enrolled} {
		sender.first, sender.households = i*quarter, until
		sender.results.Readings = (until - sender.first) * dayIntervals
		if err := sender.send(ctx, r, i); err != nil {
			return 0, err
		}
		runtime.GC()
		runtime.GC() // what pools hold goes with the second
		live[i] = heap()
	}
	b.results.Settings = append(b.results.Settings, fmt.Sprintf("memory: heap in use after collection, %d households that sent a day and %d", quarter, b.enrolled))
	return (float64(live[1]) - float64(live[0])) / float64(b.enrolled-quarter), nil
}
