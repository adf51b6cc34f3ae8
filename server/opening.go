package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/keyguard"
	"github.com/wattveil/wattveil/privacy/seal"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// open does what comes after admission, for an answer that is made at once: prove the
// leaf to the keeper of keys, fetch sealed blocks, ask for their keys, and disclose. ask
// narrows the blocks that are fetched; the permit decides what leaves.
func (r *readingService) open(ctx context.Context, permit consent.Permit, ask asked) ([]meter.Series, *wattveilv1.Receipt, error) {
	proved, receipt, err := r.prove(ctx, permit)
	if err != nil {
		return nil, nil, err
	}
	first, last := ask.days(permit)
	if first > last {
		return nil, receipt, nil
	}
	blocks, err := r.store.Blocks(ctx, permit.Household(), ask.points(permit), ask.registers, first, last)
	if err != nil {
		return nil, nil, fmt.Errorf("fetching blocks: %w", err)
	}
	if len(blocks) == 0 {
		return nil, receipt, nil // nothing to open: the leaf stays unspent
	}
	points, registers := sealedUnder(blocks)
	keys, err := r.keys(ctx, proved, keyguard.Request{UsagePoints: points, Registers: registers, From: first, To: last})
	if err != nil {
		return nil, nil, err
	}
	defer keys.Clear()
	series, err := r.disclose(ctx, permit, keys, blocks)
	return series, receipt, err
}

// prove proves the leaf of a permit, and makes the receipt of it.
func (r *readingService) prove(ctx context.Context, permit consent.Permit) (provedRead, *wattveilv1.Receipt, error) {
	recorded := permit.Receipt()
	proved, err := r.proofs.prove(ctx, recorded)
	if err != nil {
		return provedRead{}, nil, fmt.Errorf("proving a read: %w", err)
	}
	return proved, &wattveilv1.Receipt{Index: recorded.Index, Payload: recorded.Payload, Nonce: recorded.Nonce[:], Proof: string(proved.access.Proof)}, nil
}

// keys shows the keeper of keys the access and the consent behind it, and returns the
// keys of what is wanted. The access is spent then.
func (r *readingService) keys(ctx context.Context, proved provedRead, wanted keyguard.Request) (*keyguard.BlockKeys, error) {
	agreed, err := r.proofs.consent(ctx, proved)
	if err != nil {
		return nil, fmt.Errorf("proving the consent to a read: %w", err)
	}
	wanted.Access, wanted.Consent = proved.access, agreed
	keys, err := r.guard.BlockKeys(ctx, wanted)
	if err != nil {
		return nil, fmt.Errorf("asking for block keys: %w", err)
	}
	return keys, nil
}

// disclose opens blocks under the permit, keeps the newest revision of each interval, and
// returns what the permit covers in its granularity.
func (r *readingService) disclose(ctx context.Context, permit consent.Permit, keys *keyguard.BlockKeys, blocks []store.StoredBlock) ([]meter.Series, error) {
	sealed := make([]seal.KeyedBlock, 0, len(blocks))
	for _, b := range blocks {
		if !permit.CoversDay(b.Household, b.UsagePoint, b.Register, b.Day) {
			continue
		}
		key, ok := keys.Key(b.Block)
		if !ok {
			return nil, errNoBlockKey
		}
		sealed = append(sealed, seal.KeyedBlock{Block: b.Block, Key: key, WriterKey: b.WriterKey})
	}
	opened, err := seal.Open(permit, r.clock(), sealed...)
	if err != nil {
		return nil, err
	}
	series, conflicts := seal.Merge(opened)
	if conflicts > 0 {
		r.reportConflicts(ctx, opened)
	}
	return permit.Disclose(series)
}

// opening is an admitted access that is answered part by part: its keys are had once,
// and blocks fetched and opened as they are needed, for as long as the permit lasts.
type opening struct {
	reader  *readingService
	permit  consent.Permit
	receipt *wattveilv1.Receipt
	keys    *keyguard.BlockKeys      // nil: nothing is stored
	held    map[store.WriterDay]bool // day keys that were there to be had
}

// begin proves an access and has its keys handed out, for the usage points and
// registers. close ends it.
func (r *readingService) begin(ctx context.Context, permit consent.Permit, ask asked) (*opening, error) {
	proved, receipt, err := r.prove(ctx, permit)
	if err != nil {
		return nil, err
	}
	o := &opening{reader: r, permit: permit, receipt: receipt}
	first, last := ask.days(permit)
	if first > last || len(ask.usagePoints) == 0 || len(ask.registers) == 0 {
		return o, nil
	}
	if o.held, err = r.store.WriterDays(ctx, permit.Household(), first, last); err != nil || len(o.held) == 0 {
		return o, err // nothing to open: the leaf stays unspent
	}
	o.keys, err = r.keys(ctx, proved, keyguard.Request{UsagePoints: ask.usagePoints, Registers: ask.registers, From: first, To: last})
	return o, err
}

// close overwrites the keys.
func (o *opening) close() {
	if o.keys != nil {
		o.keys.Clear()
	}
}

// read returns what may leave of a usage point's intervals that start in [from, until),
// unix seconds: whole steps of what was granted, if both are at the edge of one.
func (o *opening) read(ctx context.Context, point meter.UsagePoint, registers []meter.Register, from, until int64) ([]meter.Series, error) {
	if o.keys == nil {
		return nil, nil
	}
	blocks, err := o.reader.store.Blocks(ctx, o.permit.Household(), []meter.UsagePoint{point}, registers, meter.DayOf(from), meter.DayOf(until-1))
	if err != nil {
		return nil, fmt.Errorf("fetching blocks: %w", err)
	}
	return o.reader.disclose(ctx, o.permit.Within(from, until), o.keys, slices.DeleteFunc(blocks, o.later))
}

// later says whether a block came after the keys were asked for: it is of a writer that
// had stored nothing of the day, or sealed to the household's next key pair. Whoever reads
// next has it.
func (o *opening) later(b store.StoredBlock) bool {
	if !o.held[store.WriterDay{Day: b.Day, Writer: b.Writer}] {
		return true
	}
	if _, ok := o.keys.Key(b.Block); ok {
		return false
	}
	before := b.Block
	before.Generation--
	_, renewed := o.keys.Key(before)
	return renewed
}

// reportConflicts tells the utilities on which usage points and days their
// batches disagree. It is on the way of a reading, which does not fail for it:
// the conflict is met again.
func (r *readingService) reportConflicts(ctx context.Context, opened []seal.Opened) {
	type place struct {
		point meter.UsagePoint
		day   meter.Day
	}
	at := map[place][]seal.Opened{}
	for _, o := range opened {
		p := place{o.Series.UsagePoint, meter.DayOf(o.Series.Start)}
		at[p] = append(at[p], o)
	}
	for p, same := range at {
		if _, n := seal.Merge(same); n > 0 {
			if err := r.store.PutConflict(ctx, p.point, p.day, n, r.clock().Unix()); err != nil {
				r.log.LogAttrs(ctx, slog.LevelWarn, "reporting conflict", slog.String("cause", err.Error()))
			}
		}
	}
}

// errNoBlockKey says that a block's day key could not be had though its
// household's key exists: the store has lost or altered a wrap.
var errNoBlockKey = errors.New("server: a block's day key is missing or damaged")

// sealedUnder returns the usage points and registers of blocks, each once.
func sealedUnder(blocks []store.StoredBlock) (points []meter.UsagePoint, registers []meter.Register) {
	for _, b := range blocks {
		if !slices.Contains(points, b.UsagePoint) {
			points = append(points, b.UsagePoint)
		}
		if !slices.Contains(registers, b.Register) {
			registers = append(registers, b.Register)
		}
	}
	return points, registers
}
