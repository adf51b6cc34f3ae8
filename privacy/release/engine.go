package release

import (
	"context"
	"crypto/ed25519"
	"hash/maphash"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/wattveil/wattveil/ledger"
	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/seal"
)

// Config is what an Engine is handed.
type Config[T Tx] struct {
	Store  Store
	Ledger Ledger[T]
	Keys   seal.Wrapper
	Signer ed25519.PrivateKey

	Catalogue Catalogue // validated
	Origin    string    // of the hub, as in its ledger
	Now       func() time.Time
	Rand      io.Reader    // window keys and request ids; noise has a source of its own
	Log       *slog.Logger // nil means none
}

// Ledger sequences leaves; *ledger.Sequencer is one.
type Ledger[T Tx] interface {
	Propose(ctx context.Context, requestID string, fn func(ctx context.Context, tx T, at ledger.Position) (ledger.Payload, error)) (ledger.Receipt, error)
}

// Engine opens windows, closes days, and publishes. It is safe for concurrent
// use; days close one at a time.
//
// Several engines over one store publish a day once: whoever commits first. But
// each of them pays for the noise that it draws, so one process should do the
// closing.
type Engine[T Tx] struct {
	Config[T]

	mu      sync.RWMutex
	windows map[meter.Day]seal.PublicKey // of windows seen open, until they are due
	opening sync.Mutex                   // held while the schedule is extended

	closing sync.Mutex
	// Guarded by closing:
	payments   map[string]*payment   // by release: asked for, and no noise was drawn for it
	unrecorded map[meter.Day]outcome // paid for, and not yet known to be published

	live map[meter.Day]*liveDay

	seed       maphash.Seed
	atOnce     int // households whose contributions are in memory together
	registered int // households of the register that are
}

// householdsAtOnce bounds the memory of a closing: their contributions take
// about 1 KiB for every series of 96 intervals.
const householdsAtOnce = 1 << 18

// registeredAtOnce bounds the memory of a closing further: a household of the register
// takes some 250 bytes.
const registeredAtOnce = 1 << 20

// NewEngine returns an engine.
func NewEngine[T Tx](c Config[T]) *Engine[T] {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine[T]{
		Config:     c,
		windows:    make(map[meter.Day]seal.PublicKey),
		payments:   make(map[string]*payment),
		unrecorded: make(map[meter.Day]outcome),
		live:       make(map[meter.Day]*liveDay),
		seed:       maphash.MakeSeed(),
		atOnce:     householdsAtOnce,
		registered: registeredAtOnce,
	}
}

// Contributes reports whether some product is made of a series.
func (e *Engine[T]) Contributes(s meter.Series) bool { return e.Catalogue.Contributes(s) }

// due reports whether a day's watermark has passed.
func (e *Engine[T]) due(day meter.Day, now time.Time) bool {
	return now.Unix() >= day.End()+int64(e.Catalogue.Watermark/time.Second)
}
