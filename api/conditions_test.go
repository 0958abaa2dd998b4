package api_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// conditionsOf replaces words of a header: NOW and OLD are the tags of a file's
// current version and of the one before, AT is its Last-Modified, BEFORE and
// AFTER are a second off, and @ is the next line of the same header.
func (w *world) conditionsOf(path string, old, now *client.File) func(pairs ...string) []string {
	at := w.modified(path)
	words := strings.NewReplacer("NOW", `"b3-`+now.Checksums["root"]+`"`, "OLD", `"b3-`+old.Checksums["root"]+`"`,
		"AT", at.Format(http.TimeFormat), "BEFORE", at.Add(-time.Second).Format(http.TimeFormat), "AFTER", at.Add(time.Second).Format(http.TimeFormat))
	return func(pairs ...string) []string {
		out := make([]string, len(pairs))
		for i, p := range pairs {
			out[i] = words.Replace(p)
		}
		return out
	}
}

// sendLines is do with header values cut into lines at each @.
func (w *world) sendLines(method, path, body string, header []string) *answer {
	w.t.Helper()
	var text strings.Builder
	for i := 0; i < len(header); i += 2 {
		for line := range strings.SplitSeq(header[i+1], "@") {
			text.WriteString(header[i] + ": " + line + "\r\n")
		}
	}
	length := ""
	if method != "GET" && method != "HEAD" {
		length = "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	if method == "PATCH" {
		length += "Content-Type: application/json\r\n"
	}
	return w.raw(method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+length+text.String()+"\r\n"+body, false)
}

// TestConditions sends conditions with downloads of a file of two versions.
func TestConditions(t *testing.T) {
	w := newWorld(t)
	v1 := w.put("f", []byte("first"))
	v2, err := w.c.Replace(t.Context(), "demo", v1.ID, strings.NewReader("second"), nil)
	if err != nil {
		t.Fatal(err)
	}
	path := "/api/files/demo/" + v1.ID + "/download"
	fill := w.conditionsOf(path, v1, v2)
	for _, c := range []struct {
		header []string
		status int
	}{
		{[]string{"If-Match", "NOW"}, 200},
		{[]string{"If-Match", "*"}, 200},
		{[]string{"If-Match", "OLD"}, 412},
		{[]string{"If-Match", "OLD, NOW"}, 200},
		{[]string{"If-Match", "OLD,NOW"}, 200},
		{[]string{"If-Match", "OLD ,\t NOW"}, 200},
		{[]string{"If-Match", "OLD@NOW"}, 200},
		{[]string{"If-Match", "OLD@\"x\""}, 412},
		{[]string{"If-Match", "W/NOW"}, 412}, // it compares strongly
		{[]string{"If-Match", "OLD, W/NOW"}, 412},
		{[]string{"If-Match", `"a,b", NOW`}, 200},
		{[]string{"If-Match", `"*"`}, 412},
		{[]string{"If-Match", `""`}, 412},

		{[]string{"If-None-Match", "NOW"}, 304},
		{[]string{"If-None-Match", "*"}, 304},
		{[]string{"If-None-Match", "OLD"}, 200},
		{[]string{"If-None-Match", "OLD, NOW"}, 304},
		{[]string{"If-None-Match", "OLD@NOW"}, 304},
		{[]string{"If-None-Match", "W/NOW"}, 304}, // it compares weakly
		{[]string{"If-None-Match", "OLD, W/NOW"}, 304},
		{[]string{"If-None-Match", "W/OLD"}, 200},
		{[]string{"If-None-Match", `"a,b", NOW`}, 304},
		{[]string{"If-None-Match", `"*"`}, 200},
		{[]string{"If-None-Match", `"other"`}, 200},

		{[]string{"If-Modified-Since", "AT"}, 304},
		{[]string{"If-Modified-Since", "AFTER"}, 304},
		{[]string{"If-Modified-Since", "BEFORE"}, 200},
		{[]string{"If-Modified-Since", "yesterday"}, 200},
		{[]string{"If-Modified-Since", ""}, 200},
		{[]string{"If-Modified-Since", "0"}, 200},

		{[]string{"If-Unmodified-Since", "AT"}, 200},
		{[]string{"If-Unmodified-Since", "AFTER"}, 200},
		{[]string{"If-Unmodified-Since", "BEFORE"}, 412},
		{[]string{"If-Unmodified-Since", "yesterday"}, 200},

		// Which one decides.
		{[]string{"If-None-Match", "OLD", "If-Modified-Since", "AT"}, 200},
		{[]string{"If-None-Match", "NOW", "If-Modified-Since", "BEFORE"}, 304},
		{[]string{"If-Match", "NOW", "If-Unmodified-Since", "BEFORE"}, 200},
		{[]string{"If-Match", "OLD", "If-Unmodified-Since", "AFTER"}, 412},
		{[]string{"If-Match", "OLD", "If-None-Match", "NOW"}, 412},
		{[]string{"If-Match", "NOW", "If-None-Match", "NOW"}, 304},
		{[]string{"If-Unmodified-Since", "BEFORE", "If-None-Match", "NOW"}, 412},
		{[]string{"If-Unmodified-Since", "AT", "If-Modified-Since", "AT"}, 304},
		{[]string{"If-None-Match", "NOW", "Range", "bytes=99-"}, 304},
		{[]string{"If-Match", "OLD", "Range", "bytes=99-"}, 412},
		{[]string{"If-Modified-Since", "AT", "Range", "bytes=0-0"}, 304},
		{[]string{"If-Match", "NOW", "Range", "bytes=99-"}, 416},

		{[]string{"Range", "bytes=0-0", "If-Range", "NOW"}, 206},
		{[]string{"Range", "bytes=0-0", "If-Range", "OLD"}, 200},
		{[]string{"Range", "bytes=0-0", "If-Range", "W/NOW"}, 200}, // a weak tag is not enough
		{[]string{"Range", "bytes=0-0", "If-Range", "*"}, 200},
		{[]string{"Range", "bytes=0-0", "If-Range", "AT"}, 206},
		{[]string{"Range", "bytes=0-0", "If-Range", "AFTER"}, 200}, // only the very date
		{[]string{"Range", "bytes=0-0", "If-Range", "BEFORE"}, 200},
		{[]string{"Range", "bytes=0-0", "If-Range", "yesterday"}, 200},
		{[]string{"Range", "bytes=99-", "If-Range", "OLD"}, 200},
		{[]string{"Range", "bytes=99-", "If-Range", "NOW"}, 416},
		{[]string{"If-Range", "OLD"}, 200},
	} {
		h := fill(c.header...)
		for _, route := range []string{path, strings.Replace(path, "/download", "/view", 1), "/api/files/demo/_at/f"} {
			a := w.sendLines("GET", route, "", h)
			if a.StatusCode != c.status {
				t.Errorf("GET %s with %q: %d, want %d", route, c.header, a.StatusCode, c.status)
			}
			if c.status == 200 && string(a.body) != "second" || c.status == 304 && (len(a.body) > 0 || a.Header.Get("ETag") == "") {
				t.Errorf("GET %s with %q: %q %v", route, c.header, a.body, a.Header)
			}
			if status := w.sendLines("HEAD", route, "", h).StatusCode; status != c.status && (status != 200 || c.status != 206 && c.status != 416) {
				t.Errorf("HEAD %s with %q: %d, want %d", route, c.header, status, c.status)
			}
		}
	}
}

// TestConditionsOfChanges sends conditions with changes of a file of two
// versions. What does not hold changes nothing.
func TestConditionsOfChanges(t *testing.T) {
	race.LeaveOut(t)
	w := newWorld(t)
	for _, c := range []struct {
		header []string
		holds  bool
	}{
		{[]string{"If-Match", "NOW"}, true},
		{[]string{"If-Match", "*"}, true},
		{[]string{"If-Match", "OLD"}, false},
		{[]string{"If-Match", "OLD, NOW"}, true},
		{[]string{"If-Match", "OLD@NOW"}, true},
		{[]string{"If-Match", `"a,b", NOW`}, true},
		{[]string{"If-Match", "W/NOW"}, false},
		{[]string{"If-Match", "W/NOW, OLD"}, false},
		{[]string{"If-Match", `"other"`}, false},
		{[]string{"If-Match", `"*"`}, false},
		{[]string{"If-Match", "nonsense"}, false},
		{[]string{"If-Match", "OLD, nonsense"}, false},
		{[]string{"If-None-Match", "*"}, false},
		{[]string{"If-None-Match", "NOW"}, false},
		{[]string{"If-None-Match", "W/NOW"}, false},
		{[]string{"If-None-Match", "OLD, NOW"}, false},
		{[]string{"If-None-Match", "OLD"}, true},
		{[]string{"If-None-Match", `"other"`}, true},
		{[]string{"If-Unmodified-Since", "AT"}, true},
		{[]string{"If-Unmodified-Since", "AFTER"}, true},
		{[]string{"If-Unmodified-Since", "BEFORE"}, false},
		{[]string{"If-Unmodified-Since", "yesterday"}, true}, // not a date: no condition
		{[]string{"If-Match", "NOW", "If-Unmodified-Since", "BEFORE"}, true},
		{[]string{"If-Match", "NOW", "If-None-Match", "NOW"}, false},
		{[]string{"If-Match", "OLD", "If-None-Match", "OLD"}, false},
		{[]string{"If-Modified-Since", "AT"}, true}, // for GET only
		{[]string{"If-Range", "OLD"}, true},         // the same
	} {
		for _, change := range []struct{ method, path, body string }{
			{"PUT", "", "third"},
			{"PATCH", "", `{"tags": ["t"]}`},
			{"POST", "/append", "more"},
			{"POST", "/versions/1/restore", ""},
			{"DELETE", "/versions/1", ""},
			{"DELETE", "", ""},
			{"DELETE", "?permanent=true", ""},
		} {
			v1 := w.put("f", []byte("first"))
			v2, err := w.c.Replace(t.Context(), "demo", v1.ID, strings.NewReader("second"), nil)
			if err != nil {
				t.Fatal(err)
			}
			path := "/api/files/demo/" + v1.ID
			h := w.conditionsOf(path+"/download", v1, v2)(c.header...)
			a := w.sendLines(change.method, path+change.path, change.body, h)
			if c.holds && a.StatusCode >= 300 || !c.holds && (a.StatusCode != 412 || a.code() != "precondition-failed") {
				t.Errorf("%s %s with %q: %d %s, want it to hold: %v", change.method, change.path, c.header, a.StatusCode, a.body, c.holds)
			}
			if now, err := w.c.Stat(t.Context(), "demo", v1.ID, nil); !c.holds && (err != nil || now.Version != 2 || now.VersionsCount != 2 || len(now.Tags) > 0) {
				t.Errorf("%s %s with %q has changed the file: %+v, %v", change.method, change.path, c.header, now, err)
			}
			w.do("DELETE", path+"?permanent=true", nil)
		}
	}
}

// A file that is made by name takes conditions on the file of that name.
func TestConditionsByName(t *testing.T) {
	w := newWorld(t)
	f := w.put("f", []byte("first"))
	tag := `"b3-` + f.Checksums["root"] + `"`
	for _, c := range []struct {
		query, header, value string
		status               int
	}{
		{"name=f&on_conflict=version", "If-Match", tag, 200},
		{"name=f&on_conflict=version", "If-Match", `"x", ` + tag, 200},
		{"name=f&on_conflict=version", "If-Match", "*", 200},
		{"name=f&on_conflict=version", "If-Match", `"x"`, 412},
		{"name=f&on_conflict=version", "If-Match", `"x", "y"`, 412},
		{"name=f&on_conflict=version", "If-None-Match", "*", 412},
		{"name=new&on_conflict=version", "If-Match", "*", 412},
		{"name=new&on_conflict=version", "If-Match", `"x", "y"`, 412},
		{"name=new", "If-Match", "*", 412},
		{"name=f", "If-None-Match", "*", 412},
		{"name=f", "If-Match", tag, 412}, // a new file has no version
	} {
		a := w.do("POST", "/api/files/demo?skip_unchanged=true&"+c.query, strings.NewReader("first"), c.header, c.value)
		if a.StatusCode != c.status {
			t.Errorf("%s with %s: %s: %d %s, want %d", c.query, c.header, c.value, a.StatusCode, a.body, c.status)
		}
	}
	w.want(201, "", "POST", "/api/files/demo?name=new", strings.NewReader("x"), "If-None-Match", "*")
}
