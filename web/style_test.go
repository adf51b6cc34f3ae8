package web

import (
	"compress/gzip"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Catches a colour that cannot be read: text needs a contrast of 4.5 with every
// ground it stands on, marks of 3 (WCAG 2.2, 1.4.3 and 1.4.11), light and dark.
func TestContrast(t *testing.T) {
	sheet, err := staticFiles.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, ok := strings.Cut(string(sheet), "@media (prefers-color-scheme: dark)")
	dark, _, ok2 := strings.Cut(rest, "/* Frame */")
	if !ok || !ok2 {
		t.Fatal("the style sheet has no dark colours")
	}
	for scheme, part := range map[string]string{"light": light, "dark": dark} {
		tokens := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z0-9-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(part, -1) {
			tokens[m[1]] = luminance(t, m[2])
		}
		check := func(least float64, marks, grounds []string) {
			t.Helper()
			for _, mark := range marks {
				for _, ground := range grounds {
					a, ok1 := tokens[mark]
					b, ok2 := tokens[ground]
					if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); !ok1 || !ok2 || ratio < least {
						t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", scheme, mark, ground, ratio, least)
					}
				}
			}
		}
		grounds := []string{"bg", "surface", "sunk", "note-bg", "ok-bg", "warn-bg", "stop-bg"}
		check(4.5, []string{"ink", "ink-2", "accent", "ok", "warn", "stop"}, grounds)
		check(4.5, []string{"on-accent"}, []string{"accent"})
		check(3, []string{"edge", "area", "export"}, grounds)
		check(3, []string{"area"}, []string{"band50", "band95"})
	}
}

// luminance is the relative luminance of an sRGB colour (WCAG 2.2, definitions).
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	linear := func(c uint64) float64 {
		v := float64(c&255) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}

// Catches a style sheet that outgrows its bound, leaves the origin, or leaves a
// page or a browser with an old copy.
func TestStaticFiles(t *testing.T) {
	_, handler := newPortal(t)
	v := guest(t, handler)
	body := page(t, v.get("/"), 200)
	for name, mediaType := range map[string]string{"style.css": "text/css; charset=utf-8", "favicon.svg": "image/svg+xml"} {
		address := regexp.MustCompile(`/static/` + name + `\?v=[0-9a-f]+`).FindString(body)
		if address == "" {
			t.Fatalf("no page refers to %s", name)
		}
		resp := v.get(address)
		file := page(t, resp, 200)
		if resp.header.Get("Content-Type") != mediaType || !strings.Contains(resp.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", name, resp.header)
		}
		if regexp.MustCompile(`url\(|@import`).MatchString(file) {
			t.Errorf("%s fetches more", name)
		}
		for encoding, gzipped := range map[string]bool{"gzip, deflate, br": true, "br;q=1.0, GZIP;q=0.5": true, "deflate": false, "gzip;q=0": false, "identity;q=1, *;q=0": false} {
			r := httptest.NewRequest(http.MethodGet, address, nil)
			r.Header.Set("Accept-Encoding", encoding)
			packed := v.send(r)
			if got := packed.header.Get("Content-Encoding") == "gzip"; got != gzipped || packed.header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s for %q: %v", name, encoding, packed.header)
			}
			if !gzipped {
				if packed.body != file {
					t.Errorf("%s for %q is another file", name, encoding)
				}
				continue
			}
			if len(packed.body) > 5<<10 || packed.header.Get("Etag") == resp.header.Get("Etag") {
				t.Errorf("%s: %d bytes on the wire", name, len(packed.body))
			}
			z, err := gzip.NewReader(strings.NewReader(packed.body))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(z); err != nil || string(b) != file {
				t.Errorf("%s for %q unpacks to another file: %v", name, encoding, err)
			}
		}
		if got := v.get("/static/" + name + "?v=0").header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s of another version: Cache-Control %q", name, got)
		}
	}
	for _, name := range []string{"none.css", "..%2fweb.go", "style.css/"} {
		page(t, v.get("/static/"+name), 404)
	}
}
