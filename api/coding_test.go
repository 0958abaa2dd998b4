package api_test

import (
	"fmt"
	"strings"
	"testing"
)

// Content in a coding is refused before a byte of it is stored: the coding
// would be forgotten. Chunks by themselves may come as zstd.
func TestContentCoding(t *testing.T) {
	w := newWorld(t)
	f := w.put("f", []byte("hello"))
	file := "/api/files/demo/" + f.ID
	u := &tusUpload{world: w}
	u.create(201, "Upload-Length", "5")
	v := &resumable{world: w}
	v.create(201, "POST", "/api/files/demo?name=r", nil, "Upload-Complete", "?0")
	a := w.want(201, "", "POST", "/api/files/demo/_sessions", strings.NewReader(`{"name": "s"}`), "Content-Type", "application/json")
	session := strings.TrimPrefix(a.Header.Get("Location"), w.url)
	const json = "application/json"
	uploads := []struct{ method, path, contentType, header, value string }{
		{"POST", "/api/files/demo?name=x", "", "", ""},
		{"POST", "/api/files/demo", "multipart/form-data; boundary=b", "", ""},
		{"POST", "/api/files/demo?name=x", "", "Upload-Complete", "?1"},
		{"POST", "/api/files/demo?name=x", "", "Upload-Complete", "?0"},
		{"PUT", file, "", "", ""},
		{"PUT", file, "", "Upload-Complete", "?1"},
		{"PATCH", file, json, "", ""},
		{"PATCH", file + "/content", "", "Content-Range", "bytes 0-4/*"},
		{"POST", file + "/append", "", "", ""},
		{"POST", file + "/truncate", json, "", ""},
		{"POST", file + "/copy", json, "", ""},
		{"POST", "/api/files/demo/_compose", json, "", ""},
		{"POST", "/api/files/demo/_sessions", json, "", ""},
		{"POST", session + "/list?at=0", json, "", ""},
		{"POST", session + "/chunks", "application/vnd.cairn.chunks", "", ""},
		{"POST", session + "/commit", "", "", ""},
		{"POST", "/api/tus/demo", offsetStream, "Upload-Length", "5"},
		{"POST", "/api/files/demo/tus", offsetStream, "Upload-Length", "5"},
		{"PATCH", u.url, offsetStream, "Upload-Offset", "0"},
		{"PATCH", v.url, partial, "Upload-Offset", "0"},
	}
	usage := func() string { return string(w.want(200, "", "GET", "/api/files/demo/_usage", nil).body) }
	before := usage()
	for _, c := range uploads {
		for _, coding := range []string{"gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "compress", "identity, gzip", "gzip, identity", "aws-chunked", "nonsense"} {
			a := w.want(415, "content-type-unsupported", c.method, c.path, strings.NewReader("hello"), "Content-Type", c.contentType,
				"Tus-Resumable", "1.0.0", c.header, c.value, "Content-Encoding", coding)
			if got := a.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("%s %s of %s: Accept-Encoding %q", c.method, c.path, coding, got)
			}
		}
	}
	if after := usage(); after != before {
		t.Errorf("stored: %s, before %s", after, before)
	}
	for i, coding := range []string{"identity", "Identity", ""} {
		w.want(201, "", "POST", fmt.Sprintf("/api/files/demo?name=plain%d", i), strings.NewReader("hello"), "Content-Encoding", coding)
	}
	w.want(200, "", "GET", file, nil, "Content-Encoding", "gzip") // which brings nothing
	chunk := session + "/chunks/" + f.Checksums["root"]
	if a := w.want(415, "content-type-unsupported", "PUT", chunk, strings.NewReader("x"), "Content-Encoding", "gzip"); a.Header.Get("Accept-Encoding") != "zstd, identity" {
		t.Errorf("a chunk: Accept-Encoding %q", a.Header.Get("Accept-Encoding"))
	}
	w.want(422, "chunk-not-decodable", "PUT", chunk, strings.NewReader("x"), "Content-Encoding", "ZSTD")
}
