package api_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
)

func TestEdits(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	f := w.put("f", []byte("0123456789"))
	path := "/api/files/demo/" + f.ID
	is := func(got *client.File, err error, want string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if a := w.want(200, "", "GET", "/api/files/demo/"+got.ID+"/download", nil); string(a.body) != want || got.Size != int64(len(want)) {
			t.Fatalf("%q, want %q: %+v", a.body, want, got)
		}
		f = got
	}
	got, err := w.c.Append(ctx, "demo", f.ID, strings.NewReader("abc"), -1, nil)
	is(got, err, "0123456789abc")
	got, err = w.c.WriteRange(ctx, "demo", f.ID, 11, strings.NewReader("BCD"), 3, &client.EditOptions{IfMatch: f.Checksums["root"]})
	is(got, err, "0123456789aBCD")
	_, err = w.c.Truncate(ctx, "demo", f.ID, 3, &client.EditOptions{IfMatch: strings.Repeat("0", 64)})
	if e := new(client.Error); !errors.As(err, &e) || e.Code != "precondition-failed" {
		t.Errorf("an old condition: %v", err)
	}
	got, err = w.c.Truncate(ctx, "demo", f.ID, 3, &client.EditOptions{Key: "k"})
	is(got, err, "012")
	got, err = w.c.Append(ctx, "demo", f.ID, strings.NewReader("3"), 1, &client.EditOptions{Key: "once"})
	is(got, err, "0123")
	got, err = w.c.Append(ctx, "demo", f.ID, strings.NewReader("3"), 1, &client.EditOptions{Key: "once"})
	is(got, err, "0123")
	w.want(200, "", "PATCH", path+"/content", strings.NewReader("x"), "Content-Range", "bytes 0-0/*", "Idempotency-Key", "span")
	w.want(409, "idempotency-conflict", "PATCH", path+"/content", strings.NewReader("x"), "Content-Range", "bytes 1-1/*", "Idempotency-Key", "span")

	two := int64(2)
	got, err = w.c.Compose(ctx, "demo", &client.Composition{FileID: f.ID, Pieces: []client.Piece{{File: f.ID, Offset: 1, Length: &two}, {Data: []byte{}}, {Data: []byte("-")}, {File: f.ID}}}, nil)
	is(got, err, "12-x123")
	got, err = w.c.Compose(ctx, "demo", &client.Composition{Name: "new.txt", Folder: "d", Tags: []string{"t"}, Metadata: map[string]any{"k": 1.0}, Pieces: []client.Piece{{File: f.ID, Bucket: "demo"}, {File: f.ManifestID}}}, nil)
	is(got, err, "12-x12312-x123")
	if got.Path != "d/new.txt" || len(got.Tags) != 1 || got.Metadata["k"] != 1.0 || got.Version != 1 {
		t.Errorf("%+v", got)
	}
	_, err = w.c.Compose(ctx, "demo", &client.Composition{Name: "x", Pieces: []client.Piece{{File: missing("f_")}}}, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a missing file: %v", err)
	}
}

func TestEditsRefused(t *testing.T) {
	w := newWorld(t)
	f := w.put("f", []byte("0123456789"))
	path := "/api/files/demo/" + f.ID
	for _, span := range []string{"", "bytes", "bytes 0-1", "bytes 0-1/10", "bytes */*", "bytes -1/*", "bytes 1-0/*", "bytes +0-1/*", "lines 0-1/*", "bytes 0-99999999999999999999/*"} {
		w.want(400, "invalid-request", "PATCH", path+"/content", strings.NewReader("xy"), "Content-Range", span)
	}
	w.want(422, "size-mismatch", "PATCH", path+"/content", strings.NewReader("xyz"), "Content-Range", "bytes 0-1/*")
	w.want(416, "range-not-satisfiable", "PATCH", path+"/content", strings.NewReader("x"), "Content-Range", "bytes 11-11/*")
	w.want(405, "method-not-allowed", "POST", "/api/files/demo/"+f.ManifestID+"/append", strings.NewReader("x"))
	w.want(400, "invalid-request", "POST", path+"/append", strings.NewReader("x"), "Content-Type", "multipart/form-data; boundary=b")
	const j = "application/json"
	for body, want := range map[string]struct {
		status int
		code   string
	}{
		`{}`:             {400, "invalid-request"},
		`{"size": -1}`:   {416, "range-not-satisfiable"},
		`{"size": 11}`:   {416, "range-not-satisfiable"},
		`{"size": "11"}`: {400, "invalid-request"},
	} {
		w.want(want.status, want.code, "POST", path+"/truncate", strings.NewReader(body), "Content-Type", j)
	}
	in := strings.NewReplacer("FILE", f.ID)
	for body, want := range map[string]struct {
		status int
		code   string
	}{
		`{"name": "n"}`:                   {400, "invalid-request"},
		`{"name": "n", "pieces": [null]}`: {400, "invalid-request"},
		`{"name": "n", "pieces": [{"file": "FILE", "data": ""}]}`:                                              {400, "invalid-request"},
		`{"name": "n", "pieces": [{"data": "?"}]}`:                                                             {400, "invalid-request"},
		`{"name": "n", "pieces": [{"data": "", "offset": 1}]}`:                                                 {400, "invalid-request"},
		`{"name": "n", "pieces": [{"file": "FILE", "length": -1}]}`:                                            {400, "invalid-request"},
		`{"name": "n", "pieces": [{"file": "FILE", "offset": -1}]}`:                                            {416, "range-not-satisfiable"},
		`{"name": "n", "pieces": [{"file": "FILE", "offset": 5, "length": 6}]}`:                                {416, "range-not-satisfiable"},
		`{"name": "n", "pieces": [{"file": "FILE", "length": 9223372036854775807}]}`:                           {416, "range-not-satisfiable"},
		`{"name": "n", "pieces": [{"file": "FILE", "length": 1e30}]}`:                                          {400, "invalid-request"},
		`{"name": "n", "pieces": [{"file": "FILE", "bucket": "none"}]}`:                                        {404, "bucket-not-found"},
		`{"name": "n", "pieces": [{"file": "..", "length": 1}]}`:                                               {404, "file-not-found"},
		`{"name": "n", "file_id": "FILE", "pieces": [{"data": ""}]}`:                                           {400, "invalid-request"},
		`{"name": "a/b", "pieces": [{"data": ""}]}`:                                                            {400, "invalid-name"},
		`{"name": "f", "on_conflict": "fail", "pieces": [{"data": ""}]}`:                                       {409, "name-taken"},
		`{"name": "n", "pieces": [` + strings.Repeat(`{"data": ""},`, 10_000) + `{"data": ""}]}`:               {400, "invalid-request"},
		`{"name": "n", "pieces": [{"data": "` + strings.Repeat("AAAA", (1<<20)/3+1) + `"}]}`:                   {413, "body-too-large"},
		`{"name": "n", "pieces": [{"data": "` + strings.Repeat("AAAA", 1<<20) + `"}]}`:                         {413, "body-too-large"},
		`{"name": "n", "pieces": [` + strings.Repeat(`{"file": "FILE"},`, 5) + `{"file": "FILE", "size": 1}]}`: {400, "invalid-request"},
	} {
		a := w.do("POST", "/api/files/demo/_compose", strings.NewReader(in.Replace(body)), "Content-Type", j)
		if a.StatusCode != want.status || a.code() != want.code {
			t.Errorf("%.80s: %d %s", body, a.StatusCode, a.body)
		}
	}
	w.want(412, "precondition-failed", "POST", "/api/files/demo/_compose", strings.NewReader(`{"name": "f", "pieces": [{"data": ""}]}`), "Content-Type", j, "If-None-Match", "*")
	w.want(412, "precondition-failed", "POST", "/api/files/demo/_compose", strings.NewReader(in.Replace(`{"file_id": "FILE", "pieces": [{"data": ""}]}`)), "Content-Type", j, "If-Match", `"b3-00"`)
	if a := w.want(200, "", "GET", path+"/download", nil); !bytes.Equal(a.body, []byte("0123456789")) {
		t.Errorf("the file is now %q", a.body)
	}
}

// Who may not have a file's bytes cannot compose of them, nor learn whether
// there is the file.
func TestComposeOfAnothers(t *testing.T) {
	for _, bucket := range []string{"private", "listed"} {
		m := newMatrix(t, bucket)
		bob := token(t, "bob", nil)
		theirs := m.putAs("bob", bucket, "bobs", "mine")
		compose := func(target, file string) *answer {
			body := `{` + target + `, "pieces": [{"data": "aGk="}, {"file": "` + file + `", "length": 1}]}`
			return m.do("POST", "/api/files/"+bucket+"/_compose", strings.NewReader(body), "Content-Type", "application/json", "Authorization", bob)
		}
		for _, target := range []string{`"name": "new"`, `"file_id": "` + theirs.ID + `"`} {
			for id, gone := range map[string]string{m.f.ID: missing("f_"), m.first: missing("m_")} {
				a, b := compose(target, id), compose(target, gone)
				if bucket == "listed" && a.StatusCode == 403 && b.StatusCode == 404 {
					continue
				}
				if bucket == "listed" || a.StatusCode != 404 || plain(a) != plain(b) {
					t.Errorf("%s, %s: of ann's %d %s, of none %d %s", bucket, target, a.StatusCode, a.body, b.StatusCode, b.body)
				}
			}
		}
		m.unharmed()
	}
}

// Whatever a header says, a range is one that there can be.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/*", "bytes 5-4/*", "bytes 0-4611686018427387903/*", "Bytes  7-7/*", "bytes 0x1-2/*", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, size, err := api.ContentRange(s)
		if err == nil && (from < 0 || size < 1 || from > math.MaxInt64-size) {
			t.Errorf("%q: %d bytes from %d", s, size, from)
		}
	})
}
