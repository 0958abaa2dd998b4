package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

const logSchema = `
buckets:
  notes: {rules: {create: "true", read: "true", update: "true", delete: "true"}}
  keyed: {rules: {}}
`

// logging serves the store of w again, with a log in JSON from a level on.
func (w *world) logging(level slog.Level) *safeBuffer {
	w.t.Helper()
	log := &safeBuffer{}
	opts := w.opts
	opts.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
	s := api.New(w.store, &opts)
	srv := httptest.NewServer(s)
	w.url = srv.URL
	w.t.Cleanup(srv.Close)
	return log
}

// A line is one of a log in JSON.
type line map[string]any

func (b *safeBuffer) lines(t *testing.T) (out []line) {
	t.Helper()
	for text := range strings.Lines(b.String()) {
		l := line{}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		out = append(out, l)
	}
	return out
}

// await returns the lines in which key is value, as soon as there is one: a line is
// written when its answer has been sent.
func (b *safeBuffer) await(t *testing.T, key, value string) (out []line) {
	t.Helper()
	for range 500 {
		for _, l := range b.lines(t) {
			if l[key] == value {
				out = append(out, l)
			}
		}
		if len(out) > 0 {
			return out
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("no line with %s=%s in\n%s", key, value, b)
	return nil
}

// Each request has one line, which says who sent what, what came of it, and why.
func TestRequestLines(t *testing.T) {
	w := secured(t, logSchema)
	f := w.putAs("ann", "notes", "a", "12345")
	u := w.sign(token(t, "ann", nil), "notes", f.ID, `{"operation": "download"}`)
	key, k, err := w.store.Keys().New(t.Context(), manifest.APIKey{Buckets: []string{"keyed"}, Ops: []string{"create"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	log := w.logging(slog.LevelInfo)
	const file = "/api/files/{bucket}/{id}"
	one := "/api/files/notes/" + f.ID
	admin := token(t, "root", map[string]any{"role": "admin"})
	for what, c := range map[string]struct {
		method, path, body, bearer string
		header                     []string
		want                       line // nil for what must not be there
	}{
		"a download": {"GET", one + "/download", "", token(t, "ann", nil), nil, line{"level": "INFO", "msg": "request", "method": "GET", "route": file + "/download",
			"path": one + "/download", "user": "ann", "key": nil, "grant": nil, "in": 0., "out": 5., "status": 200., "code": nil, "cut": false, "error": nil}},
		"an upload": {"POST", "/api/files/notes?name=b", "1234567", token(t, "bob", nil), nil, line{"route": "/api/files/{bucket}", "path": "/api/files/notes", "user": "bob", "in": 7., "status": 201.}},
		"a key":     {"POST", "/api/files/keyed?name=k", "1", "Bearer " + key, nil, line{"user": nil, "key": k.ID, "status": 201.}},
		"a key of no right": {"GET", "/api/files/keyed", "", "Bearer " + key, nil, line{"level": "INFO", "key": k.ID, "status": 403., "code": "access-denied",
			"error": nil}},
		"a signed URL": {"GET", one + "/download?token=" + u.Token, "", "", nil, line{"path": one + "/download", "grant": u.GrantID, "status": 200.}},
		"nobody":       {"GET", one, "", "", nil, line{"user": nil, "key": nil, "status": 200., "route": file}},
		"a bad token":  {"GET", one, "", "Bearer nonsense", nil, line{"user": nil, "status": 401., "code": "unauthenticated"}},
		"an operator":  {"GET", one, "", admin, []string{"X-Cairn-As", `{"id": "eve"}`}, line{"user": "eve", "behind_user": "root"}},
		"no route":     {"GET", "/nowhere", "", "", nil, line{"route": nil, "path": "/nowhere", "status": 404., "code": "not-found"}},
		"another method": {"POST", "/api/tus/notes/" + missing("u_"), "", "", []string{"X-HTTP-Method-Override", "HEAD", "Tus-Resumable", "1.0.0"},
			line{"method": "POST", "as_method": "HEAD", "route": "/api/tus/{bucket}/{upload}", "status": 404.}},
		"no body": {"POST", "/api/files/notes?name=empty", "", token(t, "ann", nil), nil, line{"status": 201., "in": 0.}},
	} {
		t.Run(what, func(t *testing.T) {
			id := strings.ReplaceAll(what, " ", "-")
			w.do(c.method, c.path, strings.NewReader(c.body), append(c.header, "X-Request-ID", id, bearerHeader(c.bearer), c.bearer)...)
			got := log.await(t, "request", id)
			if len(got) != 1 {
				t.Fatalf("lines: %v", got)
			}
			for name, want := range c.want {
				if got[0][name] != want {
					t.Errorf("%s is %v, want %v: %v", name, got[0][name], want, got[0])
				}
			}
			if ms, ok := got[0]["ms"].(float64); !ok || ms < 0 || got[0]["remote"] == "" {
				t.Errorf("line: %v", got[0])
			}
		})
	}
}

func bearerHeader(bearer string) string {
	if bearer == "" {
		return ""
	}
	return "Authorization"
}

// What fails is an error of the log, with its cause.
func TestFailedRequestLine(t *testing.T) {
	w := secured(t, logSchema)
	log := w.logging(slog.LevelInfo)
	w.store.Close()
	w.do("GET", "/api/files/notes", nil, "X-Request-ID", "closed")
	got := log.await(t, "request", "closed")
	if len(got) != 1 || got[0]["level"] != "ERROR" || got[0]["code"] != "closed" && got[0]["status"] != 503. || got[0]["error"] == nil {
		t.Errorf("lines: %v", got)
	}
	if n := len(log.lines(t)); n != 1 {
		t.Errorf("%d lines of one request:\n%s", n, log)
	}
}

// A request that breaks off, on either side, says so.
func TestCutRequestLine(t *testing.T) {
	w := secured(t, logSchema)
	log := w.logging(slog.LevelInfo)
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /api/files/notes?name=cut HTTP/1.1\r\nHost: x\r\nX-Request-ID: cut\r\nContent-Length: 1000\r\n\r\nabc")
	time.Sleep(50 * time.Millisecond)
	c.Close()
	got := log.await(t, "request", "cut")
	if len(got) != 1 || got[0]["cut"] != true && got[0]["code"] != "incomplete-body" || got[0]["in"] != 3. {
		t.Errorf("lines: %v", got)
	}
}

// What watches the server leaves no lines, good or bad.
func TestProbesAreNotLogged(t *testing.T) {
	w := secured(t, logSchema)
	log, debug := w.logging(slog.LevelInfo), ""
	ask := func() {
		for _, path := range []string{"/healthz", "/readyz"} {
			w.do("GET", path, nil, "X-Request-ID", debug+"probe")
			w.do("HEAD", path, nil)
			w.do("POST", path, nil)
		}
		w.do("GET", "/api/openapi.json", nil, "X-Request-ID", debug+"last")
		log.await(t, "request", debug+"last")
	}
	ask()
	w.store.Close()
	ask()
	for _, l := range log.lines(t) {
		if l["path"] != "/api/openapi.json" {
			t.Errorf("line: %v", l)
		}
	}
	log, debug = w.logging(slog.LevelDebug), "debug-"
	ask()
	if got := log.await(t, "request", "debug-probe"); got[0]["level"] != "DEBUG" {
		t.Errorf("lines: %v", got)
	}
}

// The requests of a session are one line, whatever ends it.
func TestSessionLines(t *testing.T) {
	w := secured(t, logSchema)
	log := w.logging(slog.LevelInfo)
	ann := w.as("ann", "notes")
	content := bytes.Repeat([]byte("session lines "), 40_000)
	f, _ := ann.upload(client.NewSession{Name: "summed"}, content)
	_ = f
	sum := log.await(t, "msg", "session")
	if len(sum) != 1 || sum[0]["ended"] != "committed" || sum[0]["user"] != "ann" || sum[0]["bucket"] != "notes" || sum[0]["requests"] != 2. || sum[0]["failed"] != 0. ||
		sum[0]["in"].(float64) < 1000 || sum[0]["out"].(float64) < 1 {
		t.Errorf("lines: %v", sum)
	}
	routes := func() (out []string) {
		for _, l := range log.lines(t) {
			if r, ok := l["route"].(string); ok {
				out = append(out, r[strings.LastIndex(r, "/")+1:])
			}
		}
		return out
	}
	if got := routes(); !slices.Equal(got, []string{"_sessions", "commit"}) {
		t.Errorf("lines of routes %q", got)
	}
	se := ann.open(client.NewSession{Name: "cancelled"})
	ann.list(se.ID, 0, [][]byte{[]byte("chunk")})
	w.want(409, "list-offset-mismatch", "POST", fmt.Sprintf("/api/files/notes/_sessions/%s/list?at=7", se.ID), strings.NewReader(`{"chunks": []}`), append(ann.header, "Content-Type", "application/json")...)
	ann.commit(se.ID, 409, "chunks-missing")
	w.want(204, "", "DELETE", "/api/files/notes/_sessions/"+se.ID, nil, ann.header...)
	got := log.await(t, "ended", "cancelled")
	if len(got) != 1 || got[0]["requests"] != 3. || got[0]["failed"] != 2. {
		t.Errorf("lines: %v", got)
	}
	if got := log.await(t, "code", "list-offset-mismatch"); len(got) != 1 {
		t.Errorf("a failed batch has lines %v", got)
	}
}

// Sums are bounded in number, and end with the server and with what expires.
func TestSessionSums(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &safeBuffer{}
		s := api.NewSessionLog(slog.New(slog.NewJSONHandler(log, nil)))
		const extra = 10
		for i := range api.MaxSummed + extra {
			s.Add(fmt.Sprint("u_", i))
			s.Add(fmt.Sprint("u_", i))
		}
		if n := s.Len(); n != api.MaxSummed {
			t.Errorf("%d sums are kept", n)
		}
		lines := log.lines(t)
		if len(lines) != extra || lines[0]["upload"] != "u_0" || lines[0]["requests"] != 2. || lines[0]["ended"] != "more sessions are open than are summed up" {
			t.Errorf("lines: %v", lines)
		}
		time.Sleep(23 * time.Hour)
		s.Add("u_1000")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := s.Len(); n != 1 {
			t.Errorf("%d sums are kept after a day", n)
		}
		if l := log.lines(t); len(l) != api.MaxSummed+extra-1 || l[len(l)-1]["ended"] != "expired" {
			t.Errorf("%d lines, the last %v", len(l), l[len(l)-1])
		}
		s.EndAll()
		if l := log.lines(t); l[len(l)-1]["ended"] != "server stops" || l[len(l)-1]["upload"] != "u_1000" || l[len(l)-1]["requests"] != 3. || s.Len() != 0 {
			t.Errorf("the last line: %v", l[len(l)-1])
		}
	})
}

// What opens something is cut short, wherever it stands.
func TestHideSecrets(t *testing.T) {
	const key, grant, upload = "0123456789abcdef", "g_0123456789abcdefghijklmnopqrstuv0123", "u_0123456789abcdefghijklmnopqrstuv0123"
	jwt := strings.TrimPrefix(token(t, "ann", nil), "Bearer ")
	for text, want := range map[string]string{
		"key cairn_" + key + "_" + strings.Repeat("0f", 32) + " fails": "key cairn_" + key + "… fails",
		"cairn_" + strings.Repeat("0F", 32):                            "cairn_…",
		"/x/" + jwt:                                                    "/x/eyJ…",
		"token " + grant + ".ab12.d-_Wx":                               "token " + grant + "…",
		"/api/tus/b/" + upload + "?x":                                  "/api/tus/b/u_0123456789abcd…?x",
		grant:                                                          grant,
		"eyJ is no token, nor is snake_case_text or a_b.c":             "eyJ is no token, nor is snake_case_text or a_b.c",
	} {
		if got := api.HideSecrets(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		log := &safeBuffer{}
		h := api.SecretsHandler{Handler: slog.NewTextHandler(log, nil)}
		l := slog.New(h).With("with", text)
		l.Info(text, "attr", text, "error", fmt.Errorf("it is %q", text), slog.Group("group", "in", text))
		l.WithGroup("g").Warn("grouped", "in", text)
		if text != want && strings.Contains(log.String(), text) {
			t.Errorf("logged: %s", log)
		}
	}
}

// secretsOf are what must stand in no log, by what it is.
func (m *matrix) secretsOf(key string, tokens ...string) map[string]string {
	out := map[string]string{"secret of an API key": key[strings.LastIndex(key, "_")+1:], "idempotency key": "idem-0123456789", "configured secret": testSecret,
		"upload": m.upload, "session": m.listed, "resumable upload": m.pieces, "query": "token="}
	for i, text := range tokens {
		out[fmt.Sprint("token ", i)] = text[strings.LastIndex(text, ".")+1:] // its signature
	}
	return out
}

// Nothing secret is logged, at the level that logs most, nor in the audit with all
// names: every call is sent with each kind of credential, where it belongs and where it
// does not.
func TestNoSecretIsLogged(t *testing.T) {
	race.LeaveOut(t)
	audit := &safeBuffer{}
	m := &matrix{bucket: "private", world: securedBy(t, testConfig, matrixSchema, func(o *local.Options) {
		o.Audit = &buckets.Audit{Names: true, Write: func(lines []byte) error { audit.Write(lines); return nil }}
	})}
	m.refresh()
	key, _, err := m.store.Keys().New(t.Context(), manifest.APIKey{Buckets: []string{"*"}, Ops: []string{"create", "read", "list"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	bearer := token(t, "bob", nil)
	_, second, err := m.world.bucket("private").Grants().Sign(t.Context(), access.Grant{Op: access.GrantDownload, File: m.f.ID}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	jwt := strings.TrimPrefix(bearer, "Bearer ")
	for i, c := range calls() {
		if c.op == "" && strings.HasPrefix(c.route, "/api/admin/storage") {
			continue // they only take long
		}
		path := m.path(c, true)
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		c.header = append(c.header, "Idempotency-Key", fmt.Sprint("idem-0123456789-", i))
		for _, b := range []string{bearer, "Bearer " + key, "Bearer " + second, "Bearer " + key + "0", ""} {
			m.send(c, path, b)
		}
		for _, tok := range []string{m.grant.Token, second + "x", key, jwt} {
			m.send(c, path+sep+"token="+tok, "")
			m.send(c, path+sep+"access_token="+tok, "")
			m.send(c, path+"/"+tok, "")
		}
		wrong := c
		wrong.header = append(slices.Clone(c.header), "X-Cairn-As", `{"id": "`+jwt[:100]+`"}`, "X-Request-ID", key[:60])
		m.send(wrong, path, bearer)
		m.send(c, path, token(t, "ann", nil))
		if c.method != "GET" && c.method != "HEAD" {
			m.refresh()
		}
	}
	if err := m.store.Close(); err != nil { // which writes what waits of the audit
		t.Error(err)
	}
	log := m.logged()
	for name, text := range map[string]string{"log": log, "audit": audit.String()} {
		for what, secret := range m.secretsOf(key, bearer, m.grant.Token, second) {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("the %s has a secret, %s: …%s…", name, what, text[max(i-300, 0):min(i+100, len(text))])
			}
		}
	}
	if n := strings.Count(audit.String(), `"action":`); n < 30 {
		t.Errorf("%d lines of the audit:\n%s", n, audit)
	}
	if n := strings.Count(log, "msg=request"); n < 1000 {
		t.Errorf("%d lines", n)
	}
}

// Requests that a server has not waited for when it stops are counted, and the
// sessions that are open get their lines.
func TestStopCuts(t *testing.T) {
	w := secured(t, logSchema)
	log := &safeBuffer{}
	opts := w.opts
	opts.Log, opts.ShutdownTimeout = slog.New(slog.NewJSONHandler(log, nil)), 50*time.Millisecond
	s := api.New(w.store, &opts)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	w.url = "http://" + ln.Addr().String()
	ann := w.as("ann", "notes")
	se := ann.open(client.NewSession{Name: "open"})
	ann.list(se.ID, 0, [][]byte{[]byte("chunk")})
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /api/files/notes?name=cut HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
	if _, err := c.Read(make([]byte, 100)); err != nil { // the server reads
		t.Fatal(err)
	}
	stop()
	if err := <-served; err != nil || s.Cut() != 1 {
		t.Errorf("%d requests cut: %v", s.Cut(), err)
	}
	if got := log.await(t, "ended", "server stops"); len(got) != 1 || got[0]["requests"] != 1. || got[0]["user"] != "ann" {
		t.Errorf("sessions: %v", got)
	}
}
