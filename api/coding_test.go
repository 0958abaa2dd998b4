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
		for _, coding := range []string{"gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "compress", "identity, gzip", "gzip, identity", "aws-chunked", "nonsense",
			",gzip", "gzip,", "identity;q=1", "*", "chunked"} {
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
	for i, coding := range []string{"identity", "Identity", "", "identity, identity", "identity,", ",", " , identity"} {
		w.want(201, "", "POST", fmt.Sprintf("/api/files/demo?name=plain%d", i), strings.NewReader("hello"), "Content-Encoding", coding)
	}
	w.want(200, "", "GET", file, nil, "Content-Encoding", "gzip") // which brings nothing
	chunk := session + "/chunks/" + f.Checksums["root"]
	if a := w.want(415, "content-type-unsupported", "PUT", chunk, strings.NewReader("x"), "Content-Encoding", "gzip"); a.Header.Get("Accept-Encoding") != "zstd, identity" {
		t.Errorf("a chunk: Accept-Encoding %q", a.Header.Get("Accept-Encoding"))
	}
	w.want(422, "chunk-not-decodable", "PUT", chunk, strings.NewReader("x"), "Content-Encoding", "ZSTD")
	w.want(422, "chunk-not-decodable", "PUT", chunk, strings.NewReader("x"), "Content-Encoding", "identity, zstd,")
}

// A part of a form is content like a body.
func TestCodingOfParts(t *testing.T) {
	w := newWorld(t)
	for coding, status := range map[string]int{
		"Content-Encoding: gzip": 415, "Content-Encoding: x-gzip": 415, "Content-Encoding: zstd": 415, "Content-Encoding: gzip, identity": 415,
		"content-encoding: br": 415, "Content-Encoding: identity\r\nContent-Encoding: deflate": 415,
		"Content-Encoding: identity": 201, "Content-Encoding:": 201, "Content-Encoding: Identity, identity": 201,
		"Content-Transfer-Encoding: base64": 415, "Content-Transfer-Encoding: BASE64": 415, "Content-Transfer-Encoding: quoted-printable": 415,
		"Content-Transfer-Encoding: x-uuencode": 415,
		"Content-Transfer-Encoding: binary":     201, "Content-Transfer-Encoding: 8bit": 201, "Content-Transfer-Encoding: 7Bit": 201, "Content-Transfer-Encoding:": 201,
	} {
		file, field := `name="file"; filename="a"`, `name="metadata[k]"`
		for what, parts := range map[string][]string{
			"of the file":         {file + "\r\n" + coding, "hello"},
			"of a field":          {field + "\r\n" + coding, "v", file, "hello"},
			"of a field after it": {file, "hello", field + "\r\n" + coding, "v"},
		} {
			a := w.do("POST", "/api/files/demo", strings.NewReader(form(parts...)), "Content-Type", formType)
			if a.StatusCode != status || status == 415 && a.code() != "content-type-unsupported" {
				t.Errorf("%q %s: %d %s", coding, what, a.StatusCode, a.body)
			}
			if got := a.Header.Get("Accept-Encoding"); status == 415 && strings.HasPrefix(strings.ToLower(coding), "content-encoding") && got != "identity" {
				t.Errorf("%q %s: Accept-Encoding %q", coding, what, got)
			}
		}
	}
}
