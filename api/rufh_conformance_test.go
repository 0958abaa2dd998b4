package api_test

import (
	"io"
	"strings"
	"testing"
)

// rufhStates are the states that an upload can be in, by what brings it there.
// Its content is "hello".
func rufhStates() map[string]func(u *resumable) {
	begin := func(u *resumable, header ...string) {
		u.create(201, "POST", "/api/files/demo?name=f", nil, append([]string{"Upload-Complete", "?0"}, header...)...)
	}
	return map[string]func(u *resumable){
		"creation": func(u *resumable) { u.url = "/api/files/demo?name=f" },
		"never":    func(u *resumable) { u.url = "/api/uploads/demo/" + missing("u_") },
		"empty":    func(u *resumable) { begin(u) },
		"begun": func(u *resumable) {
			begin(u)
			u.patch(204, 0, "?0", "he")
		},
		"of known length": func(u *resumable) {
			begin(u, "Upload-Length", "5")
			u.patch(204, 0, "?0", "he")
		},
		"of length 0": func(u *resumable) { begin(u, "Upload-Length", "0") },
		"all there": func(u *resumable) {
			begin(u, "Upload-Length", "5")
			u.patch(204, 0, "?0", "hello")
		},
		"complete": func(u *resumable) {
			begin(u)
			u.patch(201, 0, "?1", "hello")
		},
		"cancelled": func(u *resumable) {
			begin(u)
			u.do("DELETE", u.url, nil)
		},
		"overrun": func(u *resumable) {
			begin(u, "Upload-Length", "5")
			u.patch(413, 0, "?0", "hello!")
		},
		"of tus": func(u *resumable) {
			v := &tusUpload{world: u.world}
			v.create(201, "Upload-Length", "5")
			u.url = strings.Replace(v.url, "/api/tus/", "/api/uploads/", 1)
		},
	}
}

// A rufhCase is a request to an upload in a state, and what the protocol has it
// answered with.
type rufhCase struct {
	state, what string
	method      string
	header      []string
	body        any // string, or an io.Reader for content of unknown length
	status      int
	code        string // of a problem
	want        string // headers of the answer, as in a tusCase
	after       string // where the upload stands, "2 ?0", "2 ?0 5" with its length; a number alone: HEAD's status
}

func rufhCases() []rufhCase {
	patch := func(offset, complete string, more ...string) []string {
		return append([]string{"Upload-Offset", offset, "Upload-Complete", complete, "Content-Type", partial}, more...)
	}
	unsized := func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }
	const (
		badRequest   = "invalid-request"
		inconsistent = "inconsistent-upload-length"
		mismatch     = "upload-offset-mismatch"
		gone         = "upload-not-found"
	)
	return []rufhCase{
		// Limits.
		{"creation", "OPTIONS", "OPTIONS", nil, nil, 204, "", "Upload-Limit: min-size=0, max-age=86400", ""},
		{"empty", "OPTIONS", "OPTIONS", nil, nil, 204, "", "Upload-Limit: min-size=0, max-age=86400", "0 ?0"},
		// Creation.
		{"creation", "of all", "POST", []string{"Upload-Complete", "?1"}, "hello", 201, "", "Upload-Complete: ?1\nX-File-Id: *\nLocation: *", ""},
		{"creation", "of all, of unknown length", "POST", []string{"Upload-Complete", "?1"}, unsized("hello"), 201, "", "Upload-Complete: ?1\nX-File-Id: *", ""},
		{"creation", "of nothing", "POST", []string{"Upload-Complete", "?1"}, nil, 201, "", "Upload-Complete: ?1\nX-File-Id: *", ""},
		{"creation", "of nothing, of the length 0", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "0"}, nil, 201, "", "X-File-Id: *", ""},
		{"creation", "of some", "POST", []string{"Upload-Complete", "?0"}, "hel", 201, "", "Upload-Complete: ?0\nUpload-Offset: 3\nUpload-Limit: *\nLocation: *\nX-File-Id:", ""},
		{"creation", "without content", "POST", []string{"Upload-Complete", "?0"}, nil, 201, "", "Upload-Complete: ?0\nLocation: *", ""},
		{"creation", "parameters of the field", "POST", []string{"Upload-Complete", "?1;x=1"}, "hello", 201, "", "Upload-Complete: ?1", ""},
		{"creation", "length and end agree", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "5"}, "hello", 201, "", "Upload-Complete: ?1", ""},
		{"creation", "length above the end", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "6"}, "hello", 400, inconsistent, "Upload-Complete: ?0\nLocation:", ""},
		{"creation", "length below the end", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "4"}, "hello", 400, inconsistent, "Upload-Complete: ?0\nLocation:", ""},
		{"creation", "length above the end, of unknown length", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "6"}, unsized("hello"), 400, inconsistent, "Upload-Complete: ?0", ""},
		{"creation", "length 0 and content", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "0"}, "hello", 400, inconsistent, "Upload-Complete: ?0", ""},
		{"creation", "length 1 and no content", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "1"}, nil, 400, inconsistent, "Upload-Complete: ?0", ""},
		{"creation", "more than the length", "POST", []string{"Upload-Complete", "?0", "Upload-Length", "4"}, "hello", 413, "file-too-large", "Upload-Complete: ?0\nUpload-Limit: *", ""},
		{"creation", "a length that is no number is none", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "six"}, "hello", 201, "", "Upload-Complete: ?1", ""},
		{"creation", "a length of text is none", "POST", []string{"Upload-Complete", "?1", "Upload-Length", `"6"`}, "hello", 201, "", "", ""},
		{"creation", "a length below zero is none", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "-6"}, "hello", 201, "", "", ""},
		{"creation", "a length with a fraction is none", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "6.0"}, "hello", 201, "", "", ""},
		{"creation", "a length of 16 digits is none", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "1000000000000000"}, "hello", 201, "", "", ""},
		{"creation", "two lengths are none", "POST", []string{"Upload-Complete", "?1", "Upload-Length", "6", "+Upload-Length", "6"}, "hello", 201, "", "", ""},
		{"creation", "an offset means nothing", "POST", []string{"Upload-Complete", "?1", "Upload-Offset", "3"}, "hello", 201, "", "Upload-Complete: ?1", ""},
		{"creation", "a form", "POST", []string{"Upload-Complete", "?1", "Content-Type", "multipart/form-data; boundary=b"}, "--b", 415, "content-type-unsupported", "", ""},
		{"creation", "of gzip", "POST", []string{"Upload-Complete", "?1", "Content-Encoding", "gzip"}, "hello", 415, "content-type-unsupported", "Accept-Encoding: identity\nLocation:", ""},
		{"creation", "of some gzip", "POST", []string{"Upload-Complete", "?0", "Content-Encoding", "gzip"}, "hello", 415, "content-type-unsupported", "Accept-Encoding: identity\nLocation:", ""},
		// Where it stands.
		{"empty", "HEAD", "HEAD", nil, nil, 204, "", "Upload-Offset: 0\nUpload-Complete: ?0\nUpload-Length:\nUpload-Limit: *\nCache-Control: no-store", "0 ?0"},
		{"begun", "HEAD", "HEAD", nil, nil, 204, "", "Upload-Offset: 2\nUpload-Complete: ?0\nUpload-Length:", "2 ?0"},
		{"begun", "GET", "GET", nil, nil, 204, "", "Upload-Offset: 2\nUpload-Complete: ?0\nCache-Control: no-store", "2 ?0"},
		{"of known length", "HEAD", "HEAD", nil, nil, 204, "", "Upload-Offset: 2\nUpload-Length: 5", "2 ?0"},
		{"of length 0", "HEAD", "HEAD", nil, nil, 204, "", "Upload-Offset: 0\nUpload-Length: 0\nUpload-Complete: ?0", "0 ?0"},
		{"all there", "HEAD", "HEAD", nil, nil, 204, "", "Upload-Offset: 5\nUpload-Length: 5\nUpload-Complete: ?0", "5 ?0"},
		{"complete", "HEAD", "HEAD", nil, nil, 204, "", "Upload-Offset: 5\nUpload-Complete: ?1\nX-File-Id: *", "5 ?1"},
		{"never", "HEAD", "HEAD", nil, nil, 404, "", "Upload-Offset:", ""},
		{"cancelled", "HEAD", "HEAD", nil, nil, 404, "", "Upload-Offset:", ""},
		{"overrun", "HEAD", "HEAD", nil, nil, 410, "", "Upload-Offset:", ""},
		{"overrun", "GET", "GET", nil, nil, 410, "upload-invalid", "Upload-Offset:", ""},
		{"of tus", "HEAD", "HEAD", nil, nil, 404, "", "Upload-Offset:", ""},
		// Appends.
		{"empty", "all", "PATCH", patch("0", "?1"), "hello", 201, "", "Upload-Complete: ?1\nX-File-Id: *", "5 ?1"},
		{"empty", "nothing, and the end", "PATCH", patch("0", "?1"), nil, 201, "", "Upload-Complete: ?1\nX-File-Id: *", "0 ?1"},
		{"empty", "nothing, and no end", "PATCH", patch("0", "?0"), nil, 204, "", "Upload-Complete: ?0", "0 ?0"},
		{"begun", "some", "PATCH", patch("2", "?0"), "l", 204, "", "Upload-Complete: ?0\nUpload-Offset: 3\nX-File-Id:", "3 ?0"},
		{"begun", "the rest", "PATCH", patch("2", "?1"), "llo", 201, "", "Upload-Complete: ?1\nX-File-Id: *", "5 ?1"},
		{"begun", "the rest, of unknown length", "PATCH", patch("2", "?1"), unsized("llo"), 201, "", "Upload-Complete: ?1\nX-File-Id: *", "5 ?1"},
		{"all there", "the end", "PATCH", patch("5", "?1"), nil, 201, "", "Upload-Complete: ?1\nX-File-Id: *", "5 ?1"},
		{"begun", "a type with a parameter", "PATCH", []string{"Upload-Offset", "2", "Upload-Complete", "?0", "Content-Type", "Application/Partial-Upload;x=y"}, "l", 204, "", "", "3 ?0"},
		{"begun", "another type", "PATCH", patch("2", "?0", "Content-Type", "application/octet-stream"), "l", 415, "content-type-unsupported", "", "2 ?0"},
		{"begun", "no type", "PATCH", patch("2", "?0", "Content-Type", ""), "l", 415, "content-type-unsupported", "", "2 ?0"},
		{"begun", "without an offset", "PATCH", []string{"Upload-Complete", "?0", "Content-Type", partial}, "l", 400, badRequest, "", "2 ?0"},
		{"begun", "without completeness", "PATCH", []string{"Upload-Offset", "2", "Content-Type", partial}, "l", 400, badRequest, "", "2 ?0"},
		{"begun", "completeness of 1", "PATCH", patch("2", "1"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "completeness of true", "PATCH", patch("2", "true"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "completeness twice", "PATCH", patch("2", "?0", "+Upload-Complete", "?0"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset twice", "PATCH", patch("2", "?0", "+Upload-Offset", "2"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset empty", "PATCH", patch("", "?0"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset of text", "PATCH", patch(`"2"`, "?0"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset -2", "PATCH", patch("-2", "?0"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset +2", "PATCH", patch("+2", "?0"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset 2.0", "PATCH", patch("2.0", "?0"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset of 16 digits", "PATCH", patch("1000000000000000", "?0"), "l", 400, badRequest, "", "2 ?0"},
		{"begun", "offset of 15 digits", "PATCH", patch("999999999999999", "?0"), "l", 409, mismatch, "Upload-Offset: 2\nUpload-Complete: ?0", "2 ?0"},
		{"begun", "before the offset", "PATCH", patch("0", "?1"), "hello", 409, mismatch, "Upload-Offset: 2\nUpload-Complete: ?0", "2 ?0"},
		{"begun", "behind the offset", "PATCH", patch("3", "?0"), "lo", 409, mismatch, "Upload-Offset: 2\nUpload-Complete: ?0", "2 ?0"},
		{"of known length", "another offset and too much", "PATCH", patch("9", "?0"), "lo", 409, mismatch, "Upload-Offset: 2\nUpload-Complete: ?0", "2 ?0"},
		{"of known length", "another offset and another end", "PATCH", patch("0", "?1"), "llo", 409, mismatch, "Upload-Offset: 2\nUpload-Complete: ?0", "2 ?0"},
		{"begun", "of gzip", "PATCH", patch("2", "?1", "Content-Encoding", "gzip"), "llo", 415, "content-type-unsupported", "Accept-Encoding: identity", "2 ?0"},
		{"begun", "of identity", "PATCH", patch("2", "?1", "Content-Encoding", "identity"), "llo", 201, "", "", "5 ?1"},
		// Lengths.
		{"begun", "a length, then some", "PATCH", patch("2", "?0", "Upload-Length", "5"), "l", 204, "", "", "3 ?0 5"},
		{"begun", "a length alone", "PATCH", patch("2", "?0", "Upload-Length", "5"), nil, 204, "", "", "2 ?0 5"},
		{"empty", "the length 0", "PATCH", patch("0", "?0", "Upload-Length", "0"), nil, 204, "", "", "0 ?0 0"},
		{"empty", "the length 0, and content", "PATCH", patch("0", "?0", "Upload-Length", "0"), "h", 413, "file-too-large", "", "410"},
		{"begun", "a length below the offset", "PATCH", patch("2", "?0", "Upload-Length", "1"), nil, 400, inconsistent, "Upload-Complete: ?0", "2 ?0"},
		{"begun", "length and end disagree", "PATCH", patch("2", "?1", "Upload-Length", "6"), "llo", 400, inconsistent, "Upload-Complete: ?0", "2 ?0"},
		{"of known length", "the same length again", "PATCH", patch("2", "?1", "Upload-Length", "5"), "llo", 201, "", "", "5 ?1"},
		{"of known length", "another length", "PATCH", patch("2", "?0", "Upload-Length", "6"), "l", 400, inconsistent, "Upload-Complete: ?0", "2 ?0"},
		{"of known length", "the length 0", "PATCH", patch("2", "?0", "Upload-Length", "0"), "l", 400, inconsistent, "Upload-Complete: ?0", "2 ?0"},
		{"of known length", "an end before it", "PATCH", patch("2", "?1"), "l", 400, inconsistent, "Upload-Complete: ?0", "2 ?0"},
		{"of known length", "an end behind it", "PATCH", patch("2", "?1"), "llo!", 400, inconsistent, "Upload-Complete: ?0", "2 ?0"},
		{"of known length", "an end before it, of unknown length", "PATCH", patch("2", "?1"), unsized("l"), 400, inconsistent, "Upload-Complete: ?0", "3 ?0"},
		{"of known length", "more than it", "PATCH", patch("2", "?0"), "llo!", 413, "file-too-large", "Upload-Limit: *", "410"},
		{"of known length", "more than it, of unknown length", "PATCH", patch("2", "?0"), unsized("llo!"), 413, "file-too-large", "", "410"},
		{"of known length", "more than it at the end, of unknown length", "PATCH", patch("2", "?1"), unsized("llo!"), 413, "file-too-large", "", "410"},
		{"all there", "more than it", "PATCH", patch("5", "?0"), "!", 413, "file-too-large", "", "410"},
		// Uploads that have ended.
		{"overrun", "PATCH", "PATCH", patch("0", "?0"), "h", 410, "upload-invalid", "Upload-Offset:", "410"},
		{"overrun", "DELETE", "DELETE", nil, nil, 410, "upload-invalid", "", "410"},
		{"cancelled", "PATCH", "PATCH", patch("0", "?0"), "h", 404, gone, "Upload-Offset:", "404"},
		{"cancelled", "DELETE", "DELETE", nil, nil, 404, gone, "", "404"},
		{"never", "PATCH", "PATCH", patch("0", "?0"), "h", 404, gone, "Upload-Offset:", "404"},
		{"never", "DELETE", "DELETE", nil, nil, 404, gone, "", "404"},
		{"of tus", "PATCH", "PATCH", patch("0", "?0"), "h", 404, gone, "Upload-Offset:", ""},
		{"of tus", "DELETE", "DELETE", nil, nil, 404, gone, "", ""},
		{"complete", "the lost end again", "PATCH", patch("5", "?1"), nil, 201, "", "Upload-Complete: ?1\nX-File-Id: *", "5 ?1"},
		{"complete", "the lost end again, of unknown length", "PATCH", patch("5", "?1"), unsized(""), 201, "", "Upload-Complete: ?1\nX-File-Id: *", "5 ?1"},
		{"complete", "the lost end and its length", "PATCH", patch("5", "?1", "Upload-Length", "5"), nil, 201, "", "Upload-Complete: ?1", "5 ?1"},
		{"complete", "the lost end and another length", "PATCH", patch("5", "?1", "Upload-Length", "6"), nil, 400, inconsistent, "Upload-Complete: ?0", "5 ?1"},
		{"complete", "more, of unknown length", "PATCH", patch("5", "?1"), unsized("!"), 400, "completed-upload", "Upload-Complete: ?0", "5 ?1"},
		{"complete", "the last append again", "PATCH", patch("0", "?1"), "hello", 409, mismatch, "Upload-Offset: 5\nUpload-Complete: ?0", "5 ?1"},
		{"complete", "more", "PATCH", patch("5", "?1"), "!", 400, "completed-upload", "Upload-Complete: ?0", "5 ?1"},
		{"complete", "no end", "PATCH", patch("5", "?0"), nil, 400, "completed-upload", "Upload-Complete: ?0", "5 ?1"},
		{"complete", "DELETE", "DELETE", nil, nil, 204, "", "", "404"},
		{"begun", "DELETE", "DELETE", nil, nil, 204, "", "", "404"},
		// Methods that stand for others.
		{"begun", "POST for PATCH", "POST", patch("2", "?1", "X-HTTP-Method-Override", "PATCH"), "llo", 201, "", "Upload-Complete: ?1", "5 ?1"},
		{"begun", "POST for DELETE", "POST", []string{"X-HTTP-Method-Override", "DELETE"}, nil, 204, "", "", "404"},
		{"begun", "POST for nothing", "POST", nil, nil, 400, badRequest, "", "2 ?0"},
		{"begun", "PUT", "PUT", nil, nil, 405, "method-not-allowed", "Allow: *", "2 ?0"},
		// Digests.
		{"begun", "another content digest", "PATCH", patch("2", "?1", "Content-Digest", hash("lol")), "llo", 400, "digest-mismatch", "", "2 ?0"},
		{"begun", "a content digest", "PATCH", patch("2", "?1", "Content-Digest", hash("llo")), "llo", 201, "", "", "5 ?1"},
		{"begun", "a content digest of another length", "PATCH", patch("2", "?1", "Content-Digest", "sha-256=:YQ==:"), "llo", 400, "digest-mismatch", "", "2 ?0"},
		{"creation", "another digest of the whole", "POST", []string{"Upload-Complete", "?1", "Repr-Digest", hash("hallo")}, "hello", 400, "digest-mismatch", "Upload-Complete: ?1", ""},
		{"creation", "a digest of the whole", "POST", []string{"Upload-Complete", "?1", "Repr-Digest", hash("hello")}, "hello", 201, "", "Repr-Digest: " + hash("hello"), ""},
		{"creation", "a digest is wanted", "POST", []string{"Upload-Complete", "?1", "Want-Repr-Digest", "sha-256=1"}, "hello", 201, "", "Repr-Digest: " + hash("hello"), ""},
	}
}

// TestRUFHConformance is the text of the IETF's draft, interop version 8: a line
// for every kind of request to an upload in each state.
func TestRUFHConformance(t *testing.T) {
	w := newWorld(t)
	states := rufhStates()
	for _, c := range rufhCases() {
		u := &resumable{world: w}
		states[c.state](u)
		a := w.do(c.method, u.url, bodyOf(c.body), c.header...)
		if a.StatusCode != c.status || a.code() != c.code {
			t.Errorf("%s: %s: %d %s, want %d %s", c.state, c.what, a.StatusCode, a.body, c.status, c.code)
		}
		checkHeaders(t, c.state+": "+c.what, a, c.want)
		if c.after == "" {
			continue
		}
		head := w.do("HEAD", u.url, nil)
		stands := strings.Fields(c.after)
		if len(stands) == 1 {
			if head.Status[:3] != c.after {
				t.Errorf("%s: %s: HEAD afterwards: %s", c.state, c.what, head.Status)
			}
			continue
		}
		checkHeaders(t, c.state+": "+c.what+": HEAD afterwards", head, "Upload-Offset: "+stands[0]+"\nUpload-Complete: "+stands[1])
		if len(stands) == 3 {
			checkHeaders(t, c.state+": "+c.what+": HEAD afterwards", head, "Upload-Length: "+stands[2])
		}
	}
}
