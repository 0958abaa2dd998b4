package api_test

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/chunker/blake3"
	"github.com/cairn-store/cairn/internal/race"
)

const offsetStream = "application/offset+octet-stream"

// tusStates are the states that an upload can be in, by what brings it there.
// Its content is "hello".
func tusStates() map[string]func(u *tusUpload) {
	whole := func(u *tusUpload, header ...string) string {
		u.create(201, append(header, "Upload-Length", "5")...)
		u.patch(204, 0, strings.NewReader("hello"))
		return u.url
	}
	return map[string]func(u *tusUpload){
		"creation": func(u *tusUpload) { u.url = "/api/tus/demo" },
		"never":    func(u *tusUpload) { u.url = "/api/tus/demo/" + missing("u_") },
		"empty":    func(u *tusUpload) { u.create(201, "Upload-Length", "5") },
		"begun": func(u *tusUpload) {
			u.create(201, "Upload-Length", "5", "Upload-Metadata", "filename YQ==,note")
			u.patch(204, 0, strings.NewReader("he"))
		},
		"deferred": func(u *tusUpload) { u.create(201, "Upload-Defer-Length", "1") },
		"deferred begun": func(u *tusUpload) {
			u.create(201, "Upload-Defer-Length", "1")
			u.patch(204, 0, strings.NewReader("he"))
		},
		"complete": func(u *tusUpload) { whole(u) },
		"part":     func(u *tusUpload) { whole(u, "Upload-Concat", "partial") },
		"final": func(u *tusUpload) {
			u.create(201, "Upload-Concat", "final;"+whole(u, "Upload-Concat", "partial"))
		},
		"final that waits": func(u *tusUpload) {
			u.create(201, "Upload-Length", "5", "Upload-Concat", "partial")
			u.create(201, "Upload-Concat", "final;"+u.url)
		},
		"final of unknown length": func(u *tusUpload) {
			u.create(201, "Upload-Defer-Length", "1", "Upload-Concat", "partial")
			u.create(201, "Upload-Concat", "final;"+u.url)
		},
		"final whose length became known": func(u *tusUpload) {
			u.create(201, "Upload-Defer-Length", "1", "Upload-Concat", "partial")
			part := u.url
			u.create(201, "Upload-Concat", "final;"+part)
			final := u.url
			u.url = part
			u.patch(204, 0, strings.NewReader("he"), "Upload-Length", "5")
			u.url = final
		},
		"final of empty parts": func(u *tusUpload) {
			u.create(201, "Upload-Defer-Length", "1", "Upload-Concat", "partial")
			part := u.url
			u.create(201, "Upload-Concat", "final;"+part+" "+part)
			final := u.url
			u.url = part
			u.patch(204, 0, nil, "Upload-Length", "0")
			u.url = final
		},
		"all there, and no file": func(u *tusUpload) { // the server ended before it had made one
			b := upload.New().In(u.bucket("demo").As(&access.Principal{ID: "dev", Operator: true}))
			up, err := b.Begin(u.t.Context(), "f", &upload.Options{Header: "{}", PutOptions: buckets.PutOptions{Size: 5, SizeKnown: true}})
			if err == nil {
				_, err = b.Append(u.t.Context(), up.ID, 0, strings.NewReader("hello"), nil)
			}
			if err != nil {
				u.t.Fatal(err)
			}
			u.url = "/api/tus/demo/" + up.ID
		},
		"terminated": func(u *tusUpload) {
			u.create(201, "Upload-Length", "5")
			u.send("DELETE", u.url, nil)
		},
		"of the IETF's protocol": func(u *tusUpload) {
			v := &resumable{world: u.world}
			v.create(201, "POST", "/api/files/demo", nil, "Upload-Complete", "?0", "Upload-Length", "5")
			u.url = strings.Replace(v.url, "/api/uploads/", "/api/tus/", 1)
		},
		"by chunk list": func(u *tusUpload) {
			a := u.do("POST", "/api/files/demo/_sessions", strings.NewReader(`{"name": "x"}`), "Content-Type", "application/json")
			at := a.Header.Get("Location")
			u.url = "/api/tus/demo" + at[strings.LastIndex(at, "/"):]
		},
	}
}

// A tusCase is a request to an upload in a state, and what the protocol has it
// answered with.
type tusCase struct {
	state, what string
	method      string
	header      []string
	body        any    // string, or an io.Reader for content of unknown length
	status      int    //
	want        string // headers of the answer, "Name: value" by lines; "Name:" is absent
	offset      int    // where the upload stands afterwards, if above 0; -1 for 0
}

func tusCases() []tusCase {
	patch := func(offset string, more ...string) []string {
		return append([]string{"Upload-Offset", offset, "Content-Type", offsetStream}, more...)
	}
	unsized := func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }
	return []tusCase{
		// Versions.
		{"begun", "HEAD without a version", "HEAD", []string{"Tus-Resumable", ""}, nil, 412, "Tus-Version: 1.0.0\nTus-Resumable: 1.0.0\nUpload-Offset:", 2},
		{"begun", "HEAD of another version", "HEAD", []string{"Tus-Resumable", "0.2.2"}, nil, 412, "Tus-Version: 1.0.0", 2},
		{"begun", "PATCH without a version", "PATCH", patch("2", "Tus-Resumable", ""), "llo", 412, "Tus-Version: 1.0.0", 2},
		{"begun", "DELETE of another version", "DELETE", []string{"Tus-Resumable", "1.0.1"}, nil, 412, "Tus-Version: 1.0.0", 2},
		{"creation", "POST without a version", "POST", []string{"Tus-Resumable", "", "Upload-Length", "5"}, nil, 412, "Tus-Version: 1.0.0\nLocation:", 0},
		{"creation", "POST of two versions", "POST", []string{"Tus-Resumable", "1.0.0, 1.0.0", "Upload-Length", "5"}, nil, 412, "Tus-Version: 1.0.0", 0},
		{"never", "HEAD without a version", "HEAD", []string{"Tus-Resumable", ""}, nil, 412, "Tus-Version: 1.0.0", 0},
		// OPTIONS.
		{"creation", "OPTIONS", "OPTIONS", nil, nil, 200, "Tus-Version: 1.0.0\nTus-Checksum-Algorithm: sha1,sha256,sha512,blake3,md5,crc32", 0},
		{"begun", "OPTIONS", "OPTIONS", nil, nil, 200, "Tus-Version: 1.0.0", 2},
		{"creation", "OPTIONS ignores the version", "OPTIONS", []string{"Tus-Resumable", "0.1"}, nil, 200, "Tus-Version: 1.0.0", 0},
		// HEAD.
		{"empty", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 0\nUpload-Length: 5\nCache-Control: no-store\nTus-Resumable: 1.0.0\nUpload-Metadata:\nUpload-Defer-Length:", -1},
		{"begun", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 2\nUpload-Length: 5\nCache-Control: no-store\nUpload-Metadata: filename YQ==,note\nUpload-Concat:", 2},
		{"deferred", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 0\nUpload-Length:\nUpload-Defer-Length: 1", -1},
		{"deferred begun", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 2\nUpload-Defer-Length: 1", 2},
		{"complete", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 5\nUpload-Length: 5\nUpload-Expires:", 5},
		{"part", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 5\nUpload-Length: 5\nUpload-Concat: partial", 5},
		{"final", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 5\nUpload-Length: 5\nUpload-Concat: *", 5},
		{"final that waits", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset:\nUpload-Length: 5\nUpload-Concat: *", 0},
		{"final of unknown length", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset:\nUpload-Length:\nUpload-Defer-Length:", 0},
		{"final whose length became known", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset:\nUpload-Length: 5", 0},
		{"final of empty parts", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 0\nUpload-Length: 0\nX-File-Id: *", -1},
		{"all there, and no file", "HEAD", "HEAD", nil, nil, 200, "Upload-Offset: 5\nUpload-Length: 5\nX-File-Id: *", 5},
		{"all there, and no file", "PATCH of nothing", "PATCH", patch("5"), nil, 204, "Upload-Offset: 5\nX-File-Id: *", 5},
		{"terminated", "HEAD", "HEAD", nil, nil, 404, "Upload-Offset:", 0},
		{"never", "HEAD", "HEAD", nil, nil, 404, "Upload-Offset:\nTus-Resumable: 1.0.0", 0},
		{"of the IETF's protocol", "HEAD", "HEAD", nil, nil, 404, "Upload-Offset:", 0},
		{"by chunk list", "HEAD", "HEAD", nil, nil, 404, "Upload-Offset:", 0},
		// PATCH.
		{"empty", "PATCH of all", "PATCH", patch("0"), "hello", 204, "Upload-Offset: 5\nX-File-Id: *\nUpload-Expires:", 5},
		{"empty", "PATCH of some", "PATCH", patch("0"), "hel", 204, "Upload-Offset: 3\nUpload-Expires: *\nX-File-Id:", 3},
		{"empty", "PATCH of nothing", "PATCH", patch("0"), nil, 204, "Upload-Offset: 0\nUpload-Expires: *", -1},
		{"begun", "PATCH of the rest", "PATCH", patch("2"), "llo", 204, "Upload-Offset: 5\nX-File-Id: *", 5},
		{"begun", "PATCH of the rest, of unknown length", "PATCH", patch("2"), unsized("llo"), 204, "Upload-Offset: 5\nX-File-Id: *", 5},
		{"begun", "PATCH with a parameter of the type", "PATCH", []string{"Upload-Offset", "2", "Content-Type", "Application/Offset+Octet-Stream; x=y"}, "llo", 204, "Upload-Offset: 5", 5},
		{"begun", "PATCH of another type", "PATCH", patch("2", "Content-Type", "application/octet-stream"), "llo", 415, "Upload-Offset:", 2},
		{"begun", "PATCH of no type", "PATCH", patch("2", "Content-Type", ""), "llo", 415, "", 2},
		{"begun", "PATCH without an offset", "PATCH", []string{"Content-Type", offsetStream}, "llo", 400, "", 2},
		{"begun", "PATCH with an empty offset", "PATCH", patch(""), "llo", 400, "", 2},
		{"begun", "PATCH with two offsets", "PATCH", patch("2", "+Upload-Offset", "2"), "llo", 400, "", 2},
		{"begun", "PATCH with two offsets in one line", "PATCH", patch("2, 2"), "llo", 400, "", 2},
		{"begun", "PATCH at -2", "PATCH", patch("-2"), "llo", 400, "", 2},
		{"empty", "PATCH at -0", "PATCH", patch("-0"), "hello", 400, "", -1},
		{"begun", "PATCH at +2", "PATCH", patch("+2"), "llo", 400, "", 2},
		{"begun", "PATCH at 2.0", "PATCH", patch("2.0"), "llo", 400, "", 2},
		{"begun", "PATCH at 0x2", "PATCH", patch("0x2"), "llo", 400, "", 2},
		{"begun", "PATCH at 1_0", "PATCH", patch("1_0"), "llo", 400, "", 2},
		{"begun", "PATCH at 2^63", "PATCH", patch("9223372036854775808"), "llo", 400, "", 2},
		{"begun", "PATCH at 2^64+2", "PATCH", patch("18446744073709551618"), "llo", 400, "", 2},
		{"begun", "PATCH before the offset", "PATCH", patch("0"), "hello", 409, "Upload-Offset: 2", 2},
		{"begun", "PATCH behind the offset", "PATCH", patch("3"), "lo", 409, "Upload-Offset: 2", 2},
		{"begun", "PATCH behind the length", "PATCH", patch("9"), "llo", 409, "Upload-Offset: 2", 2},
		{"begun", "PATCH at the highest offset", "PATCH", patch("9223372036854775807"), "llo", 409, "Upload-Offset: 2", 2},
		{"begun", "PATCH of too much", "PATCH", patch("2"), "llo!", 413, "Upload-Offset: 2", 2},
		{"begun", "PATCH of too much, of unknown length", "PATCH", patch("2"), unsized("llo!"), 413, "Upload-Offset: 2", 2},
		{"never", "PATCH", "PATCH", patch("0"), "hello", 404, "Tus-Resumable: 1.0.0", 0},
		{"terminated", "PATCH", "PATCH", patch("0"), "hello", 404, "", 0},
		{"of the IETF's protocol", "PATCH", "PATCH", patch("0"), "hello", 404, "", 0},
		{"by chunk list", "PATCH", "PATCH", patch("0"), "hello", 404, "", 0},
		{"complete", "PATCH of nothing", "PATCH", patch("5"), nil, 204, "Upload-Offset: 5\nX-File-Id: *", 5},
		{"complete", "PATCH of nothing, of unknown length", "PATCH", patch("5"), unsized(""), 204, "Upload-Offset: 5\nX-File-Id: *", 5},
		{"complete", "PATCH of more, of unknown length", "PATCH", patch("5"), unsized("!"), 403, "", 5},
		{"complete", "the same length again", "PATCH", patch("5", "Upload-Length", "5"), nil, 204, "X-File-Id: *", 5},
		{"complete", "another length", "PATCH", patch("5", "Upload-Length", "6"), nil, 400, "", 5},
		{"complete", "length 0", "PATCH", patch("5", "Upload-Length", "0"), nil, 400, "", 5},
		{"complete", "PATCH of more", "PATCH", patch("5"), "!", 403, "", 5},
		{"complete", "PATCH sent again", "PATCH", patch("0"), "hello", 409, "Upload-Offset: 5", 5},
		{"part", "PATCH of nothing", "PATCH", patch("5"), nil, 204, "Upload-Offset: 5\nX-File-Id:", 5},
		{"part", "PATCH of more", "PATCH", patch("5"), "!", 413, "", 5},
		{"final", "PATCH of more", "PATCH", patch("5"), "!", 403, "", 5},
		{"final", "PATCH of nothing", "PATCH", patch("5"), nil, 403, "", 5},
		{"final", "PATCH at another offset", "PATCH", patch("0"), "hello", 403, "", 5},
		{"final that waits", "PATCH", "PATCH", patch("0"), "hello", 403, "", 0},
		{"final of unknown length", "PATCH", "PATCH", patch("0"), "hello", 403, "", 0},
		// Lengths that come later.
		{"deferred", "length 0", "PATCH", patch("0", "Upload-Length", "0"), nil, 204, "Upload-Offset: 0\nX-File-Id: *", -1},
		{"deferred", "length and all", "PATCH", patch("0", "Upload-Length", "5"), "hello", 204, "X-File-Id: *", 5},
		{"deferred", "length and some", "PATCH", patch("0", "Upload-Length", "5"), "hel", 204, "X-File-Id:", 3},
		{"deferred", "no length yet", "PATCH", patch("0"), "hel", 204, "X-File-Id:", 3},
		{"deferred begun", "length and the rest", "PATCH", patch("2", "Upload-Length", "5"), "llo", 204, "X-File-Id: *", 5},
		{"deferred begun", "length alone ends it", "PATCH", patch("2", "Upload-Length", "2"), nil, 204, "X-File-Id: *", 2},
		{"deferred begun", "length alone", "PATCH", patch("2", "Upload-Length", "5"), nil, 204, "X-File-Id:", 2},
		{"deferred begun", "length 0 after bytes", "PATCH", patch("2", "Upload-Length", "0"), nil, 400, "", 2},
		{"deferred begun", "length below the offset", "PATCH", patch("2", "Upload-Length", "1"), nil, 400, "", 2},
		{"deferred begun", "length below what comes", "PATCH", patch("2", "Upload-Length", "4"), "llo", 413, "", 2},
		{"deferred begun", "length below what comes, of unknown length", "PATCH", patch("2", "Upload-Length", "4"), unsized("llo"), 413, "", 2},
		{"deferred begun", "negative length", "PATCH", patch("2", "Upload-Length", "-5"), "llo", 400, "", 2},
		{"deferred begun", "length 2^63", "PATCH", patch("2", "Upload-Length", "9223372036854775808"), "llo", 400, "", 2},
		{"deferred begun", "two lengths", "PATCH", patch("2", "Upload-Length", "5", "+Upload-Length", "5"), "llo", 400, "", 2},
		{"begun", "same length again", "PATCH", patch("2", "Upload-Length", "5"), "llo", 204, "X-File-Id: *", 5},
		{"begun", "another length", "PATCH", patch("2", "Upload-Length", "6"), "llo", 400, "", 2},
		{"begun", "length 0", "PATCH", patch("2", "Upload-Length", "0"), "llo", 400, "", 2},
		// Creation.
		{"creation", "POST", "POST", []string{"Upload-Length", "5"}, nil, 201, "Location: *\nUpload-Expires: *\nUpload-Offset: 0", 0},
		{"creation", "of the length 0", "POST", []string{"Upload-Length", "0"}, nil, 201, "X-File-Id: *", 0},
		{"creation", "of a deferred length", "POST", []string{"Upload-Defer-Length", "1"}, nil, 201, "Location: *", 0},
		{"creation", "no length", "POST", nil, nil, 400, "Location:", 0},
		{"creation", "both lengths", "POST", []string{"Upload-Length", "5", "Upload-Defer-Length", "1"}, nil, 400, "Location:", 0},
		{"creation", "length 0 and deferred", "POST", []string{"Upload-Length", "0", "Upload-Defer-Length", "1"}, nil, 400, "Location:", 0},
		{"creation", "deferred 0", "POST", []string{"Upload-Defer-Length", "0"}, nil, 400, "", 0},
		{"creation", "deferred 2", "POST", []string{"Upload-Defer-Length", "2"}, nil, 400, "", 0},
		{"creation", "deferred true", "POST", []string{"Upload-Defer-Length", "true"}, nil, 400, "", 0},
		{"creation", "deferred, empty", "POST", []string{"Upload-Defer-Length", ""}, nil, 400, "", 0},
		{"creation", "length empty", "POST", []string{"Upload-Length", ""}, nil, 400, "", 0},
		{"creation", "length -1", "POST", []string{"Upload-Length", "-1"}, nil, 400, "", 0},
		{"creation", "length -0", "POST", []string{"Upload-Length", "-0"}, nil, 400, "", 0},
		{"creation", "length +5", "POST", []string{"Upload-Length", "+5"}, nil, 400, "", 0},
		{"creation", "length 5.5", "POST", []string{"Upload-Length", "5.5"}, nil, 400, "", 0},
		{"creation", "length 2^63", "POST", []string{"Upload-Length", "9223372036854775808"}, nil, 400, "", 0},
		{"creation", "length 2^63-1", "POST", []string{"Upload-Length", "9223372036854775807"}, nil, 413, "Location:", 0},
		{"creation", "length 2^63-1 of a part", "POST", []string{"Upload-Length", "9223372036854775807", "Upload-Concat", "partial"}, nil, 413, "Location:", 0},
		{"deferred begun", "length 2^63-1", "PATCH", patch("2", "Upload-Length", "9223372036854775807"), "llo", 413, "", 2},
		{"creation", "two lengths", "POST", []string{"Upload-Length", "5", "+Upload-Length", "6"}, nil, 400, "", 0},
		{"creation", "another word of method", "PUT", []string{"Upload-Length", "5"}, nil, 405, "Tus-Resumable: 1.0.0\nAllow: *", 0},
		// Metadata.
		{"creation", "keys without values", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a,b YQ==,c "}, nil, 201, "Location: *", 0},
		{"creation", "spaces around pairs", "POST", []string{"Upload-Length", "5", "Upload-Metadata", " a YQ== , b YQ=="}, nil, 201, "Location: *", 0},
		{"creation", "metadata in two lines", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a YQ==", "+Upload-Metadata", "b YQ=="}, nil, 201, "Location: *", 0},
		{"creation", "a key twice", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a YQ==,b,a"}, nil, 400, "", 0},
		{"creation", "a key twice, in two lines", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a YQ==", "+Upload-Metadata", "a YQ=="}, nil, 400, "", 0},
		{"creation", "an empty key", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a YQ==,,b YQ=="}, nil, 400, "", 0},
		{"creation", "an empty key at the end", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a YQ==,"}, nil, 400, "", 0},
		{"creation", "nothing but a comma", "POST", []string{"Upload-Length", "5", "Upload-Metadata", ","}, nil, 400, "", 0},
		{"creation", "no base64", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a !"}, nil, 400, "", 0},
		{"creation", "base64 without its end", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a YQ"}, nil, 400, "", 0},
		{"creation", "base64 for URLs", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a __-_"}, nil, 400, "", 0},
		{"creation", "two values", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a YQ== YQ=="}, nil, 400, "", 0},
		{"creation", "a key that is not ASCII", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "ü YQ=="}, nil, 400, "", 0},
		{"creation", "a value that is not text", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "a /w=="}, nil, 400, "", 0},
		{"creation", "a line break in the type", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "filetype YQ0KYjogYw=="}, nil, 400, "", 0},
		{"creation", "a long type", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "filetype " + b64(strings.Repeat("x", 256))}, nil, 400, "", 0},
		{"creation", "a line break in the name", "POST", []string{"Upload-Length", "5", "Upload-Metadata", "filename YQ0KYg=="}, nil, 400, "", 0},
		// Creation with upload.
		{"creation", "with all", "POST", []string{"Upload-Length", "5", "Content-Type", offsetStream}, "hello", 201, "Upload-Offset: 5\nX-File-Id: *", 0},
		{"creation", "with some", "POST", []string{"Upload-Length", "5", "Content-Type", offsetStream}, "hel", 201, "Upload-Offset: 3\nX-File-Id:\nUpload-Expires: *", 0},
		{"creation", "with all, of unknown length", "POST", []string{"Upload-Length", "5", "Content-Type", offsetStream}, unsized("hello"), 201, "Upload-Offset: 5", 0},
		{"creation", "with some of a deferred length", "POST", []string{"Upload-Defer-Length", "1", "Content-Type", offsetStream}, "hel", 201, "Upload-Offset: 3", 0},
		{"creation", "with too much", "POST", []string{"Upload-Length", "4", "Content-Type", offsetStream}, "hello", 413, "Location:", 0},
		{"creation", "with something for nothing", "POST", []string{"Upload-Length", "0", "Content-Type", offsetStream}, "hello", 413, "Location:", 0},
		{"creation", "with content of another type", "POST", []string{"Upload-Length", "5", "Content-Type", "text/plain"}, "hello", 415, "Location:", 0},
		{"creation", "with content of no type", "POST", []string{"Upload-Length", "5"}, "hello", 415, "Location:", 0},
		{"creation", "with a part and its bytes", "POST", []string{"Upload-Length", "5", "Upload-Concat", "partial", "Content-Type", offsetStream}, "hello", 201, "Upload-Offset: 5\nX-File-Id:", 0},
		// Concatenation.
		{"creation", "an unknown word", "POST", []string{"Upload-Length", "5", "Upload-Concat", "Partial"}, nil, 400, "", 0},
		{"creation", "a final one without parts", "POST", []string{"Upload-Concat", "final;"}, nil, 400, "", 0},
		{"creation", "a final one without a semicolon", "POST", []string{"Upload-Concat", "final"}, nil, 400, "", 0},
		{"creation", "a final one of none such", "POST", []string{"Upload-Concat", "final;/api/tus/demo/" + missing("u_")}, nil, 404, "", 0},
		{"creation", "a final one of something else", "POST", []string{"Upload-Concat", "final;https://example.com/"}, nil, 404, "", 0},
		{"part", "commas between parts", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL,URL"}, nil, 400, "Location:", 5},
		{"part", "commas and spaces between parts", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL, URL"}, nil, 400, "Location:", 5},
		{"creation", "a part without a length", "POST", []string{"Upload-Concat", "partial"}, nil, 400, "", 0},
		{"part", "a final one", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL URL"}, nil, 201, "Upload-Offset: 10\nX-File-Id: *", 5},
		{"part", "a final one with a length", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL", "Upload-Length", "5"}, nil, 400, "Location:", 5},
		{"part", "a final one of length 0", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL", "Upload-Length", "0"}, nil, 400, "Location:", 5},
		{"part", "a final one of deferred length", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL", "Upload-Defer-Length", "1"}, nil, 400, "Location:", 5},
		{"part", "a final one with content", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL", "Content-Type", offsetStream}, "hello", 400, "Location:", 5},
		{"part", "two words", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL", "+Upload-Concat", "partial"}, nil, 400, "Location:", 5},
		{"complete", "a final one of what is no part", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL"}, nil, 400, "", 5},
		{"final", "a final one of a final one", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL"}, nil, 400, "", 5},
		{"terminated", "a final one of a part that is gone", "POST", []string{"PATH", "/api/tus/demo", "Upload-Concat", "final;URL"}, nil, 404, "", 0},
		// Termination.
		{"empty", "DELETE", "DELETE", nil, nil, 204, "Tus-Resumable: 1.0.0", 0},
		{"complete", "DELETE", "DELETE", nil, nil, 204, "", 0},
		{"final that waits", "DELETE", "DELETE", nil, nil, 204, "", 0},
		{"terminated", "DELETE", "DELETE", nil, nil, 404, "", 0},
		{"never", "DELETE", "DELETE", nil, nil, 404, "", 0},
		{"of the IETF's protocol", "DELETE", "DELETE", nil, nil, 404, "", 0},
		{"by chunk list", "DELETE", "DELETE", nil, nil, 404, "", 0},
		// Methods that stand for others.
		{"begun", "POST for PATCH", "POST", patch("2", "X-HTTP-Method-Override", "PATCH"), "llo", 204, "Upload-Offset: 5", 5},
		{"begun", "POST for HEAD", "POST", []string{"X-HTTP-Method-Override", "HEAD"}, nil, 200, "Upload-Offset: 2", 2},
		{"begun", "POST for DELETE", "POST", []string{"X-HTTP-Method-Override", "DELETE"}, nil, 204, "", 0},
		{"begun", "PATCH for DELETE", "PATCH", patch("2", "X-HTTP-Method-Override", "DELETE"), "llo", 204, "", 0},
		{"begun", "PUT for PATCH", "PUT", patch("2", "X-HTTP-Method-Override", "PATCH"), "llo", 204, "Upload-Offset: 5", 5},
		{"begun", "GET for PATCH", "GET", patch("2", "X-HTTP-Method-Override", "PATCH"), "llo", 204, "Upload-Offset: 5", 5},
		{"begun", "POST for nothing", "POST", patch("2"), "llo", 400, "", 2},
		{"begun", "POST for PUT", "POST", patch("2", "X-HTTP-Method-Override", "PUT"), "llo", 405, "Tus-Resumable: 1.0.0", 2},
		{"begun", "POST for no method", "POST", patch("2", "X-HTTP-Method-Override", "patch it"), "llo", 405, "", 2},
		{"begun", "GET", "GET", nil, nil, 405, "Tus-Resumable: 1.0.0\nAllow: *", 2},
		// Codings.
		{"begun", "PATCH of gzip", "PATCH", patch("2", "Content-Encoding", "gzip"), "llo", 415, "Accept-Encoding: identity", 2},
		{"begun", "PATCH of identity", "PATCH", patch("2", "Content-Encoding", "identity"), "llo", 204, "Accept-Encoding:", 5},
		{"creation", "POST of gzip", "POST", []string{"Upload-Length", "5", "Content-Encoding", "gzip"}, nil, 415, "Accept-Encoding: identity\nTus-Resumable: 1.0.0\nLocation:", 0},
		{"begun", "POST for PATCH of br", "POST", patch("2", "X-HTTP-Method-Override", "PATCH", "Content-Encoding", "br"), "llo", 415, "Accept-Encoding: identity", 2},
	}
}

// Checksums: right, wrong, of another length, and none.
func checksumCases() (out []tusCase) {
	sums := map[string]func(s string) []byte{
		"sha1":   func(s string) []byte { h := sha1.Sum([]byte(s)); return h[:] },
		"sha256": func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] },
		"sha512": func(s string) []byte { h := sha512.Sum512([]byte(s)); return h[:] },
		"md5":    func(s string) []byte { h := md5.Sum([]byte(s)); return h[:] },
		"crc32":  func(s string) []byte { return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(s))) },
		"blake3": func(s string) []byte { h := blake3.New(); h.Write([]byte(s)); return h.Sum(nil) },
	}
	coded := base64.StdEncoding.EncodeToString
	for name, sum := range sums {
		right := sum("llo")
		for value, status := range map[string]int{coded(right): 204, coded(sum("lol")): 460, coded(right[:len(right)-1]): 460, coded(append(right, 0)): 460,
			coded([]byte{0}): 460, coded(make([]byte, 200)): 460, "!": 400, "": 400, " ": 400, coded(right) + " " + coded(right): 400,
			strings.TrimRight(coded(right), "=") + "*": 400, fmt.Sprintf("%x!", right): 400} {
			offset := map[int]int{204: 5}[status]
			if offset == 0 {
				offset = 2
			}
			out = append(out, tusCase{"begun", name + " " + value, "PATCH", []string{"Upload-Offset", "2", "Content-Type", offsetStream, "Upload-Checksum", name + " " + value},
				"llo", status, "", offset})
			if !strings.ContainsAny(value, "!* ") && value != "" {
				out = append(out, tusCase{"creation", "with " + name + " " + value, "POST", []string{"Upload-Length", "3", "Content-Type", offsetStream, "Upload-Checksum", name + " " + value},
					"llo", map[bool]int{true: 201, false: status}[status == 204], "", 0})
			}
		}
	}
	at := func(what, value string, status int) {
		out = append(out, tusCase{"begun", what, "PATCH", []string{"Upload-Offset", "2", "Content-Type", offsetStream, "Upload-Checksum", value}, "llo", status, "", 2})
	}
	at("an unknown algorithm", "rot13 YQ==", 400)
	at("an algorithm in capitals", "SHA1 "+coded(sums["sha1"]("llo")), 400)
	at("no algorithm", coded(sums["sha1"]("llo")), 400)
	at("an empty checksum", "", 400)
	out = append(out, tusCase{"begun", "two checksums", "PATCH", []string{"Upload-Offset", "2", "Content-Type", offsetStream, "Upload-Checksum", "sha1 " + coded(sums["sha1"]("llo")), "+Upload-Checksum", "sha1 " + coded(sums["sha1"]("llo"))}, "llo", 400, "", 2},
		tusCase{"creation", "of nothing, with its checksum", "POST", []string{"Upload-Length", "0", "Upload-Checksum", "sha1 " + coded(sums["sha1"](""))}, nil, 201, "X-File-Id: *", 0},
		tusCase{"creation", "of nothing, with another checksum", "POST", []string{"Upload-Length", "0", "Upload-Checksum", "sha1 " + coded(sums["sha1"]("x"))}, nil, 460, "Location:\nX-File-Id:", 0},
		tusCase{"creation", "without content, with an unknown algorithm", "POST", []string{"Upload-Length", "3", "Upload-Checksum", "rot13 YQ=="}, nil, 400, "Location:", 0},
		tusCase{"deferred", "length 0 with another checksum", "PATCH", []string{"Upload-Offset", "0", "Upload-Length", "0", "Content-Type", offsetStream, "Upload-Checksum", "sha1 " + coded(sums["sha1"]("x"))}, nil, 460, "X-File-Id:", -1},
		tusCase{"creation", "with an unknown algorithm", "POST", []string{"Upload-Length", "3", "Content-Type", offsetStream, "Upload-Checksum", "rot13 YQ=="}, "llo", 400, "Location:", 0})
	return out
}

// TestTusConformance is the text of tus 1.0.0 with the extensions that OPTIONS
// names: a line for every kind of request to an upload in each state.
func TestTusConformance(t *testing.T) {
	race.LeaveOut(t)
	w := newWorld(t)
	states := tusStates()
	for _, c := range append(tusCases(), checksumCases()...) {
		u := &tusUpload{world: w}
		states[c.state](u)
		path, header := u.url, []string{"Tus-Resumable", "1.0.0"}
		for i := 0; i < len(c.header); i += 2 {
			if c.header[i] == "PATH" {
				path = c.header[i+1]
				continue
			}
			header = append(header, c.header[i], strings.ReplaceAll(c.header[i+1], "URL", u.url))
		}
		a := w.do(c.method, path, bodyOf(c.body), header...)
		if a.StatusCode != c.status {
			t.Errorf("%s: %s: %d %s, want %d", c.state, c.what, a.StatusCode, a.body, c.status)
		}
		checkHeaders(t, c.state+": "+c.what, a, c.want)
		if a.Header.Get("Tus-Resumable") != "1.0.0" {
			t.Errorf("%s: %s: no Tus-Resumable", c.state, c.what)
		}
		if c.offset != 0 {
			u.wantOffset(max(c.offset, 0))
		}
	}
}

// bodyOf returns the body of a case: a string or a reader.
func bodyOf(v any) io.Reader {
	switch v := v.(type) {
	case string:
		return strings.NewReader(v)
	case io.Reader:
		return v
	}
	return nil
}

// checkHeaders compares headers of an answer with lines "Name: value". A value
// of * is any, none is an absent header.
func checkHeaders(t *testing.T, what string, a *answer, lines string) {
	t.Helper()
	for line := range strings.SplitSeq(lines, "\n") {
		name, want, _ := strings.Cut(line, ":")
		want = strings.TrimSpace(want)
		if got := a.Header.Get(name); got != want && (want != "*" || got == "") {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}
}
