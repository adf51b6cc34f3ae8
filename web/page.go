package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
)

//go:embed templates
var templateFiles embed.FS

// document is what a template is executed with: the frame that every page has,
// and the page's own part.
type document[T any] struct {
	Frame frame
	Body  T
}

// frame is what surrounds every page.
type frame struct {
	Title    string // of the browser's tab; the page's question
	Here     string // the navigation's current entry
	SignedIn bool
	// Regulator says that the visitor came with a regulator's certificate.
	Regulator bool
	Style     string // address of the style sheet
	Icon      string // address of the icon
}

// documents names every template and what it is executed with. A test checks
// each against the other.
var documents = map[string]any{
	"index":      document[indexPage]{},
	"home":       document[homePage]{},
	"sharing":    document[sharingPage]{},
	"permission": document[permissionPage]{},
	"narrow":     document[narrowPage]{},
	"authorize":  document[authorizePage]{},
	"onward":     document[onwardPage]{},
	"revoke":     document[revokePage]{},
	"receipt":    document[receiptPage]{},

	"receipt_revoke": document[receiptPage]{},

	"erase":   document[erasePage]{},
	"erased":  document[erasedPage]{},
	"seen":    document[seenPage]{},
	"entry":   document[entryPage]{},
	"public":  document[publicPage]{},
	"problem": document[problemPage]{},

	"regulator":       document[regulatorPage]{},
	"regulator_event": document[regulatorEventPage]{},
}

// pages are the parsed templates by name.
type pages map[string]*template.Template

func parsePages() (pages, error) {
	parsed := make(pages, len(documents))
	for name := range documents {
		t, err := template.New("frame.html").ParseFS(templateFiles, "templates/frame.html", "templates/parts/*.html", "templates/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("parsing %s: %w", name, err)
		}
		parsed[name] = t
	}
	return parsed, nil
}

// view is a page to draw.
type view struct {
	name   string // of the template
	title  string
	here   string
	status int
	cookie *http.Cookie // set if not nil
	guest  bool         // drawn for somebody who is not signed in, cookie or not
	// formEnds is where the page's form may send the browser on to, if not in the portal:
	// a scheme and host, or a scheme.
	formEnds string
	// onward is where the browser goes on to by itself, in the portal; empty on most.
	onward string
	fill   func(frame) any
}

// show makes a view of a page and its part of the document.
func show[T any](name, title, here string, body T) view {
	return view{
		name: name, title: title, here: here, status: http.StatusOK,
		fill: func(f frame) any { return document[T]{Frame: f, Body: body} },
	}
}

// send draws the page in full before the first byte leaves.
func (v view) send(p *portal, w http.ResponseWriter, r *http.Request) error {
	_, regulator := p.regulator(r.Context())
	data := v.fill(frame{
		Title: v.title, Here: v.here, SignedIn: !v.guest && p.token(r) != "", Regulator: regulator,
		Style: p.files.address("style.css"), Icon: p.files.address("favicon.svg"),
	})
	var page bytes.Buffer
	if err := p.pages[v.name].Execute(&page, data); err != nil {
		return fmt.Errorf("drawing %s: %w", v.name, err)
	}
	if v.cookie != nil {
		http.SetCookie(w, v.cookie)
	}
	if v.formEnds != "" {
		w.Header().Set("Content-Security-Policy", contentPolicy(v.formEnds))
	}
	if v.onward != "" {
		w.Header().Set("Refresh", "0; url="+v.onward)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(v.status)
	_, _ = page.WriteTo(w) // the visitor has gone: nobody to tell
	return nil
}
