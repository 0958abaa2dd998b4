package api_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// records are those of a host: by ID what rules see of them, if who may read them.
type records map[string]map[string]any

var errRecords = errors.New("the host is away")

func (rs records) Record(_ context.Context, who *access.Principal, key manifest.RecordKey) (map[string]any, error) {
	values := rs[key.Record]
	switch {
	case values == nil || key.Host != "blog":
		return nil, fs.ErrNotExist
	case values["away"] != nil:
		return nil, errRecords
	case values["for"] != nil && values["for"] != who.ID:
		return nil, fs.ErrPermission
	}
	return values, nil
}

// linkedWorld is a world with files of ann's that records of the host blog hold.
func linkedWorld(t *testing.T, rs buckets.Records) (w *world, link func(record, field, value string)) {
	t.Helper()
	w = securedBy(t, testConfig, hostSchema, func(o *local.Options) { o.Records = rs })
	h, err := links.Open(t.Context(), w.store, &matrix{}, &links.Options{Name: "blog", Fields: []schema.Field{
		{Collection: "posts", Name: "pin", Bucket: "docs"}, {Collection: "posts", Name: "follow", Bucket: "docs", Pin: schema.PinFile}}})
	if err != nil {
		t.Fatal(err)
	}
	return w, func(record, field, value string) {
		t.Helper()
		hold, err := h.Prepare(t.Context(), nil, links.Change{Collection: "posts", Record: record, Fields: map[string][]string{field: {value}}})
		if err == nil {
			err = h.Confirm(t.Context(), hold.Token)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A record opens to those who may read it the file, or the version, that it holds: no other
// file, no other version, no other operation, and nothing by the word of the one who asks.
func TestVia(t *testing.T) {
	w, link := linkedWorld(t, records{"open": {"open": true}, "shut": {"open": false}, "bobs": {"open": true, "for": "bob"}, "a/b/c": {"open": true},
		"away": {"away": true}, "other": {"open": true}})
	f, g := w.putAs("ann", "docs", "f", "one"), w.putAs("ann", "docs", "g", "other")
	first := f.ManifestID
	for _, record := range []string{"open", "shut", "bobs", "away", "a/b/c"} {
		link(record, "pin", first)
	}
	link("open", "follow", g.ID)
	link("other", "pin", g.ManifestID)
	bob, eve := token(t, "bob", nil), token(t, "eve", nil)
	// The newest version is another one than the records hold.
	w.want(200, "", "PUT", "/api/files/docs/"+f.ID, strings.NewReader("two"), "Authorization", token(t, "ann", nil))
	none := w.want(404, "file-not-found", "GET", "/api/files/docs/"+missing("f_"), nil, "Authorization", eve)

	for _, c := range []struct {
		who, path, via string
		status         int
	}{
		{eve, first, "", 404},
		{eve, first, "posts/open/pin", 200},
		{eve, first + "/download", "posts/open/pin", 200},
		{eve, first + "/view", "posts/open/pin", 200},
		{eve, f.ID + "?version=1", "posts/open/pin", 200},
		{eve, f.ID + "/versions/1/download", "posts/open/pin", 200},
		{eve, first, "posts/open/pin&via_host=blog", 200},
		{eve, first, "posts/open/pin&via_host=other", 404},
		{eve, first, "posts/a/b/c/pin", 200},   // an ID with slashes
		{eve, first, "posts/shut/pin", 404},    // the rule says no
		{eve, first, "posts/bobs/pin", 404},    // a record that eve may not read
		{bob, first, "posts/bobs/pin", 200},    //
		{eve, first, "posts/none/pin", 404},    // no such record
		{eve, first, "posts/other/pin", 404},   // a record that holds another file
		{eve, first, "posts/open/follow", 404}, // a field that holds another file
		{eve, first, "pages/open/pin", 404},    // another collection
		{eve, f.ID, "posts/open/pin", 404},     // the newest version, which no record holds
		{eve, f.ID + "/download?version=2", "posts/open/pin", 404},
		{eve, f.ID + "/versions/2", "posts/open/pin", 404},
		{eve, "_at/f?version=2", "posts/open/pin", 404},
		{eve, "_at/f?version=1", "posts/open/pin", 200},
		{eve, g.ID, "posts/open/follow", 200},
		{eve, g.ID, "posts/open/pin", 404},
		{eve, g.ID + "/versions", "posts/open/follow", 404}, // not a route that a record opens
		{eve, g.ID + "/manifest", "posts/open/follow", 404},
		{eve, g.ID + "/references", "posts/open/follow", 404},
		{eve, first, "posts/away/pin", 503},
		{"", first, "posts/open/pin", 200}, // whoever may read the record
	} {
		path := "/api/files/docs/" + c.path
		if c.via != "" {
			path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "via=" + c.via
		}
		code := map[int]string{404: "file-not-found", 503: "authorization-unavailable"}[c.status]
		header := []string{"Authorization", c.who}
		if c.who == "" {
			header = nil
		}
		a := w.want(c.status, code, "GET", path, nil, header...)
		if c.status == 404 && plain(a) != plain(none) {
			t.Errorf("%s tells %s", c.path, a.body)
		}
		if cached := a.Header.Get("Cache-Control"); strings.Contains(cached, "public") {
			t.Errorf("%s may be cached: %s", c.path, cached)
		}
	}
	for _, c := range [][2]string{{"PUT", ""}, {"DELETE", ""}, {"PATCH", ""}, {"POST", "/copy"}, {"POST", "/sign"}} {
		a := w.do(c[0], "/api/files/docs/"+g.ID+c[1]+"?via=posts/open/follow", strings.NewReader(`{}`), "Authorization", eve, "Content-Type", "application/json")
		if a.StatusCode != 404 {
			t.Errorf("%s%s by a record: %d %s", c[0], c[1], a.StatusCode, a.body)
		}
	}
	// A signed URL opens what it does, with it or without.
	u := w.signAs("ann", "docs", g.ID, `{}`)
	w.want(200, "", "GET", relative(u)+"&via="+url.QueryEscape("posts/none/pin"), nil)
	// A link that has ended opens nothing.
	link("open", "follow", f.ID)
	w.want(404, "file-not-found", "GET", "/api/files/docs/"+g.ID+"?via=posts/open/follow", nil, "Authorization", eve)
	// With another host it has to be said which.
	if _, err := links.Open(t.Context(), w.store, &matrix{}, &links.Options{Name: "second"}); err != nil {
		t.Fatal(err)
	}
	w.want(404, "file-not-found", "GET", "/api/files/docs/"+first+"?via=posts/open/pin", nil, "Authorization", eve)
	w.want(200, "", "GET", "/api/files/docs/"+first+"?via=posts/open/pin&via_host=blog", nil, "Authorization", eve)
}

// A server that knows no records opens nothing by them, to nobody.
func TestViaWithoutRecords(t *testing.T) {
	w, link := linkedWorld(t, nil)
	f := w.putAs("ann", "docs", "f", "one")
	link("open", "pin", f.ManifestID)
	for _, who := range []string{"ann", "eve"} {
		w.want(404, "file-not-found", "GET", "/api/files/docs/"+f.ManifestID+"?via=posts/open/pin", nil, "Authorization", token(t, who, nil))
	}
}

// A refusal names the records of which the caller may know.
func TestReferencesThatOneMayKnow(t *testing.T) {
	w, link := linkedWorld(t, records{"open": {}, "bobs": {"for": "bob"}})
	f := w.putAs("ann", "docs", "f", "one")
	for _, record := range []string{"open", "bobs", "gone"} {
		link(record, "follow", f.ID)
	}
	for who, want := range map[string]string{"ann": "open", "op": "open bobs gone"} {
		role := map[string]any{}
		if who == "op" {
			role["role"] = "admin"
		}
		a := w.want(200, "", "GET", "/api/files/docs/"+f.ID+"/references", nil, "Authorization", token(t, who, role))
		for _, record := range []string{"open", "bobs", "gone"} {
			if told := strings.Contains(string(a.body), `"`+record+`"`); told != strings.Contains(want, record) {
				t.Errorf("%s is told %s", who, a.body)
			}
		}
	}
}

// Who may not know of records learns from no page how many there are.
func TestReferencesAreNotCounted(t *testing.T) {
	w := newHosted(t)
	f := w.putAs("ann", "docs", "a.txt", "a")
	empty := w.want(200, "", "GET", "/api/files/docs/"+f.ID+"/references?limit=1", nil, "Authorization", token(t, "ann", nil))
	for i := range 3 {
		w.set(fmt.Sprint(i), "pages", f.ID)
	}
	held := w.want(200, "", "GET", "/api/files/docs/"+f.ID+"/references?limit=1", nil, "Authorization", token(t, "ann", nil))
	if string(held.body) != string(empty.body) {
		t.Errorf("of no records %s, of three %s", empty.body, held.body)
	}
}
