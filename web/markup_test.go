package web

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// element is a start tag with its attributes.
type element struct {
	name string
	attr map[string]string
}

// parse reads a page's elements and its text. Pages are well-formed, so the
// standard library's reader of XML will do, once told of HTML's void elements.
func parse(html string) (elements []element, text string, err error) {
	d := xml.NewDecoder(strings.NewReader(html))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var b strings.Builder
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements, strings.Join(strings.Fields(b.String()), " "), nil
		}
		if err != nil {
			return nil, "", err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			e := element{tok.Name.Local, make(map[string]string)}
			for _, a := range tok.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			elements = append(elements, e)
			if blocks[e.name] {
				b.WriteByte(' ')
			}
		case xml.EndElement:
			if blocks[tok.Name.Local] {
				b.WriteByte(' ')
			}
		case xml.CharData:
			b.Write(tok)
		}
	}
}

// blocks are the elements that part words.
var blocks = map[string]bool{"p": true, "li": true, "div": true, "h1": true, "h2": true, "h3": true, "td": true, "th": true, "dt": true, "dd": true, "button": true, "text": true}

// sane checks what every page owes those who do not see it, have no mouse, or
// have scripts off, and what the content security policy would refuse.
//
// entered are values that the visitor has typed; no other stands in a field.
func sane(t testing.TB, html string, entered ...string) {
	t.Helper()
	elements, _, err := parse(html)
	if err != nil {
		t.Fatalf("page is not well-formed: %v\n%s", err, html)
	}
	count := make(map[string]int)
	ids := make(map[string]int)
	var labelled, named []string
	for _, e := range elements {
		count[e.name]++
		if id, ok := e.attr["id"]; ok {
			ids[id]++
		}
		for name := range e.attr {
			if name == "style" || strings.HasPrefix(name, "on") {
				t.Errorf("<%s> has %s=", e.name, name)
			}
		}
		switch e.name {
		case "script", "style", "iframe", "object", "base":
			t.Errorf("the page has a <%s>", e.name)
		case "html":
			if e.attr["lang"] == "" {
				t.Error("<html> names no language")
			}
		case "label":
			labelled = append(labelled, e.attr["for"])
		case "input", "select", "textarea":
			if e.attr["type"] == "hidden" {
				continue
			}
			named = append(named, e.attr["id"])
			if box := e.attr["type"] == "checkbox" || e.attr["type"] == "radio"; box { // whose value is what it sends
				if _, checked := e.attr["checked"]; checked {
					t.Errorf("box %q is checked in advance", e.attr["id"])
				}
			} else if e.attr["value"] != "" && !slices.Contains(entered, e.attr["value"]) {
				t.Errorf("input %q is filled in advance", e.attr["id"])
			}
		case "th":
			if e.attr["scope"] == "" {
				t.Error("<th> without scope")
			}
		case "svg":
			if e.attr["aria-hidden"] != "true" && (e.attr["role"] != "img" || e.attr["aria-labelledby"] == "") {
				t.Error("<svg> is neither named nor hidden")
			}
		}
		for _, ref := range []string{"href", "src", "action"} {
			if to, ok := e.attr[ref]; ok && !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "#") {
				t.Errorf("<%s> leads out of the portal: %s", e.name, to)
			}
		}
	}
	for _, name := range []string{"h1", "main", "title"} {
		if n := count[name]; n < 1 || name != "title" && n != 1 {
			t.Errorf("%d × <%s>", n, name)
		}
	}
	for _, id := range named {
		if id == "" || !slices.Contains(labelled, id) {
			t.Errorf("input %q has no label", id)
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %q is on the page %d times", id, n)
		}
	}
	for _, e := range elements {
		for _, ref := range []string{"aria-labelledby", "aria-describedby", "for"} {
			for _, id := range strings.Fields(e.attr[ref]) {
				if ids[id] == 0 {
					t.Errorf("<%s> %s names no element: %s", e.name, ref, id)
				}
			}
		}
		if e.name == "a" && strings.HasPrefix(e.attr["href"], "#") && ids[e.attr["href"][1:]] == 0 {
			t.Errorf("link to nowhere: %s", e.attr["href"])
		}
	}
}
