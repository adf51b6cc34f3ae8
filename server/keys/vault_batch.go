package keys

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/wattveil/wattveil/privacy/seal"
)

// maxBatch is how many items go into one request. At 4 KiB each they stay well
// under the 32 MiB that Vault reads of a request, and under its limits on JSON.
const maxBatch = 1000

// contextLabel comes before every context on its way to Vault, which takes no
// empty one. Being the same before all, it keeps different contexts different.
const contextLabel = "wattveil/transit/v1\x00"

// noUpsert goes with every encryption as the type of the key to create if the
// name has none. No Vault knows such a type, so none can create a key; and it
// does not look at the type when the key exists.
const noUpsert = "none"

// decrypting is the operation that brings secrets out.
const decrypting = "decrypt/"

type encryptRequest struct {
	Batch []encryptItem `json:"batch_input"`
	Type  string        `json:"type"`
}

type encryptItem struct {
	Plaintext []byte `json:"plaintext"` // base64, as encoding/json writes bytes
	Context   []byte `json:"context"`
}

// closedItems ask for ciphertexts to be decrypted or rewrapped.
type closedItems struct {
	Batch []closedItem `json:"batch_input"`
}

type closedItem struct {
	Ciphertext string `json:"ciphertext"`
	Context    []byte `json:"context"`
}

type batchAnswer struct {
	Data struct {
		Results []struct {
			Ciphertext string  `json:"ciphertext"`
			Plaintext  *[]byte `json:"plaintext"`
			Error      string  `json:"error"`
		} `json:"batch_results"`
	} `json:"data"`
}

func (v *Vault) wrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	if err := checkName(key); err != nil {
		return nil, err
	}
	if err := checkSecrets(items); err != nil {
		return nil, err
	}
	out := make([][]byte, 0, len(items))
	for chunk := range slices.Chunk(items, maxBatch) {
		request := encryptRequest{Batch: make([]encryptItem, len(chunk)), Type: noUpsert}
		for i, item := range chunk {
			request.Batch[i] = encryptItem{Plaintext: notNil(item.Data), Context: vaultContext(item.Context)}
		}
		answer, err := v.batch(ctx, "encrypt/", key, len(chunk), request)
		if err != nil {
			return nil, err
		}
		if out, err = answer.ciphertexts(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (v *Vault) unwrap(ctx context.Context, key string, items []seal.Item) ([][]byte, error) {
	if err := checkClosed(key, items); err != nil {
		return nil, err
	}
	out := make([][]byte, 0, len(items))
	for chunk := range slices.Chunk(items, maxBatch) {
		answer, err := v.batch(ctx, decrypting, key, len(chunk), closedRequest(chunk))
		if err != nil {
			return nil, err
		}
		for i := range chunk {
			secret := answer.Data.Results[i].Plaintext
			if secret == nil {
				return nil, fmt.Errorf("%w: vault answers no plaintext", seal.ErrUnavailable)
			}
			out = append(out, *secret)
		}
	}
	return out, nil
}

// checkClosed refuses what cannot have been wrapped here.
func checkClosed(key string, items []seal.Item) error {
	if err := checkName(key); err != nil {
		return err
	}
	for _, item := range items {
		if !canonicalCiphertext(item.Data) {
			return fmt.Errorf("%w: not a ciphertext of vault", seal.ErrRefused)
		}
	}
	return nil
}

func closedRequest(items []seal.Item) closedItems {
	request := closedItems{Batch: make([]closedItem, len(items))}
	for i, item := range items {
		request.Batch[i] = closedItem{Ciphertext: string(item.Data), Context: vaultContext(item.Context)}
	}
	return request
}

// ciphertexts appends the answer's ciphertexts to out.
func (a *batchAnswer) ciphertexts(out [][]byte) ([][]byte, error) {
	for i := range a.Data.Results {
		c := []byte(a.Data.Results[i].Ciphertext)
		if !canonicalCiphertext(c) {
			return nil, fmt.Errorf("%w: vault answers no ciphertext", seal.ErrUnavailable)
		}
		out = append(out, c)
	}
	return out, nil
}

// batch sends n items and answers n results without an error among them.
// For one bad item Vault fails the batch with status 400; older versions answer
// 200 and an error in that item's result.
func (v *Vault) batch(ctx context.Context, operation, key string, n int, request any) (*batchAnswer, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	defer clear(body)
	name := v.prefix + key
	var answer batchAnswer
	if err := v.call(ctx, http.MethodPut, operation+name, body, &answer); err != nil {
		return nil, v.explain(ctx, name, err)
	}
	if len(answer.Data.Results) != n {
		return nil, fmt.Errorf("%w: vault answers another number of items", seal.ErrUnavailable)
	}
	for _, result := range answer.Data.Results {
		if result.Error != "" {
			return nil, fmt.Errorf("%w: vault refuses an item", seal.ErrRefused)
		}
	}
	return &answer, nil
}

func vaultContext(context []byte) []byte {
	return append([]byte(contextLabel), context...)
}

// notNil keeps an empty secret from becoming a JSON null.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// canonicalCiphertext accepts "vault:v", a version in decimal, ":" and base64
// of at least a nonce and a tag, in the one spelling that Vault writes. Vault
// itself reads more: "v0" and "v01" as version 1, line feeds in the base64, any
// spare bits at its end. A stored ciphertext that was altered in such a way
// must be refused, not opened.
func canonicalCiphertext(c []byte) bool {
	_, ok := ciphertextVersion(c)
	return ok
}

// ciphertextVersion answers the version of the key that a canonical ciphertext names.
func ciphertextVersion(c []byte) (version uint64, ok bool) {
	const growth = nonceSize + tagSize
	if len(c) > len("vault:v:")+20+base64.StdEncoding.EncodedLen(maxSecret+growth) {
		return 0, false
	}
	rest, ok := bytes.CutPrefix(c, []byte("vault:v"))
	if !ok {
		return 0, false
	}
	number, encoded, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return 0, false
	}
	version, err := strconv.ParseUint(string(number), 10, 63)
	if err != nil || version == 0 || strconv.FormatUint(version, 10) != string(number) {
		return 0, false
	}
	decoded, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil || len(decoded) < growth || base64.StdEncoding.EncodeToString(decoded) != string(encoded) {
		return 0, false
	}
	return version, true
}
