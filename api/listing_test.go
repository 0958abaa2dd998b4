package api_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// A listed page, as it travels.
type listedPage struct {
	Files        []client.File `json:"files"`
	Folders      []string      `json:"folders"`
	NextCursor   *string       `json:"next_cursor"`
	Total        *int          `json:"total"`
	TotalAtLeast *int          `json:"total_at_least"`
	Offset       *int          `json:"offset"`
	Limit        *int          `json:"limit"`
}

// readPages reads a listing page by page. It returns what is on each, folders
// first, and the first page.
func (w *world) readPages(query string, header ...string) (text string, first listedPage) {
	w.t.Helper()
	cursor := ""
	var pages []string
	for {
		var p listedPage
		a := w.want(200, "", "GET", "/api/files/demo?"+query+cursor, nil, header...)
		if err := json.Unmarshal(a.body, &p); err != nil {
			w.t.Fatalf("%s: %v", a.body, err)
		}
		var entries []string
		for _, f := range p.Folders {
			entries = append(entries, f+"/")
		}
		for _, f := range p.Files {
			entries = append(entries, f.Path)
		}
		if pages = append(pages, strings.Join(entries, " ")); len(pages) == 1 {
			first = p
		}
		if p.NextCursor == nil {
			return strings.Join(pages, " | "), first
		}
		query = regexp.MustCompile(`offset=\d+&?`).ReplaceAllString(query, "")
		cursor = "&cursor=" + url.QueryEscape(*p.NextCursor)
	}
}

// What a listing may be asked for, alone and together.
func TestListingQueries(t *testing.T) {
	begun, ticks := time.Now(), atomic.Int64{}
	// No two files are of one moment, however fast they come.
	w := newWorldAt(t, func() time.Time { return begun.Add(time.Duration(ticks.Add(1)) * time.Millisecond) })
	for _, f := range []struct{ path, content string }{
		{"b.txt", "4444"}, {"A.txt", "1"}, {"docs/Straße.txt", "333"}, {"docs/old/a_b%c.png", "\x89PNG\r\n\x1a\n"}, {"docs/new/x.gif", "GIF89a"},
		{"docs.txt", "22"}, {"img/é.json", `{"a":1}`}, {"img/e.txt", ""},
	} {
		folder, name := "", f.path
		if i := strings.LastIndex(f.path, "/"); i >= 0 {
			folder, name = f.path[:i], f.path[i+1:]
		}
		if _, err := w.c.Upload(t.Context(), "demo", name, strings.NewReader(f.content), &client.UploadOptions{Folder: folder}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"gone1", "gone2"} {
		w.want(200, "", "DELETE", "/api/files/demo/"+w.put(name, []byte("x")).ID, nil)
	}
	for _, tt := range []struct {
		query, want string // pages divided by |
		total       int
	}{
		{"", "A.txt b.txt docs.txt docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png img/e.txt img/é.json", 8},
		{"limit=3", "A.txt b.txt docs.txt | docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png | img/e.txt img/é.json", 8},
		{"order=name&limit=7", "A.txt b.txt docs.txt docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png img/e.txt | img/é.json", 8},
		{"order=-name&limit=5", "img/é.json img/e.txt docs/old/a_b%c.png docs/new/x.gif docs/Straße.txt | docs.txt b.txt A.txt", 8},
		{"order=created&limit=5", "b.txt A.txt docs/Straße.txt docs/old/a_b%c.png docs/new/x.gif | docs.txt img/é.json img/e.txt", 8},
		{"order=-created&limit=8", "img/e.txt img/é.json docs.txt docs/new/x.gif docs/old/a_b%c.png docs/Straße.txt A.txt b.txt", 8},
		{"order=-updated&limit=2&search=.txt", "img/e.txt docs.txt | docs/Straße.txt A.txt | b.txt", 5},
		{"order=size", "img/e.txt A.txt docs.txt docs/Straße.txt b.txt docs/new/x.gif img/é.json docs/old/a_b%c.png", 8},
		{"order=-size&mime_type=text/plain&limit=2", "b.txt docs/Straße.txt | docs.txt A.txt | img/e.txt", 5},
		{"delimiter=/", "docs/ img/ A.txt b.txt docs.txt", 5},
		{"delimiter=/&limit=2", "A.txt b.txt | docs/ docs.txt | img/", 5},
		{"delimiter=/&order=-name&limit=2", "img/ docs/ | docs.txt b.txt | A.txt", 5},
		{"delimiter=/&order=size&limit=3", "docs/ img/ A.txt | docs.txt b.txt", 5},
		{"delimiter=/&prefix=docs/", "docs/new/ docs/old/ docs/Straße.txt", 3},
		{"delimiter=/&prefix=do", "docs/ docs.txt", 2},
		{"delimiter=/&prefix=docs", "docs/ docs.txt", 2},
		{"delimiter=/&folder=docs", "docs/new/ docs/old/ docs/Straße.txt", 3},
		{"delimiter=/&folder=docs&prefix=docs/n", "docs/new/", 1},
		{"delimiter=/&folder=docs&search=x.g", "docs/new/", 1},
		{"delimiter=/&folder=", "docs/ img/ A.txt b.txt docs.txt", 5},
		{"delimiter=/&mime_type=image/*", "docs/", 1},
		{"delimiter=/&mime_type=image/*&prefix=docs/", "docs/new/ docs/old/", 2},
		{"folder=docs", "docs/Straße.txt", 1},
		{"folder=", "A.txt b.txt docs.txt", 3},
		{"folder=%2Fdocs%2F", "docs/Straße.txt", 1},
		{"folder=none", "", 0},
		{"folder=docs&prefix=img", "", 0},
		{"prefix=docs/", "docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png", 3},
		{"prefix=img/%C3%A9", "img/é.json", 1},
		{"prefix=img/e%CC%81", "img/é.json", 1}, // NFD
		{"search=STRASSE", "docs/Straße.txt", 1},
		{"search=stra%C3%9Fe", "docs/Straße.txt", 1},
		{"search=E%CC%81", "img/é.json", 1},
		{"search=a", "A.txt docs/Straße.txt docs/old/a_b%c.png", 3},
		{"search=a_", "docs/old/a_b%c.png", 1},
		{"search=%25", "docs/old/a_b%c.png", 1},
		{"search=_", "docs/old/a_b%c.png", 1},
		{"search=*", "", 0},
		{"search=.", "A.txt b.txt docs.txt docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png img/e.txt img/é.json", 8},
		{"search=.*", "", 0},
		{"search=%3F", "", 0},
		{"search=%5B", "", 0},
		{"search=docs", "docs.txt", 1},
		{"search=img/e", "", 0}, // of a name, not of a path
		{"search=%00", "", 0},
		{"search=", "A.txt b.txt docs.txt docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png img/e.txt img/é.json", 8},
		{"search=.TXT&folder=", "A.txt b.txt docs.txt", 3},
		{"mime_type=image/png", "docs/old/a_b%c.png", 1},
		{"mime_type=IMAGE/PNG", "docs/old/a_b%c.png", 1},
		{"mime_type=image/*&limit=1", "docs/new/x.gif | docs/old/a_b%c.png", 2},
		{"mime_type=image/*&search=gif", "docs/new/x.gif", 1},
		{"mime_type=image/svg%2Bxml", "", 0},
		{"mime_type=*/*&limit=8", "A.txt b.txt docs.txt docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png img/e.txt img/é.json", 8},
		{"mime_type=", "A.txt b.txt docs.txt docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png img/e.txt img/é.json", 8},
		{"offset=6", "img/e.txt img/é.json", 8},
		{"offset=6&limit=1", "img/e.txt | img/é.json", 8},
		{"offset=8", "", 8},
		{"offset=10000", "", 8},
		{"offset=2000000000", "", 8},
		{"offset=2000000000&order=size&limit=2", "", 8},
		{"offset=1&order=-size&limit=7", "img/é.json docs/new/x.gif b.txt docs/Straße.txt docs.txt A.txt img/e.txt", 8},
		{"offset=1&delimiter=/", "docs/ img/ b.txt docs.txt", 5},
		{"state=trashed", "gone1 gone2", 2},
		{"state=trashed&order=-name&limit=1", "gone2 | gone1", 2},
		{"state=trashed&search=1", "gone1", 1},
		{"state=quarantined", "", 0},
		{"_=1&unknown=x", "A.txt b.txt docs.txt docs/Straße.txt docs/new/x.gif docs/old/a_b%c.png img/e.txt img/é.json", 8},
	} {
		got, first := w.readPages(tt.query)
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.query, got, tt.want)
		}
		if first.Total == nil || *first.Total != tt.total || first.TotalAtLeast != nil {
			t.Errorf("%s: total %v, at least %v, want %d", tt.query, first.Total, first.TotalAtLeast, tt.total)
		}
		if asked := strings.Contains(tt.query, "delimiter"); asked != (first.Folders != nil) {
			t.Errorf("%s: folders %v", tt.query, first.Folders)
		}
		if asked := strings.Contains(tt.query, "offset"); asked != (first.Offset != nil) || asked != (first.Limit != nil) {
			t.Errorf("%s: offset %v, limit %v", tt.query, first.Offset, first.Limit)
		}
	}
	_, first := w.readPages("limit=1&prefix=docs")
	for query, code := range map[string]string{
		"order=age": "invalid-request", "order=Name": "invalid-request", "order=": "invalid-request", "order=--name": "invalid-request", "order=+name": "invalid-request",
		"order=name,size": "invalid-request", "order=name&order=size": "invalid-request", "delimiter=": "invalid-request", "delimiter=|": "invalid-request", "delimiter=//": "invalid-request",
		"search=%FF": "invalid-request", "search=" + strings.Repeat("x", 256): "invalid-request", "search=a&search=b": "invalid-request",
		"mime_type=image": "invalid-request", "mime_type=image/png,image/gif": "invalid-request", "mime_type=image/svg+xml": "invalid-request", "mime_type=*": "invalid-request",
		"offset=2147483648": "invalid-request", "offset=-1": "invalid-request", "offset=0&cursor=" + *first.NextCursor + "&prefix=docs": "invalid-request",
		"limit=0": "invalid-request", "limit=1001": "invalid-request", "state=": "invalid-request", "folder=..": "invalid-name", "cursor=x": "invalid-cursor",
		"limit=1&cursor=" + *first.NextCursor:                       "invalid-cursor", // without the prefix
		"prefix=docs&order=-name&cursor=" + *first.NextCursor:       "invalid-cursor",
		"prefix=docs&order=size&cursor=" + *first.NextCursor:        "invalid-cursor",
		"prefix=docs&delimiter=/&cursor=" + *first.NextCursor:       "invalid-cursor",
		"prefix=docs&search=a&cursor=" + *first.NextCursor:          "invalid-cursor",
		"prefix=docs&mime_type=image/*&cursor=" + *first.NextCursor: "invalid-cursor",
		"prefix=docs&folder=docs&cursor=" + *first.NextCursor:       "invalid-cursor",
		"prefix=docs&state=trashed&cursor=" + *first.NextCursor:     "invalid-cursor",
		"prefix=docs&cursor=" + strings.ToLower(*first.NextCursor):  "invalid-cursor",
		"prefix=docs&cursor=" + (*first.NextCursor)[1:]:             "invalid-cursor",
	} {
		w.want(400, code, "GET", "/api/files/demo?"+query, nil)
	}
	w.want(400, "invalid-cursor", "GET", "/api/files/other?prefix=docs&cursor="+*first.NextCursor, nil)
	w.want(200, "", "GET", "/api/files/demo?prefix=docs&limit=7&order=name&cursor="+*first.NextCursor, nil)
}

// A folder that holds no file for somebody is not there for him, and counts
// nowhere.
func TestFoldersLeakNothing(t *testing.T) {
	w := secured(t, `buckets: {demo: {rules: {create: auth.id != null, read: auth.id == file.owner}}}`)
	for owner, folders := range map[string][]string{"ann": {"shared", "shared/ann", "ann"}, "bob": {"shared", "shared/bob", "bob", "bob/secret"}} {
		for _, folder := range folders {
			w.want(201, "", "POST", "/api/files/demo?name="+owner+".txt&folder="+folder, strings.NewReader("x"), "Authorization", token(t, owner, nil))
		}
	}
	for _, tt := range []struct {
		who, query, want string
		total            int
	}{
		{"ann", "delimiter=/", "ann/ shared/", 2},
		{"bob", "delimiter=/&limit=1", "bob/ | shared/", 2},
		{"ann", "delimiter=/&folder=shared", "shared/ann/ shared/ann.txt", 2},
		{"ann", "delimiter=/&folder=bob", "", 0},
		{"ann", "delimiter=/&prefix=bo", "", 0},
		{"ann", "delimiter=/&search=bob", "", 0},
		{"ann", "delimiter=/&order=-name&limit=1", "shared/ | ann/", 2},
		{"ann", "delimiter=/&order=size", "ann/ shared/", 2},
		{"bob", "delimiter=/&folder=bob", "bob/secret/ bob/bob.txt", 2},
		{"eve", "delimiter=/", "", 0},
		{"eve", "order=size&offset=1", "", 0},
	} {
		got, first := w.readPages(tt.query, "Authorization", token(t, tt.who, nil))
		if got != tt.want || first.Total == nil || *first.Total != tt.total {
			t.Errorf("%s, %s: %q of %v, want %q of %d", tt.who, tt.query, got, first.Total, tt.want, tt.total)
		}
	}
}
