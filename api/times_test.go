package api_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// modified returns Last-Modified of what lies at a path.
func (w *world) modified(path string) time.Time {
	w.t.Helper()
	at, err := http.ParseTime(w.want(200, "", "HEAD", path, nil).Header.Get("Last-Modified"))
	if err != nil {
		w.t.Fatal(err)
	}
	return at
}

// Last-Modified never goes back and tells contents apart, whatever is done to
// the versions of a file and however quickly. That of a version never changes.
func TestLastModified(t *testing.T) {
	w := newWorld(t)
	f := w.put("f", []byte("v1"))
	path := "/api/files/demo/" + f.ID
	content, versions := path+"/download?trashed=true", map[string]time.Time{}
	for _, c := range []struct {
		what         string
		method, path string
		body         string
		other        bool // the content is another
	}{
		{"a new version", "PUT", path, "v2", true},
		{"a rename", "PATCH", path, `{"name": "g"}`, false},
		{"tags", "PATCH", path, `{"tags": ["t"]}`, false},
		{"the current version removed", "DELETE", path + "/versions/LAST", "", true},
		{"a new version", "PUT", path, "v3", true},
		{"the same again", "PUT", path, "v3", true},
		{"an old version removed", "DELETE", path + "/versions/1", "", false},
		{"an old version restored", "POST", path + "/versions/3/restore", "", true},
		{"the current version removed by its ID", "DELETE", "MANIFEST", "", true},
		{"to the trash", "DELETE", path, "", false},
		{"out of it", "POST", path + "/restore", "", false},
		{"an edit", "POST", path + "/append", "more", true},
		{"another", "POST", path + "/truncate", `{"size": 1}`, true},
		{"that removed", "DELETE", path + "/versions/LAST", "", true},
		{"that before removed", "DELETE", path + "/versions/LAST", "", true},
	} {
		before := w.modified(content)
		now := new(client.File)
		if err := json.Unmarshal(w.want(200, "", "GET", path+"?trashed=true", nil).body, now); err != nil {
			t.Fatal(err)
		}
		versions[now.ManifestID] = w.modified("/api/files/demo/" + now.ManifestID + "/download?trashed=true")
		to := strings.NewReplacer("LAST", strconv.FormatUint(now.Version, 10), "MANIFEST", "/api/files/demo/"+now.ManifestID).Replace(c.path)
		header := []string{"Content-Type", "application/json"}
		if c.method == "PUT" || strings.HasSuffix(c.path, "append") {
			header = nil
		}
		a := w.do(c.method, to, strings.NewReader(c.body), header...)
		if a.StatusCode >= 300 {
			t.Fatalf("%s: %d %s", c.what, a.StatusCode, a.body)
		}
		after := w.modified(content)
		if c.other && !after.After(before) || !c.other && !after.Equal(before) {
			t.Errorf("%s: Last-Modified was %s and is %s", c.what, before, after)
		}
		status := 304
		if c.other {
			status = 200
		}
		w.want(status, "", "GET", content, nil, "If-Modified-Since", before.Format(http.TimeFormat))
		w.want(304, "", "GET", content, nil, "If-Modified-Since", after.Format(http.TimeFormat))
		w.want(200, "", "GET", content, nil, "If-Unmodified-Since", after.Format(http.TimeFormat))
		for id, at := range versions {
			a := w.do("HEAD", "/api/files/demo/"+id+"/download?trashed=true", nil)
			if a.StatusCode != 404 && a.Header.Get("Last-Modified") != at.Format(http.TimeFormat) {
				t.Errorf("%s: Last-Modified of version %s was %s and is %s", c.what, id, at, a.Header.Get("Last-Modified"))
			}
		}
	}
}

// Who has a date of one file at a path is not told that another one, which has
// come there by a rename, is the same.
func TestLastModifiedOfPaths(t *testing.T) {
	w := newWorld(t)
	old := w.put("old", []byte("old"))
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1005 * time.Millisecond)))
	at := w.put("at", []byte("at"))
	date := w.modified("/api/files/demo/_at/at").Format(http.TimeFormat)
	w.want(304, "", "GET", "/api/files/demo/_at/at", nil, "If-Modified-Since", date)
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1005 * time.Millisecond)))
	rename := func(f *client.File, name string) {
		w.want(200, "", "PATCH", "/api/files/demo/"+f.ID, strings.NewReader(`{"name": "`+name+`"}`), "Content-Type", "application/json")
	}
	rename(at, "gone")
	rename(old, "at")
	w.want(200, "", "GET", "/api/files/demo/_at/at", nil, "If-Modified-Since", date)
	w.want(412, "precondition-failed", "GET", "/api/files/demo/_at/at", nil, "If-Unmodified-Since", date)
	// The date that the path tells now is later, and holds.
	now := w.modified("/api/files/demo/_at/at")
	if before, err := http.ParseTime(date); err != nil || !now.After(before) {
		t.Errorf("Last-Modified was %s and is %s", date, now)
	}
	date = now.Format(http.TimeFormat)
	w.want(304, "", "GET", "/api/files/demo/_at/at", nil, "If-Modified-Since", date)
	w.want(200, "", "GET", "/api/files/demo/_at/at", nil, "If-Unmodified-Since", date)
	w.want(206, "", "GET", "/api/files/demo/_at/at", nil, "Range", "bytes=0-0", "If-Range", date)
}

// Each version has its own times, wherever it is described; a file has those of
// its creation and its last change.
func TestTimesOfVersions(t *testing.T) {
	w := newWorld(t)
	f := w.put("f", []byte("v1"))
	for n := 2; n <= 4; n++ {
		time.Sleep(2 * time.Millisecond)
		if _, err := w.c.Replace(t.Context(), "demo", f.ID, strings.NewReader("v"+strconv.Itoa(n)), nil); err != nil {
			t.Fatal(err)
		}
	}
	var listed []*client.File
	for v, err := range w.c.Versions(t.Context(), "demo", f.ID) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, v)
	}
	for i, v := range listed {
		if !v.CreatedAt.Equal(v.UpdatedAt.Time) || i > 0 && !v.CreatedAt.Before(listed[i-1].CreatedAt.Time) {
			t.Errorf("version %d: created %s, updated %s", v.Version, v.CreatedAt, v.UpdatedAt)
		}
		n := strconv.FormatUint(v.Version, 10)
		for _, path := range []string{"/" + v.ManifestID, "/" + f.ID + "?version=" + n, "/" + f.ID + "/versions/" + n, "/_at/f?as=json&version=" + n} {
			got := new(client.File)
			if err := json.Unmarshal(w.want(200, "", "GET", "/api/files/demo"+path, nil).body, got); err != nil {
				t.Fatal(err)
			}
			if !got.CreatedAt.Equal(v.CreatedAt.Time) || !got.UpdatedAt.Equal(v.UpdatedAt.Time) {
				t.Errorf("%s: created %s, updated %s, want %s", path, got.CreatedAt, got.UpdatedAt, v.CreatedAt)
			}
		}
	}
	if len(listed) != 4 || !listed[3].CreatedAt.Equal(f.CreatedAt.Time) {
		t.Errorf("%d versions", len(listed))
	}
	now, err := w.c.Stat(t.Context(), "demo", f.ID, nil)
	if err != nil || !now.CreatedAt.Equal(f.CreatedAt.Time) || !now.UpdatedAt.Equal(listed[0].CreatedAt.Time) {
		t.Errorf("the file: %+v, %v", now, err)
	}
	// Page by page it is the same.
	var paged []string
	for cursor := ""; ; {
		var page struct {
			Files      []*client.File `json:"files"`
			NextCursor string         `json:"next_cursor"`
		}
		if err := json.Unmarshal(w.want(200, "", "GET", "/api/files/demo/"+f.ID+"/versions?limit=3&cursor="+cursor, nil).body, &page); err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Files {
			paged = append(paged, strconv.FormatUint(v.Version, 10))
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
		// A version that is removed meanwhile is not a gap for the others.
		w.do("DELETE", "/api/files/demo/"+f.ID+"/versions/"+cursor, nil)
	}
	if got := strings.Join(paged, " "); got != "4 3 2 1" {
		t.Errorf("pages have %s", got)
	}
}
