package keys

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// replacedSuffix follows the name of a key file that was replaced, until its bytes
// are overwritten.
const replacedSuffix = ".replaced"

// replace puts a new file in the place of one that is there, whole and durable, and
// overwrites the one that was. The old file keeps a second name meanwhile, so that
// a crash leaves the old content or the new one under the name, and the old one
// within reach of settle.
func (d keyDir) replace(name string, content []byte) error {
	if err := d.settle(name); err != nil {
		return err
	}
	if err := d.writeBeside(name, content); err != nil {
		return err
	}
	err := d.root.Link(name, name+replacedSuffix)
	if err == nil {
		err = d.sync() // before the renaming: otherwise a crash could keep that alone
	}
	if err == nil {
		err = d.root.Rename(name+tempSuffix, name)
	}
	if err != nil {
		return errors.Join(err, d.shred(name+tempSuffix), d.settle(name))
	}
	if err := d.sync(); err != nil {
		return err
	}
	return d.settle(name)
}

// settle ends what a replacement of the file left undone: an old file that was
// replaced is overwritten and removed; one that was not only loses its second name.
func (d keyDir) settle(name string) error {
	old, err := d.root.Lstat(name + replacedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := d.root.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && os.SameFile(old, now) {
		if err := d.root.Remove(name + replacedSuffix); err != nil {
			return err
		}
		return d.sync()
	}
	return d.shred(name + replacedSuffix)
}

// keyOf answers the name of the key that a file in the directory holds, or held.
func keyOf(file string) (key string, ok bool) {
	return strings.CutSuffix(strings.TrimSuffix(file, replacedSuffix), keySuffix)
}
