package keyguard

import (
	"fmt"
	"time"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// leaf is what an access leaf allows to be opened.
type leaf struct {
	self      bool
	time      time.Time
	household consent.Household
	points    []meter.UsagePoint
	registers []meter.Register // none: any, in a self leaf only
	from, to  meter.Day        // both included
}

// readLeaf takes a payload for what the gate writes when it admits, and for
// nothing else: a leaf of a third party names its recipient and consent, one of
// the household itself neither, but its session.
func readLeaf(p ledger.Payload) (leaf, error) {
	if p.Kind != ledger.KindAccess {
		return leaf{}, ErrLeaf
	}
	self := p.Purpose == consent.PurposeSelf
	if self != (p.Recipient == "") || self != (p.Consent == "") || self != (p.Session != ledger.Hash{}) || !self && len(p.Registers) == 0 {
		return leaf{}, ErrLeaf
	}
	l := leaf{
		self:      self,
		time:      time.UnixMicro(p.Time),
		household: consent.Household(p.Subject),
		from:      meter.Day(p.KeyFrom),
		to:        meter.Day(p.KeyUntil),
	}
	if p.Subject == "" || len(p.UsagePoints) == 0 || l.from > l.to {
		return leaf{}, ErrLeaf
	}
	for _, s := range p.UsagePoints {
		up, err := meter.ParseUsagePoint(s)
		if err != nil {
			return leaf{}, fmt.Errorf("%w: %w", ErrLeaf, err)
		}
		l.points = append(l.points, up)
	}
	for _, s := range p.Registers {
		r, err := meter.ParseRegister(s)
		if err != nil {
			return leaf{}, fmt.Errorf("%w: %w", ErrLeaf, err)
		}
		l.registers = append(l.registers, r)
	}
	return l, nil
}

// fresh reports whether the leaf may be presented now: a third party's within
// MaxAge of its time, a household's own until its UTC day ends.
func (l leaf) fresh(now time.Time) bool {
	if l.self {
		return meter.DayOf(l.time.Unix()) == meter.DayOf(now.Unix())
	}
	return now.Sub(l.time).Abs() <= MaxAge
}

// narrow returns the leaf cut down to what the request asks for, or ErrOutside
// if that is not within it.
func (l leaf) narrow(r Request) (leaf, error) {
	if len(r.UsagePoints) > 0 {
		if !within(r.UsagePoints, l.points) {
			return leaf{}, ErrOutside
		}
		l.points = r.UsagePoints
	}
	if len(r.Registers) > 0 {
		if len(l.registers) > 0 && !within(r.Registers, l.registers) {
			return leaf{}, ErrOutside
		}
		l.registers = r.Registers
	}
	if len(l.registers) == 0 {
		return leaf{}, fmt.Errorf("%w: no register is named", ErrOutside)
	}
	if r.From != 0 || r.To != 0 {
		if r.From < l.from || r.To > l.to || r.From > r.To {
			return leaf{}, ErrOutside
		}
		l.from, l.to = r.From, r.To
	}
	return l, nil
}
