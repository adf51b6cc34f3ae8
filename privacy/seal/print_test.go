package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
)

// Nothing that holds a key shows it in a log line, an error text or a JSON object:
// neither by itself, nor behind a pointer, nor where it lies in an unexported field of
// something else, of which fmt calls no methods. It would catch a key that is bytes
// again, and a new holder that keeps it open.
func TestKeysPrintNothing(t *testing.T) {
	secret := [32]byte{0xab, 0xcd, 0xef, 0x12, 0x34, 0x56, 0x78, 0x9a}
	private := must(seal.NewPrivateKey(&stream{label: "a"}))
	h := newHouse(t)
	b := must(h.writer.Begin().Seal(h.target, series(noon, 4)))
	sealer := must(seal.NewRunningSealer(&stream{label: "b"}, day))
	c := newClosing(t)
	_, wrap := c.set(t, []byte("sums"))
	opened := must(seal.OpenRunningKey(c.window, wrap, c.public()))
	for name, x := range map[string]struct {
		holder any
		key    []byte
	}{
		"DayKey":        {seal.MakeDayKey(secret), secret[:]},
		"BlockKey":      {seal.MakeBlockKey(secret), secret[:]},
		"SpoolKey":      {seal.MakeSpoolKey(secret), secret[:]},
		"derived":       {seal.MakeDayKey(secret).BlockKey("up-1", b.Register), seal.BytesOf(seal.MakeDayKey(secret).BlockKey("up-1", b.Register))},
		"PrivateKey":    {private, private.Seed()},
		"Writer":        {h.writer, seal.SigningBytes(h.writer)},
		"its day key":   {h.writer, seal.KeysInMemory(h.writer)[0][:]},
		"Batch":         {h.writer.Begin(), seal.SigningBytes(h.writer)},
		"RunningSealer": {sealer, seal.SealingBytes(sealer)},
		"RunningKey":    {opened, seal.RunningBytes(opened)},
		"RunningOpener": {opened.Opener(), seal.RunningBytes(opened)},
	} {
		for how, text := range printed(t, x.holder) {
			for _, form := range forms(x.key) {
				if strings.Contains(strings.ToLower(text), form) {
					t.Errorf("%s shows its key by %s: %s", name, how, text)
				}
			}
		}
	}
}

// printed prints a value in all the ways it comes to be printed.
func printed(t *testing.T, v any) map[string]string {
	t.Helper()
	out := map[string]string{}
	type hidden struct{ inside any }
	for place, of := range map[string]any{
		"itself": v, "a pointer": &v, "an unexported field": hidden{v}, "a pointer to it": &hidden{v},
		"a list": []any{v}, "an unexported list": struct{ in []any }{[]any{v}}, "an unexported map": struct{ in map[string]any }{map[string]any{"k": v}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "% x", "%d", "%s", "%q", "%c", "%U", "%o", "%b"} {
			out[place+" "+verb] = fmt.Sprintf(verb, of)
		}
		var text bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("x", "key", of) //nolint:sloglint // what anybody could write
		slog.New(slog.NewJSONHandler(&text, nil)).Info("x", "key", of) //nolint:sloglint // what anybody could write
		out[place+" slog"] = text.String()
		if b, err := json.Marshal(of); err == nil {
			out[place+" json"] = string(b)
		}
	}
	return out
}

// forms are the ways in which the first bytes of a key can be read, in lower case.
func forms(key []byte) []string {
	first := key[:6]
	var decimal, prefixed, spaced []string
	for _, b := range first {
		decimal = append(decimal, fmt.Sprint(b))
		prefixed = append(prefixed, fmt.Sprintf("0x%x", b))
		spaced = append(spaced, fmt.Sprintf("%02x", b))
	}
	return []string{
		hex.EncodeToString(first), strings.Join(spaced, " "), strings.Join(decimal, " "), strings.Join(decimal, ","), strings.Join(prefixed, ", "),
		strings.ToLower(base64.StdEncoding.EncodeToString(first)),
	}
}

// An erased key is overwritten where it lies, in every copy. It would catch an Erase
// that clears a copy of its own.
func TestKeysErase(t *testing.T) {
	bytesOf := [32]byte{1, 2, 3}
	key := seal.MakeDayKey(bytesOf)
	held, copied := seal.BytesOf(key), key
	copied.Erase()
	if !bytes.Equal(held, make([]byte, 32)) {
		t.Error("a day key outlived its end")
	}
	private := must(seal.NewPrivateKey(&stream{label: "a"}))
	other := private
	private.Erase()
	if !bytes.Equal(other.Seed(), make([]byte, 32)) {
		t.Error("a private key outlived its end")
	}
	seal.DayKey{}.Erase()
	seal.PrivateKey{}.Erase()
}
