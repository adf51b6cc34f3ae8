package meter

import (
	"errors"
	"fmt"
	"strconv"
)

// Register is an OBIS code A-B:C.D.E*F (IEC 62056-6-1): medium, channel,
// quantity, kind of processing, tariff, billing period.
type Register [6]byte

// The registers of interval energy: D = 29 is time integral 5, the energy
// within one measuring period (IEC 62056-6-1, table of value group D), in Wh.
var (
	ActiveImport = Register{1, 0, 1, 29, 0, 255} // drawn from the grid
	ActiveExport = Register{1, 0, 2, 29, 0, 255} // fed into the grid
)

// ErrRegister reports a text that is not a full OBIS code as Register.String writes it.
var ErrRegister = errors.New("meter: register is not an OBIS code A-B:C.D.E*F")

// separators[i] follows value group i.
const separators = "-:..*"

// ParseRegister reads what Register.String writes and nothing else: all six
// groups, decimal, 0 to 255, without leading zeros. Otherwise it returns ErrRegister.
func ParseRegister(s string) (Register, error) {
	var r Register
	for i := range r {
		n, digits := 0, 0
		for digits < len(s) && digits < 3 && '0' <= s[digits] && s[digits] <= '9' {
			n = 10*n + int(s[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && s[0] == '0' {
			return Register{}, ErrRegister
		}
		r[i], s = byte(n), s[digits:]
		if i < len(separators) {
			if len(s) == 0 || s[0] != separators[i] {
				return Register{}, ErrRegister
			}
			s = s[1:]
		}
	}
	if s != "" {
		return Register{}, ErrRegister
	}
	return r, nil
}

// String returns the code as A-B:C.D.E*F, for instance "1-0:1.29.0*255".
func (r Register) String() string {
	b, _ := r.AppendText(make([]byte, 0, len("255-255:255.255.255*255")))
	return string(b)
}

// AppendText appends what String returns. It returns no error.
func (r Register) AppendText(b []byte) ([]byte, error) {
	for i, v := range r {
		b = strconv.AppendUint(b, uint64(v), 10)
		if i < len(separators) {
			b = append(b, separators[i])
		}
	}
	return b, nil
}

// MarshalText returns what String returns.
func (r Register) MarshalText() ([]byte, error) { return r.AppendText(nil) }

// UnmarshalText is ParseRegister; r keeps its value on error.
func (r *Register) UnmarshalText(text []byte) error {
	p, err := ParseRegister(string(text))
	if err != nil {
		return err
	}
	*r = p
	return nil
}

// Unit is the base unit in which a register's values are whole numbers. Units
// follow from registers and are not stored.
type Unit uint8

// The base units.
const (
	UnknownUnit Unit = iota // the register is none this package knows
	Wh
	Varh
	VAh
	W
	Var
	VA
	MilliVolt
	MilliAmpere
	MilliHertz
)

var unitNames = [...]string{"unknown", "Wh", "varh", "VAh", "W", "var", "VA", "mV", "mA", "mHz"}

// String returns the unit's symbol, for instance "Wh".
func (u Unit) String() string {
	if int(u) < len(unitNames) {
		return unitNames[u]
	}
	return fmt.Sprintf("unit(%d)", uint8(u))
}

// Unit returns the base unit of r's values, or UnknownUnit. Electricity
// (A = 1) is known: sums over the phases and single phases, as energy
// (any time integral) and as power, voltage, current or frequency.
func (r Register) Unit() Unit {
	switch q := r.quantity(); q {
	case 1, 2, 15, 16:
		return r.energyOr(Wh, W)
	case 3, 4, 5, 6, 7, 8:
		return r.energyOr(Varh, Var)
	case 9, 10:
		return r.energyOr(VAh, VA)
	case 11:
		return r.energyOr(UnknownUnit, MilliAmpere)
	case 12:
		return r.energyOr(UnknownUnit, MilliVolt)
	case 14:
		return r.energyOr(UnknownUnit, MilliHertz)
	}
	return UnknownUnit
}

// Signed reports whether r's values may be negative: only the net quantity
// |+A| − |−A| (C = 16, and 36, 56, 76 per phase) may. Import and export each
// count upwards.
func (r Register) Signed() bool { return r.quantity() == 16 }

// PerInterval reports whether a value of r is the energy within its own
// interval (time integrals 5 and 6), so that values add up over time and the
// length of the interval bounds them. Other energies are counter states.
func (r Register) PerInterval() bool {
	u := r.Unit()
	return (u == Wh || u == Varh || u == VAh) && (r[3] == 29 || r[3] == 30)
}

// quantity returns value group C of an electricity register with the phase
// taken out: 21…40 (L1), 41…60 (L2) and 61…80 (L3) repeat the meaning of 1…20
// (sum). It returns 0 for every other code.
func (r Register) quantity() byte {
	if c := r[2]; r[0] == 1 && c >= 1 && c <= 80 {
		return (c-1)%20 + 1
	}
	return 0
}

// energyOr chooses by value group D: a time integral is an energy, an average,
// extreme or instantaneous value a power.
func (r Register) energyOr(energy, power Unit) Unit {
	switch r[3] {
	case 8, 9, 10, 17, 18, 19, 20, 29, 30, 58:
		return energy
	case 3, 4, 5, 6, 7, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28:
		return power
	}
	return UnknownUnit
}
