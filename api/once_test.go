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
}
