package web

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/jba/templatecheck"
)

// Catches a page that names a field its data does not have, on any path through
// the template, and a template without a row in documents.
func TestTemplatesFitTheirData(t *testing.T) {
	parsed, err := parsePages()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range documents {
		if err := templatecheck.CheckHTMLStrict(parsed[name], data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.IsDir() || f.Name() == "frame.html" {
			continue
		}
		if _, ok := documents[f.Name()[:len(f.Name())-len(".html")]]; !ok {
			t.Errorf("no page is drawn with %s", f.Name())
		}
	}
}

// Catches words that frighten, flatter or promise what nobody can keep, and the
// trade's own words on pages for households (the design's list).
func TestWordsThatNeverAppear(t *testing.T) {
	never := regexp.MustCompile(`(?i)\b(anonym\w*|guarante\w*|100 ?%|untraceable|military|blockchain|noise|value your privacy|simply|just|unfortunately|oops|consent\w*|revoke[ds]?|granularity|ledger|leaf)\b`)
	action := regexp.MustCompile(`\{\{.*?\}\}|<[^>]*>`)
	err := fs.WalkDir(templateFiles, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := templateFiles.ReadFile(name)
		if err != nil {
			return err
		}
		shown := action.ReplaceAllString(string(text), " ")
		if found := never.FindString(shown); found != "" {
			t.Errorf("%s says %q", name, found)
		}
		if strings.Contains(shown, "ε") && path.Base(name) != "public.html" {
			t.Errorf("%s speaks of ε", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
