// Package clienttest runs upload clients of others, as npm has them, against
// a server. It needs Node and what package-lock.json names: make test has
// both, and sets the variables that these tests run under.
package clienttest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

// TestNode runs tus-js-client, in its tus and its IETF modes.
func TestNode(t *testing.T) {
	node(t, 5*time.Minute, "node.mjs", serveDemo(t), t.TempDir())
}

// TestWindow runs Uppy, by tus and by forms, and FilePond in a window that is
// no browser's.
func TestWindow(t *testing.T) {
	node(t, 5*time.Minute, "window.mjs", serveDemo(t))
}

// serveDemo serves a new store for clients that run in Node, and returns its URL.
func serveDemo(t *testing.T) string {
	t.Helper()
	if os.Getenv("CAIRN_CLIENTS") == "" {
		t.Skip("CAIRN_CLIENTS is not set: make test sets it")
	}
	store, err := local.Open(context.Background(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
	t.Cleanup(func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv.URL
}

const pageConfig = `
server: {cors: {allowed_origins: ["ORIGIN"]}}
storage: {backends: {local: {type: filesystem, filesystem: {path: "PATH"}}}}
`

// TestBrowser runs Uppy in a browser, on a page of another origin.
func TestBrowser(t *testing.T) {
	browser := os.Getenv("CAIRN_BROWSER")
	if browser == "" {
		t.Skip("CAIRN_BROWSER does not name a browser: make soak sets it")
	}
	dir := t.TempDir()
	node(t, time.Minute, "bundle.mjs", dir)
	page := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer page.Close()
	cfg, err := schema.ParseConfig("alyx.yml", []byte(strings.NewReplacer("ORIGIN", page.URL, "PATH", t.TempDir()).Replace(pageConfig)), nil)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := schema.Parse("schema.yaml", []byte(`buckets: {demo: {rules: {create: "true", read: "true"}}}`), cfg)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := local.Configure(cfg, sc, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := local.Open(context.Background(), t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Server: cfg.Server}))
	defer func() {
		srv.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	node(t, 5*time.Minute, "browser.mjs", browser, page.URL, srv.URL)
}

// node runs a script and shows what it says.
func node(t *testing.T, longest time.Duration, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", args...).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
