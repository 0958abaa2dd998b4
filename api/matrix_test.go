package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

const matrixSchema = `
buckets:
  private: {rules: {create: auth.id != null, read: auth.id == file.owner, update: auth.id == file.owner, delete: auth.id == file.owner}}
  listed:  {rules: {create: auth.id != null, read: auth.id == file.owner, update: auth.id == file.owner, delete: auth.id == file.owner, list: auth.id != null}}
  public:  {rules: {create: auth.id != null, read: "true", update: auth.id == file.owner, delete: auth.id == file.owner}}
  closing: {enabled: true, rules: {create: auth.id != null, read: "true", update: auth.id == file.owner, delete: auth.id == file.owner}}
  other:   {rules: {}}
`

// A call is one method of one route. What it is about stands in its path:
// BUCKET, FILE, VERSION (a manifest ID), DIGEST, GRANT, KEY.
type call struct {
	route, method, path string
	op                  access.Op // that its caller needs; "" for operators' own, "none" for anybody's
	body, contentType   string
	status              int // when allowed
	header              []string
}

// tusCalls are those of the routes for uploads by the tus protocol.
func tusCalls() (out []call) {
	const bytes = "application/offset+octet-stream"
	v := []string{"Tus-Resumable", "1.0.0"}
	at := append([]string{"Upload-Offset", "0"}, v...)
	for pattern, path := range map[string]string{"/api/tus/{bucket:[^/_][^/]*}": "/api/tus/BUCKET", "/api/files/{bucket:[^/_][^/]*}/tus": "/api/files/BUCKET/tus"} {
		for _, end := range []string{"", "/"} {
			out = append(out, call{pattern + end, "OPTIONS", path + end, "none", "", "", 200, nil},
				call{pattern + end, "POST", path + end, access.OpCreate, "", "", 201, append([]string{"Upload-Length", "9"}, v...)})
		}
		one := pattern + "/{upload}"
		path += "/UPLOAD"
		out = append(out, call{one, "OPTIONS", path, "none", "", "", 200, nil}, call{one, "HEAD", path, "own upload", "", "", 200, v},
			call{one, "PATCH", path, "own upload", "x", bytes, 204, at}, call{one, "DELETE", path, "own upload", "", "", 204, v},
			call{one, "POST", path, "own upload", "", "", 200, append([]string{"X-HTTP-Method-Override", "HEAD"}, v...)})
	}
	return out
}

// sessionCalls are those of the routes for uploads by chunk list.
func sessionCalls() []call {
	const all, one = "/api/files/{bucket:[^/_][^/]*}/_sessions", "/api/files/{bucket:[^/_][^/]*}/_sessions/{upload}"
	const path, j = "/api/files/BUCKET/_sessions", "application/json"
	return []call{
		{"/api/files/_capabilities", "GET", "/api/files/_capabilities", "none", "", "", 200, nil},
		{all, "POST", path, access.OpCreate, `{"name": "new"}`, j, 201, nil},
		{one, "GET", path + "/SESSION", "own upload", "", "", 200, nil},
		{one, "DELETE", path + "/SESSION", "own upload", "", "", 204, nil},
		{one + "/list", "POST", path + "/SESSION/list?at=1", "own upload", `{"chunks": []}`, j, 200, nil},
		{one + "/missing", "GET", path + "/SESSION/missing", "own upload", "", "", 200, nil},
		{one + "/chunks", "POST", path + "/SESSION/chunks", "own upload", "", client.ChunksType, 200, nil},
		{one + "/chunks/{digest}", "PUT", path + "/SESSION/chunks/CHUNK", "own upload", "x", "application/octet-stream", 201, nil},
		{one + "/commit", "POST", path + "/SESSION/commit", "own upload", "", "", 409, nil},
	}
}

// rufhCalls are those of the routes for uploads by the IETF's protocol.
func rufhCalls() []call {
	const one, path = "/api/uploads/{bucket:[^/_][^/]*}/{upload}", "/api/uploads/BUCKET/RESUMABLE"
	const bytes, b, f = "application/partial-upload", "/api/files/{bucket:[^/_][^/]*}", "/api/files/{bucket:[^/_][^/]*}/{id:[^/_][^/]*}"
	at := []string{"Upload-Offset", "0", "Upload-Complete", "?0"}
	return []call{
		{b, "OPTIONS", "/api/files/BUCKET", "none", "", "", 204, nil},
		{b + "/", "OPTIONS", "/api/files/BUCKET/", "none", "", "", 204, nil},
		{b + "/", "GET", "/api/files/BUCKET/", access.OpList, "", "", 200, nil},
		{b + "/", "POST", "/api/files/BUCKET/?name=new", access.OpCreate, "x", "text/plain", 201, nil},
		{b + "/", "POST", "/api/files/BUCKET/", access.OpCreate, "x", "text/plain", 201, []string{"Upload-Complete", "?1"}},
		{b, "POST", "/api/files/BUCKET?name=new", access.OpCreate, "x", "text/plain", 201, []string{"Upload-Complete", "?1"}},
		{f, "OPTIONS", "/api/files/BUCKET/FILE", "none", "", "", 204, nil},
		{f, "PUT", "/api/files/BUCKET/FILE", access.OpUpdate, "xy", "text/plain", 200, []string{"Upload-Complete", "?1"}},
		{one, "OPTIONS", path, "none", "", "", 204, nil},
		{one, "HEAD", path, "own upload", "", "", 204, nil},
		{one, "GET", path, "own upload", "", "", 204, nil},
		{one, "PATCH", path, "own upload", "x", bytes, 204, at},
		{one, "POST", path, "own upload", "x", bytes, 204, append([]string{"X-HTTP-Method-Override", "PATCH"}, at...)},
		{one, "DELETE", path, "own upload", "", "", 204, nil},
	}
}

// hostCalls are those of the routes of hosts. LIVE is a session.
func hostCalls() []call {
	const one, of, path, j = "/api/admin/hosts/{host}", "/api/admin/hosts/{host}/sessions/{session}", "/api/admin/hosts/matrix/sessions/LIVE", "application/json"
	const ended = `{"run": "r1.e30"}` // of a session that there was not
	return []call{
		{"/api/admin/hosts", "GET", "/api/admin/hosts", "", "", "", 200, nil},
		{one, "GET", "/api/admin/hosts/matrix?counts=true", "", "", "", 200, nil},
		{one + "/offer", "POST", "/api/admin/hosts/new/offer", "", "{}", j, 200, nil},
		{one + "/begin", "POST", "/api/admin/hosts/matrix/begin", "", "{}", j, 409, nil},
		{one + "/forget", "POST", "/api/admin/hosts/matrix/forget", "", "", "", 200, nil},
		{of, "DELETE", path, "", "", "", 204, nil},
		{of + "/prepare", "POST", path + "/prepare", "", `{"as": {"id": "ann"}, "changes": []}`, j, 200, nil},
		{of + "/confirm", "POST", path + "/confirm", "", `{"tokens": ["t1.e30"]}`, j, 204, nil},
		{of + "/cancel", "POST", path + "/cancel", "", `{"tokens": ["t1.e30"]}`, j, 204, nil},
		{of + "/resolve", "POST", path + "/resolve", "", `{"as": null, "items": [{"id": "VERSION"}]}`, j, 200, nil},
		{of + "/events", "GET", path + "/events", "", "", "", 200, nil},
		{of + "/events/acknowledge", "POST", path + "/events/acknowledge", "", `{"links": []}`, j, 204, nil},
		{of + "/reconcile", "POST", path + "/reconcile", "", `{"dry_run": true}`, j, 200, nil},
		{of + "/reconcile/rows", "POST", path + "/reconcile/rows", "", ended, j, 409, nil},
		{of + "/reconcile/links", "POST", path + "/reconcile/links", "", ended, j, 409, nil},
		{of + "/reconcile/drop", "POST", path + "/reconcile/drop", "", ended, j, 409, nil},
		{of + "/reconcile/end", "POST", path + "/reconcile/end", "", ended, j, 409, nil},
	}
}

// calls has every method of every route, and of file routes also those by a
// manifest ID.
func calls() []call {
	const b, f = "/api/files/{bucket:[^/_][^/]*}", "/api/files/{bucket:[^/_][^/]*}/{id:[^/_][^/]*}"
	const j = "application/json"
	return slices.Concat(tusCalls(), sessionCalls(), rufhCalls(), hostCalls(), []call{
		{"/healthz", "GET", "/healthz", "none", "", "", 200, nil},
		{"/readyz", "GET", "/readyz", "none", "", "", 200, nil},
		{"/api/openapi.json", "GET", "/api/openapi.json", "none", "", "", 200, nil},
		{b, "GET", "/api/files/BUCKET", access.OpList, "", "", 200, nil},
		{b, "POST", "/api/files/BUCKET?name=new", access.OpCreate, "x", "text/plain", 201, nil},
		{b + "/_capabilities", "GET", "/api/files/BUCKET/_capabilities", "none", "", "", 200, nil},
		{b + "/_at/{path:.*}", "GET", "/api/files/BUCKET/_at/file", access.OpDownload, "", "", 200, nil},
		{b + "/_at/{path:.*}", "GET", "/api/files/BUCKET/_at/file?as=view", access.OpDownload, "", "", 200, nil},
		{b + "/_at/{path:.*}", "GET", "/api/files/BUCKET/_at/file?as=json", access.OpRead, "", "", 200, nil},
		{b + "/_at/{path:.*}", "HEAD", "/api/files/BUCKET/_at/file?version=1", access.OpDownload, "", "", 200, nil},
		{b + "/_usage", "GET", "/api/files/BUCKET/_usage", access.OpList, "", "", 200, nil},
		{b + "/_sign-upload", "POST", "/api/files/BUCKET/_sign-upload", access.OpCreate, `{"max_size": 5}`, j, 200, nil},
		{b + "/_grants", "GET", "/api/files/BUCKET/_grants", "none", "", "", 200, nil},
		{b + "/_grants/{grant}", "GET", "/api/files/BUCKET/_grants/GRANT", "own grant", "", "", 200, nil},
		{b + "/_grants/{grant}", "DELETE", "/api/files/BUCKET/_grants/GRANT", "own grant", "", "", 204, nil},
		{f, "GET", "/api/files/BUCKET/FILE", access.OpRead, "", "", 200, nil},
		{f, "HEAD", "/api/files/BUCKET/FILE", access.OpRead, "", "", 200, nil},
		{f, "GET", "/api/files/BUCKET/VERSION", access.OpRead, "", "", 200, nil},
		{f, "PUT", "/api/files/BUCKET/FILE", access.OpUpdate, "xy", "text/plain", 200, nil},
		{f, "PATCH", "/api/files/BUCKET/FILE", access.OpUpdate, `{"tags": ["t"]}`, j, 200, nil},
		{f, "DELETE", "/api/files/BUCKET/FILE", access.OpDelete, "", "", 200, nil},
		{f, "DELETE", "/api/files/BUCKET/FILE?permanent=true", access.OpDelete, "", "", 204, nil},
		{f, "DELETE", "/api/files/BUCKET/VERSION", access.OpDelete, "", "", 204, nil},
		{f + "/download", "GET", "/api/files/BUCKET/FILE/download", access.OpDownload, "", "", 200, nil},
		{f + "/download", "HEAD", "/api/files/BUCKET/FILE/download", access.OpDownload, "", "", 200, nil},
		{f + "/download", "GET", "/api/files/BUCKET/VERSION/download", access.OpDownload, "", "", 200, nil},
		{f + "/download", "GET", "/api/files/BUCKET/FILE/download?version=1", access.OpDownload, "", "", 200, nil},
		{f + "/view", "GET", "/api/files/BUCKET/FILE/view", access.OpDownload, "", "", 200, nil},
		{b + "/_compose", "POST", "/api/files/BUCKET/_compose", access.OpCreate, `{"name": "new", "pieces": [{"data": "aGk="}]}`, j, 201, nil},
		{b + "/_compose", "POST", "/api/files/BUCKET/_compose?about=FILE", access.OpUpdate, `{"file_id": "FILE", "pieces": [{"file": "VERSION", "length": 2}, {"data": "aGk="}]}`, j, 200, nil},
		{f + "/content", "PATCH", "/api/files/BUCKET/FILE/content", access.OpUpdate, "xy", "", 200, []string{"Content-Range", "bytes 1-2/*"}},
		{f + "/append", "POST", "/api/files/BUCKET/FILE/append", access.OpUpdate, "xy", "", 200, nil},
		{f + "/truncate", "POST", "/api/files/BUCKET/FILE/truncate", access.OpUpdate, `{"size": 1}`, j, 200, nil},
		{f + "/restore", "POST", "/api/files/BUCKET/FILE/restore", access.OpDelete, "", "", 409, nil},
		{f + "/copy", "POST", "/api/files/BUCKET/FILE/copy", access.OpDownload, `{}`, j, 201, nil},
		{f + "/sign", "GET", "/api/files/BUCKET/FILE/sign?expiry=1m&operation=download", access.OpDownload, "", "", 200, nil},
		{f + "/sign", "POST", "/api/files/BUCKET/FILE/sign", access.OpDownload, `{"operation": "view"}`, j, 200, nil},
		{f + "/sign", "POST", "/api/files/BUCKET/FILE/sign", access.OpUpdate, `{"operation": "upload"}`, j, 200, nil},
		{f + "/manifest", "GET", "/api/files/BUCKET/FILE/manifest", access.OpRead, "", "", 200, nil},
		{f + "/chunks/{digest}", "GET", "/api/files/BUCKET/FILE/chunks/DIGEST", access.OpDownload, "", "", 200, nil},
		{f + "/references", "GET", "/api/files/BUCKET/FILE/references", access.OpRead, "", "", 200, nil},
		{f + "/preview", "GET", "/api/files/BUCKET/FILE/preview?width=10", access.OpDownload, "", "", 501, nil},
		{f + "/versions", "GET", "/api/files/BUCKET/FILE/versions", access.OpRead, "", "", 200, nil},
		{f + "/versions/{n}", "GET", "/api/files/BUCKET/FILE/versions/1", access.OpRead, "", "", 200, nil},
		{f + "/versions/{n}", "DELETE", "/api/files/BUCKET/FILE/versions/1", access.OpDelete, "", "", 204, nil},
		{f + "/versions/{n}/download", "GET", "/api/files/BUCKET/FILE/versions/1/download", access.OpDownload, "", "", 200, nil},
		{f + "/versions/{n}/view", "GET", "/api/files/BUCKET/FILE/versions/1/view", access.OpDownload, "", "", 200, nil},
		{f + "/versions/{n}/restore", "POST", "/api/files/BUCKET/FILE/versions/1/restore", access.OpUpdate, "", "", 200, nil},
		{f + "/versions/{n}/diff", "GET", "/api/files/BUCKET/FILE/versions/2/diff?from=1", access.OpRead, "", "", 200, nil},
		{"/api/admin/explain", "POST", "/api/admin/explain", "", `{"bucket": "private", "operation": "list"}`, j, 200, nil},
		{"/api/admin/keys", "GET", "/api/admin/keys", "", "", "", 200, nil},
		{"/api/admin/keys", "POST", "/api/admin/keys", "", `{"operator": true}`, j, 201, nil},
		{"/api/admin/keys/{key}", "DELETE", "/api/admin/keys/KEY", "", "", "", 204, nil},
		{"/api/admin/migrate", "POST", "/api/admin/migrate", "", `{"bucket": "private", "to": "local"}`, j, 200, nil},
		{"/api/admin/signing-keys", "POST", "/api/admin/signing-keys", "", `{}`, j, 200, nil},
		{"/api/admin/storage/gc", "GET", "/api/admin/storage/gc", "", "", "", 200, nil},
		{"/api/admin/storage/gc", "POST", "/api/admin/storage/gc", "", `{"dry_run": true}`, j, 200, nil},
		{"/api/admin/storage/gc/explain", "GET", "/api/admin/storage/gc/explain?digest=DIGEST", "", "", "", 200, nil},
		{"/api/admin/storage/gc/preview", "POST", "/api/admin/storage/gc/preview", "", `{"bucket": "private"}`, j, 200, nil},
		{"/api/admin/storage/reports/dedup", "GET", "/api/admin/storage/reports/dedup", "", "", "", 200, nil},
		{"/api/admin/storage/ledger", "GET", "/api/admin/storage/ledger", "", "", "", 200, nil},
		{"/api/admin/storage/reports/gc", "GET", "/api/admin/storage/reports/gc", "", "", "", 200, nil},
		{"/api/admin/storage/reports/fragmentation", "GET", "/api/admin/storage/reports/fragmentation", "", "", "", 200, nil},
		{"/api/admin/storage/reports/orphans", "GET", "/api/admin/storage/reports/orphans", "", "", "", 200, nil},
		{"/api/admin/storage/reports/usage", "GET", "/api/admin/storage/reports/usage?top=3", "", "", "", 200, nil},
		{"/api/admin/storage/check", "POST", "/api/admin/storage/check", "", `{}`, j, 200, nil},
		{"/api/admin/storage/scrub", "GET", "/api/admin/storage/scrub", "", "", "", 200, nil},
		{"/api/admin/storage/scrub", "POST", "/api/admin/storage/scrub", "", `{"all": true}`, j, 200, nil},
		{"/api/admin/storage/gc/pause", "POST", "/api/admin/storage/gc/pause", "", "", "", 200, nil},
		{"/api/admin/storage/gc/resume", "POST", "/api/admin/storage/gc/resume", "", "", "", 200, nil},
	})
}

// A matrix is a server, and what its calls are about.
type matrix struct {
	*world
	bucket string
	f      *client.File // ann's, of two versions
	first  string       // its first version
	digest string
	grant  *client.SignedURL // ann's
	key    string            // ID of an API key
	upload string            // ann's, by tus
	chunk  []byte            // that ann's session lists
	listed string            // ann's session
	pieces string            // ann's, by the IETF's protocol
	kept   links.State       // by the host matrix
}

func newMatrix(t *testing.T, bucket string) *matrix { return newMatrixBy(t, testConfig, bucket) }

// newMatrixBy is newMatrix with another configuration.
func newMatrixBy(t *testing.T, config, bucket string) *matrix {
	m := &matrix{world: securedBy(t, config, matrixSchema), bucket: bucket}
	m.refresh()
	return m
}

// refresh makes what the calls are about anew.
func (m *matrix) refresh() {
	m.t.Helper()
	m.refreshFile()
	m.refreshUploads()
}

// refreshFile makes another file of ann's, of two versions, and a signed URL of
// it.
func (m *matrix) refreshFile() {
	m.t.Helper()
	ann := token(m.t, "ann", nil)
	m.f = m.putAs("ann", m.bucket, "file", "one")
	m.first = m.f.ManifestID
	m.want(200, "", "PUT", "/api/files/"+m.bucket+"/"+m.f.ID, strings.NewReader("two!"), "Authorization", ann)
	a := m.want(200, "", "GET", "/api/files/"+m.bucket+"/"+m.f.ID+"/manifest", nil, "Authorization", ann)
	var c client.Chunk
	if err := json.Unmarshal(bytes.Split(a.body, []byte("\n"))[0], &c); err != nil {
		m.t.Fatal(err)
	}
	m.digest = c.Digest
	m.grant = m.sign(ann, m.bucket, m.f.ID, `{"operation": "download"}`)
}

// refreshUploads makes other uploads of ann's, and another API key.
func (m *matrix) refreshUploads() {
	m.t.Helper()
	ann := token(m.t, "ann", nil)
	_, k, err := m.store.Keys().New(m.t.Context(), manifest.APIKey{Operator: true}, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	m.key = k.ID
	up, err := upload.New().In(m.world.bucket(m.bucket).As(&access.Principal{ID: "ann"})).Begin(m.t.Context(), "up", &upload.Options{Header: "{}"})
	if err != nil {
		m.t.Fatal(err)
	}
	m.upload = up.ID
	m.chunk = append(m.chunk, 'x') // another one every time: nobody has sent it
	a := m.want(201, "", "POST", "/api/files/"+m.bucket+"/_sessions", strings.NewReader(fmt.Sprintf(
		`{"name": "listed", "chunks": [{"digest": "%s", "size": %d}]}`, digestOf(m.chunk), len(m.chunk))), "Authorization", ann, "Content-Type", "application/json")
	var session client.Session
	if err := json.Unmarshal(a.body, &session); err != nil {
		m.t.Fatal(err)
	}
	m.listed = session.ID
	if up, err = upload.New().In(m.world.bucket(m.bucket).As(&access.Principal{ID: "ann"})).Begin(m.t.Context(), "up", &upload.Options{Header: "rufh"}); err != nil {
		m.t.Fatal(err)
	}
	m.pieces = up.ID
	if _, err := links.Open(m.t.Context(), m.store, m, &links.Options{Name: "matrix"}); err != nil {
		m.t.Fatal(err)
	}
}

// Load and Save keep the state of the host matrix.
func (m *matrix) Load(context.Context) (links.State, error)    { return m.kept, nil }
func (m *matrix) Save(_ context.Context, st links.State) error { m.kept = st; return nil }

func (w *world) sign(bearer, bucket, id, body string) *client.SignedURL {
	w.t.Helper()
	path := "/api/files/" + bucket + "/" + id + "/sign"
	if id == "" {
		path = "/api/files/" + bucket + "/_sign-upload"
	}
	a := w.want(200, "", "POST", path, strings.NewReader(body), "Authorization", bearer, "Content-Type", "application/json")
	u := new(client.SignedURL)
	if err := json.Unmarshal(a.body, u); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// missing is a file ID, or version ID, that there is not.
func missing(prefix string) string { return prefix + "0" + strings.Repeat("a", 34) + "0" }

// path is the call's with what it is about filled in; or with what is not
// there.
func (m *matrix) path(c call, there bool) string { return m.fill(c.path, there) }

func (m *matrix) fill(text string, there bool) string {
	file, version, digest, upload, session, pieces := m.f.ID, m.first, m.digest, m.upload, m.listed, m.pieces
	if !there {
		upload, session, pieces = missing("u_"), missing("u_"), missing("u_")
		file, version, digest = missing("f_"), missing("m_"), strings.Repeat("0", 64)
	}
	return strings.NewReplacer("BUCKET", m.bucket, "FILE", file, "VERSION", version, "DIGEST", digest,
		"UPLOAD", upload, "SESSION", session, "RESUMABLE", pieces, "CHUNK", digestOf(m.chunk), "GRANT", m.grant.GrantID, "KEY", m.key,
		"LIVE", fmt.Sprint(m.kept.Session)).Replace(text)
}

func (m *matrix) send(c call, path, bearer string) *answer {
	m.t.Helper()
	h := slices.Clone(c.header)
	if c.contentType != "" {
		h = append(h, "Content-Type", c.contentType)
	}
	if bearer != "" {
		h = append(h, "Authorization", bearer)
	}
	body := m.fill(c.body, !strings.Contains(path, missing("f_"))) // about the same as the path
	if c.method == "PUT" && strings.Contains(path, "_sessions") {
		body = string(m.chunk)
	}
	return m.do(c.method, path, strings.NewReader(body), h...)
}

// Every method of every route is in the matrix.
func TestMatrixIsWhole(t *testing.T) {
	have := make(map[string]bool)
	for _, c := range calls() {
		have[c.method+" "+c.route] = true
	}
	for path, methods := range api.New(newWorld(t).store, nil).Routes() {
		for _, m := range methods {
			if !have[m+" "+path] {
				t.Errorf("%s %s is not in the matrix: say who may use it", m, path)
			}
			delete(have, m+" "+path)
		}
	}
	for left := range have {
		if !strings.HasPrefix(left, "HEAD ") {
			t.Errorf("%s is in the matrix, and no route", left)
		}
	}
}

// bearers are those whom nobody believes, by what is wrong with them.
func unbelieved(t *testing.T) map[string]string {
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	claims := strings.Split(token(t, "ann", nil), ".")[1]
	return map[string]string{
		"an expired token":           token(t, "ann", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"another audience":           token(t, "ann", map[string]any{"aud": "web"}),
		"another issuer":             token(t, "ann", map[string]any{"iss": "eve"}),
		"alg none":                   "Bearer " + none + "." + claims + ".",
		"an unknown API key":         "Bearer cairn_0123456789abcdef_" + strings.Repeat("0", 64),
		"no token after all":         "Bearer ",
		"a scheme of no kind":        "Basic YW5uOmFubg==",
		"a signed URL's token there": "Bearer g_" + strings.Repeat("0", 36) + ".x.y",
	}
}

func TestMatrixUnbelieved(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	for what, bearer := range unbelieved(t) {
		for _, c := range calls() {
			if c.open() {
				continue
			}
			for _, there := range []bool{true, false} {
				a := m.send(c, m.path(c, there), bearer)
				if a.StatusCode != 401 || c.method != "HEAD" && a.code() != "unauthenticated" || a.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: %s %s: %d %s", what, c.method, c.path, a.StatusCode, a.body)
				}
			}
		}
	}
	m.unharmed()
}

// unharmed fails if ann's file is not what it was.
func (m *matrix) unharmed() {
	m.t.Helper()
	a := m.want(200, "", "GET", "/api/files/"+m.bucket+"/"+m.f.ID, nil, "Authorization", token(m.t, "ann", nil))
	f := new(client.File)
	if err := json.Unmarshal(a.body, f); err != nil || f.Version != 2 || f.VersionsCount != 2 || len(f.Tags) > 0 || f.State != "active" || f.Size != 4 {
		m.t.Errorf("ann's file is now %s", a.body)
	}
}

func TestMatrixOwner(t *testing.T) {
	race.LeaveOut(t)
	for _, bucket := range []string{"private", "listed"} {
		m := newMatrix(t, bucket)
		for _, c := range calls() {
			want, code := c.status, ""
			switch {
			case c.op == "":
				want, code = 403, "access-denied"
			case c.op == access.OpList && bucket == "private" && strings.Contains(c.path, "_usage"):
				want, code = 403, "access-denied"
			case strings.HasSuffix(c.path, "/commit"):
				code = "chunks-missing"
			case c.status == 409:
				code = "not-trashed"
			case c.status == 501:
				code = "transform-not-available"
			}
			a := m.send(c, m.path(c, true), token(t, "ann", nil))
			if a.StatusCode != want || a.code() != code {
				t.Errorf("%s: %s %s: %d, want %d: %s", bucket, c.method, c.path, a.StatusCode, want, a.body)
			}
			if c.method != "GET" && c.method != "HEAD" {
				m.refresh()
			}
		}
	}
}

var instance = regexp.MustCompile(`"(instance|timestamp)":"[^"]*"`)

// plain is a body without what differs between any two answers.
func plain(a *answer) string { return instance.ReplaceAllString(string(a.body), "") }

// Denied callers cannot tell a forbidden file from a missing one, unless they
// may list.
func TestMatrixDenied(t *testing.T) {
	race.LeaveOut(t)
	for _, bucket := range []string{"private", "listed"} {
		m := newMatrix(t, bucket)
		elsewhere, _, err := m.store.Keys().New(t.Context(), manifest.APIKey{Buckets: []string{"other"},
			Ops: []string{"create", "read", "update", "delete", "download", "list"}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for who, bearer := range map[string]string{"another user": token(t, "bob", nil), "anonymous": "", "API key of another bucket": "Bearer " + elsewhere} {
			for _, c := range calls() {
				a := m.send(c, m.path(c, true), bearer)
				denied := map[string]int{"another user": 403, "anonymous": 401, "API key of another bucket": 403}[who]
				want := 404
				switch {
				case c.op == "none":
					want = c.status
				case c.op == "":
					want = denied
				case c.op == access.OpCreate:
					if want = denied; who == "another user" {
						want = c.status
					}
				case c.op == access.OpList && !strings.Contains(c.path, "_usage"):
					if want = 200; who == "API key of another bucket" || bucket == "listed" && who == "anonymous" {
						want = denied
					}
				case c.op == access.OpList:
					if want = denied; bucket == "listed" && who == "another user" {
						want = 200
					}
				case c.op == "own grant", c.op == "own upload":
				case bucket == "listed" && who == "another user":
					want = 403
				}
				if a.StatusCode != want {
					t.Errorf("%s, %s: %s %s: %d, want %d: %s", bucket, who, c.method, c.path, a.StatusCode, want, a.body)
				}
				if want != 404 {
					continue
				}
				if gone := m.send(c, m.path(c, false), bearer); gone.StatusCode != a.StatusCode || plain(gone) != plain(a) || fmt.Sprint(headersOf(gone)) != fmt.Sprint(headersOf(a)) {
					t.Errorf("%s, %s: %s %s: forbidden\n%s %v\nmissing\n%s %v", bucket, who, c.method, c.path, a.body, headersOf(a), gone.body, headersOf(gone))
				}
			}
		}
		if bucket == "private" {
			a := m.want(200, "", "GET", "/api/files/private", nil, "Authorization", token(t, "bob", nil))
			if strings.Contains(string(a.body), m.f.ID) {
				t.Error("bob's list has ann's file")
			}
		}
		m.unharmed()
	}
}

// Nor do versions that a forbidden file does not have tell that there is a file.
func TestMissingVersionTellsNothing(t *testing.T) {
	m := newMatrix(t, "private")
	const j = "application/json"
	for _, c := range []call{
		{"", "GET", "FILE?version=99", "", "", "", 404, nil}, {"", "GET", "FILE/download?version=99", "", "", "", 404, nil},
		{"", "GET", "FILE/versions/99", "", "", "", 404, nil}, {"", "GET", "FILE/versions/99/view", "", "", "", 404, nil},
		{"", "GET", "VERSION?version=99", "", "", "", 404, nil}, {"", "GET", "FILE/manifest?version=99", "", "", "", 404, nil},
		{"", "GET", "FILE/chunks/DIGEST?version=99", "", "", "", 404, nil}, {"", "GET", "FILE/versions/99/diff?from=98", "", "", "", 404, nil},
		{"", "POST", "FILE/versions/99/restore", "", "", "", 404, nil}, {"", "DELETE", "FILE/versions/99", "", "", "", 404, nil},
		{"", "POST", "FILE/copy", "", `{"version": 99}`, j, 404, nil}, {"", "POST", "FILE/sign", "", `{"version": 99}`, j, 404, nil},
	} {
		c.path = "/api/files/BUCKET/" + c.path
		for who, code := range map[string]string{"bob": "file-not-found", "ann": "version-not-found"} {
			bearer := token(t, who, nil)
			a, gone := m.send(c, m.path(c, true), bearer), m.send(c, m.path(c, false), bearer)
			if a.code() != code || gone.code() != "file-not-found" || who == "bob" && plain(a) != plain(gone) {
				t.Errorf("%s: %s %s: %d %s\nmissing: %s", who, c.method, c.path, a.StatusCode, a.body, gone.body)
			}
		}
	}
	m.unharmed()
}

func headersOf(a *answer) []string {
	h := maps.Clone(a.Header)
	delete(h, "X-Request-Id")
	delete(h, "Date")
	return slices.Sorted(maps.Keys(h))
}

// A signed URL opens what it was signed for, and nothing else at all.
func TestMatrixSigned(t *testing.T) {
	race.LeaveOut(t)
	m := newMatrix(t, "private")
	ann := token(t, "ann", nil)
	second := m.putAs("ann", "private", "second", "second")
	foreign := m.putAs("ann", "listed", "foreign", "foreign")
	_, expired, err := m.world.bucket("private").Grants().Sign(t.Context(), access.Grant{Op: access.GrantDownload, File: m.f.ID}, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	file := "/api/files/private/" + m.f.ID
	for what, c := range map[string]struct {
		token string
		opens []string // of the calls, those that it opens
	}{
		"download":                {m.sign(ann, "private", m.f.ID, `{"operation": "download"}`).Token, []string{"GET " + file + "/download", "HEAD " + file + "/download"}},
		"view":                    {m.sign(ann, "private", m.f.ID, `{"operation": "view"}`).Token, []string{"GET " + file + "/view"}},
		"download of the version": {m.sign(ann, "private", m.first, `{}`).Token, []string{"GET /api/files/private/" + m.first + "/download"}},
		"download of version 1":   {m.sign(ann, "private", m.f.ID, `{"version": 1}`).Token, []string{"GET /api/files/private/" + m.first + "/download"}},
		"upload of a version":     {m.sign(ann, "private", m.f.ID, `{"operation": "upload"}`).Token, []string{"PUT " + file, "OPTIONS " + file}},
		"upload of a new file": {m.sign(ann, "private", "", `{}`).Token, []string{"POST /api/files/private?name=new", "POST /api/files/private/?name=new", "POST /api/files/private/",
			"POST /api/tus/private", "POST /api/tus/private/", "POST /api/files/private/tus", "POST /api/files/private/tus/", "OPTIONS /api/files/private", "OPTIONS /api/files/private/",
			"OPTIONS /api/tus/private", "OPTIONS /api/tus/private/", "OPTIONS /api/files/private/tus", "OPTIONS /api/files/private/tus/"}},
		"download of another file":   {m.sign(ann, "private", second.ID, `{}`).Token, nil},
		"download in another bucket": {m.sign(ann, "listed", foreign.ID, `{}`).Token, nil},
		"forged":                     {m.grant.GrantID + ".x.AAAA", nil},
		"expired":                    {expired, nil},
		"another address":            {m.sign(ann, "private", m.f.ID, `{"ip": "192.0.2.1"}`).Token, nil},
	} {
		for _, cl := range calls() {
			if cl.open() {
				continue
			}
			path := m.path(cl, true)
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			want := 403
			if slices.Contains(c.opens, cl.method+" "+path) {
				want = cl.status
			}
			// Uploads are found by the grant that they were begun by.
			if strings.HasPrefix(what, "upload") && (strings.HasSuffix(cl.path, "/UPLOAD") || strings.HasSuffix(cl.path, "/RESUMABLE")) {
				if want = 404; cl.method == "OPTIONS" {
					want = cl.status
				}
			}
			a := m.send(cl, path+sep+"token="+c.token, "")
			if a.StatusCode != want || want == 403 && cl.method != "HEAD" && !strings.HasPrefix(a.code(), "signed-url-") {
				t.Errorf("%s: %s %s: %d, want %d: %s", what, cl.method, path, a.StatusCode, want, a.body)
			}
			// With a token of one's own beside it, it opens no more.
			if a := m.send(cl, path+sep+"token="+c.token, token(t, "bob", nil)); a.StatusCode != want && want == 403 {
				t.Errorf("%s, with bob's token: %s %s: %d", what, cl.method, path, a.StatusCode)
			}
			if want != 403 && cl.method == "PUT" {
				for n := 3; n < 9; n++ { // those that it has made
					m.do("DELETE", fmt.Sprint(file, "/versions/", n), nil, "Authorization", ann)
				}
			}
		}
	}
	m.unharmed()
	if strings.Contains(m.logged(), m.grant.Token) || strings.Contains(m.logged(), "token=") {
		t.Error("the log has tokens of signed URLs")
	}
}

// A safeBuffer may be written and read side by side.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func logTo(b *safeBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (w *world) logged() string { return w.log.String() }

// open reports a route that asks nobody who they are.
func (c call) open() bool { return !strings.Contains(c.route, "{bucket") && c.op == "none" }
