package server

import (
	"path/filepath"
	"time"
)

// LedgerConfig says how the ledger is kept and watched.
type LedgerConfig struct {
	// SelfWitness is a file outside the store, one for each process, that
	// remembers the largest checkpoint it has signed: a store that is set back is
	// noticed by it. LoadConfig makes it ledger.witness beside the configuration
	// file if it is not named; a hub without one says so in its log.
	SelfWitness string `yaml:"self_witness"`
	// MapEvery is how often the ledger records how every household's chain of
	// events ends, if any has grown; 2 s if zero.
	MapEvery time.Duration `yaml:"map_every"`
}

const selfWitnessName = "ledger.witness"

func (l *LedgerConfig) setDefaults() {
	if l.MapEvery == 0 {
		l.MapEvery = 2 * time.Second
	}
}

// resolve makes relative paths relative to dir, that of the configuration file.
func (l *LedgerConfig) resolve(dir string) {
	if l.SelfWitness == "" {
		l.SelfWitness = selfWitnessName
	}
	if !filepath.IsAbs(l.SelfWitness) {
		l.SelfWitness = filepath.Join(dir, l.SelfWitness)
	}
}

func (l LedgerConfig) problem() string {
	if l.MapEvery < 100*time.Millisecond || l.MapEvery > time.Hour {
		return "ledger.map_every must be between 100ms and 1h"
	}
	return ""
}
