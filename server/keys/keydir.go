package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wattveil/wattveil/privacy/seal"
)

// Files in a keyring's directory, beside the keys:
const (
	formatFile = "keyring" // says that this directory is one, and its version
	lockFile   = "lock"    // held by the process that has it open

	keySuffix       = ".key"
	tombstoneSuffix = ".destroyed"
	tempSuffix      = ".tmp" // of a write that did not finish

	formatText    = "wattveil keyring v1\n"
	tombstoneText = "wattveil keyring tombstone v1\n" // a reader's help; its presence is what counts
)

var (
	errExposed   = errors.New("file or directory is open to other users")
	errNoKeyring = errors.New("directory holds something else than a keyring of this version")
)

// keyDir is the directory of an open keyring. Every write is whole and durable
// at return: written beside, synced, renamed, directory synced.
type keyDir struct {
	root *os.Root
}

// openDir opens the directory, making it if only its last part is missing, and
// refuses one that other users may enter or that is not for a keyring. It
// changes nothing in a directory that it refuses.
func openDir(path string) (keyDir, error) {
	switch err := os.Mkdir(path, 0o700); {
	case err == nil:
		parent, err := os.Open(filepath.Dir(filepath.Clean(path)))
		if err != nil {
			return keyDir{}, err
		}
		if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
			return keyDir{}, err
		}
	case !errors.Is(err, fs.ErrExist):
		return keyDir{}, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return keyDir{}, err
	}
	d := keyDir{root}
	if err := d.recognise(); err != nil {
		return keyDir{}, errors.Join(err, root.Close())
	}
	return d, nil
}

// recognise accepts a private directory that holds a keyring, or nothing, or
// what a first opening leaves when it is cut short.
func (d keyDir) recognise() error {
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if err := checkPrivate(info); err != nil {
		return err
	}
	format, err := d.read(formatFile, len(formatText))
	switch {
	case err == nil && string(format) == formatText:
		return nil
	case err == nil || errors.Is(err, errKeyFile):
		return errNoKeyring
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != lockFile && name != formatFile+tempSuffix && name != formatFile {
			return errNoKeyring
		}
	}
	return nil
}

// checkPrivate refuses what the group or the world may touch, or what another
// user owns.
func checkPrivate(info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 != 0 || !ownedByUs(info) {
		return errExposed
	}
	return nil
}

// adopt writes the format file where there is none yet, then ends what a crash
// left undone: unfinished writes go, and so does every file that was replaced and
// every key that has a tombstone. It refuses keys that are open to other users. The
// caller holds the lock and has had the directory recognised.
func (d keyDir) adopt() error {
	if there, err := d.exists(formatFile); err != nil {
		return err
	} else if !there {
		return d.write(formatFile, []byte(formatText))
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		key, isKey := keyOf(name)
		gone := false
		if isKey {
			if gone, err = d.exists(key + tombstoneSuffix); err != nil {
				return err
			}
		}
		switch {
		case gone || strings.HasSuffix(name, tempSuffix):
			if err := d.shred(name); err != nil {
				return err
			}
		case strings.HasSuffix(name, replacedSuffix):
			if err := d.settle(key + keySuffix); err != nil {
				return err
			}
		case isKey:
			info, err := d.root.Lstat(name)
			if err != nil {
				return err
			}
			if err := checkPrivate(info); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d keyDir) names() ([]string, error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// exists tells whether the file is there, whatever it holds.
func (d keyDir) exists(name string) (bool, error) {
	_, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// read answers a private, regular file of at most limit bytes.
func (d keyDir) read(name string, limit int) ([]byte, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > int64(limit) {
		return nil, errKeyFile
	}
	if err := checkPrivate(info); err != nil {
		return nil, err
	}
	return d.root.ReadFile(name)
}

// write makes a file, whole and durable. A crash leaves either none or all of it,
// and at most a file that adopt removes.
func (d keyDir) write(name string, content []byte) error {
	if err := d.writeBeside(name, content); err != nil {
		return err
	}
	if err := d.root.Rename(name+tempSuffix, name); err != nil {
		return errors.Join(err, d.shred(name+tempSuffix))
	}
	return d.sync()
}

// writeBeside writes the file that is to have that name, and makes it durable, under
// its temporary one.
func (d keyDir) writeBeside(name string, content []byte) error {
	temp := name + tempSuffix
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, d.shred(temp))
	}
	return nil
}

// shred overwrites a file with zeros, then removes it, durably; a missing file
// is fine.
// On a file system that writes in place to a magnetic disk the bytes are gone.
// On flash, copy-on-write or journalled-data storage the old blocks can survive
// the overwriting, out of reach of this process: there, only an encrypted disk
// makes the removal final.
func (d keyDir) shred(name string) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return d.sync() // its removal may be the one that failed to be
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		_, err = f.WriteAt(make([]byte, min(info.Size(), int64(maxKeyFile))), 0)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := d.root.Remove(name); err != nil {
		return err
	}
	return d.sync()
}

// sync makes renames and removals durable.
func (d keyDir) sync() error {
	dir, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// fault turns an error of the directory into one of seal's, without the path:
// file names are key names.
func fault(doing string, err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.Is(err, errExposed), errors.Is(err, errKeyFile), errors.Is(err, errNoKeyring):
		return fmt.Errorf("keys: %s: %w: %w", doing, seal.ErrRefused, err)
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		err = errors.New("randomness ran out")
	}
	return fmt.Errorf("keys: %s: %w: %w", doing, seal.ErrUnavailable, err)
}
