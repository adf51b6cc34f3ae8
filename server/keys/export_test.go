package keys

// FormatKeyFile and ParseKeyFile open the key file's format to the tests.
func FormatKeyFile(name string, oldest uint64, roots ...[32]byte) []byte {
	return formatKeyFile(name, rootsOf(oldest, roots))
}

func ParseKeyFile(name string, file []byte) (oldest uint64, roots [][32]byte, err error) {
	parsed, err := parseKeyFile(name, file)
	if err != nil {
		return 0, nil, err
	}
	for _, r := range parsed.keys {
		roots = append(roots, r)
	}
	return parsed.oldest, roots, nil
}

func rootsOf(oldest uint64, roots [][32]byte) *rootKeys {
	r := &rootKeys{oldest: oldest}
	for _, root := range roots {
		r.keys = append(r.keys, root)
	}
	return r
}

// CanonicalCiphertext opens Vault's ciphertext check to the fuzz test.
var CanonicalCiphertext = canonicalCiphertext
