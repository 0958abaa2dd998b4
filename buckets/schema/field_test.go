package schema

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// withBuckets is a schema with two buckets and the fields of a collection, each
// on a line of its own. The first stands in line 3.
func withBuckets(fields string) string {
	return "collections:\n  posts: {fields: {\n" + fields + "}}\n" +
		"buckets:\n  docs: {max_file_size: 10MB, allowed_types: [application/pdf, text/plain], rules: {read: 'true'}}\n" +
		"  any: {rules: {read: 'true'}}\n"
}

func TestFields(t *testing.T) {
	s, err := Parse("schema.yaml", []byte(`
collections:
  users:
    fields:
      id: {type: uuid, primary: true}
      avatar: &avatar
        type: file
        nullable: true
        bucket: images
        on_delete: set null
        index: true
      banner:
        <<: *avatar
        on_delete: cascade
  posts: &posts
    fields:
      cover: {type: file, file: {bucket: images, max_size: 1MiB, pin: file}}
      pages:
        type: file[]
        nullable: false
        max_count: 3
        file: {bucket: images, allowed_types: [image/*]}
      notes: {type: files, bucket: images, file: }
    rules: {read: "true"}
  drafts: *posts
  empty:
buckets:
  images: {rules: {read: "true"}}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	cover := Field{Collection: "posts", Name: "cover", Bucket: "images", MaxSize: 1 << 20, Pin: PinFile, OnDelete: OnDeleteKeep}
	notes := Field{Collection: "posts", Name: "notes", Many: true, Bucket: "images", Pin: PinManifest, OnDelete: OnDeleteKeep}
	pages := Field{Collection: "posts", Name: "pages", Many: true, Bucket: "images", Types: []string{"image/*"}, MaxCount: 3, Pin: PinManifest, OnDelete: OnDeleteKeep}
	avatar := Field{Collection: "users", Name: "avatar", Nullable: true, Bucket: "images", Pin: PinManifest, OnDelete: OnDeleteSetNull}
	banner := avatar
	banner.Name, banner.OnDelete = "banner", OnDeleteCascade
	want := []Field{cover, notes, pages, cover, notes, pages, avatar, banner}
	for i := range want[:3] {
		want[i].Collection = "drafts"
	}
	if !reflect.DeepEqual(s.Fields, want) {
		t.Errorf("fields\n%+v, want\n%+v", s.Fields, want)
	}
	if len(s.Warnings) > 0 {
		t.Errorf("warnings: %v", s.Warnings)
	}
}

// wrongFields are fields in line 3 that are refused: the place and a part of the
// message, for each problem.
var wrongFields = []struct {
	text string
	want [][2]string
}{
	{"c: {type: file, file: {bucket: nonesuch, on_delete: bogus}}", [][2]string{
		{"3:32", `there is no bucket "nonesuch" in this schema; use one of any, docs`}, {"3:53", `"bogus" is not possible here; use one of keep, restrict, cascade, set_null`}}},
	{"c: {type: file, bucket: nonesuch, on_delete: bogus}", [][2]string{{"3:25", "no bucket"}, {"3:46", "not possible here"}}},
	{"c: {type: file, file: {bucket: dosc}}", [][2]string{{"3:32", `did you mean "docs"`}}},
	{"c: {type: file}", [][2]string{{"3:1", "names no bucket: write file: {bucket: NAME}"}}},
	{"c: {type: file, file: }", [][2]string{{"3:1", "names no bucket"}}},
	{"c: {type: files, file: {bucket: }}", [][2]string{{"3:1", "names no bucket"}}},
	{"c: {type: file, file: docs}", [][2]string{{"3:1", "names no bucket"}, {"3:23", "want keys and values"}}},
	{"c: {type: file, file: {bucket: [docs]}}", [][2]string{{"3:1", "names no bucket"}, {"3:32", "want a text"}}},
	{"c: {type: file, bucket: docs, file: {bucket: docs}}", [][2]string{{"3:38", "a second time; the first is in line 3"}}},
	{"c: {type: file, file: {bucket: any, bucket: docs}}", [][2]string{{"3:37", "a second time"}}},
	{"c: {type: file, bucket: any, bucket: docs}", [][2]string{{"3:30", "a second time"}}},
	{"c: {type: file, bucket: docs},\nc: {type: file, bucket: docs}", [][2]string{{"4:1", "a second time; the first is in line 3"}}},
	{"c: {type: file, file: {bucket: docs, maxsize: 1MB}}", [][2]string{{"3:38", `did you mean "max_size"`}}},
	{"c: {type: file, file: {bucket: docs, onDelete: keep}}", [][2]string{{"3:38", `did you mean "on_delete"`}}},
	{"c: {type: file, file: {bucket: docs, <<: {pin: file}}}", [][2]string{{"3:38", "merge keys"}}},
	{"c: {type: file, file: {bucket: docs, max_size: 0}}", [][2]string{{"3:48", "leave the key out for no limit"}}},
	{"c: {type: file, file: {bucket: docs, max_size: -1}}", [][2]string{{"3:48", "not a size"}}},
	{"c: {type: file, file: {bucket: docs, max_size: big}}", [][2]string{{"3:48", "not a size"}}},
	{"c: {type: file, file: {bucket: any, allowed_types: [image/png, png]}}", [][2]string{{"3:64", "not a media type"}}},
	{"c: {type: file, file: {bucket: any, allowed_types: image/png}}", [][2]string{{"3:52", "want a list"}}},
	{"c: {type: file, file: {bucket: docs, allowed_types: [image/png, video/*]}}", [][2]string{{"3:53", "bucket docs takes none of these types, only application/pdf, text/plain"}}},
	{"c: {type: file, file: {bucket: docs, max_count: 2}}", [][2]string{{"3:49", "write type: files"}}},
	{"c: {type: files, file: {bucket: docs, max_count: 0}}", [][2]string{{"3:50", "want at least 1"}}},
	{"c: {type: files, file: {bucket: docs, max_count: -1}}", [][2]string{{"3:50", "want at least 1"}}},
	{"c: {type: files, file: {bucket: docs, max_count: some}}", [][2]string{{"3:50", "not a whole number"}}},
	{"c: {type: file, file: {bucket: docs, pin: version}}", [][2]string{{"3:43", "use one of manifest, file"}}},
	{"c: {type: file, file: {bucket: docs, on_delete: setnull}}", [][2]string{{"3:49", `did you mean "set_null"`}}},
	{"c: {type: file, file: {bucket: docs, on_delete: set_null}}", [][2]string{{"3:49", "write nullable: true"}}},
	{"c: {type: file, nullable: false, file: {bucket: docs, on_delete: set null}}", [][2]string{{"3:66", "write nullable: true"}}},
	{"c: {type: file, nullable: perhaps, bucket: docs}", [][2]string{{"3:27", "not true or false"}}},
	{"c: {type: string, file: {bucket: docs}}", [][2]string{{"3:25", "another type; use one of file, files, file[]"}}},
	{"c: {file: {bucket: docs}}", [][2]string{{"3:11", "another type"}}},
	{"C: {type: file, bucket: docs}", [][2]string{{"3:1", `field name "C": want a small letter`}}},
	{"_c: {type: file, bucket: docs}", [][2]string{{"3:1", "want a small letter"}}},
}

func TestWrongFields(t *testing.T) {
	for _, c := range wrongFields {
		_, err := Parse("s.yaml", []byte(withBuckets(c.text)), nil)
		wantProblems(t, err, c.text, c.want)
	}
	for text, at := range map[string]string{
		"collections:\n  Posts: {fields: {c: {type: file, bucket: b}}}\nbuckets: {b: {}}\n":                "2:3",
		"collections:\n  _alyx_x: {fields: {c: {type: file, bucket: b}}}\nbuckets: {b: {}}\n":              "2:3",
		"collections:\n  a: {fields: {c: {type: file, bucket: b}}}\n  a: {fields: {}}\nbuckets: {b: {}}\n": "3:3",
		"collections:\n  a: {fields: {c: {type: file, bucket: b}}, fields: {}}\nbuckets: {b: {}}\n":        "2:45",
		"collections: [a]\n":                                          "1:14",
		"collections:\n  a: {fields: [c]}\n":                          "2:15",
		"collections:\n  a: {fields: {c: &x {<<: *x, type: file}}}\n": "2:16",
		"x: &t [png]\ncollections:\n  a: {fields: {c: {type: file, file: {bucket: b, allowed_types: *t}}}}\nbuckets: {b: {}}\n": "1:8",
	} {
		_, err := Parse("s.yaml", []byte(text), nil)
		if err == nil || !strings.HasPrefix(err.Error(), "s.yaml:"+at+": ") {
			t.Errorf("%v, want it at %s of\n%s", err, at, text)
		}
	}
}

func wantProblems(t *testing.T, err error, text string, want [][2]string) {
	t.Helper()
	var ps Problems
	errors.As(err, &ps)
	ok := len(ps) == len(want)
	for i := range min(len(ps), len(want)) {
		ok = ok && fmt.Sprintf("%d:%d", ps[i].Line, ps[i].Column) == want[i][0] && strings.Contains(ps[i].Message, want[i][1])
	}
	if !ok {
		t.Errorf("%v\nwant %q of\n%s", err, want, text)
	}
}

// What is allowed but probably a mistake. Of other fields nothing is said.
func TestFieldWarnings(t *testing.T) {
	for text, want := range map[string][][2]string{
		"c: {type: file, file: {bucket: docs, max_size: 10MB}}":                                                   nil,
		"c: {type: file, file: {bucket: docs, max_size: 11MB}}":                                                   {{"3:48", "max_file_size of bucket docs"}},
		"c: {type: file, bucket: docs, onDelete: cascade}":                                                        {{"3:31", `did you mean "on_delete"`}},
		"c: {type: file, bucket: docs, max_sise: 1}":                                                              {{"3:31", `did you mean "max_size"`}},
		"c: {type: string, max_size: 1, on_delete: bogus, bucket: 5}":                                             nil,
		"c: {type: file, bucket: any, index: true, unique: true, default: x, internal: true, validate: {min: 1}}": nil,
	} {
		s, err := Parse("s.yaml", []byte(withBuckets(text)), nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if len(want) > 0 || len(s.Warnings) > 0 {
			wantProblems(t, s.Warnings, text, want)
		}
	}
}

func TestTypesInCommon(t *testing.T) {
	for _, c := range []struct {
		field, bucket string
		want          bool
	}{
		{"", "image/png", true},
		{"image/png", "", true},
		{"image/png", "image/png", true},
		{"image/png", "image/*", true},
		{"image/*", "image/png", true},
		{"image/*", "image/*", true},
		{"*/*", "image/*", true},
		{"image/png", "*/*", true},
		{"image/png", "image/jpeg", false},
		{"image/*", "video/*", false},
		{"application/pdf", "image/*", false},
		{"application/pdf image/gif", "image/*", true},
		{"audio/mp3", "audio/mpeg", true},
		{"text/csv", "text/plain", true},
		{"text/plain", "text/csv", true},
		{"application/xml", "text/*", true},
		{"text/csv", "text/markdown", false},
		{"application/x-ours", "application/x-ours", true},
		{"application/x-ours", "application/x-theirs", false},
	} {
		if got := haveCommon(strings.Fields(c.field), strings.Fields(c.bucket)); got != c.want {
			t.Errorf("a field of %q in a bucket of %q: %v", c.field, c.bucket, got)
		}
	}
}

// As Alyx's other fields have types in SQL and in the languages of its clients.
func TestTypesOfFields(t *testing.T) {
	for _, c := range []struct {
		many, nullable               bool
		sql, golang, script, pythons string
	}{
		{false, false, "TEXT", "string", "string", "str"},
		{false, true, "TEXT", "*string", "string | null", "Optional[str]"},
		{true, false, "TEXT", "[]string", "string[]", "List[str]"},
		{true, true, "TEXT", "[]string", "string[] | null", "Optional[List[str]]"},
	} {
		f := &Field{Many: c.many}
		got := []string{f.SQLType(), f.GoType(c.nullable), f.TypeScriptType(c.nullable), f.PythonType(c.nullable)}
		if want := []string{c.sql, c.golang, c.script, c.pythons}; !reflect.DeepEqual(got, want) {
			t.Errorf("many %v, nullable %v: %q, want %q", c.many, c.nullable, got, want)
		}
	}
}
