package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/cairn-store/cairn/chunker"
)

// A shape is a JSON Schema of some value.
type shape = map[string]any

// A shaper is a valueParser that describes its syntax: in a word for people,
// and as a JSON Schema. Keys that it takes as well are described by its fields.
type shaper interface{ shape() (string, shape) }

func enum(words ...string) shape { return shape{"enum": words} }

func (*Size) shape() (string, shape) {
	return "size", shape{"type": []string{"integer", "string"}, "pattern": `^[0-9]+(\.[0-9]+)? ?([kKmMgGtTpP]i?)?[bB]?$`}
}

func (*Duration) shape() (string, shape) {
	return "duration", shape{"type": []string{"integer", "string", "boolean"}, "pattern": `^(0|off|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h|d|w))+)$`}
}

func (*Compression) shape() (string, shape) {
	values := []any{true, false}
	for i, codec := range codecs {
		values = slices.Insert(values, i, any(codec))
	}
	return "word or keys", shape{"enum": values}
}

func (*Words) shape() (string, shape) {
	return "text or list", shape{"type": []string{"string", "array"}, "items": shape{"type": "string"}}
}

func (*Versioning) shape() (string, shape) { return "true, false or keys", shape{"type": "boolean"} }

func (*Chunking) shape() (string, shape) {
	profile := enum(append(chunker.Profiles(), "default")...)
	return "word", shape{"anyOf": []shape{profile, {"type": "object", "additionalProperties": false, "properties": shape{"profile": profile}}}}
}

func (*Reserved) shape() (string, shape) {
	return "reserved", shape{"type": []string{"object", "null"}, "additionalProperties": false, "properties": shape{"enabled": shape{"const": false}}}
}

// describeType describes the values that v's type takes, as a shaper does.
func describeType(v reflect.Value) (word string, out shape) {
	var object shape
	if fs := fieldsOf(v); len(fs) > 0 {
		properties := shape{}
		for _, f := range fs {
			_, p := describeType(v.Field(f.index))
			p["description"] = f.doc
			for _, key := range f.keys {
				properties[key] = p
			}
		}
		word, object = "keys", shape{"type": "object", "additionalProperties": false, "properties": properties}
	}
	switch value := v.Addr().Interface().(type) {
	case choice:
		return "word", enum(value.choices()...)
	case shaper:
		word, out = value.shape()
		if object != nil {
			out = shape{"anyOf": []shape{out, object}}
		}
		return word, out
	}
	if object != nil {
		return word, object
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false", shape{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return "number", shape{"type": "integer"}
	case reflect.Float64:
		return "number", shape{"type": "number"}
	case reflect.Slice:
		return "list", shape{"type": "array", "items": shape{"type": "string"}}
	case reflect.Pointer:
		return describeType(newElem(v))
	case reflect.Map:
		_, of := describeType(newElem(v))
		return "keys", shape{"type": "object", "additionalProperties": of}
	}
	return "text", shape{"type": "string"}
}

// JSONSchema is the JSON Schema (2020-12) of schema.yaml, as editors use it.
// Keys other than buckets, and what collections have beside file fields, are
// Alyx's.
func JSONSchema() []byte {
	_, bucket := describeType(valueOf(new(Bucket)))
	_, top := describeType(valueOf(new(Schema)))
	properties := top["properties"].(shape)
	properties["buckets"] = shape{"type": "object",
		"propertyNames":        shape{"pattern": bucketName.String(), "maxLength": maxName, "not": shape{"pattern": "^_alyx_"}},
		"additionalProperties": bucket}
	properties["collections"] = shape{"type": "object", "additionalProperties": shape{
		"properties": shape{"fields": shape{"type": "object", "additionalProperties": describeField()}}}}
	properties["link_plans"].(shape)["propertyNames"] = shape{"pattern": planKey.String()}
	text, err := json.MarshalIndent(shape{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "Buckets and file fields of schema.yaml", "type": "object",
		"properties": properties,
	}, "", "  ")
	if err != nil {
		panic(err) // of plain maps
	}
	return text
}

// describeField describes a field of a collection. Only of one for files it
// says more than which types those have.
func describeField() shape {
	_, file := describeType(valueOf(new(Field)))
	beside := shape{"file": file, "nullable": shape{"type": "boolean", "description": "true: a record may have none"}}
	maps.Copy(beside, file["properties"].(shape))
	return shape{
		"if":   shape{"required": []string{"type"}, "properties": shape{"type": shape{"enum": fileTypes}}},
		"then": shape{"properties": beside},
		"else": shape{"properties": shape{"file": shape{"type": "null"}}},
	}
}

// Keys is a table, in Markdown, of every key of schema.yaml and alyx.yml, its
// default and what it does.
func Keys() string {
	var b strings.Builder
	table := func(title string, v any) {
		fmt.Fprintf(&b, "%s\n\n| key | takes | default | means |\n|---|---|---|---|\n", title)
		writeRows(&b, "", reflect.ValueOf(v).Elem())
		b.WriteString("\n")
	}
	table("`schema.yaml`, below `buckets: NAME:`", new(Bucket))
	table("`schema.yaml`, of a field `collections: NAME: fields: NAME:` with `type: file` (one file), `files` or `file[]`\n(several), beside `type:` or below `file:`", new(Field))
	table("`schema.yaml`", new(Schema))
	table("`alyx.yml`, below `storage:`", new(Storage))
	table("`alyx.yml`, below `auth:`", new(Auth))
	table("`alyx.yml`, below `server:`", new(Server))
	return strings.TrimSuffix(b.String(), "\n")
}

// writeRows writes a row of the table of Keys for each key of v, and for those
// below it.
func writeRows(b *strings.Builder, prefix string, v reflect.Value) {
	for _, f := range fieldsOf(v) {
		at := v.Field(f.index)
		word, _ := describeType(at)
		key := prefix + f.keys[0]
		initial := ""
		if f.initial != "" {
			initial = "`" + f.initial + "`"
		}
		doc := strings.ReplaceAll(f.doc, "|", `\|`)
		if len(f.keys) > 1 {
			doc += " (also `" + strings.Join(f.keys[1:], "`, `") + "`)"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", key, word, initial, doc)
		switch {
		case at.Kind() == reflect.Map:
			writeRows(b, key+".NAME.", newElem(at))
		case at.Kind() == reflect.Pointer:
			writeRows(b, key+".", newElem(at))
		case at.Kind() == reflect.Struct:
			writeRows(b, key+".", at)
		}
	}
}

// newElem returns a zero value of the type that v's map holds or v points to.
func newElem(v reflect.Value) reflect.Value {
	e := reflect.New(v.Type().Elem()).Elem()
	if e.Kind() == reflect.Pointer {
		return newElem(e)
	}
	return e
}
