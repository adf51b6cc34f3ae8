package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The request of c2sp.org/tlog-witness, POST <prefix>/add-checkpoint:
//
//	old <size>
//	<base64 of a hash of the consistency proof>, none or more lines
//	<empty line>
//	<signed checkpoint>
const (
	// MaxAddCheckpoint bounds a request, in bytes: 63 hashes and a checkpoint with
	// signatures to spare.
	MaxAddCheckpoint = 64 << 10
	maxProofHashes   = 63
	maxCosignatures  = 32 << 10

	// SizeContentType is that of the answer 409, whose body is the size that the
	// witness knows of.
	SizeContentType = "text/x.tlog.size"
)

// ErrAddCheckpoint: a request to a witness that is not in the form of the protocol.
var ErrAddCheckpoint = errors.New("ledger: malformed add-checkpoint request")

// AddCheckpoint is a request to a witness.
type AddCheckpoint struct {
	Old        uint64 // size of the newest checkpoint that the witness has cosigned, as far as its log knows
	Proof      []Hash // that the tree of the checkpoint begins with that of Old
	Checkpoint []byte // signed
}

// Marshal returns the request's body.
func (a AddCheckpoint) Marshal() []byte {
	b := fmt.Appendf(nil, "old %d\n", a.Old)
	for _, h := range a.Proof {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	return append(append(b, '\n'), a.Checkpoint...)
}

// ParseAddCheckpoint reads what Marshal writes, and nothing else.
func ParseAddCheckpoint(body []byte) (AddCheckpoint, error) {
	head, rest, ok := strings.Cut(string(body), "\n\n")
	if !ok || len(body) > MaxAddCheckpoint {
		return AddCheckpoint{}, ErrAddCheckpoint
	}
	lines := strings.Split(head, "\n")
	digits, ok := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || len(lines)-1 > maxProofHashes {
		return AddCheckpoint{}, ErrAddCheckpoint
	}
	a := AddCheckpoint{Old: old, Checkpoint: []byte(rest)}
	for _, l := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(l)
		if err != nil || len(h) != hashSize {
			return AddCheckpoint{}, ErrAddCheckpoint
		}
		a.Proof = append(a.Proof, Hash(h))
	}
	if !bytes.Equal(a.Marshal(), body) {
		return AddCheckpoint{}, ErrAddCheckpoint
	}
	return a, nil
}

// conflictError: the witness knows of another size than we believed.
type conflictError struct{ size uint64 }

func (e *conflictError) Error() string {
	return fmt.Sprintf("ledger: witness has cosigned size %d", e.size)
}

// addCheckpoint asks a witness, and returns its signature lines as they came. A
// conflictError and ErrFork are its answers 409 and 422.
func addCheckpoint(ctx context.Context, client *http.Client, prefix string, old uint64, proof []Hash, signed []byte) ([]byte, error) {
	body := AddCheckpoint{old, proof, signed}.Marshal()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, prefix+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking witness: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking witness: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxCosignatures+1))
	if err != nil || len(answer) > maxCosignatures {
		return nil, fmt.Errorf("reading witness's answer: too long, or %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return answer, nil
	case http.StatusConflict:
		size, err := strconv.ParseUint(strings.TrimSuffix(string(answer), "\n"), 10, 64)
		if err == nil && resp.Header.Get("Content-Type") == SizeContentType {
			return nil, &conflictError{size}
		}
	case http.StatusUnprocessableEntity:
		return nil, fmt.Errorf("witness refuses the consistency proof: %w", ErrFork)
	}
	return nil, fmt.Errorf("ledger: witness answers HTTP status %d", resp.StatusCode)
}
