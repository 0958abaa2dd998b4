package schema

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const keysHead = "# Keys of schema.yaml and alyx.yml\n\n"

// KEYS.md and schema.json are what the code says; cairn schema keys and cairn
// schema json write them.
func TestDescribed(t *testing.T) {
	for file, want := range map[string]string{"KEYS.md": keysHead + Keys(), "schema.json": string(JSONSchema()) + "\n"} {
		if os.Getenv("CAIRN_UPDATE") != "" {
			if err := os.WriteFile(file, []byte(want), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the code says (%v); run CAIRN_UPDATE=1 go test ./buckets/schema", file, err)
		}
	}
}

// The JSON Schema takes what Parse takes, and refuses wrong keys and words.
func TestJSONSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return s.Validate(v)
	}
	text, err := os.ReadFile("testdata/schema.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{string(text), "collections: {}", "link_plans: {posts.cover: keep}",
		"collections: {posts: {rules: {}, fields: {id: {type: uuid, primary: true}, c: {type: files, unique: true, nullable: true, bucket: a, file: {max_count: 2}}, e: {type: string, bucket: 5}}}}",
		"buckets: {a: {compression: true, versioning: false, chunking: {profile: fine}, trash: off, transforms: {}}}"} {
		if err := validate(good); err != nil {
			t.Errorf("refuses\n%s\n%v", good, err)
		}
	}
	for _, bad := range []string{"buckets: {A: {}}", "buckets: {a: {max_size: 1}}", "buckets: {a: {type_check: sharp}}",
		"collections: {posts: {fields: {c: {type: file, file: {bucke: a}}}}}", "collections: {posts: {fields: {c: {type: files, on_delete: bogus}}}}",
		"collections: {posts: {fields: {c: {type: string, file: {bucket: a}}}}}",
		"link_plans: {cover: keep}", "link_plans: {posts.cover: hold}",
		"buckets: {a: {compression: brotli}}", "buckets: {a: {rules: {craete: x}}}", "buckets: {a: {max_file_size: big}}"} {
		if validate(bad) == nil {
			t.Errorf("takes %s", strings.TrimSpace(bad))
		}
	}
}
