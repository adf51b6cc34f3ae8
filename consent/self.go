package consent

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
)

// SelfAccess is a household's wish to read its own data.
type SelfAccess struct {
	Household Household
	Session   ledger.Hash // SHA-256 of the session's secret; not zero
}

// errDayTurned ends a proposal whose leaf would fall on another UTC day than the
// one it was keyed by.
var errDayTurned = errors.New("consent: the day has turned")

// AdmitSelf opens a household's own readings to it: all its usage points, every
// register, its whole history, each cut to the time it lived there. The first
// call of a session on a UTC day writes a leaf of purpose PurposeSelf, which
// names all of that; later calls of that day return a new Permit on the same leaf,
// cut to where the household lives by then and to what the leaf names.
//
// Errors: ErrAccess, ErrNotFound for a household that has never lived anywhere,
// or what the ledger returns; then nothing is opened.
func (g *Gate[T]) AdmitSelf(ctx context.Context, a SelfAccess) (Permit, error) {
	if !identifier(string(a.Household)) || a.Session == (ledger.Hash{}) {
		return Permit{}, fmt.Errorf("%w: identifier", ErrAccess)
	}
	day := meter.DayOf(g.now().Unix())
	rec, d, err := g.recordSelf(ctx, a, &day)
	if errors.Is(err, errDayTurned) {
		rec, d, err = g.recordSelf(ctx, a, &day)
	}
	if err != nil {
		return Permit{}, err
	}
	p := rec.payload
	if p.Kind != ledger.KindAccess || p.Purpose != PurposeSelf || p.Subject != string(a.Household) || p.Session != a.Session {
		return Permit{}, errors.New("consent: leaf of an own access came back as another")
	}
	if !rec.fresh {
		if d, err = g.again(ctx, a, p); err != nil {
			return Permit{}, err
		}
	}
	return d.permit(rec, g.now()), nil
}

// recordSelf writes the leaf of the session and day, or finds it. If the leaf
// would fall on another day, it sets day to that one and returns errDayTurned.
func (g *Gate[T]) recordSelf(ctx context.Context, a SelfAccess, day *meter.Day) (rec record, d decision, err error) {
	key := requestKey("self", string(a.Household), hex.EncodeToString(a.Session[:]), day.String())
	rec, err = propose(ctx, g.ledger, key, func(ctx context.Context, tx T, at ledger.Position) (_ ledger.Payload, err error) {
		today := meter.DayOf(seconds(at))
		if today != *day {
			*day = today
			return ledger.Payload{}, errDayTurned
		}
		if d, err = a.scopes(ctx, tx, today.End()); err != nil {
			return ledger.Payload{}, err
		}
		from, until := hull(d.scopes)
		d.payload = ledger.Payload{
			Kind:        ledger.KindAccess,
			Time:        at.Time,
			Subject:     string(a.Household),
			Purpose:     PurposeSelf,
			Session:     a.Session,
			Granularity: Interval.String(),
			From:        from,
			Until:       until,
		}
		d, err = d.nameKeys(ctx, tx, nil)
		return d.payload, err
	})
	return rec, d, err
}

// again returns what the leaf p, written earlier on this day, lets the household
// read now.
func (g *Gate[T]) again(ctx context.Context, a SelfAccess, p ledger.Payload) (d decision, err error) {
	err = view(ctx, g.ledger, func(ctx context.Context, tx T) error {
		d, err = a.scopes(ctx, tx, meter.Day(p.KeyUntil).End())
		return err
	})
	if err != nil {
		return decision{}, err
	}
	d.first, d.last = meter.Day(p.KeyFrom), meter.Day(p.KeyUntil)
	d.scopes = slices.DeleteFunc(d.scopes, func(s Scope) bool {
		return s.From < d.first.Start() || !slices.Contains(p.UsagePoints, string(s.UsagePoint))
	})
	return d, nil
}

// scopes returns all that is the household's until the given instant.
func (a SelfAccess) scopes(ctx context.Context, tx Tx, until int64) (decision, error) {
	occupancies, err := tx.Occupancies(ctx, a.Household)
	if err != nil {
		return decision{}, err
	}
	scopes := cut(occupancies, occupied(occupancies, 0, until), nil, 0, until)
	if len(scopes) == 0 {
		return decision{}, ErrNotFound
	}
	return decision{household: a.Household, granularity: Interval, scopes: scopes}, nil
}
