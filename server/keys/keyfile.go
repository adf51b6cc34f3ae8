package keys

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
)

// A key file, all of it:
//
//	"WVKR"      4 bytes
//	version     1 byte, 0x01
//	n           1 byte, length of the name
//	name        n bytes, as checkName allows
//	root key    32 bytes
//	checksum    32 bytes, SHA-256 of everything before
//
// The name inside keeps a renamed file from passing for another key, the
// checksum tells a damaged file from a wrong one. Neither protects against
// someone who can write the directory.
const (
	keyFileMagic   = "WVKR"
	keyFileVersion = 1
	rootKeySize    = 32
	maxKeyFile     = len(keyFileMagic) + 2 + maxName + rootKeySize + sha256.Size
)

var errKeyFile = errors.New("key file is damaged or not one")

// formatKeyFile writes the file of one key.
func formatKeyFile(name string, root *[rootKeySize]byte) []byte {
	b := make([]byte, 0, maxKeyFile)
	b = append(b, keyFileMagic...)
	b = append(b, keyFileVersion, byte(len(name)))
	b = append(b, name...)
	b = append(b, root[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// parseKeyFile reads back what formatKeyFile wrote for that name, and nothing
// else, into root.
func parseKeyFile(name string, file []byte, root *[rootKeySize]byte) error {
	head := append([]byte(keyFileMagic), keyFileVersion, byte(len(name)))
	head = append(head, name...)
	if len(file) != len(head)+rootKeySize+sha256.Size || !bytes.HasPrefix(file, head) {
		return errKeyFile
	}
	body, sum := file[:len(head)+rootKeySize], file[len(head)+rootKeySize:]
	if want := sha256.Sum256(body); subtle.ConstantTimeCompare(sum, want[:]) != 1 {
		return errKeyFile
	}
	copy(root[:], body[len(head):])
	return nil
}
