package ledger_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/wattveil/wattveil/ledger"
)

// A leaf, its hash, a commitment and a tag never change: every proof and every
// household's scan depends on them. It would catch a field moved, a label or a
// byte order changed.
func TestLeafVectors(t *testing.T) {
	want := vectors(t)
	leaf := sampleLeaf()
	b, hash := leaf.Bytes(), leaf.Hash()
	commitment := ledger.Commit(sequence(0xc0), []byte("payload"))
	tag := ledger.SubjectTag(sequence(0xe0), 1<<32+7)
	empty := ledger.EmptyRoot()
	for name, got := range map[string][]byte{
		"leaf": b[:], "leaf-hash": hash[:], "commitment": commitment[:], "tag": tag[:], "empty-root": empty[:],
	} {
		if !bytes.Equal(got, want[name]) {
			t.Errorf("%s is %x, want %x", name, got, want[name])
		}
	}
}

// Only a leaf of version 1 with an assigned class is read; anything looser
// would let two spellings of one decision into the tree.
func TestParseLeafRefuses(t *testing.T) {
	good := sampleLeaf().Bytes()
	edit := func(at int, to byte) []byte {
		b := bytes.Clone(good[:])
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"nothing":    nil,
		"short":      good[:ledger.LeafSize-1],
		"long":       append(bytes.Clone(good[:]), 0),
		"version 0":  edit(0, 0),
		"version 2":  edit(0, 2),
		"class 0":    edit(1, 0),
		"class 6":    edit(1, 6),
		"class 0xff": edit(1, 0xff),
	} {
		if _, err := ledger.ParseLeaf(b); !errors.Is(err, ledger.ErrLeaf) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := ledger.ParseLeaf(good[:]); err != nil || got != sampleLeaf() {
		t.Errorf("the leaf itself: %+v, %v", got, err)
	}
}

// What is read is written back to the byte.
func FuzzParseLeaf(f *testing.F) {
	good := sampleLeaf().Bytes()
	f.Add(good[:])
	f.Add(good[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		leaf, err := ledger.ParseLeaf(b)
		if err != nil {
			return
		}
		if again := leaf.Bytes(); !bytes.Equal(again[:], b) {
			t.Errorf("%x was read and written as %x", b, again)
		}
	})
}
