package schema

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A valueParser is a type with a syntax of its own. A type that has keys too is
// parsed only from what is no mapping. The error is a Problem's message.
type valueParser interface{ parseNode(n *yaml.Node) error }

// parseDocument reads the one document of a file.
func (s *source) parseDocument() *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(s.text))
	var doc, more yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	} else if err != nil {
		s.addSyntaxError(err)
		return nil
	}
	if err := d.Decode(&more); err == nil {
		s.addProblem(&more, "a second document: one file is one document")
	} else if !errors.Is(err, io.EOF) {
		s.addSyntaxError(err)
	}
	root := doc.Content[0]
	if isNull(root) {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	}
	if root.Kind != yaml.MappingNode {
		s.addProblem(root, "the file is %s, want keys and values", describeNode(root))
		return nil
	}
	return root
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// addSyntaxError adds an error of the YAML parser, which names only a line.
func (s *source) addSyntaxError(err error) {
	at, message := &yaml.Node{}, err.Error()
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	s.addProblem(at, "not YAML: %s", message)
}

// A keyIgnorer is a type that takes some of Alyx's keys and ignores them.
type keyIgnorer interface{ ignoredKeys() []string }

// A keyRefuser is a type that tells, of a key that it does not have, what to write
// instead. n is the mapping that has the key. "" is nothing.
type keyRefuser interface {
	refuseKey(key string, n *yaml.Node) string
}

// An alyxKeyTaker is a type that has some keys only where Alyx's own storage is
// described. It reports whether it has the key.
type alyxKeyTaker interface {
	takeAlyxKey(key string, value *yaml.Node) bool
}

// decode fills v from n. The tag key of a struct's field names its key and,
// after commas, other spellings of it.
func (s *source) decode(n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if c, ok := v.Addr().Interface().(choice); ok {
		word, err := oneOf(n, c.choices()...)
		if err != nil {
			s.addProblem(n, "%s", err)
		}
		v.SetString(word)
		return
	}
	if p, ok := v.Addr().Interface().(valueParser); ok && (n.Kind != yaml.MappingNode || len(fieldsOf(v)) == 0) {
		if err := p.parseNode(n); err != nil {
			s.addProblem(n, "%s", err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		s.decode(n, v.Elem())
	case reflect.Struct:
		s.decodeStruct(n, v)
	case reflect.Map:
		s.decodeMap(n, v)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			s.addProblem(n, "this is %s, want a list: [a, b]", describeNode(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, e := range n.Content {
			s.decode(e, v.Index(i))
		}
	default:
		if err := decodeScalar(n, v); err != nil {
			s.addProblem(n, "%s", err)
		}
	}
}

func decodeScalar(n *yaml.Node, v reflect.Value) error {
	want := map[reflect.Kind]string{reflect.String: "a text", reflect.Bool: "true or false", reflect.Int: "a whole number"}[v.Kind()]
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return fmt.Errorf("this is %s, want %s", describeNode(n), want)
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(n.Value)
		v.SetBool(b)
	case reflect.Int:
		var i int64
		i, err = strconv.ParseInt(n.Value, 10, 64)
		v.SetInt(i)
	default:
		panic("schema: no way to decode a " + v.Type().String())
	}
	if err != nil {
		return fmt.Errorf("%q is not %s", n.Value, want)
	}
	return nil
}

func (s *source) decodeStruct(n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	fields := fieldsOf(v)
	seen := make(map[int]string)
	s.eachKey(n, func(k, value *yaml.Node) {
		if p, ok := v.Addr().Interface().(keyIgnorer); ok && slices.Contains(p.ignoredKeys(), k.Value) {
			return
		}
		i := slices.IndexFunc(fields, func(f field) bool { return slices.Contains(f.keys, k.Value) })
		if i < 0 {
			if p, ok := v.Addr().Interface().(alyxKeyTaker); ok && s.alyx && p.takeAlyxKey(k.Value, value) {
				return
			}
			var names []string
			for _, f := range fields {
				names = append(names, f.keys[0])
			}
			hint := suggest(k.Value, names)
			if p, ok := v.Addr().Interface().(keyRefuser); ok {
				hint = cmp.Or(p.refuseKey(k.Value, n), hint)
			}
			s.addProblem(k, "unknown key %q%s", k.Value, hint)
			return
		}
		if seen[i] != "" {
			s.addProblem(k, "%q is another spelling of %q, which is there too", k.Value, seen[i])
		}
		seen[i] = k.Value
		if isNull(value) {
			return // "key:" with nothing behind it is as good as no key
		}
		s.decode(value, v.Field(fields[i].index))
	})
}

func (s *source) decodeMap(n *yaml.Node, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	if isNull(n) {
		return
	}
	s.eachKey(n, func(k, value *yaml.Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		if !isNull(value) || e.Kind() == reflect.String {
			s.decode(value, e)
		} else if e.Kind() == reflect.Pointer {
			e.Set(reflect.New(e.Type().Elem()))
			setDefaults(e.Elem())
		}
		v.SetMapIndex(reflect.ValueOf(k.Value), e)
	})
}

// eachKey calls do for every key of a mapping. It refuses what YAML allows but
// is always a mistake: a key given twice, a key that is no text.
func (s *source) eachKey(n *yaml.Node, do func(k, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		s.addProblem(n, "this is %s, want keys and values", describeNode(n))
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			s.addProblem(k, "a key is %s, want a name", describeNode(k))
		case k.Tag == "!!merge":
			s.addProblem(k, "merge keys are not taken: write the keys out")
		case seen[k.Value] > 0:
			s.addProblem(k, "key %q a second time; the first is in line %d", k.Value, seen[k.Value])
		default:
			seen[k.Value] = k.Line
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			do(k, value)
		}
	}
}

// A field is a field of a struct that has a key.
type field struct {
	index        int
	keys         []string // the first is the one to write
	doc, initial string
	typ          reflect.Type
}

func fieldsOf(v reflect.Value) (fs []field) {
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if key, ok := f.Tag.Lookup("key"); ok {
			fs = append(fs, field{i, strings.Split(key, ","), f.Tag.Get("doc"), f.Tag.Get("default"), f.Type})
		}
	}
	return fs
}

// setDefaults sets the fields of a struct to the defaults in their tags.
func setDefaults(v reflect.Value) {
	s := &source{}
	for _, f := range fieldsOf(v) {
		at := v.Field(f.index)
		if at.Kind() == reflect.Struct {
			setDefaults(at)
		}
		if f.initial != "" {
			var n yaml.Node
			if err := yaml.Unmarshal([]byte(f.initial), &n); err != nil {
				panic("schema: default of " + f.keys[0] + ": " + err.Error())
			}
			s.decode(n.Content[0], at)
		}
	}
	if err := s.err(); err != nil {
		panic("schema: default: " + err.Error())
	}
}

// findKey returns the value of a key of a mapping, nil if it has no such key.
func findKey(n *yaml.Node, key string) *yaml.Node {
	var found *yaml.Node
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == key {
			found = n.Content[i+1]
		}
	}
	if found != nil && found.Kind == yaml.AliasNode {
		return found.Alias
	}
	return found
}

// nodeAt returns the value at a path of keys, for messages about what was
// decoded from it. Where a key is missing it returns the value above.
func nodeAt(n *yaml.Node, path ...string) *yaml.Node {
	for _, name := range path {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		found := findKey(n, name)
		if found == nil {
			return n
		}
		n = found
	}
	return n
}

// expandMerges returns a mapping with what its merge keys bring: keys that it
// does not have itself, of several mappings the first one's.
func expandMerges(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return n
	}
	out := *n
	out.Content = nil
	seen := make(map[*yaml.Node]bool) // a mapping that merges itself would have no end
	var add func(m *yaml.Node)
	add = func(m *yaml.Node) {
		switch {
		case m.Kind == yaml.AliasNode:
			add(m.Alias)
		case seen[m]:
		case m.Kind == yaml.SequenceNode:
			seen[m] = true
			for _, e := range m.Content {
				add(e)
			}
		case m.Kind == yaml.MappingNode:
			seen[m] = true
			var merged []*yaml.Node
			for i := 0; i+1 < len(m.Content); i += 2 {
				k, value := m.Content[i], m.Content[i+1]
				if k.Tag == "!!merge" {
					merged = append(merged, value)
				} else if m == n || findKey(&out, k.Value) == nil {
					out.Content = append(out.Content, k, value)
				}
			}
			for _, e := range merged {
				add(e)
			}
		}
	}
	add(n)
	return &out
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if isNull(n) {
		return "empty"
	}
	return strconv.Quote(n.Value)
}
