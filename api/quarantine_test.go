package api_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

type catFinder struct{}

func (catFinder) Scan(ctx context.Context, c *buckets.Candidate) (buckets.Verdict, error) {
	r := c.Open(ctx)
	defer r.Close()
	p, err := io.ReadAll(r)
	if err == nil && strings.Contains(string(p), "cat") {
		return buckets.Verdict{Found: "a cat"}, nil
	}
	return buckets.Verdict{}, err
}

// Over HTTP, what is in quarantine is answered as such, is not there for others, and its content
// is for operators alone.
func TestQuarantineOverHTTP(t *testing.T) {
	w := securedBy(t, testConfig, matrixSchema, func(o *local.Options) { o.Scanner = catFinder{} })
	ann, bob, root := token(t, "ann", nil), token(t, "bob", nil), token(t, "root", map[string]any{"role": "admin"})
	const all = "/api/files/public"
	send := func(status int, method, path, body string) *client.File {
		t.Helper()
		a := w.want(status, "", method, path, strings.NewReader(body), "Authorization", ann)
		f := new(client.File)
		if err := json.Unmarshal(a.body, f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	scan := func() {
		t.Helper()
		if _, err := w.store.ScanQuarantine(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f := send(201, "POST", all+"?name=f", "a dog")
	if f.State != "quarantined" {
		t.Errorf("%+v", f)
	}
	w.want(404, "file-not-found", "GET", all+"/"+f.ID+"/download", nil, "Authorization", bob)
	w.want(404, "file-not-found", "GET", all+"/"+f.ID, nil, "Authorization", bob)
	w.want(404, "file-not-found", "GET", all+"/_at/f", nil, "Authorization", ann)
	scan()
	if a := w.want(200, "", "GET", all+"/"+f.ID+"/download", nil, "Authorization", bob); string(a.body) != "a dog" {
		t.Errorf("%q", a.body)
	}
	g := send(200, "PUT", all+"/"+f.ID, "a cat")
	if g.ID != f.ID || g.ManifestID == f.ManifestID || g.State != "quarantined" || g.Version != 2 {
		t.Errorf("%+v", g)
	}
	for range 2 { // as long as it waits, and when it was found
		for _, path := range []string{g.ManifestID, g.ID + "/versions/2"} {
			w.want(404, "file-not-found", "GET", all+"/"+path+"/download?trashed=true", nil, "Authorization", bob)
		}
		a := w.want(200, "", "GET", all+"/"+g.ID+"/download", nil, "Authorization", bob)
		if string(a.body) != "a dog" {
			t.Errorf("%q", a.body)
		}
		w.want(403, "file-quarantined", "GET", all+"/"+g.ManifestID+"/download?trashed=true", nil, "Authorization", ann)
		if a := w.want(200, "", "GET", all+"/"+g.ManifestID+"/download?trashed=true", nil, "Authorization", root); string(a.body) != "a cat" {
			t.Errorf("%q", a.body)
		}
		scan()
	}
	h := send(201, "POST", all+"?name=h", "a cat")
	scan()
	for who, n := range map[string]int{ann: 1, root: 1} {
		a := w.want(200, "", "GET", all+"?state=quarantined", nil, "Authorization", who)
		var page client.Page
		if err := json.Unmarshal(a.body, &page); err != nil || len(page.Files) != n || page.Files[0].ID != h.ID {
			t.Errorf("%s", a.body)
		}
	}
	if a := w.do("GET", all+"?state=quarantined", nil, "Authorization", bob); strings.Contains(string(a.body), h.ID) {
		t.Errorf("bob lists %s", a.body)
	}
	w.want(204, "", "DELETE", all+"/"+h.ID+"?permanent=true", nil, "Authorization", ann)
}
