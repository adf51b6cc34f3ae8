package population

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Draw names one of the two draws that a data folder holds.
type Draw string

const (
	// Reference is public: clips, weights and budgets are planned on it.
	Reference Draw = "reference"
	// Private stands for the people: only totals leave it, through the
	// mechanism, and nothing is planned on it.
	Private Draw = "population"
)

var (
	// ErrFile means bytes that are not one whole gzip file.
	ErrFile = errors.New("population: not a file of curves")
	// ErrSize means curves that are no whole number of households, none at
	// all, more than [MaxHouseholds], or not as many as in the file beside it.
	ErrSize = errors.New("population: impossible size")
	// ErrDraw means a draw that no folder holds.
	ErrDraw = errors.New("population: unknown draw")
)

// Sample is a population seen twice: one day of each household, and its mean
// over [MeanDays] days.
type Sample struct {
	Day, Mean Curves
}

// MeanDays is the number of days behind a Sample's means.
const MeanDays = 20

// Sample returns both views, as a folder would.
func (p *Population) Sample() Sample {
	return Sample{Day: p.Day(0), Mean: p.Mean(MeanDays)}
}

// Read reads one draw of a data folder: the files DRAW-day.u16le.gz and
// DRAW-mean20.u16le.gz, checked to the last byte. Both are kept in memory, at 96
// bytes a household each; the other draw is not touched. A missing file is
// fs.ErrNotExist.
//
// Values over [Cap] are let through: the folder was drawn without one.
func Read(dir string, draw Draw) (Sample, error) { return ReadUpTo(dir, draw, MaxHouseholds) }

// ReadUpTo is Read for whoever has memory for fewer households: more than most are
// [ErrSize], and no more than those are kept on the way.
func ReadUpTo(dir string, draw Draw, most int) (Sample, error) {
	if draw != Reference && draw != Private {
		return Sample{}, fmt.Errorf("%w: %q", ErrDraw, string(draw))
	}
	folder, err := os.OpenRoot(dir)
	if err != nil {
		return Sample{}, fmt.Errorf("population: %w", err)
	}
	defer folder.Close()
	day, err := readFile(folder, string(draw)+"-day.u16le.gz", most)
	if err != nil {
		return Sample{}, err
	}
	mean, err := readFile(folder, string(draw)+"-mean20.u16le.gz", most)
	if err != nil {
		return Sample{}, err
	}
	if day.households != mean.households {
		return Sample{}, fmt.Errorf("%w: %s has days of %d households and means of %d", ErrSize, draw, day.households, mean.households)
	}
	return Sample{Day: day, Mean: mean}, nil
}

func readFile(folder *os.Root, name string, most int) (Curves, error) {
	f, err := folder.Open(name)
	if err != nil {
		return Curves{}, fmt.Errorf("population: %w", err)
	}
	defer f.Close()
	c, err := readCurves(f, min(most, MaxHouseholds))
	if err != nil {
		return Curves{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

const curveBytes = 2 * Intervals

// ReadCurves reads one file: gzip of 48 unsigned 16-bit little-endian values for
// each household, in Wh, and nothing after it.
func ReadCurves(r io.Reader) (Curves, error) {
	return readCurves(r, MaxHouseholds)
}

func readCurves(r io.Reader, limit int) (Curves, error) {
	// gzip reads no byte past its end from a reader that hands out single ones,
	// so that what follows can be refused.
	source := bufio.NewReader(r)
	z, err := gzip.NewReader(source)
	if err != nil {
		return Curves{}, fmt.Errorf("%w: %w", ErrFile, err)
	}
	z.Multistream(false)
	values, err := io.ReadAll(io.LimitReader(z, int64(limit)*curveBytes+1))
	switch {
	case err != nil:
		return Curves{}, fmt.Errorf("%w: %w", ErrFile, err)
	case len(values) > limit*curveBytes:
		return Curves{}, fmt.Errorf("%w: more than %d households", ErrSize, limit)
	case len(values) == 0 || len(values)%curveBytes != 0:
		return Curves{}, fmt.Errorf("%w: %d bytes, not a whole number of households of %d", ErrSize, len(values), curveBytes)
	}
	switch _, err := source.ReadByte(); {
	case err == nil:
		return Curves{}, fmt.Errorf("%w: bytes after its end", ErrFile)
	case !errors.Is(err, io.EOF):
		return Curves{}, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return Curves{
		households: len(values) / curveBytes,
		fill: func(household int, wh []int64) {
			curve := values[household*curveBytes:][:curveBytes]
			for i := range wh {
				wh[i] = int64(binary.LittleEndian.Uint16(curve[2*i:]))
			}
		},
	}, nil
}
