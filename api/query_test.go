package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// queryCalls are the calls of each route's methods that have no parameter to
// spare, with a way to ask them again with a query.
func (m *matrix) queryCalls(each func(c call, ask func(query string) *answer)) {
	bearer := token(m.t, "ann", map[string]any{"role": "admin"})
	for _, c := range calls() {
		path, given, _ := strings.Cut(m.path(c, true), "?")
		each(c, func(query string) *answer {
			q, _ := url.ParseQuery(given)
			more, err := url.ParseQuery(query)
			if err != nil {
				return m.send(c, path+"?"+query, bearer)
			}
			maps.Copy(q, more)
			return m.send(c, path+"?"+q.Encode(), bearer)
		})
	}
}

// A query that cannot be read is refused on every route: what is dropped of it
// may be what was to narrow the request down.
func TestMalformedQueries(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	m.queryCalls(func(c call, ask func(string) *answer) {
		for _, query := range []string{"prefix=c;d", "a;b", ";", "prefix=100%", "%", "%a", "%zz=1", "x=%g0", "ok=1&prefix=%", "ok=1&;"} {
			if a := ask(query); a.StatusCode != 400 || c.method != "HEAD" && a.code() != "invalid-request" {
				t.Errorf("%s %s?%s: %d %s", c.method, c.path, query, a.StatusCode, a.body)
			}
		}
	})
	m.unharmed()
}

// badValues are values that a parameter of a kind does not take.
func badValues(schema map[string]any) (out []string) {
	switch {
	case schema["type"] == "boolean":
		return []string{"", "1", "0", "True", "FALSE", "yes", "on", " true", "true ", "truefalse", "\x00"}
	case schema["type"] == "integer":
		out = []string{"", "x", "-1", "+1", "1.0", "1e1", "0x1", "1_0", " 1", "1 ", "\u0661", "18446744073709551616", "99999999999999999999999999"}
		for key, by := range map[string]int{"minimum": -1, "maximum": 1} {
			if n, ok := schema[key].(json.Number); ok {
				limit, _ := n.Int64()
				out = append(out, fmt.Sprint(limit+int64(by)))
				if limit < 0 {
					out = slices.DeleteFunc(out, func(v string) bool { return v == "-1" })
				}
			}
		}
		return out
	case schema["type"] == "number":
		return []string{"", "x", "-0.1", "1.1", "+1", "1e0", "0x1", "NaN", "Inf", " 1", "1 "}
	case schema["pattern"] != nil:
		return []string{"", "x", " ", "#", "0", "00000", "0000000", "000000000", "00000g", " 000000", "000000\n"}
	case schema["enum"] != nil:
		first := schema["enum"].([]any)[0].(string)
		return []string{"", "other", strings.ToUpper(first), first + " ", first + "," + first}
	}
	return nil
}

// A known parameter whose value is not understood is refused on every route.
// Those that the description tells the kind of come from there.
func TestParameters(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	d := describe(t, m.world)
	texts := map[string][]string{ // of parameters that are text
		"cursor":     {"!", "%", "a b"},
		"via":        {"", "a", "a/b", "/b/c", "a//c", "a/b/"},
		"digests":    {"crc", "sha256,crc", ","},
		"metadata":   {"", "{", "[]", "null", "1", `{"a":}`},
		"tags":       {"", "{}", "null", "a", `[1]`},
		"expiry":     {"", "0", "-1m", "x", "1y"},
		"expires_in": {"", "0", "-1m", "x", "1y"},
		"folder":     {"..", "a/../b", "\x00"},
		"token":      {""},
		"delimiter":  {"", "//", "|", "a"},
		"search":     {"\xff", "a\xc3", strings.Repeat("x", 256)},
		"mime_type":  {"image", "image/", "/png", "image/png;q=1", "image/*/*", "*", "*/png", "image /png", "image/svg xml", "i*/png", "text/plain\n", "é/b"},
	}
	tried := make(map[string]bool)
	m.queryCalls(func(c call, ask func(string) *answer) {
		item, _ := d.at(d.doc["paths"], documented(c.route))
		op, _ := d.at(item, strings.ToLower(c.method))
		if c.method == "HEAD" {
			op, _ = d.at(item, "get")
		}
		var parameters []any
		for _, v := range []any{item, op} {
			list, _ := d.at(v, "parameters")
			if list, ok := list.([]any); ok {
				parameters = append(parameters, list...)
			}
		}
		for _, p := range parameters {
			p, _ := d.at(map[string]any{"p": p}, "p")
			name := p.(map[string]any)["name"].(string)
			if p.(map[string]any)["in"] != "query" {
				continue
			}
			tried[name] = true
			bad := slices.Concat(badValues(p.(map[string]any)["schema"].(map[string]any)), texts[name])
			for _, value := range bad {
				if a := ask(name + "=" + url.QueryEscape(value)); a.StatusCode != 400 {
					t.Errorf("%s %s: %s=%q: %d %.200s", c.method, c.path, name, value, a.StatusCode, a.body)
				}
			}
			if a := ask(name + "=1&" + name + "=1"); a.StatusCode != 400 {
				t.Errorf("%s %s: %s twice: %d %.200s", c.method, c.path, name, a.StatusCode, a.body)
			}
		}
	})
	for _, name := range []string{"permanent", "trashed", "limit", "offset", "state", "version", "from", "at", "after", "skip_unchanged", "on_conflict"} {
		if !tried[name] {
			t.Errorf("%s is of no route", name)
		}
	}
	m.unharmed()
}

// What a route does not know is accepted where it changes nothing: browsers and
// libraries add such names.
func TestUnknownParameters(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	m.queryCalls(func(c call, ask func(string) *answer) {
		if c.method != "GET" && c.method != "HEAD" {
			return
		}
		for _, query := range []string{"_=1", "_=1&_=2", "_", "_=", "_=%00"} {
			if a := ask(query); a.StatusCode != c.status {
				t.Errorf("%s %s?%s: %d %.200s", c.method, c.path, query, a.StatusCode, a.body)
			}
		}
		if strings.HasSuffix(c.route, "/sign") {
			return // where a limit that is misspelt would not hold
		}
		for _, query := range []string{"utm_source=x", "permanent=yes", "Trashed=1", "limits=0"} {
			if a := ask(query); a.StatusCode != c.status {
				t.Errorf("%s %s?%s: %d %.200s", c.method, c.path, query, a.StatusCode, a.body)
			}
		}
	})
}

// Parameters do what they say, at the ends of what they take too.
func TestParametersAreObeyed(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b;c", "b&d", "100%", "e+f", "g h"} {
		w.put(name, []byte("x"))
	}
	gone := w.put("gone", []byte("x"))
	w.want(200, "", "DELETE", "/api/files/demo/"+gone.ID+"?permanent=false", nil)
	for query, want := range map[string]string{
		"prefix=b%3Bc": "b;c", "prefix=b%26d": "b&d", "prefix=100%25": "100%", "prefix=e%2Bf": "e+f", "prefix=g+h": "g h", "prefix=g%20h": "g h",
		"prefix=none": "", "state=trashed": "gone", "limit=1": "100%", "limit=1&offset=1": "a", "limit=1000&offset=6": "", "offset=2147483647": "",
		"prefix=a&cursor=": "a",
	} {
		var page struct{ Files []*client.File }
		if err := json.Unmarshal(w.want(200, "", "GET", "/api/files/demo?"+query, nil).body, &page); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range page.Files {
			got = append(got, f.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	w.want(404, "file-not-found", "GET", "/api/files/demo/"+gone.ID+"?trashed=false", nil)
	w.want(200, "", "GET", "/api/files/demo/"+gone.ID+"?trashed=true", nil)
	w.want(204, "", "DELETE", "/api/files/demo/"+gone.ID+"?permanent=true", nil)
}

// A character that needs no escape may have one: the URL is the same.
func TestEscapedPaths(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	ann := token(t, "ann", nil)
	bearer := token(t, "ann", map[string]any{"role": "admin"})
	for _, c := range calls() {
		if c.method != "GET" {
			continue
		}
		path, query, _ := strings.Cut(m.path(c, true), "?")
		for what, respelt := range map[string]string{
			"all":        escapeBytes(path, func(int, byte) bool { return true }),
			"underlines": escapeBytes(path, func(_ int, b byte) bool { return b == '_' }),
			"digits":     escapeBytes(path, func(_ int, b byte) bool { return b >= '0' && b <= '9' }),
			"every 3rd":  escapeBytes(path, func(i int, _ byte) bool { return i%3 == 0 }),
			"lower case": strings.ToLower(escapeBytes(path, func(_ int, b byte) bool { return b == '_' })),
		} {
			if a := m.send(c, respelt+"?"+query, bearer); a.StatusCode != c.status {
				t.Errorf("%s, %s escaped: %s: %d %.200s", c.path, what, respelt, a.StatusCode, a.body)
			}
		}
		// An escape that is escaped itself is other text.
		if i := strings.Index(path, "_"); i > 0 {
			if a := m.send(c, path[:i]+"%255F"+path[i+1:], bearer); a.StatusCode != 404 {
				t.Errorf("%s, escaped twice: %d %.200s", c.path, a.StatusCode, a.body)
			}
		}
	}
	// A slash that is escaped is no separator.
	m.want(404, "file-not-found", "GET", "/api/files/"+m.bucket+"/"+m.f.ID+"%2Fversions", nil, "Authorization", ann)
	m.want(404, "not-found", "GET", "/api%2Ffiles/"+m.bucket, nil, "Authorization", ann)
	// A signed URL is for its path in any spelling.
	u := m.sign(ann, m.bucket, m.f.ID, `{"operation": "download"}`)
	m.want(200, "", "GET", strings.Replace(relative(u), "/f_", "/%66%5f", 1), nil)
	// One spelling is one request.
	h := []string{"Authorization", ann, "Idempotency-Key", "k"}
	m.want(201, "", "POST", "/api/files/"+m.bucket+"?name=once", strings.NewReader("x"), h...)
	if a := m.want(201, "", "POST", "/api/%66iles/"+m.bucket+"?name=once", strings.NewReader("x"), h...); a.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("not the same request: %v", a.Header)
	}
}

// escapeBytes escapes those bytes of a path that which chooses.
func escapeBytes(path string, which func(i int, b byte) bool) string {
	var out strings.Builder
	for i := range len(path) {
		if path[i] != '/' && which(i, path[i]) {
			fmt.Fprintf(&out, "%%%02X", path[i])
		} else {
			out.WriteByte(path[i])
		}
	}
	return out.String()
}
