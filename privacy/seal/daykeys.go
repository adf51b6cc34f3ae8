package seal

import (
	"fmt"

	"github.com/wattveil/wattveil/consent"
	"github.com/wattveil/wattveil/meter"
)

// Wrap returns the wrap of the target's day key, to be stored in the same
// transaction as the blocks sealed under it. known says that a transaction which
// contained it is known to be committed; the wrap is then empty and need not be
// carried again. Each call gives the wrap another Seq, so that transactions side
// by side may each store it as a row of their own.
//
// The error is ErrKey, ErrKeyMismatch or ErrWriterSpent, or that of the random
// source. The key is encapsulated once, at the first call.
func (w *Writer) Wrap(t Target, day meter.Day) (wrap DayKeyWrap, known bool, err error) {
	erasing(func() { wrap, known, err = w.wrapDayKey(t, day) })
	return wrap, known, err
}

func (w *Writer) wrapDayKey(t Target, day meter.Day) (wrap DayKeyWrap, known bool, err error) {
	e, key, err := w.dayKey(t, day)
	defer clear(key[:])
	if err != nil {
		return DayKeyWrap{}, false, fmt.Errorf("wrapping day key: %w", err)
	}
	wrap = DayKeyWrap{Household: t.Household, Generation: t.Generation, Day: day, Writer: w.id}
	wrap.Sealed, wrap.Signature, known, err = e.carry(w, t.Key, wrap.bound(t.Key), key[:])
	if err != nil {
		return DayKeyWrap{}, false, fmt.Errorf("wrapping day key: %w", err)
	}
	if known {
		return DayKeyWrap{}, true, nil
	}
	if wrap.Seq, err = w.next(); err != nil {
		return DayKeyWrap{}, false, fmt.Errorf("wrapping day key: %w", err)
	}
	return wrap, false, nil
}

// Committed tells the writer that a transaction which contained the wrap of
// this day key is known to be committed. After an unknown outcome it is not to
// be called.
func (w *Writer) Committed(household consent.Household, generation uint32, day meter.Day) {
	if e := w.days.find(keyName{household, generation, day}); e != nil {
		e.commit()
	}
}

// dayKey returns the target's key of the day, made at the first call, with the
// state of its wrap. The caller clears the key.
func (w *Writer) dayKey(t Target, day meter.Day) (*carrier, [32]byte, error) {
	if t.Key.k == nil {
		return nil, [32]byte{}, ErrKey
	}
	return w.days.get(keyName{t.Household, t.Generation, day}, t.Key, w.random)
}
