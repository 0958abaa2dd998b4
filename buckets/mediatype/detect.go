// Package mediatype finds what kind of content a file holds: by its first
// bytes, as package mimetype does, and, among kinds of text that have no mark of
// their own, by its name.
package mediatype

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"unsafe"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	// HeadBytes is how many bytes of a content its type is found in, at most.
	HeadBytes = 1 << 20
	// FirstLook is how many bytes tell most types.
	FirstLook = 4096

	unknown = "application/octet-stream"
	plain   = "text/plain"
)

// A Detector finds types in heads of up to HeadBytes. mimetype.Detect looks at
// 4,096 bytes and can be told otherwise for a whole process only, so the
// Detector reads the tree of its detectors and walks it. What the program adds
// to the tree counts if it is added before.
type Detector struct {
	root *node // nil if mimetype keeps its tree in a way that is not known here
}

// A node of the tree finds one type, and its children find kinds of it.
type node struct {
	mime     *mimetype.MIME
	matches  func(head []byte, limit uint32) bool
	children []*node
}

// NewDetector returns a Detector.
func NewDetector() *Detector {
	root, ok := readNode(mimetype.Lookup(unknown))
	if !ok {
		return &Detector{}
	}
	return &Detector{root: root}
}

func readNode(m *mimetype.MIME) (*node, bool) {
	n := &node{mime: m}
	matches, known := fieldOf[func([]byte, uint32) bool](m, "detector")
	children, ok := fieldOf[[]*mimetype.MIME](m, "children")
	if !known || !ok {
		return nil, false
	}
	n.matches = *matches
	for _, c := range *children {
		child, ok := readNode(c)
		if !ok {
			return nil, false
		}
		n.children = append(n.children, child)
	}
	return n, true
}

// fieldOf returns an unexported field of m. It reports false if there is none of
// the name and, but for the type's own name, of type T.
func fieldOf[T any](m *mimetype.MIME, name string) (*T, bool) {
	f, ok := reflect.TypeFor[mimetype.MIME]().FieldByName(name)
	want := reflect.TypeFor[T]()
	if !ok || f.Type.Kind() != want.Kind() || !f.Type.ConvertibleTo(want) {
		return nil, false
	}
	return (*T)(unsafe.Add(unsafe.Pointer(m), f.Offset)), true
}

// match returns the type of content that begins with head. A head that is not
// the whole may end anywhere.
func (d *Detector) match(head []byte, whole bool) *mimetype.MIME {
	if d.root == nil {
		return mimetype.Detect(head)
	}
	path := d.matchPath(head, whole)
	return path[len(path)-1].mime
}

// matchPath returns the nodes that match, each a child of the one before.
func (d *Detector) matchPath(head []byte, whole bool) []*node {
	limit := uint32(len(head)) // a detector takes what reaches the limit as cut
	if whole {
		limit = 0
	}
	path := []*node{d.root}
walk:
	for {
		for _, c := range path[len(path)-1].children {
			if c.matches(head, limit) {
				path = append(path, c)
				continue walk
			}
		}
		return path
	}
}

// Find returns the kind of content that is called name and begins with head.
// whole says that head is all of it. The answer is settled if more bytes cannot
// change it.
func (d *Detector) Find(name string, head []byte, whole bool) (k Kind, settled bool) {
	found := d.match(head, whole)
	settled = whole || len(head) >= HeadBytes || !isOpen(found)
	return d.tellByName(name, head, found, whole), settled
}

// isOpen reports types whose kinds may be told by what comes later: containers,
// and text.
func isOpen(found *mimetype.MIME) bool {
	for m := found; m != nil; m = m.Parent() {
		if isOpenRoot(m) {
			return true
		}
	}
	return false
}

func isOpenRoot(m *mimetype.MIME) bool {
	t := typeOf(m)
	return t == plain || t == "application/zip" || t == "application/x-ole-storage"
}

// MayBecome returns the types that content called name, which begins with head
// and goes on, may prove to have; nil if nothing is known of that.
func (d *Detector) MayBecome(name string, head []byte) []string {
	if d.root == nil {
		return nil
	}
	path := d.matchPath(head, false)
	last := path[len(path)-1]
	for _, n := range path {
		if !isOpenRoot(n.mime) {
			continue
		}
		if typeOf(n.mime) != plain || isBlankOrMarkup(head) {
			return append(n.types(), typeOfText(name))
		}
		// Lines that are compared with one another may yet agree or differ.
		out := []string{plain, "text/csv", "text/tab-separated-values", "application/x-ndjson", "message/rfc822", typeOfText(name)}
		if last != n {
			out = append(out, last.types()...)
		}
		return out
	}
	return []string{typeOf(last.mime)}
}

// types returns the types of a node and of all below it.
func (n *node) types() []string {
	out := []string{typeOf(n.mime)}
	for _, c := range n.children {
		out = append(out, c.types()...)
	}
	return out
}

// isBlankOrMarkup reports text whose kind may stand behind white space, a byte
// order mark, or comments.
func isBlankOrMarkup(head []byte) bool {
	_, marked := decodeMarked(head)
	text := bytes.TrimLeft(head, "\t\n\f\r ")
	return marked || len(text) == 0 || text[0] == '<'
}

// ReadHead finds the kind of what r gives. It reads as much as that takes, and
// returns a reader of the whole.
func (d *Detector) ReadHead(name string, r io.Reader) (Kind, io.Reader, error) {
	head := bytes.NewBuffer(make([]byte, 0, FirstLook+bytes.MinRead))
	for size := int64(FirstLook); ; size = HeadBytes {
		_, err := io.CopyN(head, r, size-int64(head.Len()))
		if err != nil && err != io.EOF {
			return Kind{}, nil, err
		}
		if k, settled := d.Find(name, head.Bytes(), err == io.EOF); settled {
			return k, io.MultiReader(head, r), nil
		}
	}
}

// tellByName returns the kind of content in which found was found: the one that
// its name says, if the content could be it.
func (d *Detector) tellByName(name string, head []byte, found *mimetype.MIME, whole bool) Kind {
	k := Kind{Type: typeOf(found), content: found}
	if t := textByName(name); t != nil {
		switch {
		case isGuess(found):
			k.Type = t.name
			if !t.table {
				k.content = mimetype.Lookup(plain)
			}
		case t.json && typeOf(found) == "application/json":
			k.Type = t.name
		case t.markup && typeOf(found) == "text/html" && !isPage(head):
			k.Type, k.content = t.name, mimetype.Lookup(plain)
		}
		return k
	}
	text, marked := decodeMarked(head)
	said := TypeByName(name)
	if !marked {
		if whole && typeOf(found) == plain && said == "application/json" && json.Valid(head) {
			k.Type = said // a number or the like, which is JSON by its name
		}
		return k
	}
	// mimetype expects no byte order mark before most kinds that have a mark of
	// their own.
	m := d.match(text, whole)
	switch typeOf(found) {
	case plain:
		if said != plain && typeOf(m) != plain && (isKindOf(said, m) || extension(name) == m.Extension()) {
			k.Type = typeOf(m)
		}
	case "text/xml": // it finds that one, and no kind of it
		k.Type, k.content = typeOf(m), m
	}
	return k
}

// isPage reports HTML that is more than a piece of a page.
func isPage(head []byte) bool {
	text := bytes.ToLower(bytes.TrimLeft(head[:min(len(head), FirstLook)], "\xef\xbb\xbf\t\n\f\r "))
	return slices.ContainsFunc([]string{"<!doctype", "<html", "<head", "<title", "<body", "<script", "<style", "<iframe"}, func(tag string) bool {
		return bytes.HasPrefix(text, []byte(tag))
	})
}

// isGuess reports types that are found by counting commas or the like, which
// text of any kind may pass.
func isGuess(found *mimetype.MIME) bool {
	switch typeOf(found) {
	case plain, "text/csv", "text/tab-separated-values", "message/rfc822":
		return true
	}
	return false
}

// decodeMarked returns text that begins with a byte order mark as UTF-8 without
// it. It reports false if there is none.
func decodeMarked(head []byte) ([]byte, bool) {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(head, []byte(mark)) {
			text, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), head)
			return text, err == nil
		}
	}
	return nil, false
}
