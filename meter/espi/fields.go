package espi

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// A node is an element that holds others. Its fields are the one statement of
// which, and in which order, for the writer and for the reader.
type node interface{ fields() []field }

// field is one element within a node.
type field struct {
	name string
	// at points to where the content is kept:
	//
	//	*string    text; an empty one is not written, unless always is set
	//	*[]string  text, repeated
	//	*int64     a number that is always written
	//	**int64    a number, nil if it is not there
	//	slot       a node, or several
	at     any
	max    int  // most characters of a text; 0 for an address, which the schema does not bound
	always bool // written even if empty: the schema asks for the element
}

// slot is a place for nodes of one type.
type slot interface {
	each(func(node) error) error
	make() node
	// weight of one node, in readings, for the limit on what an entry holds.
	weight() int
}

// one is a place for a node that may be missing.
type one[T any, P interface {
	*T
	node
}] struct{ at **T }

func (o one[T, P]) each(f func(node) error) error {
	if *o.at == nil {
		return nil
	}
	return f(P(*o.at))
}

// A second element where one is allowed takes the place of the first.
func (o one[T, P]) make() node {
	*o.at = new(T)
	return P(*o.at)
}

func (one[T, P]) weight() int { return 16 }

// many is a place for any number of nodes.
type many[T any, P interface {
	*T
	node
}] struct{ at *[]T }

func (m many[T, P]) each(f func(node) error) error {
	for i := range *m.at {
		if err := f(P(&(*m.at)[i])); err != nil {
			return err
		}
	}
	return nil
}

func (m many[T, P]) make() node {
	*m.at = append(*m.at, *new(T))
	return P(&(*m.at)[len(*m.at)-1])
}

func (many[T, P]) weight() int { return 16 }

// appendNode writes a node's fields in their order.
func appendNode(b []byte, n node) ([]byte, error) {
	if block, ok := n.(*IntervalBlock); ok {
		return appendBlock(b, block)
	}
	for _, f := range n.fields() {
		var err error
		if b, err = f.append(b); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (f field) append(b []byte) ([]byte, error) {
	switch at := f.at.(type) {
	case *string:
		if *at == "" && !f.always {
			return b, nil
		}
		return f.appendText(b, *at)
	case *[]string:
		for _, s := range *at {
			var err error
			if b, err = f.appendText(b, s); err != nil {
				return b, err
			}
		}
	case *int64:
		b = appendInt(b, f.name, *at)
	case **int64:
		if *at != nil {
			b = appendInt(b, f.name, **at)
		}
	case slot:
		err := at.each(func(n node) (err error) {
			b = appendOpen(b, f.name)
			if b, err = appendNode(b, n); err == nil {
				b = appendClose(b, f.name)
			}
			return err
		})
		return b, err
	default:
		panic("espi: a field of a type that is not written")
	}
	return b, nil
}

func (f field) appendText(b []byte, s string) ([]byte, error) {
	if f.max > 0 && utf8.RuneCountInString(s) > f.max {
		return b, fmt.Errorf("%w: %s, %d characters", ErrText, f.name, f.max)
	}
	return appendClose(appendEscaped(appendOpen(b, f.name), s), f.name), nil
}

func appendOpen(b []byte, name string) []byte {
	b = append(b, '<')
	b = append(b, name...)
	return append(b, '>')
}

func appendClose(b []byte, name string) []byte {
	b = append(b, '<', '/')
	b = append(b, name...)
	return append(b, '>')
}

func appendInt(b []byte, name string, v int64) []byte {
	return appendClose(strconv.AppendInt(appendOpen(b, name), v, 10), name)
}

// appender is an io.Writer at the end of a slice; it never fails.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// appendEscaped writes text, with what XML cannot hold replaced by U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' {
			a := appender{b}
			_ = xml.EscapeText(&a, []byte(s)) // an appender takes everything
			return a.b
		}
	}
	return append(b, s...)
}
