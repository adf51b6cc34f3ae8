package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/wattveil/wattveil/meter"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
)

// batchMAC is the keyed hash of a batch's content, and of which of it was
// refused: a bare hash of few readings could be guessed. The refusals belong to
// it because a repetition is not stored. One whose answer would be another, since
// a usage point has been registered or a household has moved in meanwhile, must
// not be told that what was refused then is there; it is refused whole, and its
// sender sends it under another name.
func batchMAC(key []byte, utility meter.Utility, req *wattveilv1.SubmitRequest, p *prepared) (out [32]byte) {
	h := hmac.New(sha256.New, key)
	w := macWriter{h: h}
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
	w.number(uint64(p.batch.Intervals))
	w.number(uint64(len(p.refused)))
	for _, r := range p.refused {
		w.text(string(r.UsagePoint))
		w.text(r.RegisterText)
		w.number(uint64(r.Start))
		w.text(string(r.Reason))
	}
	w.flush()
	h.Sum(out[:0])
	return out
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
