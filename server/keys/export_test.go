package keys

// FormatKeyFile and ParseKeyFile open the key file's format to the tests.
func FormatKeyFile(name string, root [32]byte) []byte { return formatKeyFile(name, &root) }

func ParseKeyFile(name string, file []byte) (root [32]byte, err error) {
	err = parseKeyFile(name, file, &root)
	return root, err
}

// CanonicalCiphertext opens Vault's ciphertext check to the fuzz test.
var CanonicalCiphertext = canonicalCiphertext
