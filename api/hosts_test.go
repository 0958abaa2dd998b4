package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

const hostSchema = `
buckets:
  docs:   {rules: {create: auth.id != null, read: auth.id == file.owner || record.open == true, update: auth.id == file.owner, delete: auth.id == file.owner}}
  others: {rules: {create: auth.id != null, read: "true"}}
`

const hostCollections = `{"posts": {"fields": {
	"id":    {"type": "uuid", "primary": true},
	"cover": {"type": "file", "nullable": true, "file": {"bucket": "docs", "on_delete": "set_null", "max_size": "1kB"}},
	"scan":  {"type": "file", "file": {"bucket": "docs", "on_delete": "restrict"}},
	"temp":  {"type": "file", "file": {"bucket": "docs", "on_delete": "cascade", "pin": "file"}},
	"pages": {"type": "files", "file": {"bucket": "docs", "max_count": 2, "pin": "file"}}
}}}`

// A hosted is a world with a host that talks to it by HTTP, as a client in Go does.
type hosted struct {
	*world
	c    *client.Client
	kept client.HostState // in the host's database
	s    *client.HostSession
}

func newHosted(t *testing.T) *hosted {
	t.Helper()
	w := &hosted{world: secured(t, hostSchema)}
	var err error
	described := &http.Client{Transport: &describedAnswers{t, describe(t, w.world)}}
	if w.c, err = client.New(w.url, &client.Options{HTTP: described, Token: strings.TrimPrefix(token(t, "host", map[string]any{"role": "admin"}), "Bearer ")}); err != nil {
		t.Fatal(err)
	}
	w.open(nil)
	return w
}

// describedAnswers is a transport that fails the test at an answer to a host that the
// description does not promise.
type describedAnswers struct {
	t *testing.T
	d *description
}

var hostPath = regexp.MustCompile(`^/api/admin/hosts/[^/]+(/sessions/\d+)?|^/api/files/[^/]+/[^/]+(/references)?$`)

func (a *describedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	route := hostPath.ReplaceAllStringFunc(r.URL.Path, func(path string) string {
		switch {
		case strings.HasSuffix(path, "/references"):
			return "/api/files/{bucket}/{id}/references"
		case strings.HasPrefix(path, "/api/files/"):
			return "/api/files/{bucket}/{id}"
		case strings.Contains(path, "/sessions/"):
			return "/api/admin/hosts/{host}/sessions/{session}"
		}
		return "/api/admin/hosts/{host}"
	})
	if err := a.d.check(route, r.Method, &answer{resp, body}); err != nil {
		a.t.Errorf("%s %s: %v: %s", r.Method, r.URL.Path, err, body)
	}
	return resp, nil
}

// open opens a session of the host.
func (w *hosted) open(opts *client.SessionOptions) {
	w.t.Helper()
	if opts == nil {
		opts = &client.SessionOptions{}
	}
	opts.Collections = json.RawMessage(hostCollections)
	opts.Database, opts.Session = w.kept.Database, w.kept.Session
	st, err := w.c.OfferSession(w.t.Context(), "blog", opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.kept = *st
	if w.s, err = w.c.BeginSession(w.t.Context(), "blog", st, opts); err != nil {
		w.t.Fatal(err)
	}
}

// set sets a field of a record in all steps, for ann.
func (w *hosted) set(record, field string, values ...string) {
	w.t.Helper()
	hold, err := w.s.Prepare(w.t.Context(), &client.Principal{ID: "ann"}, change(record, field, values...))
	if err == nil {
		err = w.s.Confirm(w.t.Context(), hold.Token)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func change(record, field string, values ...string) client.Change {
	return client.Change{Collection: "posts", Record: record, Fields: map[string][]string{field: append([]string{}, values...)}}
}

// wantCode fails unless err is a refusal with a code.
func wantCode(t *testing.T, err error, code string) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%v, want %s", err, code)
		return &client.Error{}
	}
	return e
}

// A host goes through its life by HTTP: two steps, refusals, references, events, resolve.
func TestHost(t *testing.T) {
	w := newHosted(t)
	ctx := t.Context()
	f, other := w.putAs("ann", "docs", "a.txt", "a"), w.putAs("ann", "others", "o.txt", "o")
	ann, bob := &client.Principal{ID: "ann"}, &client.Principal{ID: "bob"}

	hold, err := w.s.Prepare(ctx, ann, change("1", "scan", f.ID))
	if err != nil || len(hold.Values) != 1 || !slices.Equal(hold.Values[0]["scan"], []string{f.ManifestID}) {
		t.Fatalf("hold %+v, %v", hold, err)
	}
	elsewhere := w.c.AttachSession("blog", w.s.Session)
	if err := errors.Join(w.s.Cancel(ctx, hold.Token), elsewhere.Confirm(ctx, hold.Token), w.s.Confirm(ctx, hold.Token)); err != nil {
		t.Fatal(err)
	}
	bearer := token(t, "ann", nil)
	a := w.want(409, "file-referenced", "DELETE", "/api/files/docs/"+f.ID, nil, "Authorization", bearer)
	if strings.Contains(string(a.body), "posts") || !strings.Contains(string(a.body), "on_delete: restrict") {
		t.Errorf("ann is told %s", a.body)
	}
	e := wantCode(t, w.c.Delete(ctx, "docs", f.ID), "file-referenced")
	if !strings.Contains(string(e.Details), `"record":"1"`) || !strings.Contains(e.Detail, "posts/1.scan") {
		t.Errorf("an operator is told %s %s", e.Detail, e.Details)
	}
	a = w.want(409, "file-referenced", "DELETE", "/api/files/docs/"+f.ID+"?permanent=true", nil, "Authorization", bearer)
	if strings.Contains(string(a.body), "posts") {
		t.Errorf("ann is told %s", a.body)
	}

	// Who asks for another is told what is wrong, and of what he may not read no more
	// than of what there is not.
	for _, c := range []struct {
		who    *client.Principal
		change client.Change
		status int
		code   string
		says   string
	}{
		{ann, change("2", "cover", other.ID), 422, "invalid-value", `lies in bucket "others"`},
		{ann, change("2", "cover", f.ID, f.ID), 422, "invalid-value", "has 2 files, at most 1"},
		{ann, change("2", "pages", f.ID, f.ID), 422, "invalid-value", "twice"},
		{ann, change("2", "nonesuch", f.ID), 422, "invalid-value", `field "nonesuch"`},
		{ann, change("", "cover", f.ID), 422, "invalid-value", "want names"},
		{ann, change("2", "cover", "nonsense"), 404, "file-not-found", `cover of posts "2": "nonsense"`},
		{bob, change("2", "cover", f.ID), 404, "file-not-found", `cover of posts "2": "` + f.ID},
		{bob, change("2", "cover", missing("f_")), 404, "file-not-found", `cover of posts "2": "` + missing("f_")},
		{nil, change("2", "cover", missing("f_")), 404, "file-not-found", ""},
		{ann, change("2", "cover", w.putAs("ann", "docs", "big", strings.Repeat("x", 2000)).ID), 422, "invalid-value", "at most 1"},
	} {
		_, err := w.s.Prepare(ctx, c.who, c.change)
		if e := wantCode(t, err, c.code); e.Status != c.status || !strings.Contains(e.Detail, c.says) {
			t.Errorf("%+v for %v: %d %s, want %d with %q", c.change, c.who, e.Status, e.Detail, c.status, c.says)
		}
	}
	wantCode(t, w.s.Confirm(ctx, "t0.x"), "invalid-token")
	wantCode(t, errOf(w.s.Prepare(ctx, ann, make([]client.Change, 101)...)), "invalid-value")

	// Records that hold a file are told to operators.
	w.set("2", "pages", f.ID)
	refs, err := w.c.References(ctx, "docs", f.ID, "", 1)
	if err != nil || len(refs.References) != 1 || refs.NextCursor == nil {
		t.Fatalf("references %+v, %v", refs, err)
	}
	more, err := w.c.References(ctx, "docs", f.ID, *refs.NextCursor, 10)
	if err != nil || len(more.References) != 1 || more.NextCursor != nil || more.References[0].Record == refs.References[0].Record {
		t.Fatalf("more references %+v, %v", more, err)
	}
	if a := w.want(200, "", "GET", "/api/files/docs/"+f.ID+"/references", nil, "Authorization", bearer); strings.Contains(string(a.body), "posts") {
		t.Errorf("ann is told %s", a.body)
	}
	w.want(404, "file-not-found", "GET", "/api/files/docs/"+f.ID+"/references", nil, "Authorization", token(t, "bob", nil))
	w.want(400, "invalid-cursor", "GET", "/api/files/docs/"+f.ID+"/references?cursor=x", nil, "Authorization", bearer)
	w.checkRefs(f.ID, 2)

	// A deletion is told until it is acknowledged.
	g := w.putAs("ann", "docs", "b.txt", "b")
	w.set("3", "cover", g.ID)
	w.want(200, "", "DELETE", "/api/files/docs/"+g.ID, nil, "Authorization", bearer)
	for range 2 {
		events, next, err := w.s.Events(ctx, "", 10)
		if err != nil || len(events) != 1 || next != "" || events[0].Link.Record != "3" {
			t.Fatalf("events %+v %q, %v", events, next, err)
		}
		found, err := w.s.Resolve(ctx, ann, []client.Item{{ID: g.ID}, {ID: f.ID}, {ID: missing("m_")}})
		if err != nil || found[0].Status != "deleted" || found[1].File == nil || found[1].File.ID != f.ID || found[2].Status != "absent" {
			t.Fatalf("resolved %+v, %v", found, err)
		}
	}
	events, _, _ := w.s.Events(ctx, "", 10)
	if err := w.s.Acknowledge(ctx, events[0].Link.ID); err != nil {
		t.Fatal(err)
	}
	if events, _, err = w.s.Events(ctx, "", 10); err != nil || len(events) > 0 {
		t.Errorf("acknowledged, there are %+v, %v", events, err)
	}
	w.want(400, "invalid-cursor", "GET", "/api/admin/hosts/blog/sessions/1/events?cursor=x", nil, "Authorization", token(t, "op", map[string]any{"role": "admin"}))

	// Rules see the record for which a value is resolved.
	for _, c := range []struct {
		record map[string]any
		want   string
	}{{nil, "absent"}, {map[string]any{"open": false}, "absent"}, {map[string]any{"open": true}, "found"}} {
		found, err := w.s.Resolve(ctx, bob, []client.Item{{ID: f.ID, Record: c.record}})
		if err != nil || found[0].Status != c.want || found[0].File != nil && found[0].File.Refs != 0 {
			t.Errorf("bob, by %v: %+v, %v", c.record, found, err)
		}
	}

	// Links that a late Confirm finds lost are named.
	late, err := w.s.Prepare(ctx, ann, change("4", "cover", w.putAs("ann", "docs", "late", "late").ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.s.Cancel(ctx, late.Token); err != nil {
		t.Fatal(err)
	}
	found, err := w.s.Resolve(ctx, nil, []client.Item{{ID: late.Values[0]["cover"][0]}})
	if err != nil {
		t.Fatal(err)
	}
	w.want(204, "", "DELETE", "/api/files/docs/"+found[0].File.ID+"?permanent=true", nil, "Authorization", bearer)
	if e := wantCode(t, w.s.Confirm(ctx, late.Token), "link-lost"); !strings.Contains(string(e.Details), `"links":["l_`) {
		t.Errorf("lost: %s", e.Details)
	}

	for range 2 {
		if err := w.s.End(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, w.s.Confirm(ctx, hold.Token), "session-ended")
}

func errOf[T any](_ T, err error) error { return err }

// checkRefs checks what operators and others are told of how many records hold a file.
func (w *hosted) checkRefs(id string, want int) {
	w.t.Helper()
	for who, n := range map[string]int{"ann": 0, "op": want} {
		role := map[string]any{}
		if who == "op" {
			role["role"] = "admin"
		}
		bearer := token(w.t, who, role)
		for _, path := range []string{"", "?version=1", "/versions/1"} {
			if a := w.want(200, "", "GET", "/api/files/docs/"+id+path, nil, "Authorization", bearer); !strings.Contains(string(a.body), fmt.Sprintf(`"refs":%d,`, n)) {
				w.t.Errorf("%s, %s: %s, want %d", who, path, a.body, n)
			}
		}
		for _, path := range []string{"docs", "docs/" + id + "/versions"} {
			a := w.want(200, "", "GET", "/api/files/"+path, nil, "Authorization", bearer)
			var page client.Page
			if err := json.Unmarshal(a.body, &page); err != nil {
				w.t.Fatal(err)
			}
			for _, f := range page.Files {
				if f.ID == id && f.Refs != n {
					w.t.Errorf("%s, %s: %d, want %d", who, path, f.Refs, n)
				}
			}
		}
	}
}

// Sessions rise, the wrong database is refused, and fields do not change unplanned.
func TestHostSessions(t *testing.T) {
	w := newHosted(t)
	ctx := t.Context()
	w.open(nil)
	if w.kept.Session != 2 || w.s.Unreconciled {
		t.Errorf("second session: %+v %+v", w.kept, w.s)
	}
	wantCode(t, errOf(w.c.OfferSession(ctx, "blog", &client.SessionOptions{})), "host-database")
	wantCode(t, errOf(w.c.OfferSession(ctx, "Blog", &client.SessionOptions{})), "invalid-request")
	wantCode(t, errOf(w.c.BeginSession(ctx, "blog", &client.HostState{Database: w.kept.Database, Session: 9}, &client.SessionOptions{})), "session-ended")
	wantCode(t, errOf(w.c.Host(ctx, "none", false)), "host-not-found")
	for _, c := range [][2]string{{`[]`, "want keys and values"}, {`{"posts": {"fields": {"c": {"type": "file", "file": {"bucket": "docs", "on_delete": "bogus"}}}}}`, "bogus"}} {
		e := wantCode(t, errOf(w.c.OfferSession(ctx, "blog", &client.SessionOptions{Database: w.kept.Database, Session: 2, Collections: json.RawMessage(c[0])})), "invalid-request")
		if !strings.Contains(e.Detail, c[1]) {
			t.Errorf("%s: %s", c[0], e.Detail)
		}
	}
	nowhere := &client.SessionOptions{Database: w.kept.Database, Session: 2, Collections: json.RawMessage(`{"posts": {"fields": {"c": {"type": "file", "file": {"bucket": "none"}}}}}`)}
	wantCode(t, errOf(w.c.OfferSession(ctx, "blog", nowhere)), "bucket-not-found")
	st := &w.kept
	wantCode(t, errOf(w.c.BeginSession(ctx, "blog", st, nowhere)), "bucket-not-found")

	f := w.putAs("ann", "docs", "a.txt", "a")
	w.set("1", "scan", f.ID)
	changed := &client.SessionOptions{Database: w.kept.Database, Session: w.kept.Session,
		Collections: json.RawMessage(strings.ReplaceAll(hostCollections, "restrict", "cascade"))}
	if e := wantCode(t, errOf(w.c.OfferSession(ctx, "blog", changed)), "field-plan"); !strings.Contains(e.Detail, "link_plans: {posts.scan: keep}") {
		t.Errorf("without a plan: %s", e.Detail)
	}
	changed.LinkPlans = map[string]string{"posts.scan": "release"}
	st, err := w.c.OfferSession(ctx, "blog", changed)
	if err != nil {
		t.Fatal(err)
	}
	if w.s, err = w.c.BeginSession(ctx, "blog", st, changed); err != nil {
		t.Fatal(err)
	}
	h, err := w.c.Host(ctx, "blog", true)
	if err != nil || *h.Confirmed != 0 || *h.Pending != 0 || h.Session != st.Session || !slices.Equal(h.Live, []uint64{st.Session}) || !slices.Equal(h.Buckets, []string{"docs"}) || h.Unreconciled {
		t.Errorf("host %+v, %v", h, err)
	}
	i := slices.IndexFunc(h.Fields, func(f client.Field) bool { return f.Name == "scan" })
	if i < 0 || h.Fields[i].OnDelete != "cascade" || h.Fields[i].Pin != "manifest" || h.Fields[i].Type != "file" || h.Fields[i].Bucket != "docs" {
		t.Errorf("fields %+v", h.Fields)
	}

	// A backup of the host's database has an older session: nothing is removed then.
	w.kept = client.HostState{Database: w.kept.Database, Session: 1}
	w.open(&client.SessionOptions{LinkPlans: map[string]string{"posts.scan": "keep"}})
	if !w.s.Unreconciled {
		t.Error("an older session is not noticed")
	}
	a := w.want(503, "links-unreconciled", "DELETE", "/api/files/docs/"+f.ID+"?permanent=true", nil, "Authorization", token(t, "ann", nil))
	if a.Header.Get("Retry-After") != "" {
		t.Error("clients are told to try again soon")
	}
}

// A host that does not say for whom it asks gets nobody's rights.
func TestHostSaysForWhom(t *testing.T) {
	w := newHosted(t)
	bearer := token(t, "op", map[string]any{"role": "admin"})
	for _, as := range []string{"", `"as": "ann", `, `"as": [], `, `"as": {"id": "\u0000"}, `, `"as": {"id": "key:x"}, `, `"as": {"claims": ` + strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200) + "}, "} {
		for path, rest := range map[string]string{"prepare": `"changes": []}`, "resolve": `"items": []}`} {
			w.want(400, "invalid-request", "POST", "/api/admin/hosts/blog/sessions/1/"+path, strings.NewReader("{"+as+rest), "Authorization", bearer, "Content-Type", "application/json")
		}
	}
}

// rowsOf yields rows, page by page of the host's database.
func rowsOf(rows ...client.Row) iter.Seq2[client.Row, error] {
	return func(yield func(client.Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// A reconciliation by HTTP ends what records do not have, makes what they lack, and lifts
// the barrier only when it has ended.
func TestReconcileByHTTP(t *testing.T) {
	w := newHosted(t)
	ctx := t.Context()
	kept, gone, lacking := w.putAs("ann", "docs", "kept", "1"), w.putAs("ann", "docs", "gone", "2"), w.putAs("ann", "docs", "lacking", "3")
	w.set("1", "pages", kept.ID)
	w.set("2", "temp", gone.ID)
	hold, err := w.s.Prepare(ctx, nil, change("3", "scan", kept.ID))
	if err != nil {
		t.Fatal(err)
	}
	records := map[string][]string{"1.pages": {kept.ID}, "4.pages": {lacking.ID, missing("f_")}, "3.scan": hold.Values[0]["scan"]}
	exists := func(l client.RecordLink) bool {
		value := l.File
		if l.Version != "" {
			value = l.Version
		}
		return slices.Contains(records[l.Record+"."+l.Field], value)
	}
	var rows []client.Row
	for key, values := range records {
		record, field, _ := strings.Cut(key, ".")
		rows = append(rows, client.Row{Collection: "posts", Record: record, Field: field, Values: values})
	}
	w.open(&client.SessionOptions{Restored: true})
	if !w.s.Unreconciled {
		t.Fatal("restored, and reconciled")
	}
	var dangling []client.Dangling
	reconcile := func(opts client.ReconcileOptions) (*client.Reconciled, error) {
		dangling = nil
		opts.Dangling = func(d client.Dangling) { dangling = append(dangling, d) }
		return w.s.Reconcile(ctx, func(_ context.Context, l client.RecordLink) (bool, error) { return exists(l), nil }, rowsOf(rows...), &opts)
	}
	done, err := reconcile(client.ReconcileOptions{DryRun: true})
	if err != nil || done.Released != 1 || done.Made != 2 || done.Confirmed != 1 || len(dangling) != 1 {
		t.Fatalf("dry run: %+v %+v, %v", done, dangling, err)
	}
	if h, err := w.c.Host(ctx, "blog", true); err != nil || !h.Unreconciled || *h.Confirmed != 2 || *h.Pending != 1 {
		t.Fatalf("after a dry run: %+v, %v", h, err)
	}
	done, err = reconcile(client.ReconcileOptions{})
	if err != nil || done.Released != 1 || done.Rows != 3 || len(dangling) != 1 || dangling[0].Value != missing("f_") {
		t.Fatalf("run: %+v %+v, %v", done, dangling, err)
	}
	h, err := w.c.Host(ctx, "blog", true)
	if err != nil || h.Unreconciled || *h.Pending != 0 {
		t.Fatalf("after the run: %+v, %v", h, err)
	}
	bearer := token(t, "ann", nil)
	// Its last link has ended: cascade.
	w.want(404, "file-not-found", "GET", "/api/files/docs/"+gone.ID, nil, "Authorization", bearer)
	w.want(200, "", "GET", "/api/files/docs/"+gone.ID+"?trashed=true", nil, "Authorization", bearer)
	w.want(200, "", "GET", "/api/files/docs/"+lacking.ID, nil, "Authorization", bearer)

	// A bound keeps a host that sees an empty database from letting all go.
	records, rows = nil, nil
	_, err = reconcile(client.ReconcileOptions{MaxDrops: 1})
	wantCode(t, err, "too-many-drops")
	if now, _ := w.c.Host(ctx, "blog", true); *now.Confirmed != *h.Confirmed {
		t.Errorf("%d links are left of %d", *now.Confirmed, *h.Confirmed)
	}
	if done, err = reconcile(client.ReconcileOptions{MaxDrops: 1, Force: true}); err != nil || done.Released != *h.Confirmed {
		t.Errorf("forced: %+v, %v", done, err)
	}
}

// A host that is gone for good is forgotten, and its links without their policies.
func TestForgetHost(t *testing.T) {
	w := newHosted(t)
	ctx := t.Context()
	f := w.putAs("ann", "docs", "a.txt", "a")
	w.set("1", "temp", f.ID)
	w.set("1", "scan", f.ID)
	done, err := w.c.ForgetHost(ctx, "blog")
	if err != nil || !done.Done || done.Links != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	hosts, err := w.c.Hosts(ctx)
	if err != nil || len(hosts) > 0 {
		t.Errorf("hosts %+v, %v", hosts, err)
	}
	wantCode(t, errOf(w.c.ForgetHost(ctx, "blog")), "host-not-found")
	wantCode(t, w.s.Confirm(ctx, "t1.e30"), "session-ended")
	w.want(200, "", "GET", "/api/files/docs/"+f.ID, nil, "Authorization", token(t, "ann", nil))
	w.want(200, "", "DELETE", "/api/files/docs/"+f.ID, nil, "Authorization", token(t, "ann", nil))
}

// What a host sends at once is bounded.
func TestHostIsBounded(t *testing.T) {
	w := newHosted(t)
	ctx := t.Context()
	f := w.putAs("ann", "docs", "a.txt", "a")
	tokens := make([]string, 1001)
	for i := range tokens {
		tokens[i] = "t1.e30"
	}
	wantCode(t, w.s.Confirm(ctx, tokens...), "invalid-request")
	wantCode(t, w.s.Confirm(ctx), "invalid-request")
	if err := w.s.Confirm(ctx, tokens[:1000]...); err != nil {
		t.Error(err)
	}
	wantCode(t, w.s.Confirm(ctx, strings.Repeat("x", 1<<20)), "body-too-large")
	for i := range 11 {
		var changes []client.Change
		for k := range 100 {
			changes = append(changes, change(fmt.Sprint(i, "-", k), "pages", f.ID))
		}
		_, err := w.s.Prepare(ctx, &client.Principal{ID: "ann"}, changes...)
		if i < 10 && err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			wantCode(t, err, "too-many-pending")
		}
	}
}
