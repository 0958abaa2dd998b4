package schema

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"

	"github.com/cairn-store/cairn/buckets/mediatype"
)

// A Field is a field of a collection whose records hold files.
type Field struct {
	Collection string
	Name       string
	Many       bool // it holds a list of files
	Nullable   bool // a record may have none

	Bucket   string   `key:"bucket" doc:"name of the bucket of its files; must be there"`
	MaxSize  Size     `key:"max_size" doc:"bytes of one file, beside what the bucket takes"`
	Types    []string `key:"allowed_types" doc:"media types taken, as in a bucket, beside what the bucket takes"`
	MaxCount int      `key:"max_count" doc:"files of one record; for files and file[]"`
	Pin      Pin      `key:"pin" doc:"what a record holds: manifest (the version whose ID it has, for ever) or file (the newest version, by the file's ID)" default:"manifest"`
	OnDelete OnDelete `key:"on_delete" doc:"what follows when the file is deleted, or when the last record that holds it goes: keep (nothing; a deleted file stays in the trash while records hold it), restrict (it cannot be deleted while records hold it), cascade (it goes to the trash with its last record), set_null (the program that has the records is told when it is deleted; needs nullable: true); set null is set_null" default:"keep"`
}

// Key names the field among those of all collections: posts.cover.
func (f *Field) Key() string { return f.Collection + "." + f.Name }

// Pin says what a record's link holds.
type Pin string

// What a link holds: one version, or the file with whatever is its newest.
const (
	PinManifest Pin = "manifest"
	PinFile     Pin = "file"
)

func (*Pin) choices() []string { return []string{"manifest", "file"} }

// OnDelete says what follows when a file of a record is deleted, or when the
// last record goes that holds it.
type OnDelete string

// The policies of links.
const (
	OnDeleteKeep     OnDelete = "keep"
	OnDeleteRestrict OnDelete = "restrict"
	OnDeleteCascade  OnDelete = "cascade"
	OnDeleteSetNull  OnDelete = "set_null"
)

var onDeletes = []string{"keep", "restrict", "cascade", "set_null"}

const alyxSetNull = "set null" // as Alyx and SQL spell it

func (o *OnDelete) parseNode(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value == alyxSetNull {
		*o = OnDeleteSetNull
		return nil
	}
	word, err := oneOf(n, onDeletes...)
	*o = OnDelete(word)
	return err
}

func (*OnDelete) shape() (string, shape) {
	return "word", enum(append(slices.Clone(onDeletes), alyxSetNull)...)
}

var (
	fileTypes = []string{"file", "files", "file[]"} // values of a field's type; the first holds one file

	// collectionName is what Alyx calls collections and fields.
	collectionName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
)

// readFields reads the file fields of collections, sorted by collection and
// name, and passes over what else Alyx has there. Without buckets, a field's
// bucket may be any.
func (c *checker) readFields(collections *yaml.Node, buckets map[string]*Bucket) []Field {
	c.fieldsAt = make(map[string]*yaml.Node)
	var out []Field
	c.eachEntry(collections, func(k, collection *yaml.Node) {
		n := len(out)
		c.eachEntry(collection, func(part, fields *yaml.Node) {
			if part.Value != "fields" {
				return
			}
			c.eachEntry(fields, func(name, field *yaml.Node) {
				f := Field{Collection: k.Value, Name: name.Value}
				if c.readField(name, expandMerges(field), &f, buckets) {
					c.checkFieldName(name, "field")
					out = append(out, f)
					c.fieldsAt[f.Key()] = name
				}
			})
		})
		if len(out) > n {
			c.checkFieldName(k, "collection")
		}
	})
	slices.SortFunc(out, func(a, b Field) int { return strings.Compare(a.Key(), b.Key()) })
	return out
}

// eachEntry is eachKey for Alyx's part of a schema: merge keys bring what they
// bring there, and what is empty is passed over.
func (c *checker) eachEntry(n *yaml.Node, do func(k, value *yaml.Node)) {
	if isNull(n) {
		return
	}
	c.eachKey(expandMerges(n), func(k, value *yaml.Node) {
		if !isNull(value) {
			do(k, value)
		}
	})
}

func (c *checker) checkFieldName(k *yaml.Node, what string) {
	if !collectionName.MatchString(k.Value) {
		c.addProblem(k, "%s name %q: want a small letter, then small letters, digits, _ or -", what, k.Value)
	}
}

// readField reads the field n, whose name is k, and reports whether it is one
// for files.
func (c *checker) readField(k, n *yaml.Node, f *Field, buckets map[string]*Bucket) bool {
	typ := findKey(n, "type")
	if typ == nil || !slices.Contains(fileTypes, typ.Value) {
		if file := findKey(n, "file"); file != nil && !isNull(file) {
			c.addProblem(file, "field %q has keys for files and another type; use one of %s", k.Value, strings.Join(fileTypes, ", "))
		}
		return false
	}
	f.Many = typ.Value != fileTypes[0]
	setDefaults(valueOf(f))
	known := fieldsOf(valueOf(f))
	keys := &yaml.Node{Kind: yaml.MappingNode, Line: k.Line, Column: k.Column}
	c.eachKey(n, func(key, value *yaml.Node) {
		switch {
		case key.Value == "file" && value.Kind == yaml.MappingNode:
			keys.Content = append(keys.Content, value.Content...)
		case key.Value == "file" && !isNull(value):
			c.addProblem(value, "this is %s, want keys and values: {bucket: NAME}", describeNode(value))
		case key.Value == "nullable":
			if err := value.Decode(&f.Nullable); err != nil {
				c.addProblem(value, "%s is not true or false", describeNode(value))
			}
		case slices.ContainsFunc(known, func(o field) bool { return key.Value == o.keys[0] }):
			keys.Content = append(keys.Content, key, value)
		default:
			i := slices.IndexFunc(known, func(o field) bool {
				return levenshtein.ComputeDistance(strings.ToLower(key.Value), o.keys[0]) <= 2
			})
			if i >= 0 {
				c.addWarning(key, "key %q says nothing of files; did you mean %q?", key.Value, known[i].keys[0])
			}
		}
	})
	c.decode(keys, valueOf(f))
	c.checkField(k, keys, f, buckets)
	return true
}

// checkField checks f, whose name is k and whose keys are n.
func (c *checker) checkField(k, n *yaml.Node, f *Field, buckets map[string]*Bucket) {
	c.checkTexts(n, "allowed_types", f.Types, mediaType, wantMediaType)
	if count := findKey(n, "max_count"); count != nil && !isNull(count) {
		number, err := strconv.Atoi(count.Value)
		switch {
		case !f.Many:
			c.addProblem(count, "max_count is for several files: write type: files")
		case err == nil && number < 1:
			c.addProblem(count, "max_count %d: want at least 1", number)
		}
	}
	if f.OnDelete == OnDeleteSetNull && !f.Nullable {
		c.addProblem(nodeAt(n, "on_delete"), "on_delete: set_null is for fields that may be empty: write nullable: true")
	}
	if buckets == nil {
		return
	}
	names := slices.Sorted(maps.Keys(buckets))
	b := buckets[f.Bucket]
	switch {
	case f.Bucket == "":
		c.addProblem(k, "file field %q names no bucket: write file: {bucket: NAME}%s", k.Value, suggest("", names))
	case b == nil:
		c.addProblem(nodeAt(n, "bucket"), "there is no bucket %q in this schema%s", f.Bucket, suggest(f.Bucket, names))
	default:
		if b.MaxFileSize > 0 && f.MaxSize > b.MaxFileSize {
			c.addWarning(nodeAt(n, "max_size"), "max_size is more than the max_file_size of bucket %s, which holds too", f.Bucket)
		}
		if !haveCommon(f.Types, b.AllowedTypes) {
			c.addProblem(nodeAt(n, "allowed_types"), "bucket %s takes none of these types, only %s", f.Bucket, strings.Join(b.AllowedTypes, ", "))
		}
	}
}

// haveCommon reports whether some content may be of both: of one of the types of a
// field and one of those of its bucket. No types are all.
func haveCommon(a, b []string) bool {
	covers := func(a, b []string) bool {
		return slices.ContainsFunc(b, func(t string) bool {
			if family, wild := strings.CutSuffix(t, "*"); wild {
				return t == "*/*" || slices.ContainsFunc(a, func(o string) bool { return strings.HasPrefix(o, family) })
			}
			return mediatype.Recorded(mediatype.Canonical(t)).IsOneOf(a)
		})
	}
	return len(a) == 0 || len(b) == 0 || covers(a, b) || covers(b, a)
}

// SQLType is the type of the field's column, as Alyx's fields have one. Several
// files are a JSON array of their IDs.
func (f *Field) SQLType() string { return "TEXT" }

// GoType is the type of its values in Go.
func (f *Field) GoType(nullable bool) string {
	switch {
	case f.Many:
		return "[]string" // nil is NULL
	case nullable:
		return "*string"
	}
	return "string"
}

// TypeScriptType is the type of its values in TypeScript.
func (f *Field) TypeScriptType(nullable bool) string {
	base := "string"
	if f.Many {
		base = "string[]"
	}
	if nullable {
		return base + " | null"
	}
	return base
}

// PythonType is the type of its values in Python.
func (f *Field) PythonType(nullable bool) string {
	base := "str"
	if f.Many {
		base = "List[str]"
	}
	if nullable {
		return fmt.Sprintf("Optional[%s]", base)
	}
	return base
}
