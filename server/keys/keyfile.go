package keys

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math"
)

// A key file, all of it:
//
//	"WVKR"      4 bytes
//	format      1 byte, 0x02
//	n           1 byte, length of the name
//	name        n bytes, as checkName allows
//	oldest      8 bytes, big-endian: version of the first root key, at least 1
//	count       2 bytes, big-endian: how many there are, 1 to 1024
//	root keys   32 bytes each, in the order of their versions, without a gap
//	checksum    32 bytes, SHA-256 of everything before
//
// The name inside keeps a renamed file from passing for another key, the
// checksum tells a damaged file from a wrong one. Neither protects against
// someone who can write the directory.
//
// Format 0x01 is what was written before keys had versions: one root key
// directly behind the name, which is version 1.
const (
	keyFileMagic   = "WVKR"
	keyFileFormat1 = 1
	keyFileFormat2 = 2
	rootKeySize    = 32
	maxVersions    = 1024
	maxKeyFile     = len(keyFileMagic) + 2 + maxName + 8 + 2 + maxVersions*rootKeySize + sha256.Size
)

var errKeyFile = errors.New("key file is damaged or not one")

type rootKey [rootKeySize]byte

// rootKeys are the versions of one named key that are still there, without a gap.
// There is at least one.
type rootKeys struct {
	oldest uint64 // version of the first
	keys   []rootKey
}

func (r *rootKeys) newest() uint64 { return r.oldest + uint64(len(r.keys)) - 1 }

// at answers the root key of a version, nil if it is not there.
func (r *rootKeys) at(version uint64) *rootKey {
	if version < r.oldest || version > r.newest() {
		return nil
	}
	return &r.keys[version-r.oldest]
}

// clear overwrites the keys in memory.
func (r *rootKeys) clear() { clear(r.keys) }

// formatKeyFile writes the file of one named key.
func formatKeyFile(name string, roots *rootKeys) []byte {
	b := make([]byte, 0, len(keyFileMagic)+2+len(name)+10+len(roots.keys)*rootKeySize+sha256.Size)
	b = append(b, keyFileMagic...)
	b = append(b, keyFileFormat2, byte(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint64(b, roots.oldest)
	b = binary.BigEndian.AppendUint16(b, uint16(len(roots.keys)))
	for i := range roots.keys {
		b = append(b, roots.keys[i][:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// parseKeyFile reads back what formatKeyFile wrote for that name, in this format
// or the one before, and nothing else.
func parseKeyFile(name string, file []byte) (*rootKeys, error) {
	if len(file) < sha256.Size {
		return nil, errKeyFile
	}
	body, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	if want := sha256.Sum256(body); subtle.ConstantTimeCompare(sum, want[:]) != 1 {
		return nil, errKeyFile
	}
	rest, ok := bytes.CutPrefix(body, []byte(keyFileMagic))
	if !ok || len(rest) == 0 {
		return nil, errKeyFile
	}
	format := rest[0]
	if rest, ok = bytes.CutPrefix(rest[1:], append([]byte{byte(len(name))}, name...)); !ok {
		return nil, errKeyFile
	}
	roots, count := &rootKeys{oldest: 1}, 1
	switch {
	case format == keyFileFormat1:
	case format == keyFileFormat2 && len(rest) >= 10:
		roots.oldest, count = binary.BigEndian.Uint64(rest), int(binary.BigEndian.Uint16(rest[8:]))
		rest = rest[10:]
	default:
		return nil, errKeyFile
	}
	if count < 1 || count > maxVersions || len(rest) != count*rootKeySize ||
		roots.oldest < 1 || roots.oldest > math.MaxInt64-maxVersions {
		return nil, errKeyFile
	}
	roots.keys = make([]rootKey, count)
	for i := range roots.keys {
		copy(roots.keys[i][:], rest[i*rootKeySize:])
	}
	return roots, nil
}
