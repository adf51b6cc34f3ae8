package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// contentMAC is the keyed hash of a batch's content: a bare hash of few readings
// could be guessed.
func contentMAC(key []byte, utility meter.Utility, req *wattveilv1.SubmitRequest) [32]byte {
	w := macWriter{h: hmac.New(sha256.New, key)}
	w.text("wattveil batch v1")
	w.text(string(utility))
	w.number(uint64(len(req.GetSeries())))
	for _, s := range req.GetSeries() {
		w.text(s.GetUsagePoint())
		w.text(s.GetRegister())
		w.number(uint64(s.GetStart()))
		w.number(uint64(s.GetLengthSeconds()))
		w.number(uint64(s.GetRevision()))
		w.text(string(s.GetQualities()))
		w.number(uint64(len(s.GetValues())))
		for _, v := range s.GetValues() {
			w.number(uint64(v))
		}
	}
	return w.sum()
}

// answerMAC is the keyed hash of what a batch is answered: how much of it was
// stored, and what was refused. A repetition is not stored; if its answer would
// be another by now, since a household has moved in or the clock has gone on, its
// sender must not be told that what was refused then is there.
func answerMAC(key []byte, p *prepared) [32]byte {
	w := macWriter{h: hmac.New(sha256.New, key)}
	w.text("wattveil batch answer v1")
	w.number(uint64(p.batch.Intervals))
	w.number(uint64(len(p.refused)))
	for _, r := range p.refused {
		w.text(string(r.UsagePoint))
		w.text(r.RegisterText)
		w.number(uint64(r.Start))
		w.text(string(r.Reason))
	}
	return w.sum()
}

// macWriter gathers small fields into few writes.
type macWriter struct {
	h   hash.Hash
	buf [512]byte
	n   int
}

func (w *macWriter) flush() {
	w.h.Write(w.buf[:w.n])
	w.n = 0
}

func (w *macWriter) sum() (out [32]byte) {
	w.flush()
	w.h.Sum(out[:0])
	return out
}

func (w *macWriter) number(v uint64) {
	if w.n+8 > len(w.buf) {
		w.flush()
	}
	binary.BigEndian.PutUint64(w.buf[w.n:], v)
	w.n += 8
}

func (w *macWriter) text(s string) {
	w.number(uint64(len(s)))
	w.flush()
	w.h.Write([]byte(s))
}
