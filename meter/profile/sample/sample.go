// Package sample holds the load profiles of 322 real homes in Switzerland, so
// that the hub can be shown at work on a machine with nothing but the program.
//
// The promise: the file is the published one, value for value, oddities kept.
// 15 of its readings are negative and 653 are more than a household connection
// of 3 × 100 A × 230 V can carry (650 of them at one site); a hub that
// validates must refuse exactly these 668.
//
// The data is not under the licence of the program: see ATTRIBUTION.md.
package sample

import (
	_ "embed"
	"io"
	"strings"
	"time"
)

// What the file holds.
const (
	Households = 322
	LocalDays  = 49 // 2018-10-29 to 2018-12-16
	Readings   = Households * LocalDays * 96
)

// Attribution is the credit that goes with any showing of the data.
const Attribution = "R package ResidentialEnergyConsumption (CRAN), data elcons_15min, CC BY-SA 4.0; " +
	"322 of 537 homes selected, converted to CSV, dates inferred, values unchanged"

//go:embed ch-15min-2018w44-50.csv.gz
var file string

// Open returns the file from its beginning: gzip, the wide form of package
// profile, kWh, local time of Zone. Each reader stands alone.
func Open() io.Reader { return strings.NewReader(file) }

// Zone returns the clock of the file's rows: Central European Time, UTC+1,
// which holds without a change over all of its days.
func Zone() *time.Location { return time.FixedZone("CET", 60*60) }
