package api_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/auth"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
)

const testSecret = "0123456789abcdef0123456789abcdef"

const testConfig = `
auth: {jwt: {secret: ` + testSecret + `, issuer: alyx, audience: cairn}}
storage: {operators: 'auth.role == "admin"', backends: {local: {type: filesystem, filesystem: {path: "PATH"}}}}
`

// secured serves the buckets of a schema to those who bear tokens.
func secured(t *testing.T, schemaText string) *world {
	t.Helper()
	return securedBy(t, testConfig, schemaText)
}

// securedBy is secured with another configuration, and options changed.
func securedBy(t *testing.T, configText, schemaText string, change ...func(*local.Options)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	cfg, err := schema.ParseConfig("alyx.yml", []byte(strings.Replace(configText, "PATH", w.dir+"/backend", 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := schema.Parse("schema.yaml", []byte(schemaText), cfg)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := local.Configure(cfg, sc, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(opts)
	}
	if w.store, err = local.Open(context.Background(), w.dir, opts); err != nil {
		t.Fatal(err)
	}
	who, err := auth.New(cfg, w.store.Keys(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.log = &safeBuffer{}
	w.opts = api.Options{Auth: who, Server: cfg.Server, Log: logTo(w.log), IdleTimeout: 2 * time.Second}
	srv := httptest.NewServer(api.New(w.store, &w.opts))
	w.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		if err := w.store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return w
}

// token is a bearer token of sub, with some claims changed.
func token(t *testing.T, sub string, change map[string]any) string {
	t.Helper()
	claims := map[string]any{"sub": sub, "iss": "alyx", "aud": "cairn", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range change {
		claims[k] = v
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(testSecret)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(claims)
	o, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := o.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + out
}

// putAs stores a file in a bucket as sub.
func (w *world) putAs(sub, bucket, name, content string) *client.File {
	w.t.Helper()
	a := w.want(201, "", "POST", "/api/files/"+bucket+"?name="+name, strings.NewReader(content), "Authorization", token(w.t, sub, nil))
	f := new(client.File)
	if err := json.Unmarshal(a.body, f); err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) bucket(name string) *buckets.Bucket {
	w.t.Helper()
	b, err := w.store.Bucket(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}
