package api_test

import (
	"fmt"
	"mime"
	"strings"
	"testing"
)

// TestRanges asks for ranges of twenty letters, and of an empty file. want is
// what comes: a part, "all" of it with 200, "none" with 416, or several parts
// with a comma between them.
func TestRanges(t *testing.T) {
	const content, huge = "abcdefghijklmnopqrst", "99999999999999999999999999"
	w := newWorld(t)
	full, empty := w.put("full", []byte(content)), w.put("empty", nil)
	for _, c := range []struct{ header, want, ofEmpty string }{
		{"bytes=0-0", "a", "none"},
		{"bytes=0-", content, "none"},
		{"bytes=0-19", content, "none"},
		{"bytes=0-20", content, "none"},
		{"bytes=5-7", "fgh", "none"},
		{"bytes=19-", "t", "none"},
		{"bytes=19-19", "t", "none"},
		{"bytes=007-0008", "hi", "none"},
		{"Bytes=5-7", "fgh", "none"},
		{"BYTES=5-7", "fgh", "none"},

		// Beyond the end, also of what 32 and 64 bits hold.
		{"bytes=20-", "none", "none"},
		{"bytes=20-30", "none", "none"},
		{"bytes=18-30", "st", "none"},
		{"bytes=18-2147483648", "st", "none"},
		{"bytes=0-4294967296", content, "none"},
		{"bytes=0-9223372036854775807", content, "none"},
		{"bytes=0-9223372036854775808", content, "none"},
		{"bytes=0-18446744073709551615", content, "none"},
		{"bytes=5-18446744073709551621", content[5:], "none"},
		{"bytes=0-" + huge, content, "none"},
		{"bytes=" + huge + "-", "none", "none"},
		{"bytes=" + huge + "-" + huge, "none", "none"},
		{"bytes=" + huge + "-" + huge + "0", "none", "none"},
		{"bytes=" + huge + "0-" + huge, "all", "all"}, // ends before it begins
		{"bytes=18446744073709551616-", "none", "none"},

		// Suffixes.
		{"bytes=-1", "t", "none"},
		{"bytes=-20", content, "none"},
		{"bytes=-21", content, "none"},
		{"bytes=-0", "none", "none"},
		{"bytes=-00", "none", "none"},
		{"bytes=-9223372036854775808", content, "none"},
		{"bytes=-" + huge, content, "none"},

		// White space, and empty elements of the list.
		{"bytes= 5-7", "fgh", "none"},
		{"bytes=5-7 ", "fgh", "none"},
		{"bytes=\t5-7", "fgh", "none"},
		{"bytes=,5-7", "fgh", "none"},
		{"bytes=5-7,", "fgh", "none"},
		{"bytes=, ,5-7, ,", "fgh", "none"},

		// Several, some outside.
		{"bytes=0-0,5-5", "a,f", "none"},
		{"bytes=0-0, 5-5", "a,f", "none"},
		{"bytes=0-0 ,\t5-5", "a,f", "none"},
		{"bytes=0-0,,5-5", "a,f", "none"},
		{"bytes=5-5,0-0", "f,a", "none"},
		{"bytes=-1,0-0", "t,a", "none"},
		{"bytes=0-0,20-", "a", "none"},
		{"bytes=20-,0-0", "a", "none"},
		{"bytes=0-0,-0", "a", "none"},
		{"bytes=0-0," + huge + "-", "a", "none"},
		{"bytes=0-0,19-" + huge, "a,t", "none"},
		{"bytes=20-,30-40,-0", "none", "none"},
		{"bytes=0-,0-", "all", "none"},        // more than there is
		{"bytes=0-15,1-16,-3", "all", "none"}, // the same
		{"bytes=0-0" + strings.Repeat(",1-1", 15), "a" + strings.Repeat(",b", 15), "none"},
		{"bytes=0-0" + strings.Repeat(",1-1", 16), "all", "all"}, // too many

		// Not valid, or of another unit: ignored.
		{"bytes=", "all", "all"},
		{"bytes", "all", "all"},
		{"bytes=,", "all", "all"},
		{"bytes=-", "all", "all"},
		{"bytes=--1", "all", "all"},
		{"bytes=a-b", "all", "all"},
		{"bytes=0-x", "all", "all"},
		{"bytes=0x0-1", "all", "all"},
		{"bytes=+0-1", "all", "all"},
		{"bytes=0-+1", "all", "all"},
		{"bytes=0--1", "all", "all"},
		{"bytes=0-1-2", "all", "all"},
		{"bytes=0 - 1", "all", "all"},
		{"bytes=5", "all", "all"},
		{"bytes=7-5", "all", "all"},
		{"bytes=0-0,7-5", "all", "all"},
		{"bytes=0-0,x", "all", "all"},
		{"bytes=0-0;5-5", "all", "all"},
		{"bytes=1.5-2", "all", "all"},
		{"bytes=١-٢", "all", "all"},
		{"bytes 0-1", "all", "all"},
		{"bytes =0-1", "all", "all"},
		{"bytes:0-1", "all", "all"},
		{"items=0-1", "all", "all"},
		{"lines=1-2", "all", "all"},
		{"none", "all", "all"},
	} {
		for id, of := range map[string]struct{ content, want string }{full.ID: {content, c.want}, empty.ID: {"", c.ofEmpty}} {
			path := "/api/files/demo/" + id + "/download"
			if of.want == "none" {
				a := w.want(416, "range-not-satisfiable", "GET", path, nil, "Range", c.header)
				if got, want := a.Header.Get("Content-Range"), fmt.Sprintf("bytes */%d", len(of.content)); got != want {
					t.Errorf("%q: Content-Range is %q, want %q", c.header, got, want)
				}
				continue
			}
			status, want := 206, of.want
			if want == "all" {
				status, want = 200, of.content
			}
			a := w.want(status, "", "GET", path, nil, "Range", c.header)
			if got := partsOf(t, a); got != want {
				t.Errorf("%q: got %q, want %q", c.header, got, want)
			}
			at := strings.Index(of.content, want)
			if got, cr := a.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/20", at, at+len(want)-1); at >= 0 && status == 206 && got != cr {
				t.Errorf("%q: Content-Range is %q, want %q", c.header, got, cr)
			}
			if h := w.want(200, "", "HEAD", path, nil, "Range", c.header).Header; h.Get("Content-Length") != fmt.Sprint(len(of.content)) {
				t.Errorf("%q: HEAD: %v", c.header, h)
			}
		}
	}
}

// partsOf returns the body of an answer, and of several ranges the parts with a
// comma between them.
func partsOf(t *testing.T, a *answer) string {
	t.Helper()
	mediaType, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/byteranges" {
		return string(a.body)
	}
	var out []string
	for part := range strings.SplitSeq(string(a.body), "--"+params["boundary"]) {
		if _, content, ok := strings.Cut(part, "\r\n\r\n"); ok {
			out = append(out, strings.TrimSuffix(content, "\r\n"))
		}
	}
	return strings.Join(out, ",")
}
