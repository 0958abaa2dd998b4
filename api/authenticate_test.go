package api_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/schema"
)

// cookies says who sends a request by a cookie, as a program with sessions of its
// own does: none is nobody, and one that is not known is refused.
func cookies(people map[string]*access.Principal) api.AuthenticatorFunc {
	return func(r *http.Request) (*access.Principal, error) {
		c, err := r.Cookie("session")
		if err != nil {
			return nil, nil
		}
		p, ok := people[c.Value]
		if !ok {
			return nil, access.RefuseCredentials("the session has ended: sign in again")
		}
		return p, nil
	}
}

func people() map[string]*access.Principal {
	return map[string]*access.Principal{
		"ann":  {ID: "ann", Claims: map[string]any{"team": "red"}},
		"bob":  {ID: "bob"},
		"root": {ID: "root", Operator: true},
	}
}

// serveAs has w talk to its store by another server, with another Authenticator.
func (w *world) serveAs(who api.Authenticator, change ...func(*api.Options)) *world {
	w.t.Helper()
	opts := api.Options{Auth: who, Server: w.opts.Server, Log: w.opts.Log}
	for _, c := range change {
		c(&opts)
	}
	srv := httptest.NewServer(api.New(w.store, &opts))
	w.t.Cleanup(srv.Close)
	out := *w
	out.url = srv.URL
	return &out
}

func cookie(name string) string { return "session=" + name }

func TestAuthenticator(t *testing.T) {
	w := secured(t, matrixSchema)
	const p, secret = "/api/files/listed", "dial tcp 10.0.0.7: refused"
	for name, c := range map[string]struct {
		who    *access.Principal
		err    error
		status int
		code   string
		detail string
	}{
		"somebody":                 {&access.Principal{ID: "ann"}, nil, 201, "", ""},
		"nil":                      {nil, nil, 401, "unauthenticated", "this needs somebody who is known"},
		"nobody":                   {&access.Principal{}, nil, 401, "unauthenticated", "this needs somebody who is known"},
		"claims of nobody":         {&access.Principal{Claims: map[string]any{"id": "ann"}}, nil, 401, "unauthenticated", "this needs"},
		"an operator":              {&access.Principal{ID: "root", Operator: true}, nil, 201, "", ""},
		"bad credentials":          {nil, access.RefuseCredentials("the session has ended"), 401, "unauthenticated", "the session has ended"},
		"bad credentials, wrapped": {nil, fmt.Errorf("cookie: %w", access.ErrCredentials), 401, "unauthenticated", "cookie: credentials are not valid"},
		"with a principal":         {&access.Principal{ID: "ann"}, access.ErrCredentials, 401, "unauthenticated", "credentials"},
		"a database that is down":  {nil, errors.New(secret), 503, "authorization-unavailable", ""},
		"one that took too long":   {nil, context.DeadlineExceeded, 503, "authorization-unavailable", ""},
		"no such session":          {nil, fs.ErrNotExist, 503, "authorization-unavailable", ""},
		"no such file":             {nil, buckets.ErrNoFile, 503, "authorization-unavailable", ""},
		"not permitted":            {nil, fs.ErrPermission, 503, "authorization-unavailable", ""},
		"an ID with NUL":           {&access.Principal{ID: "ann\x00"}, nil, 401, "unauthenticated", "cannot be printed"},
		"a long ID":                {&access.Principal{ID: strings.Repeat("a", 300)}, nil, 401, "unauthenticated", "300 bytes"},
		"an API key's ID":          {&access.Principal{ID: access.KeyOwner + "0123456789abcdef"}, nil, 401, "unauthenticated", "as those of API keys do"},
	} {
		t.Run(name, func(t *testing.T) {
			who := w.serveAs(api.AuthenticatorFunc(func(*http.Request) (*access.Principal, error) { return c.who, c.err }))
			a := who.want(c.status, c.code, "POST", p+"?name=file", strings.NewReader("x"))
			if !strings.Contains(string(a.body), c.detail) || strings.Contains(string(a.body), secret) {
				t.Errorf("%s", a.body)
			}
			// The same of a file that is there and one that is not, so that nobody learns which.
			if c.err != nil {
				f := w.putAs("ann", "listed", "there", "x")
				there, none := who.do("GET", p+"/"+f.ID, nil), who.do("GET", p+"/"+missing("f_"), nil)
				if there.StatusCode != c.status || plain(there) != plain(none) {
					t.Errorf("%s\n%s", there.body, none.body)
				}
			}
		})
	}
}

// TestAuthenticatedOnce counts how often the Authenticator is asked.
func TestAuthenticatedOnce(t *testing.T) {
	m := newMatrix(t, "private")
	var asked atomic.Int64
	real := m.opts.Auth
	counting := m.serveAs(api.AuthenticatorFunc(func(r *http.Request) (*access.Principal, error) {
		asked.Add(1)
		return real.Principal(r)
	}))
	m.url = counting.url
	ann := token(t, "ann", nil)
	for _, c := range calls() {
		asked.Store(0)
		m.send(c, m.path(c, false), ann)
		if n, want := asked.Load(), int64(1); n > want || !c.open() && n != want {
			t.Errorf("%s %s: asked %d times", c.method, c.path, n)
		}
	}
	m.refreshFile()
	asked.Store(0)
	m.want(200, "", "GET", "/api/files/private/"+m.f.ID+"/download?token="+m.grant.Token, nil, "Authorization", ann)
	if asked.Load() != 0 {
		t.Error("asked about a signed URL")
	}
}

// TestSameAnswer returns one principal to many requests at a time.
func TestSameAnswer(t *testing.T) {
	w := secured(t, matrixSchema)
	ann := &access.Principal{ID: "ann"}
	was := *ann
	who := w.serveAs(api.AuthenticatorFunc(func(*http.Request) (*access.Principal, error) { return ann, nil }))
	f := w.putAs("ann", "private", "file", "x")
	var sent sync.WaitGroup
	for range 4 {
		sent.Go(func() {
			for range 5 {
				who.do("GET", "/api/files/private/"+f.ID, nil)
				who.do("HEAD", "/api/tus/private/"+missing("u_"), nil, "Tus-Resumable", "1.0.0")
			}
		})
	}
	sent.Wait()
	if ann.ID != was.ID || ann.Request != was.Request || ann.Explain != nil {
		t.Errorf("the principal was changed: %+v", ann)
	}
}

// TestCookieSessions has a program's own sessions decide owner, rules, isolation
// of uploads, limits and operators.
func TestCookieSessions(t *testing.T) {
	w := secured(t, matrixSchema)
	who := w.serveAs(cookies(people()))
	ann, bob, nobody := cookie("ann"), cookie("bob"), ""
	a := who.want(201, "", "POST", "/api/files/private?name=file", strings.NewReader("x"), "Cookie", ann)
	if !strings.Contains(string(a.body), `"owner":"ann"`) {
		t.Errorf("owner: %s", a.body)
	}
	file := a.Header.Get("Location")
	who.want(200, "", "GET", file+"/download", nil, "Cookie", ann)
	who.want(404, "file-not-found", "GET", file+"/download", nil, "Cookie", bob)
	who.want(404, "file-not-found", "GET", file, nil, "Cookie", nobody)
	who.want(401, "unauthenticated", "GET", file, nil, "Cookie", "session=stolen")
	if a := who.want(200, "", "GET", "/api/files/private", nil, "Cookie", bob); strings.Contains(string(a.body), "f_") {
		t.Errorf("bob sees %s", a.body)
	}
	who.want(403, "access-denied", "GET", "/api/admin/keys", nil, "Cookie", ann)
	who.want(200, "", "GET", "/api/admin/keys", nil, "Cookie", cookie("root"))
	who.want(200, "", "GET", file, nil, "Cookie", cookie("root"))

	for name, u := range map[string]struct {
		path, body  string
		begin       []string
		ask, method string // who asks for the state, and by which method
		header      []string
	}{
		"tus":      {"/api/tus/private", "", []string{"Tus-Resumable", "1.0.0", "Upload-Length", "5"}, "HEAD", "PATCH", []string{"Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", offsetStream}},
		"IETF":     {"/api/files/private?name=x", "", []string{"Upload-Complete", "?0"}, "HEAD", "PATCH", []string{"Upload-Offset", "0", "Upload-Complete", "?1", "Content-Type", partial}},
		"sessions": {"/api/files/private/_sessions", `{"name": "x"}`, []string{"Content-Type", "application/json"}, "GET", "DELETE", nil},
	} {
		t.Run(name, func(t *testing.T) {
			begun := who.want(201, "", "POST", u.path, strings.NewReader(u.body), append(u.begin, "Cookie", ann)...)
			at := strings.TrimPrefix(begun.Header.Get("Location"), who.url)
			for _, other := range []string{bob, nobody} {
				for _, method := range []string{u.ask, u.method, "DELETE"} {
					got := who.do(method, at, strings.NewReader("hello"), append(u.header, "Cookie", other)...)
					none := who.do(method, at[:len(at)-4]+"0000", strings.NewReader("hello"), append(u.header, "Cookie", other)...)
					if got.StatusCode != 404 || plain(got) != plain(none) {
						t.Errorf("%s as %q: %d %s, of none %s", method, other, got.StatusCode, got.body, none.body)
					}
				}
			}
			if got := who.do(u.ask, at, nil, append(u.header, "Cookie", ann)...); got.StatusCode/100 != 2 {
				t.Errorf("ann's: %d %s", got.StatusCode, got.body)
			}
			if got := who.do(u.method, at, strings.NewReader("hello"), append(u.header, "Cookie", ann)...); got.StatusCode/100 != 2 {
				t.Errorf("ann goes on: %d %s", got.StatusCode, got.body)
			}
		})
	}
}

// Limits count for each sender, and addresses behind proxies for all who are
// unknown.
func TestLimitsOfSessions(t *testing.T) {
	w := secured(t, `buckets: {near: {rules: {create: "true", read: request.ip == '192.0.2.1'}}}`)
	who := w.serveAs(cookies(people()), func(o *api.Options) {
		o.Server = schema.Server{RateLimit: 1, RateBurst: 3, TrustedProxies: []string{"127.0.0.1"}}
	})
	f := w.putAs("eve", "near", "file", "x")
	send := func(header ...string) int { return who.do("GET", "/api/files/near/"+f.ID, nil, header...).StatusCode }
	from := func(ip string) []string { return []string{"X-Forwarded-For", ip} }
	for _, header := range [][]string{
		append(from("192.0.2.1"), "Cookie", cookie("ann")), append(from("192.0.2.1"), "Cookie", cookie("bob")), from("192.0.2.1"),
	} {
		for i := range 4 {
			want := 200
			if i == 3 {
				want = 429
			}
			if got := send(header...); got != want && !(got == 200 && i == 3) { // a slow machine gives another second
				t.Errorf("%v, request %d: %d, want %d", header, i, got, want)
			}
		}
	}
	if got := send(from("192.0.2.2")...); got != 404 {
		t.Errorf("from elsewhere: %d, want 404", got)
	}
	who.want(200, "", "GET", "/api/admin/keys", nil, "Cookie", cookie("root"))
}

func TestCrossOrigin(t *testing.T) {
	w := secured(t, matrixSchema)
	who := w.serveAs(cookies(people()), func(o *api.Options) {
		o.Server.PublicURL = "https://files.example.com/storage"
		o.Server.CORS = schema.CORS{AllowedOrigins: []string{"https://app.example.com", "https://*.tenant.example"}}
	})
	any := w.serveAs(cookies(people()), func(o *api.Options) {
		o.Server.CORS = schema.CORS{AllowedOrigins: []string{"*"}}
	})
	off := http.NewCrossOriginProtection()
	off.AddInsecureBypassPattern("/")
	bypassed := w.serveAs(cookies(people()), func(o *api.Options) { o.CrossOrigin = off })
	bearer := w.serveAs(w.opts.Auth)
	f := w.putAs("ann", "private", "file", "x")
	signed := w.sign(token(t, "ann", nil), "private", "", `{}`)
	const site, origin = "Sec-Fetch-Site", "Origin"
	cross := []string{site, "cross-site", origin, "https://evil.example"}
	for name, c := range map[string]struct {
		w      *world
		header []string
		fine   bool
	}{
		"no browser":                    {who, nil, true},
		"an old browser, same origin":   {who, []string{origin, who.url}, true},
		"an old browser, another":       {who, []string{origin, "https://evil.example"}, false},
		"an old browser, no origin":     {who, []string{origin, "null"}, false},
		"same origin":                   {who, []string{site, "same-origin", origin, who.url}, true},
		"typed into the bar":            {who, []string{site, "none"}, true},
		"another site":                  {who, cross, false},
		"another host of the site":      {who, []string{site, "same-site", origin, "https://user.example.com"}, false},
		"the public URL":                {who, []string{site, "cross-site", origin, "https://files.example.com"}, true},
		"a page that CORS names":        {who, []string{site, "cross-site", origin, "https://app.example.com"}, true},
		"one that it names by a star":   {who, []string{site, "cross-site", origin, "https://a.tenant.example"}, true},
		"one with such an end":          {who, []string{site, "cross-site", origin, "https://tenant.example.evil"}, false},
		"any page, by CORS":             {any, cross, false},
		"the program checks":            {bypassed, cross, true},
		"a bearer token":                {bearer, append(cross, "Authorization", token(t, "ann", nil)), true},
		"a bearer token and the cookie": {bearer, append(cross, "authorization", strings.Replace(token(t, "ann", nil), "Bearer", "bearer", 1)), true},
	} {
		t.Run(name, func(t *testing.T) {
			header := c.header
			if c.w != bearer {
				header = append([]string{"Cookie", cookie("ann")}, header...)
			}
			form := append([]string{"Content-Type", "multipart/form-data; boundary=b"}, header...)
			body := "--b\r\nContent-Disposition: form-data; name=file; filename=f\r\n\r\nx\r\n--b--\r\n"
			status, code := 201, ""
			if !c.fine {
				status, code = 403, "cross-origin"
			}
			c.w.want(status, code, "POST", "/api/files/private", strings.NewReader(body), form...)
			c.w.want(status, code, "POST", "/api/tus/private", nil, append(header, "Tus-Resumable", "1.0.0", "Upload-Length", "1")...)
			// What changes nothing is answered, and a browser that must not show it does not.
			if got := c.w.do("GET", "/api/files/private/"+f.ID, nil, header...); got.StatusCode != 200 {
				t.Errorf("GET: %d %s", got.StatusCode, got.body)
			}
		})
	}
	// Neither is anything that is done without a browser's credentials.
	who.want(201, "", "POST", "/api/files/private?name=x&token="+signed.Token, strings.NewReader("x"), append(cross, "Cookie", cookie("ann"))...)
	who.want(401, "unauthenticated", "POST", "/api/files/private?name=x", strings.NewReader("x"), cross...)
	// A program that names the sender itself is no way around.
	srv := api.New(w.store, nil)
	for _, who := range []*access.Principal{{ID: "ann"}, {ID: "root", Operator: true}, {Claims: map[string]interface{}{"role": "editor"}}} {
		r := httptest.NewRequest("DELETE", "/api/files/private/"+f.ID, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		rec := httptest.NewRecorder()
		srv.ServeHTTP(rec, api.WithPrincipal(r, who))
		if rec.Code != 403 || !strings.Contains(rec.Body.String(), "cross-origin") {
			t.Errorf("%+v: %d %s", who, rec.Code, rec.Body)
		}
	}
	for _, site := range []string{"same-origin", "cross-site"} {
		r := httptest.NewRequest("POST", "/api/files/private?name=x", strings.NewReader("x"))
		r.Header.Set("Sec-Fetch-Site", site)
		rec := httptest.NewRecorder()
		srv.ServeHTTP(rec, api.WithPrincipal(r, &access.Principal{ID: "ann"}))
		if want := map[string]int{"same-origin": 201, "cross-site": 403}[site]; rec.Code != want {
			t.Errorf("WithPrincipal, %s: %d, want %d", site, rec.Code, want)
		}
	}
}
