package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/meter/profile"
)

// value is one line of decode: what a file says, before the hub judges it.
type value struct {
	Meter    string  `json:"meter"`
	Register string  `json:"register"`
	Time     *string `json:"time"`
	Duration int64   `json:"duration_s"`
	Value    string  `json:"value"`
	Unit     string  `json:"unit"`
	Quality  string  `json:"quality"`
}

func decodeCommand() *cobra.Command {
	var f normFlags
	cmd := &cobra.Command{
		Use:     "decode --norm NAME FILE…",
		Short:   "Print what files of a norm say, one JSON object a line",
		Long:    "Print what files of a norm say, one JSON object a line: meter, register (OBIS), time (RFC 3339, UTC, start of the\ninterval), duration_s, value (exact decimal in base units), unit, quality. \"-\" reads standard input.",
		Example: "  wattveil decode --norm profile --zone Europe/Zurich homes.csv.gz\n  wattveil decode --norm espi greenbutton.xml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			w := bufio.NewWriter(cmd.OutOrStdout())
			e := json.NewEncoder(w)
			yield := func(v value) error { return e.Encode(v) }
			if f.norm == "espi" {
				return errors.Join(eachGreenButton(cmd.InOrStdin(), files, yield), w.Flush())
			}
			err := f.each(cmd.InOrStdin(), files, func(_ string, s meter.Series) error {
				for i := range s.Values {
					r := s.At(i)
					if r.Quality == meter.Missing {
						continue
					}
					at := r.Start.Format(time.RFC3339)
					if err := yield(value{
						Meter: string(r.UsagePoint), Register: r.Register.String(), Time: &at, Duration: int64(r.Length / time.Second),
						Value: strconv.FormatInt(r.Value, 10), Unit: r.Unit.String(), Quality: r.Quality.String(),
					}); err != nil {
						return err
					}
				}
				return nil
			})
			return errors.Join(err, w.Flush())
		},
	}
	f.add(cmd)
	return cmd
}

// normFlags are the flags that say how a file is to be read.
type normFlags struct {
	norm, zone, unit string
}

func (f *normFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.norm, "norm", "", "the norm the files are in: profile (interval CSV, a row a household-day); decode also reads espi (Green Button XML)")
	cmd.Flags().StringVar(&f.zone, "zone", "UTC", "profile: the zone of its local times, such as Europe/Zurich")
	cmd.Flags().StringVar(&f.unit, "unit", "kWh", "profile: kWh or Wh")
	if err := cmd.MarkFlagRequired("norm"); err != nil {
		panic(err) // the flag was defined above
	}
}

// each decodes the files one after the other and hands every series to yield.
func (f *normFlags) each(stdin io.Reader, files []string, yield func(file string, s meter.Series) error) error {
	opt, err := f.options()
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := eachOf(stdin, name, opt, yield); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (f *normFlags) options() (profile.Options, error) {
	if f.norm != "profile" {
		return profile.Options{}, fmt.Errorf("--norm must be profile")
	}
	zone, err := time.LoadLocation(f.zone)
	if err != nil || f.zone == "Local" {
		return profile.Options{}, fmt.Errorf("--zone must be an IANA name such as Europe/Zurich")
	}
	opt := profile.Options{Zone: zone}
	switch f.unit {
	case "kWh":
		opt.Unit = profile.KWh
	case "Wh":
		opt.Unit = profile.Wh
	default:
		return profile.Options{}, fmt.Errorf("--unit must be kWh or Wh")
	}
	return opt, nil
}

// open returns the file of that name, or standard input for "-".
func open(stdin io.Reader, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(stdin), nil
	}
	return os.Open(name)
}

func eachOf(stdin io.Reader, name string, opt profile.Options, yield func(string, meter.Series) error) error {
	r, err := open(stdin, name)
	if err != nil {
		return err
	}
	defer r.Close()
	d, err := profile.NewDecoder(r, opt)
	if err != nil {
		return err
	}
	for {
		s, err := d.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := yield(name, s); err != nil {
			return err
		}
	}
}
