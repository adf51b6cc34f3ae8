package seal_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/wattveil/wattveil/privacy/seal"
)

// A message opens for the key and the question that it was sealed for, and for no
// other, whatever is changed about it. It would catch an answer that one process
// passes on to another, or keeps for the next question.
func TestMessage(t *testing.T) {
	key, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := seal.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	question := sha256.Sum256([]byte("question"))
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("long"), 1<<18)} {
		sealed, err := seal.SealMessage(rand.Reader, key.Public(), question, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := seal.OpenMessage(key, question, sealed); err != nil || !bytes.Equal(got, plain) || len(sealed) != len(plain)+1137 {
			t.Errorf("%d bytes came back as %d in %d: %v", len(plain), len(got), len(sealed), err)
		}
		if again, err := seal.SealMessage(rand.Reader, key.Public(), question, plain); err != nil || bytes.Equal(again, sealed) {
			t.Errorf("sealed the same twice: %v", err)
		}
		if _, err := seal.OpenMessage(stranger, question, sealed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("opened by another: %v", err)
		}
		if _, err := seal.OpenMessage(key, sha256.Sum256(question[:]), sealed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("opened for another question: %v", err)
		}
		for _, at := range []int{1, 1000, 1121, len(sealed) - 1} {
			altered := bytes.Clone(sealed)
			altered[at] ^= 1
			if _, err := seal.OpenMessage(key, question, altered); !errors.Is(err, seal.ErrOpen) {
				t.Errorf("byte %d was changed: %v", at, err)
			}
		}
		if _, err := seal.OpenMessage(key, question, sealed[:len(sealed)-1]); err == nil {
			t.Error("opened though cut short")
		}
		unknown := bytes.Clone(sealed)
		unknown[0] = 2
		for _, b := range [][]byte{unknown, sealed[:1136], nil} {
			if _, err := seal.OpenMessage(key, question, b); !errors.Is(err, seal.ErrFormat) {
				t.Errorf("%d bytes of an unknown form: %v, want ErrFormat", len(b), err)
			}
		}
	}
}

// Without a key nothing is sealed and nothing opens. It would catch a panic on
// what a peer leaves out.
func TestMessageWithoutKey(t *testing.T) {
	if _, err := seal.SealMessage(rand.Reader, seal.PublicKey{}, [32]byte{}, nil); !errors.Is(err, seal.ErrKey) {
		t.Errorf("sealed to no key: %v", err)
	}
	if _, err := seal.OpenMessage(seal.PrivateKey{}, [32]byte{}, make([]byte, 2000)); !errors.Is(err, seal.ErrKey) {
		t.Errorf("opened without a key: %v", err)
	}
}
