package population

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Population is a number of households drawn from a [Model]. It holds no curve:
// each is made when it is asked for. Safe for concurrent use.
type Population struct {
	households int
	tables     *tables
	people     cipher.Block
	feeders    cipher.Block
}

// ErrHouseholds means a population that is empty or over [MaxHouseholds].
var ErrHouseholds = errors.New("population: impossible number of households")

// Generate prepares a population. The same model and seed give the same
// households on every machine, and household i does not depend on how many there
// are. A seed is a name, not a secret: nothing here protects anybody, and none
// of it may serve as noise, which is privacy/dp's and takes no seed.
func Generate(m Model, seed [32]byte, households int) (*Population, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if households < 1 || households > MaxHouseholds {
		return nil, fmt.Errorf("%w: %d", ErrHouseholds, households)
	}
	return &Population{
		households: households,
		tables:     m.tables(),
		people:     streams("wattveil/population/v1/household", seed),
		feeders:    streams("wattveil/population/v1/feeder", seed),
	}, nil
}

// Day is one day of every household. Days are numbered from 0, independent
// given the household, and know no seasons.
func (p *Population) Day(day int) Curves {
	if day < 0 {
		panic("population: days are numbered from 0")
	}
	return p.curves(uint64(day), 1)
}

// Mean is every household's mean over its days from 0 on, rounded to Wh. Day(0)
// is one of them: whoever wants a day and a mean of different people, as the
// folder has them, takes two seeds.
func (p *Population) Mean(days int) Curves {
	if days < 1 {
		panic("population: a mean needs a day")
	}
	return p.curves(0, days)
}

// Span is the same days as [Population.Mean], one by one.
func (p *Population) Span(days int) Span {
	return Span{Curves: p.Mean(days), population: p, days: days}
}

func (p *Population) curves(first uint64, days int) Curves {
	return Curves{households: p.households, fill: func(household int, wh []int64) {
		h := p.household(household)
		h.days(first, days, wh)
	}}
}

// streams returns the cipher whose counter mode is the randomness of everybody
// named by what; the upper half of the counter is who, the lower half a block.
func streams(what string, seed [32]byte) cipher.Block {
	key := sha256.Sum256(append([]byte(what), seed[:]...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	return block
}

func stream(block cipher.Block, who, at uint64) cipher.Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[:8], who)
	binary.BigEndian.PutUint64(iv[8:], at)
	return cipher.NewCTR(block, iv[:])
}

// draws is a piece of a stream, read two bytes at a time.
type draws []byte

func (d draws) read(s cipher.Stream) {
	clear(d)
	s.XORKeyStream(d, d)
}

func (d draws) at(i int) int64 { return int64(binary.LittleEndian.Uint16(d[2*i:])) }

// row is the row of a table of quantiles that draw i chooses.
func (d draws) row(i int) int64 { return d.at(i) >> 4 }

// between is uniform from low to top.
func (d draws) between(i int, low, top int64) int64 {
	return low + (top-low)*d.at(i)>>16
}
