package seal

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
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

// KeyedBlock is a block with what it is opened by.
type KeyedBlock struct {
	Block
	Key       BlockKey
	WriterKey ed25519.PublicKey // of the block's writer
}

// Open opens blocks under a permit and returns what of them the permit covers,
// in their order: in most cases one series of each, several if the household lived
// elsewhere in between, none if the block has no interval in scope. Nothing outside
// the scope leaves this function. now is the time by the clock that dates permits.
//
// It opens all or none. The permit comes first: without a valid one that covers
// every block's household, usage point, register and UTC day, nothing else is
// looked at and the error is ErrPermit, wrapping what consent says. Then come all
// signatures, and the error is ErrSignature; then block by block ErrFormat, ErrOpen.
func Open(p consent.Permit, now time.Time, blocks ...KeyedBlock) ([]Opened, error) {
	if err := p.Valid(now); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPermit, err)
	}
	for i := range blocks {
		if b := &blocks[i]; !p.CoversDay(b.Household, b.UsagePoint, b.Register, b.Day) {
			return nil, ErrPermit
		}
	}
	checks := make([]Check, len(blocks))
	for i := range blocks {
		checks[i] = blocks[i].Check(blocks[i].WriterKey)
	}
	if slices.Contains(VerifyAll(checks), false) {
		return nil, ErrSignature
	}
	opened := make([]Opened, 0, len(blocks))
	for i := range blocks {
		whole, err := blocks[i].open(blocks[i].Key)
		if err != nil {
			return nil, err
		}
		for _, s := range p.Trim(whole.Series) {
			whole.Series = s
			opened = append(opened, whole)
		}
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
