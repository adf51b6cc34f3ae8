package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"
)

//go:embed static
var staticFiles embed.FS

// mediaTypes are the kinds of files that are served.
var mediaTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
}

// files are the static files by name.
type files map[string]file

type file struct {
	body      []byte
	mediaType string
	version   string // of the content
}

func loadFiles() (files, error) {
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		return nil, err
	}
	loaded := make(files, len(entries))
	for _, e := range entries {
		body, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		loaded[e.Name()] = file{body, mediaTypes[path.Ext(e.Name())], hex.EncodeToString(sum[:8])}
	}
	return loaded, nil
}

// address carries the content's version, so that browsers may keep the file for
// good and still never mix two versions of the portal.
func (f files) address(name string) string {
	return "/static/" + name + "?v=" + f[name].version
}

func (p *portal) static(_ context.Context, r *http.Request) (answer, error) {
	name := r.PathValue("name")
	f, ok := p.files[name]
	if !ok {
		return nil, errNoPage
	}
	return served{f}, nil
}

// served is a static file on its way.
type served struct{ file }

func (s served) send(_ *portal, w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", s.mediaType)
	h.Set("Etag", `"`+s.version+`"`)
	if r.URL.Query().Get("v") == s.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.body))
	return nil
}
