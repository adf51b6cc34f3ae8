package server

import (
	"fmt"
	"os"

	"github.com/wattveil/wattveil/privacy/release"
)

// LoadCatalogue reads and validates a catalogue in YAML, at most 1 MiB.
func LoadCatalogue(path string) (release.Catalogue, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return release.Catalogue{}, fmt.Errorf("%w: catalogue: %w", ErrConfig, err)
	}
	if len(b) > 1<<20 {
		return release.Catalogue{}, fmt.Errorf("%w: catalogue: larger than 1 MiB", ErrConfig)
	}
	var c release.Catalogue
	if err := parseYAML(b, &c); err != nil {
		return release.Catalogue{}, fmt.Errorf("%w: catalogue: %w", ErrConfig, err)
	}
	if err := c.Validate(); err != nil {
		return release.Catalogue{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}
