package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/internal/race"
)

// A description is the OpenAPI document that a server gives.
type description struct {
	t        *testing.T
	doc      map[string]any
	compiler *jsonschema.Compiler
}

func describe(t *testing.T, w *world) *description {
	t.Helper()
	a := w.want(200, "", "GET", "/api/openapi.json", nil)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	d := &description{t: t, doc: doc.(map[string]any), compiler: jsonschema.NewCompiler()}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := d.compiler.AddResource("mem:///openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows a path of keys, and references.
func (d *description) at(v any, path ...string) (any, string) {
	pointer := ""
	for _, key := range path {
		m, _ := v.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			pointer = strings.TrimPrefix(ref, "#")
			v, _ = d.at(d.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			m, _ = v.(map[string]any)
		}
		v = m[key]
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	}
	if m, ok := v.(map[string]any); ok {
		if ref, ok := m["$ref"].(string); ok {
			out, _ := d.at(d.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			return out, strings.TrimPrefix(ref, "#")
		}
	}
	return v, pointer
}

var pattern = regexp.MustCompile(`\{(\w+):[^}]*\}`)

// documented is a route's path as OpenAPI writes it.
func documented(route string) string { return pattern.ReplaceAllString(route, "{$1}") }

// check checks that an answer is one that the description promises.
func (d *description) check(route, method string, a *answer) error {
	op, _ := d.at(d.doc["paths"], documented(route), strings.ToLower(method))
	responses, _ := d.at(op, "responses")
	response, at := d.at(responses, fmt.Sprint(a.StatusCode))
	if response == nil {
		if response, at = d.at(responses, "default"); response == nil || a.StatusCode < 400 {
			return fmt.Errorf("status %d is not described", a.StatusCode)
		}
	}
	if at == "" || strings.HasPrefix(at, "/default") || !strings.HasPrefix(at, "/components") {
		at = "/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(documented(route)) + "/" + strings.ToLower(method) + "/responses/" + fmt.Sprint(a.StatusCode)
	}
	content, ok := response.(map[string]any)["content"].(map[string]any)
	if !ok {
		if len(a.body) > 0 {
			return fmt.Errorf("a body of %d bytes is not described", len(a.body))
		}
		return nil
	}
	mediaType, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	media, ok := content[mediaType].(map[string]any)
	if !ok {
		if media, ok = content["*/*"].(map[string]any); !ok {
			return fmt.Errorf("type %q is not described", mediaType)
		}
	}
	if media["schema"] == nil || !strings.Contains(mediaType, "json") || strings.Contains(mediaType, "ndjson") {
		return nil
	}
	schema, err := d.compiler.Compile("mem:///openapi.json#" + at + "/content/" + strings.ReplaceAll(mediaType, "/", "~1") + "/schema")
	if err != nil {
		return err
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.body))
	if err != nil {
		return err
	}
	return schema.Validate(body)
}

// Every route is described, and nothing else is.
func TestOpenAPIRoutes(t *testing.T) {
	w := newWorld(t)
	d := describe(t, w)
	var have, want []string
	for path, methods := range api.New(w.store, nil).Routes() {
		for _, m := range methods {
			have = append(have, m+" "+documented(path))
		}
	}
	ids := make(map[string]bool)
	for path, item := range d.doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			want = append(want, strings.ToUpper(method)+" "+path)
			id := op.(map[string]any)["operationId"].(string)
			if ids[id] {
				t.Errorf("operationId %s is there twice", id)
			}
			ids[id] = true
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("routes\n%s\ndescribed\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if d.doc["openapi"] != "3.1.0" {
		t.Errorf("openapi is %v", d.doc["openapi"])
	}
	d.resolve(d.doc)
}

// resolve checks that every reference leads somewhere.
func (d *description) resolve(v any) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			if to, _ := d.at(d.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...); to == nil {
				d.t.Errorf("%s leads nowhere", ref)
			}
		}
		for _, e := range v {
			d.resolve(e)
		}
	case []any:
		for _, e := range v {
			d.resolve(e)
		}
	}
}

// Real answers, good and bad, are what the description says.
func TestOpenAPIAnswers(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	d := describe(t, m.world)
	for who, bearer := range map[string]string{"ann": token(t, "ann", nil), "an operator": token(t, "root", map[string]any{"role": "admin"}),
		"bob": token(t, "bob", nil), "anonymous": "", "an expired token": token(t, "ann", map[string]any{"exp": 1})} {
		for _, c := range calls() {
			if c.method == http.MethodHead {
				continue
			}
			a := m.send(c, m.path(c, true), bearer)
			if err := d.check(c.route, c.method, a); err != nil {
				t.Errorf("%s: %s %s: %d %s: %v", who, c.method, c.path, a.StatusCode, a.body, err)
			}
			if c.method != http.MethodGet && a.StatusCode < 300 {
				m.refresh()
			}
		}
	}
}
