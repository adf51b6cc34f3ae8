package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strconv"
	"strings"
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
	packed    []byte // body in gzip
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
		packed, err := pack(body)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		loaded[e.Name()] = file{body, packed, mediaTypes[path.Ext(e.Name())], hex.EncodeToString(sum[:8])}
	}
	return loaded, nil
}

func pack(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	err = w.Close() // writes the rest
	return b.Bytes(), err
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
	h.Set("Vary", "Accept-Encoding")
	body, tag := s.body, s.version
	if takesGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body, tag = s.packed, s.version+"-gzip"
	}
	h.Set("Etag", `"`+tag+`"`)
	if r.URL.Query().Get("v") == s.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	return nil
}

// takesGzip reports whether a browser asks for gzip by name and does not rule it
// out (RFC 9110, section 12.5.3).
func takesGzip(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			name, weight, _ := strings.Cut(strings.ToLower(coding), ";")
			if strings.TrimSpace(name) == "gzip" {
				q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
				return err != nil || q > 0
			}
		}
	}
	return false
}
