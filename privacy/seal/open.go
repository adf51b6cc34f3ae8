package seal

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// Opened is a series in plain, with what decides between it and another that
// states the same interval: see [Merge].
type Opened struct {
	Series     meter.Series
	AcceptedAt int64 // unix µs: when its batch was accepted
	Writer     WriterID
	Seq        uint64
}

// Open opens a block under a permit and returns what of it the permit covers: in
// most cases one series, several if the household lived elsewhere in between,
// none if the block has no interval in scope. Nothing outside the scope leaves
// this function. now is the time by the clock that dates permits; writer is the
// public key of the block's writer.
//
// The permit comes first: without a valid one that covers the block's household,
// usage point, register and UTC day, nothing else is looked at and the error is
// ErrPermit, wrapping what consent says. Then ErrSignature, ErrFormat, ErrOpen.
func Open(p consent.Permit, now time.Time, key BlockKey, b Block, writer ed25519.PublicKey) ([]Opened, error) {
	if err := p.Valid(now); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPermit, err)
	}
	if !p.CoversDay(b.Household, b.UsagePoint, b.Register, b.Day) {
		return nil, ErrPermit
	}
	if err := b.Verify(writer); err != nil {
		return nil, err
	}
	whole, err := b.open(key)
	if err != nil {
		return nil, err
	}
	pieces := p.Trim(whole.Series)
	opened := make([]Opened, len(pieces))
	for i, s := range pieces {
		opened[i] = whole
		opened[i].Series = s
	}
	return opened, nil
}

// open decrypts and unpacks the block, whole. Only Open may call it.
func (b *Block) open(key BlockKey) (Opened, error) {
	if !inOneDay(b.Day, b.Start, b.Length, b.Count) ||
		len(b.Ciphertext) < 1+blockHeader+tagSize || b.Ciphertext[0] != blockVersion {
		return Opened{}, ErrFormat
	}
	nonce := nonceOf(b.Seq)
	var plain []byte
	var err error
	erasing(func() { plain, err = newAEAD(key.bytes()).Open(nil, nonce[:], b.Ciphertext[1:], b.bound()) })
	if err != nil {
		return Opened{}, ErrOpen
	}
	values, quality, err := packing(plain[8]).unpack(plain[blockHeader:], b.Count)
	if err != nil {
		return Opened{}, err
	}
	return Opened{
		Series: meter.Series{
			UsagePoint: b.UsagePoint, Register: b.Register,
			Start: b.Start, Length: b.Length, Revision: b.Revision,
			Values: values, Quality: quality,
		},
		AcceptedAt: int64(binary.BigEndian.Uint64(plain)),
		Writer:     b.Writer, Seq: b.Seq,
	}, nil
}
