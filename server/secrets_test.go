package server

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// The hub's own secrets are shown by nothing that prints, wherever they are held. It would
// catch a secret that is bare bytes again.
func TestSecretsPrintNothing(t *testing.T) {
	secret := []byte{0xab, 0xcd, 0xef, 0x12, 0x34, 0x56, 0x78, 0x9a}
	h := hide(secret)
	s := &secrets{release: h, batches: h, codes: h}
	for _, holder := range []any{h, &h, s, *s, struct{ in any }{s}, letterCodes{key: h}, &registryService{codes: letterCodes{key: h}}, &preparer{macKey: h}, &meterService{preparer: &preparer{macKey: h}}} {
		var text bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "% x", "%d", "%s", "%q", "%c", "%U", "%o", "%b"} {
			fmt.Fprintf(&text, verb+"\n", holder)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "secret", holder) //nolint:sloglint // what anybody could write
		slog.New(slog.NewJSONHandler(&text, nil)).Info("x", "secret", holder) //nolint:sloglint // what anybody could write
		if b, err := json.Marshal(holder); err == nil {
			text.Write(b)
		}
		for _, form := range []string{hex.EncodeToString(secret[:4]), "ab cd ef", "171 205 239", "0xab, 0xcd", "q83v"} {
			if strings.Contains(strings.ToLower(text.String()), form) {
				t.Errorf("%T shows a secret", holder)
			}
		}
	}
	s.eraseSeeds()
	if !bytes.Equal(secret, make([]byte, len(secret))) {
		t.Error("a seed outlived the making of its signer")
	}
}
