package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// What is sent again by bob, who may make and change files and not read what is
// known of them.
const replaySchema = `buckets: {drop: {file_rules: true, rules: {create: "auth.id == 'bob'", update: "auth.id == 'bob'", download: "auth.id == 'bob'"}}}`

// A replay is a world of bob, who sends requests, and an operator, who changes
// files meanwhile.
type replay struct {
	*world
	bob, root string
	source    string // file that a request changes, or takes content of
}

func (r *replay) send(method, path string, body string, header ...string) *answer {
	r.t.Helper()
	return r.do(method, path, strings.NewReader(body), append([]string{"Authorization", r.bob}, header...)...)
}

// file makes a file of the operator.
func (r *replay) file(name string) string {
	r.t.Helper()
	a := r.want(201, "", "POST", "/api/files/drop?name="+name, strings.NewReader("hello"), "Authorization", r.root)
	var f client.File
	json.Unmarshal(a.body, &f)
	return f.ID
}

// keyed returns a request with an Idempotency-Key.
func keyed(method, path, body string, header ...string) func(r *replay) (first, again func() *answer) {
	return func(r *replay) (first, again func() *answer) {
		path, body := path, body
		if strings.Contains(path+body, "FILE") {
			id := r.file("source")
			r.source = id
			path, body = strings.ReplaceAll(path, "FILE", id), strings.ReplaceAll(body, "FILE", id)
		}
		send := func() *answer {
			return r.send(method, "/api/files/drop"+path, body, append([]string{"Idempotency-Key", "k " + r.t.Name()}, header...)...)
		}
		return send, send
	}
}

// replays are the requests that can be sent again when their answer was lost.
// Most are the request that was acknowledged itself; by the protocols for
// resumable uploads, it is what their clients send then.
func replays() map[string]func(r *replay) (first, again func() *answer) {
	const jsonType = "application/json"
	rufh := func(method string, header ...string) func(r *replay) (first, again func() *answer) {
		return func(r *replay) (first, again func() *answer) {
			a := r.send("POST", "/api/files/drop?name=f", "he", "Upload-Complete", "?0")
			url := strings.TrimPrefix(a.Header.Get("Location"), r.url)
			return func() *answer {
					return r.send("PATCH", url, "llo", "Upload-Offset", "2", "Upload-Complete", "?1", "Content-Type", partial)
				}, func() *answer {
					return r.send(method, url, "", append([]string{"Upload-Offset", "5", "Upload-Complete", "?1", "Content-Type", partial}, header...)...)
				}
		}
	}
	tus := func(method string, header ...string) func(r *replay) (first, again func() *answer) {
		return func(r *replay) (first, again func() *answer) {
			version := []string{"Tus-Resumable", "1.0.0"}
			a := r.send("POST", "/api/tus/drop", "", append(version, "Upload-Length", "5")...)
			url := strings.TrimPrefix(a.Header.Get("Location"), r.url)
			patch := append(version, "Content-Type", offsetStream)
			return func() *answer { return r.send("PATCH", url, "hello", append(patch, "Upload-Offset", "0")...) },
				func() *answer { return r.send(method, url, "", append(patch, "Upload-Offset", "5")...) }
		}
	}
	session := func(method, path string) func(r *replay) (first, again func() *answer) {
		return func(r *replay) (first, again func() *answer) {
			a := r.send("POST", "/api/files/drop/_sessions", `{"name": "f", "size": 0}`, "Content-Type", jsonType)
			url := strings.TrimPrefix(a.Header.Get("Location"), r.url)
			return func() *answer { return r.send("POST", url+"/commit", "") },
				func() *answer { return r.send(method, url+path, "") }
		}
	}
	return map[string]func(r *replay) (first, again func() *answer){
		"POST":           keyed("POST", `?name=f&metadata={"k":1.5e300}&tags=["t"]`, "hello"),
		"POST of a form": keyed("POST", "", form(`name="file"; filename="f"`, "hello", `name="metadata[k]"`, "v"), "Content-Type", formType),
		"PUT":            keyed("PUT", "/FILE", "new"),
		"range":          keyed("PATCH", "/FILE/content", "HE", "Content-Range", "bytes 0-1/*"),
		"append":         keyed("POST", "/FILE/append", "!"),
		"truncate":       keyed("POST", "/FILE/truncate", `{"size": 2}`, "Content-Type", jsonType),
		"copy":           keyed("POST", "/FILE/copy", `{"name": "copy"}`, "Content-Type", jsonType),
		"compose":        keyed("POST", "/_compose", `{"name": "f", "pieces": [{"file": "FILE"}]}`, "Content-Type", jsonType),
		"compose PUT":    keyed("POST", "/_compose", `{"file_id": "FILE", "pieces": [{"file": "FILE", "length": 2}]}`, "Content-Type", jsonType),
		"unchanged":      keyed("PUT", "/FILE?skip_unchanged=true", "hello"),
		"IETF":           rufh("PATCH"),
		"IETF POST":      keyed("POST", "?name=f", "hello", "Upload-Complete", "?1"),
		"IETF PUT":       keyed("PUT", "/FILE", "new", "Upload-Complete", "?1"),
		"IETF in pieces": func(r *replay) (first, again func() *answer) {
			begin := func() *answer {
				return r.send("POST", "/api/files/drop?name=f", "", "Upload-Complete", "?0", "Idempotency-Key", "k "+r.t.Name())
			}
			url, twin := begin().Header.Get("Location"), begin().Header.Get("Location")
			end := func(url string) *answer {
				return r.send("PATCH", strings.TrimPrefix(url, r.url), "hello", "Upload-Offset", "0", "Upload-Complete", "?1", "Content-Type", partial)
			}
			return func() *answer {
				a := end(url)
				if b := end(twin); b.StatusCode != 201 || plain(b) != plain(a) {
					r.t.Errorf("the same request beside it: %d %s\nfirst: %s", b.StatusCode, b.body, a.body)
				}
				return a
			}, begin
		},
		"IETF HEAD":      rufh("HEAD"),
		"tus PATCH":      tus("PATCH"),
		"tus HEAD":       tus("HEAD"),
		"session commit": session("POST", "/commit"),
		"session GET":    session("GET", ""),
	}
}

// TestReplays sends every request again after its file was changed by somebody
// else. The answer is what was acknowledged, and tells nothing of the change to
// those who may not read; of a file that was purged it is that there is none.
func TestReplays(t *testing.T) {
	race.LeaveOut(t)
	w := secured(t, replaySchema)
	change := func(r *replay, status int, method, path, body string) {
		r.t.Helper()
		r.want(status, "", method, "/api/files/drop/"+path, strings.NewReader(body), "Authorization", r.root, "Content-Type", "application/json")
	}
	changes := map[string]func(r *replay, f *client.File){
		"nothing": func(*replay, *client.File) {},
		"rename": func(r *replay, f *client.File) {
			change(r, 200, "PATCH", f.ID, `{"name": "secret", "folder": "secret", "metadata": {"secret": 1}, "tags": ["secret"]}`)
		},
		"rules": func(r *replay, f *client.File) {
			change(r, 200, "PATCH", f.ID, `{"access": {"download": "auth.id == 'secret'"}}`)
		},
		"new version": func(r *replay, f *client.File) { change(r, 200, "PUT", f.ID, "secret") },
		"its version removed": func(r *replay, f *client.File) {
			change(r, 200, "PUT", f.ID, "secret")
			change(r, 204, "DELETE", fmt.Sprintf("%s/versions/%d", f.ID, f.Version), "")
		},
		"trash": func(r *replay, f *client.File) { change(r, 200, "DELETE", f.ID, "") },
		"trash and restore": func(r *replay, f *client.File) {
			change(r, 200, "DELETE", f.ID, "")
			change(r, 200, "POST", f.ID+"/restore", "")
		},
		"source purged": func(r *replay, f *client.File) {
			if r.source != "" && r.source != f.ID {
				change(r, 204, "DELETE", r.source+"?permanent=true", "")
			}
		},
		"purge": func(r *replay, f *client.File) { change(r, 204, "DELETE", f.ID+"?permanent=true", "") },
	}
	for what, begin := range replays() {
		for change, apply := range changes {
			t.Run(what+", "+change, func(t *testing.T) {
				w.t = t
				r := &replay{world: w, bob: token(t, "bob", nil), root: token(t, "root", map[string]any{"role": "admin"})}
				first, again := begin(r)
				told := first()
				var f client.File
				if json.Unmarshal(told.body, &f); f.ID == "" {
					json.Unmarshal(r.want(200, "", "GET", told.Header.Get("Content-Location"), nil, "Authorization", r.root).body, &f)
				}
				if told.StatusCode >= 300 || f.ID == "" {
					t.Fatalf("first: %d %s", told.StatusCode, told.body)
				}
				before := again()
				apply(r, &f)
				after := again()
				if strings.Contains(plain(after)+fmt.Sprint(after.Header), "secret") {
					t.Errorf("tells: %v %s", after.Header, after.body)
				}
				if change == "purge" {
					if after.StatusCode != 404 || strings.Contains(plain(after), f.ID) {
						t.Errorf("of what was purged: %d %s", after.StatusCode, after.body)
					}
				} else if after.StatusCode != before.StatusCode || plain(after) != plain(before) || fmt.Sprint(headersOf(after)) != fmt.Sprint(headersOf(before)) {
					t.Errorf("%d %v %s\nbefore: %d %v %s", after.StatusCode, after.Header, after.body, before.StatusCode, before.Header, before.body)
				}
				if len(told.body) > 0 && strings.HasPrefix(string(before.body), `{"id":"f_`) && plain(before) != plain(told) {
					t.Errorf("answered again: %s\nfirst: %s", before.body, told.body)
				}
				w.do("DELETE", "/api/files/drop/"+f.ID+"?permanent=true", nil, "Authorization", r.root)
			})
		}
	}
	w.t = t
}
