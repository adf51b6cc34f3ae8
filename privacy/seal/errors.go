package seal

import "errors"

// Errors of this package, beside those of a [Wrapper]. None holds a reading, a
// key or a name.
var (
	// ErrSeries says that a series cannot be sealed as it is: it has no values,
	// leaves its UTC day, or holds what does not fit the width of its
	// register and cap. [meter.Series.Validate] refuses all of it before.
	ErrSeries = errors.New("seal: series cannot be sealed")
	// ErrWriterSpent says that this writer can seal no more of what was asked:
	// the day was forgotten, too many day keys are held, or the sequence is
	// used up. The answer to all three is to begin another [Writer]. Whatever
	// the batch in hand has already sealed is to be dropped with it.
	//
	// Of a [RunningSealer] it says that the set has ended or has all the records
	// that it can have.
	ErrWriterSpent = errors.New("seal: writer is spent")
	// ErrKeyMismatch says that one household generation, or one window, was
	// given with two different public keys.
	ErrKeyMismatch = errors.New("seal: another public key under the same name")
	// ErrKey says that a public or private key is malformed or absent.
	ErrKey = errors.New("seal: malformed key")
	// ErrFormat says that stored bytes are not of a known format version, or
	// not what this version writes.
	ErrFormat = errors.New("seal: malformed or unknown format")
	// ErrSignature says that a block or a wrap was not made by the writer that
	// it names, or the wrap of a running key not by the hub.
	ErrSignature = errors.New("seal: signature does not match")
	// ErrOpen says that a ciphertext does not open: another key, altered, or
	// moved to another row. Of a set of running sums it also says that a record
	// is missing, or there twice.
	ErrOpen = errors.New("seal: does not open")
	// ErrRunningSize says that a record of running sums would hold more than
	// [MaxRunning] bytes.
	ErrRunningSize = errors.New("seal: more running sums than a record holds")
	// ErrPermit says that the permit is void, has run out, or does not allow
	// what was asked.
	ErrPermit = errors.New("seal: permit does not allow it")
)
