package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/wattveil/wattveil/meter/espi"
)

// eachGreenButton hands every value of Green Button documents to yield. The
// register is empty where OBIS has none that the document describes, and the unit
// where the document states none.
func eachGreenButton(stdin io.Reader, files []string, yield func(value) error) error {
	for _, name := range files {
		if err := greenButtonOf(stdin, name, yield); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func greenButtonOf(stdin io.Reader, name string, yield func(value) error) error {
	r, err := open(stdin, name)
	if err != nil {
		return err
	}
	defer r.Close()
	d, err := espi.NewReader(r)
	if err != nil {
		return err
	}
	for {
		v, err := d.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line := value{Meter: v.Meter, Duration: v.Duration, Value: v.Number.String(), Unit: v.Unit, Quality: v.Quality.String()}
		if v.Known {
			line.Register = v.Register.String()
		}
		if v.Timed {
			at := time.Unix(v.Start, 0).UTC().Format(time.RFC3339)
			line.Time = &at
		}
		if err := yield(line); err != nil {
			return err
		}
	}
}
