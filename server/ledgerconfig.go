package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wattveil/wattveil/ledger"
)

// LedgerConfig says how the ledger is kept and watched.
type LedgerConfig struct {
	// SelfWitness is a file outside the store, one for each process, that
	// remembers the largest checkpoint it has signed: a store that is set back is
	// noticed by it. LoadConfig makes it ledger.witness beside the configuration
	// file if it is not named; a hub without one says so in its log.
	SelfWitness string `yaml:"self_witness"`
	// VerifierKeys is the file of the ledger's public keys, one a line. The process that
	// signs writes it, and refuses to start over another ledger's; every other process
	// reads there what it believes.
	VerifierKeys string `yaml:"verifier_keys"`
	// MapEvery is how often the ledger records how every household's chain of
	// events ends, if any has grown; 2 s if zero.
	MapEvery time.Duration `yaml:"map_every"`
	// ReleaseRequires says what the keeper of keys demands of the record of a read
	// before it hands out a key: "signed", the default, or "cosigned" as the policy
	// says. While too few witnesses cosign, nobody reads.
	ReleaseRequires string `yaml:"release_requires"`
	// Policy is a file of c2sp.org/tlog-policy: whose cosignatures are collected,
	// and which of them suffice.
	Policy string `yaml:"policy"`
	// Export is a directory that the log is copied to, for mirrors and servers of
	// static files, every ExportEvery; none if empty, 10 s if zero.
	Export      string        `yaml:"export"`
	ExportEvery time.Duration `yaml:"export_every"`
	// CosignTimeout is how long a read waits for cosignatures; 5 s if zero.
	CosignTimeout time.Duration `yaml:"cosign_timeout"`
	// KeyOverlap is how long the older of two generations of the ledger's keys signs
	// beside the newer, so that everybody can take up the newer; 30 days if zero.
	KeyOverlap time.Duration `yaml:"key_overlap"`
}

// What ReleaseRequires may be.
const (
	requireSigned   = "signed"
	requireCosigned = "cosigned"
)

const defaultKeyOverlap = 30 * 24 * time.Hour

const selfWitnessName = "ledger.witness"

func (l *LedgerConfig) setDefaults() {
	if l.MapEvery == 0 {
		l.MapEvery = 2 * time.Second
	}
	if l.ReleaseRequires == "" {
		l.ReleaseRequires = requireSigned
	}
	if l.ExportEvery == 0 {
		l.ExportEvery = 10 * time.Second
	}
	if l.CosignTimeout == 0 {
		l.CosignTimeout = 5 * time.Second
	}
	if l.KeyOverlap == 0 {
		l.KeyOverlap = defaultKeyOverlap
	}
}

// resolve makes relative paths relative to dir, that of the configuration file.
func (l *LedgerConfig) resolve(dir string, roles roleSet) {
	if l.SelfWitness == "" && roles.has(onLedger) {
		l.SelfWitness = selfWitnessName
	}
	for _, p := range []*string{&l.SelfWitness, &l.Policy, &l.Export, &l.VerifierKeys} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

func (l LedgerConfig) problem() string {
	if l.MapEvery < 100*time.Millisecond || l.MapEvery > time.Hour {
		return "ledger.map_every must be between 100ms and 1h"
	}
	if l.ReleaseRequires != requireSigned && l.ReleaseRequires != requireCosigned {
		return "ledger.release_requires must be signed or cosigned"
	}
	if l.ReleaseRequires == requireCosigned && l.Policy == "" {
		return "ledger.release_requires: cosigned needs ledger.policy"
	}
	if l.ExportEvery < time.Second || l.ExportEvery > 24*time.Hour {
		return "ledger.export_every must be between 1s and 24h"
	}
	if l.CosignTimeout < 10*time.Millisecond || l.CosignTimeout > 30*time.Second {
		return "ledger.cosign_timeout must be between 10ms and 30s"
	}
	if l.KeyOverlap < time.Hour || l.KeyOverlap > 366*24*time.Hour {
		return "ledger.key_overlap must be between 1h and 366 days"
	}
	return ""
}

// policy reads the witness policy and its text; nil if none is named.
func (l LedgerConfig) policy() (*ledger.Policy, []byte, error) {
	if l.Policy == "" {
		return nil, nil, nil
	}
	text, err := os.ReadFile(l.Policy)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: ledger.policy: %w", ErrConfig, err)
	}
	p, err := ledger.ParsePolicy(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: ledger.policy: %w", ErrConfig, err)
	}
	return p, text, nil
}

// publishKeys writes the ledger's public keys into their file, if one is named, whenever
// they have changed. Keys there that are none of this ledger's, of any generation, are not
// written over.
func (l LedgerConfig) publishKeys(vkeys string) error {
	if l.VerifierKeys == "" {
		return nil
	}
	there, err := os.ReadFile(l.VerifierKeys)
	switch newest, _, _ := strings.Cut(strings.TrimSpace(string(there)), "\n"); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%w: ledger.verifier_keys: %w", ErrConfig, withoutPath(err))
	case strings.TrimSpace(string(there)) == vkeys:
		return nil
	case newest == "" || !slices.Contains(strings.Fields(vkeys), newest):
		return fmt.Errorf("%w: ledger.verifier_keys holds other keys than this ledger's", ErrConfig)
	}
	return SaveVerifierKeys(l.VerifierKeys, vkeys)
}

// keepKeys is publishKeys for a process that does not sign: the one that does may have
// written newer keys into the same file.
func (l LedgerConfig) keepKeys(vkeys string) error {
	newest, _, _ := strings.Cut(vkeys, "\n")
	if there, err := l.readKeys(); err == nil && slices.Contains(strings.Fields(there), newest) {
		return nil
	}
	return l.publishKeys(vkeys)
}

// SaveVerifierKeys puts a ledger's public keys into a file, whole at any time. Its errors
// name no path.
func SaveVerifierKeys(path, vkeys string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err == nil {
		defer func() { _ = os.Remove(f.Name()) }() // after the rename it is gone
		_, err = f.WriteString(strings.TrimSpace(vkeys) + "\n")
		if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil { // they are public
			err = os.Rename(f.Name(), path)
		}
	}
	if err != nil {
		return fmt.Errorf("saving verifier keys: %w", withoutPath(err))
	}
	return nil
}

// readKeys reads the ledger's public keys.
func (l LedgerConfig) readKeys() (string, error) {
	text, err := os.ReadFile(l.VerifierKeys)
	if err != nil {
		return "", fmt.Errorf("%w: ledger.verifier_keys: %w", ErrConfig, withoutPath(err))
	}
	return strings.TrimSpace(string(text)), nil
}
