package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// This file reads testdata as a stranger would who has the package
// comment and a standard library: it uses nothing of this package or of
// meter, and another HPKE than the one that sealed. It would catch a format
// that is not what the package comment says.

// golden is the form of testdata/v1.json.
type golden struct {
	About     string     `json:"about"`
	Household keyPair    `json:"household"`
	Window    keyPair    `json:"window"`
	Writer    writerInfo `json:"writer"`

	DayKeyWrap   wrapRow   `json:"day_key_wrap"`
	DayKey       hexBytes  `json:"day_key"`
	Blocks       []block   `json:"blocks"`
	SpoolKeyWrap wrapRow   `json:"spool_key_wrap"`
	SpoolKey     hexBytes  `json:"spool_key"`
	Spool        spoolRow  `json:"spool_record"`
	Contributed  []content `json:"contributions"`
}

type keyPair struct {
	Seed   hexBytes `json:"seed"`
	Public hexBytes `json:"public_key"`
}

type writerInfo struct {
	ID     hexBytes `json:"id"`
	Public hexBytes `json:"public_key"`
}

type wrapRow struct {
	Household  string   `json:"household,omitempty"`
	Generation uint32   `json:"generation,omitempty"`
	Day        int32    `json:"day"`
	Seq        uint64   `json:"seq"`
	Sealed     hexBytes `json:"sealed"`
	Signature  hexBytes `json:"signature"`
}

type content struct {
	Household  string   `json:"household"`
	UsagePoint string   `json:"usage_point"`
	Register   hexBytes `json:"register"`
	Start      int64    `json:"start"`
	Length     int64    `json:"length"`
	Revision   uint32   `json:"revision"`
	Values     []int64  `json:"values"`
	Quality    []int    `json:"quality"`
	Packing    byte     `json:"packing"`
	AcceptedAt int64    `json:"accepted_at"`
}

type block struct {
	Comment    string   `json:"comment"`
	Generation uint32   `json:"generation"`
	Day        int32    `json:"day"`
	Seq        uint64   `json:"seq"`
	Ciphertext hexBytes `json:"ciphertext"`
	Signature  hexBytes `json:"signature"`
	Key        hexBytes `json:"block_key"`
	Plain      content  `json:"plain"`
}

type spoolRow struct {
	Day        int32    `json:"day"`
	Seq        uint64   `json:"seq"`
	Ciphertext hexBytes `json:"ciphertext"`
}

// goldenRunning is the form of testdata/running-v1.json.
type goldenRunning struct {
	About  string   `json:"about"`
	Window keyPair  `json:"window"`
	Hub    hexBytes `json:"hub_public_key"`

	Wrap    runningWrap  `json:"running_key_wrap"`
	Key     hexBytes     `json:"running_key"`
	Records []runningRow `json:"running_records"`
}

type runningWrap struct {
	ID        hexBytes `json:"id"`
	From      int32    `json:"from"`
	Window    int32    `json:"window"`
	Records   uint32   `json:"records"`
	Sealed    hexBytes `json:"sealed"`
	Signature hexBytes `json:"signature"`
}

type runningRow struct {
	Seq        uint32   `json:"number"`
	Ciphertext hexBytes `json:"ciphertext"`
	Content    hexBytes `json:"content"`
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func readGolden[T any](t *testing.T, file string) (g T) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestStranger(t *testing.T) {
	g := readGolden[golden](t, "testdata/v1.json")
	writer := ed25519.PublicKey(g.Writer.Public)

	w := g.DayKeyWrap
	info := fieldList("wattveil/seal/day-key-wrap", byte(1), w.Household, w.Generation, w.Day, g.Writer.ID, digest(g.Household.Public))
	dayKey := g.Household.unwrap(t, info, w, writer)
	if !bytes.Equal(dayKey, g.DayKey) {
		t.Errorf("day key %x, want %x", dayKey, g.DayKey)
	}
	w = g.SpoolKeyWrap
	info = fieldList("wattveil/seal/spool-key-wrap", byte(1), w.Day, g.Writer.ID, digest(g.Window.Public))
	spoolKey := g.Window.unwrap(t, info, w, writer)
	if !bytes.Equal(spoolKey, g.SpoolKey) {
		t.Errorf("spool key %x, want %x", spoolKey, g.SpoolKey)
	}

	for _, b := range g.Blocks {
		t.Run(b.Comment, func(t *testing.T) {
			p := b.Plain
			key, err := hkdf.Key(sha256.New, dayKey, nil, string(fieldList("wattveil/seal/block-key", byte(1), p.UsagePoint, p.Register)), 32)
			if err != nil || !bytes.Equal(key, b.Key) {
				t.Fatalf("block key %x (%v), want %x", key, err, b.Key)
			}
			bound := fieldList("wattveil/seal/block", byte(1), p.Household, b.Generation, p.UsagePoint, p.Register,
				p.Start, p.Length, uint32(len(p.Values)), p.Revision, b.Day, g.Writer.ID, b.Seq)
			checkSignature(t, writer, bound, b.Ciphertext, b.Signature)
			plain := decrypt(t, key, b.Seq, b.Ciphertext, bound)
			if got := int64(binary.BigEndian.Uint64(plain)); got != p.AcceptedAt {
				t.Errorf("accepted at %d, want %d", got, p.AcceptedAt)
			}
			if rest := p.check(t, plain[8:]); len(rest) != 0 {
				t.Errorf("%d bytes too many", len(rest))
			}
		})
	}

	bound := fieldList("wattveil/seal/spool-record", byte(1), g.Spool.Day, g.Writer.ID, g.Spool.Seq)
	rest := decrypt(t, spoolKey, g.Spool.Seq, g.Spool.Ciphertext, bound)
	if len(rest)%256 != 0 {
		t.Errorf("a spool record of %d bytes is not padded", len(rest))
	}
	accepted, n := int64(binary.BigEndian.Uint64(rest)), binary.BigEndian.Uint32(rest[8:])
	if int(n) != len(g.Contributed) {
		t.Fatalf("%d contributions, want %d", n, len(g.Contributed))
	}
	rest = rest[12:]
	var names []string
	for _, c := range g.Contributed {
		for _, want := range []string{c.Household, c.UsagePoint} {
			i := int(binary.BigEndian.Uint32(rest))
			rest = rest[4:]
			if i == 0 {
				names = append(names, string(rest[1:1+rest[0]]))
				i, rest = len(names), rest[1+rest[0]:]
			}
			if names[i-1] != want {
				t.Errorf("name %q, want %q", names[i-1], want)
			}
		}
		got := content{
			Household: c.Household, UsagePoint: c.UsagePoint, AcceptedAt: accepted, Register: hexBytes(rest[:6]),
			Start: int64(binary.BigEndian.Uint64(rest[6:])), Length: int64(binary.BigEndian.Uint32(rest[14:])),
			Revision: binary.BigEndian.Uint32(rest[18:]),
		}
		if !bytes.Equal(got.Register, c.Register) || got.Start != c.Start || got.Length != c.Length ||
			got.Revision != c.Revision || accepted != c.AcceptedAt || int(binary.BigEndian.Uint32(rest[22:])) != len(c.Values) {
			t.Errorf("a contribution of %+v, want %+v", got, c)
		}
		rest = c.check(t, rest[26:])
	}
	if len(rest) >= 256 || len(bytes.Trim(rest, "\x00")) != 0 {
		t.Errorf("%d bytes after the last contribution are not padding", len(rest))
	}
}

func TestStrangerRunning(t *testing.T) {
	g := readGolden[goldenRunning](t, "testdata/running-v1.json")
	w := g.Wrap
	info := fieldList("wattveil/seal/running-key-wrap", byte(1), w.ID, w.From, w.Window, w.Records, digest(g.Window.Public))
	key := g.Window.unwrap(t, info, wrapRow{Sealed: w.Sealed, Signature: w.Signature}, ed25519.PublicKey(g.Hub))
	if !bytes.Equal(key, g.Key) {
		t.Errorf("running key %x, want %x", key, g.Key)
	}
	if int(w.Records) != len(g.Records) {
		t.Errorf("%d records, want %d", len(g.Records), w.Records)
	}
	for i, r := range g.Records {
		if int(r.Seq) != i+1 {
			t.Errorf("number %d, want %d", r.Seq, i+1)
		}
		bound := fieldList("wattveil/seal/running-record", byte(1), w.ID, w.From, r.Seq)
		plain := decrypt(t, key, uint64(r.Seq), r.Ciphertext, bound)
		end := 4 + int(binary.BigEndian.Uint32(plain))
		if len(plain) != (end+4095)/4096*4096 || !bytes.Equal(plain[4:end], r.Content) {
			t.Errorf("record %d: %d bytes in %d, want %d", r.Seq, end-4, len(plain), len(r.Content))
		}
		if len(bytes.Trim(plain[end:], "\x00")) != 0 {
			t.Errorf("record %d is not padded with zero bytes", r.Seq)
		}
	}
}

// check reads packing and intervals bit by bit and returns what follows.
func (c content) check(t *testing.T, packed []byte) []byte {
	t.Helper()
	if packed[0] != c.Packing {
		t.Errorf("packing %#x, want %#x", packed[0], c.Packing)
	}
	width, signed := int(packed[0]&0x7f), packed[0]&0x80 != 0
	packed = packed[1:]
	at := 0
	take := func(n int) (v uint64) {
		for range n {
			v = v<<1 | uint64(packed[at/8]>>(7-at%8)&1)
			at++
		}
		return v
	}
	var values []int64
	var quality []int
	for range c.Values {
		v := take(width)
		if signed && v>>(width-1) == 1 && width < 64 {
			v -= 1 << width
		}
		values, quality = append(values, int64(v)), append(quality, int(take(4)))
	}
	if !slices.Equal(values, c.Values) || !slices.Equal(quality, c.Quality) {
		t.Errorf("values %d quality %d, want %d and %d", values, quality, c.Values, c.Quality)
	}
	for at%8 != 0 {
		if take(1) != 0 {
			t.Error("the last byte is not filled with zero bits")
		}
	}
	return packed[at/8:]
}

func (k keyPair) unwrap(t *testing.T, info []byte, w wrapRow, writer ed25519.PublicKey) []byte {
	t.Helper()
	checkSignature(t, writer, info, w.Sealed, w.Signature)
	private, err := hpke.MLKEM768X25519().NewPrivateKey(k.Seed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(private.PublicKey().Bytes(), k.Public) {
		t.Error("the seed gives another public key")
	}
	if len(w.Sealed) != 1169 || w.Sealed[0] != 1 {
		t.Fatalf("a wrap of %d bytes, version %d", len(w.Sealed), w.Sealed[0])
	}
	key, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, w.Sealed[1:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func checkSignature(t *testing.T, writer ed25519.PublicKey, bound, ciphertext, signature []byte) {
	t.Helper()
	message := append([]byte("wattveil/seal/signature"), digest(bound)...)
	if !ed25519.Verify(writer, append(message, digest(ciphertext)...), signature) {
		t.Error("the signature does not match")
	}
}

func decrypt(t *testing.T, key []byte, seq uint64, ciphertext, bound []byte) []byte {
	t.Helper()
	if ciphertext[0] != 1 {
		t.Fatalf("version %d", ciphertext[0])
	}
	c, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(c)
	if err != nil {
		t.Fatal(err)
	}
	nonce := binary.BigEndian.AppendUint64(make([]byte, 4), seq)
	plain, err := gcm.Open(nil, nonce, ciphertext[1:], bound)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func fieldList(values ...any) (list []byte) {
	for _, v := range values {
		var field []byte
		switch v := v.(type) {
		case string:
			field = []byte(v)
		case hexBytes:
			field = v
		case []byte:
			field = v
		default:
			var b bytes.Buffer
			if err := binary.Write(&b, binary.BigEndian, v); err != nil {
				panic(err)
			}
			field = b.Bytes()
		}
		list = append(binary.BigEndian.AppendUint16(list, uint16(len(field))), field...)
	}
	return list
}

func digest(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}
