package main

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// linkFile has a record of the host blog hold a file, through the API of a target.
func linkFile(t *testing.T, s *shell, id string, restored bool) {
	t.Helper()
	at := &target{stderr: io.Discard}
	if s.target[0] == "--data" {
		at.data = s.target[1]
	} else {
		at.server = s.target[1]
	}
	fl, done, err := at.openFiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := done(); err != nil {
			t.Error(err)
		}
	}()
	opts := &client.SessionOptions{Restored: restored, Collections: json.RawMessage(`{"posts": {"fields": {"cover": {"type": "file", "file": {"bucket": "demo", "on_delete": "restrict"}}}}}`)}
	st, err := fl.OfferSession(t.Context(), "blog", opts)
	if err != nil {
		t.Fatal(err)
	}
	session, err := fl.BeginSession(t.Context(), "blog", st, opts)
	if err != nil {
		t.Fatal(err)
	}
	hold, err := session.Prepare(t.Context(), nil, client.Change{Collection: "posts", Record: "7", Fields: map[string][]string{"cover": {id}}})
	if err == nil {
		err = session.Confirm(t.Context(), hold.Token)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// References are shown with names of records as those of files are: they drive no
// terminal, and each stands on a line of its own.
func TestShownReferences(t *testing.T) {
	var out bytes.Buffer
	w := newTableWriter(&out)
	w.beginTable(column{}, column{}, column{}, column{}, column{})
	r := &client.Reference{Host: "blog", Collection: "posts", Record: "7\x1b[2J\n\t\u202e", Field: "cover"}
	if err := (&target{}).showReference(newLinks(&target{}), w, r); err != nil {
		t.Fatal(err)
	}
	w.finish()
	if got := out.String(); !strings.Contains(got, `posts/7\x1b[2J\n\t\u202e.cover`) || strings.Count(got, "\n") != 1 {
		t.Errorf("%q", got)
	}
}

func TestLinks(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		s.run(0, "", "put", write(t, filepath.Join(t.TempDir(), "a.txt"), "one"))
		out, _ := s.run(0, "", "stat", "--json", "demo/a.txt")
		var f client.File
		if err := json.Unmarshal([]byte(out), &f); err != nil {
			t.Fatal(err)
		}
		if out, _ := s.run(0, "", "links", "ls"); out != "" {
			t.Errorf("hosts before there are any: %s", out)
		}
		linkFile(t, s, f.ID, true)
		for _, c := range []struct {
			args string
			says []string
		}{
			{"links ls", []string{"blog", "session 1", "not reconciled", "demo"}},
			{"links ls --json", []string{`{"name":"blog",`, `"unreconciled":true`}},
			{"links show blog", []string{"1 confirmed, 0 pending", "posts.cover", "on_delete: restrict", "live: 1"}},
			{"links show blog --json", []string{`"confirmed":1`, `"collection":"posts"`}},
			{"refs demo/a.txt", []string{"blog", "posts/7.cover", "on_delete: restrict", "confirmed", f.ManifestID}},
			{"refs --json demo/" + f.ID, []string{`"record":"7"`, `"manifest_id":"` + f.ManifestID}},
			{"refs demo/" + f.ManifestID, []string{"posts/7.cover"}},
			{"stat --json demo/a.txt", []string{`"refs":1,`}},
			{"ls --json demo", []string{`"refs":1,`}},
		} {
			out, _ := s.run(0, "", strings.Fields(c.args)...)
			for _, want := range c.says {
				if !strings.Contains(out, want) || strings.Count(out, "\n") > 1 != (c.args == "links show blog") {
					t.Errorf("%s: want %q in\n%s", c.args, want, out)
				}
			}
		}
		if _, stderr := s.run(1, "", "rm", "demo/a.txt"); !strings.Contains(stderr, "posts/7.cover") {
			t.Errorf("rm of what is held: %s", stderr)
		}
		if _, stderr := s.run(2, "", "links", "forget", "blog"); !strings.Contains(stderr, "has 1 links") || !strings.Contains(stderr, "--yes") {
			t.Errorf("forget, unasked: %s", stderr)
		}
		if _, stderr := s.run(1, "", "links", "forget", "--yes", "other"); !strings.Contains(stderr, "no such host") {
			t.Errorf("forget another: %s", stderr)
		}
		if out, _ := s.run(0, "", "links", "forget", "--yes", "blog"); !strings.Contains(out, "ended 1 links") {
			t.Errorf("forget: %s", out)
		}
		s.run(1, "", "links", "show", "blog")
		if out, _ := s.run(0, "", "refs", "demo/a.txt"); out != "" {
			t.Errorf("references of a host that is forgotten: %s", out)
		}
		s.run(0, "", "rm", "demo/a.txt")
		s.run(2, "", "links")
	})
}
