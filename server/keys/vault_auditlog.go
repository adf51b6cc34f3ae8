package keys

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Decryption is one call that a Vault's audit log says was answered with secrets.
type Decryption struct {
	Line    int       // of the log, from 1
	Request string    // Vault's id of the call
	Time    time.Time // of the log's entry
	Path    string    // such as transit/decrypt/wattveil-households
	Index   uint64    // of the leaf that it was made for
	Marked  bool      // whether it says for which
	Key     bool      // the key itself was given out, not what it opens
}

// Errors of an audit log.
var (
	// ErrAuditLog says that a line is no entry of a Vault's audit log.
	ErrAuditLog = errors.New("keys: not an entry of a Vault's audit log")
	// ErrAuditHashed says that Vault was not told to log the header in the clear.
	ErrAuditHashed = errors.New("keys: the audit log holds the leaf's index as a hash: set " + AuditHeader + " to hmac=false")
)

// maxAuditLine bounds an entry, in bytes: a batch of a thousand hashed items needs a tenth
// of it.
const maxAuditLine = 16 << 20

// auditEntry is what matters of an entry
// (https://developer.hashicorp.com/vault/docs/audit).
type auditEntry struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`
	Error   string    `json:"error"`
	Request struct {
		ID      string              `json:"id"`
		Path    string              `json:"path"`
		Headers map[string][]string `json:"headers"`
	} `json:"request"`
}

// ReadVaultAudit yields, in the log's order, the decryptions under a transit key of that
// name in Vault, prefix included, that were answered, and the answers that held the key
// itself, for export or backup. What was refused opened nothing. An error ends it: one of
// reading, or ErrAuditLog or ErrAuditHashed with the line.
func ReadVaultAudit(r io.Reader, key string) iter.Seq2[Decryption, error] {
	return func(yield func(Decryption, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 1<<16), maxAuditLine)
		for n := 1; lines.Scan(); n++ {
			if len(lines.Bytes()) == 0 {
				continue
			}
			d, ok, err := readAuditEntry(lines.Bytes(), key)
			if err != nil {
				yield(d, fmt.Errorf("line %d: %w", n, err))
				return
			}
			d.Line = n
			if ok && !yield(d, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Decryption{}, fmt.Errorf("reading the audit log: %w", err))
		}
	}
}

func readAuditEntry(line []byte, key string) (d Decryption, ok bool, err error) {
	var e auditEntry
	if json.Unmarshal(line, &e) != nil || e.Type == "" {
		return d, false, ErrAuditLog
	}
	if e.Type != "response" || e.Error != "" {
		return d, false, nil
	}
	d = Decryption{Request: e.Request.ID, Time: e.Time, Path: e.Request.Path, Key: givesKey(e.Request.Path, key)}
	if d.Key {
		return d, true, nil
	}
	if !strings.HasSuffix(e.Request.Path, "/decrypt/"+key) {
		return d, false, nil
	}
	for name, values := range e.Request.Headers {
		if !strings.EqualFold(name, AuditHeader) {
			continue
		}
		if len(values) != 1 || d.Marked {
			return d, false, ErrAuditLog
		}
		if strings.HasPrefix(values[0], "hmac-") {
			return d, false, ErrAuditHashed
		}
		if d.Index, err = strconv.ParseUint(values[0], 10, 64); err != nil || strconv.FormatUint(d.Index, 10) != values[0] {
			return d, false, ErrAuditLog
		}
		d.Marked = true
	}
	return d, true, nil
}

// givesKey reports whether a path answers with a key: export/TYPE/KEY, with a version
// behind it or not, and backup/KEY.
func givesKey(path, key string) bool {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		switch left := parts[i+1:]; {
		case part == "backup" && len(left) == 1 && left[0] == key:
			return true
		case part == "export" && (len(left) == 2 || len(left) == 3) && left[1] == key:
			return true
		}
	}
	return false
}
