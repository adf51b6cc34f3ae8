package wattveil_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/wattveil/wattveil"

// file is one Go file of this module, whatever its build tags.
type file struct {
	path    string // slash-separated, relative to the root
	pkg     string // its folder, "." for the root
	test    bool
	imports []string
	syntax  *ast.File
}

// source returns every Go file of the module. It walks the tree rather than ask
// the go command, which leaves out what build tags hide; and a cached result of
// these tests expires with any file or folder that was read.
func source(t *testing.T) []file {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatalf("reading the tree: %v", err)
	}
	return files
}

var positions = token.NewFileSet()

var parsed = sync.OnceValues(func() ([]file, error) {
	var files []file
	root := os.DirFS(".")
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && foreign(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(positions, name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f := file{path: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), syntax: syntax}
		for _, spec := range syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		files = append(files, f)
		return nil
	})
	return files, err
})

// foreign says whether a folder holds no package of this module: the go command
// ignores it, or it is the root of another module.
func foreign(root fs.FS, name string) bool {
	base := path.Base(name)
	if base[0] == '.' || base[0] == '_' || base == "testdata" {
		return true
	}
	_, err := fs.Stat(root, path.Join(name, "go.mod"))
	return err == nil
}
