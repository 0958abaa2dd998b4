package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	post := func(status int, code, path, body string) *answer {
		t.Helper()
		return w.want(status, code, "POST", path, strings.NewReader(body), "Idempotency-Key", "k", "Content-Type", "text/plain")
	}
	id := func(a *answer) string {
		f := new(client.File)
		json.Unmarshal(a.body, f)
		return f.ID
	}
	first := post(201, "", "/api/files/demo?name=f", "one")
	again := post(201, "", "/api/files/demo?name=f", "one")
	if id(first) != id(again) || again.Header.Get("Idempotent-Replayed") != "true" || first.Header.Get("Idempotent-Replayed") != "" ||
		again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("%s\n%s", first.body, again.body)
	}
	post(409, "idempotency-conflict", "/api/files/demo?name=g", "one")
	post(409, "idempotency-conflict", "/api/files/demo?name=f", "other")
	w.want(400, "invalid-request", "POST", "/api/files/demo?name=f", strings.NewReader("one"), "Idempotency-Key", strings.Repeat("k", 300))
	// What a body of JSON asks for is part of the request.
	for path, bodies := range map[string][2]string{
		"/api/files/demo/" + id(first) + "/copy":     {`{"name": "a"}`, `{"name": "b"}`},
		"/api/files/demo/" + id(first) + "/truncate": {`{"size": 2}`, `{"size": 1}`},
		"/api/files/demo/_compose":                   {`{"name": "c", "pieces": [{"data": "YQ=="}]}`, `{"name": "c", "pieces": [{"data": "Yg=="}]}`},
	} {
		send := func(status int, code, body string) {
			w.want(status, code, "POST", path, strings.NewReader(body), "Idempotency-Key", path, "Content-Type", "application/json")
		}
		ok := 201
		if strings.HasSuffix(path, "truncate") {
			ok = 200
		}
		send(ok, "", bodies[0])
		send(ok, "", bodies[0])
		send(409, "idempotency-conflict", bodies[1])
	}
}
