package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/auth"
	"github.com/cairn-store/cairn/buckets/schema"
)

const goodConfig = `auth: {jwt: {secret: 0123456789abcdef0123456789abcdef}}
storage: {backends: {local: {type: filesystem, filesystem: {path: PATH}}}}
`

const goodSchema = `buckets:
  notes: {backend: local, rules: {create: 'true', read: 'true'}}
`

// declared writes a configuration and a schema, and returns their flags.
func declared(t *testing.T, config, schema string) []string {
	t.Helper()
	dir := t.TempDir()
	config = strings.ReplaceAll(config, "PATH", filepath.Join(dir, "backend"))
	return []string{"--data", filepath.Join(dir, "data"), "--config", write(t, filepath.Join(dir, "alyx.yml"), config),
		"--schema", write(t, filepath.Join(dir, "schema.yaml"), schema)}
}

// What is wrong refuses the start, with its place.
func TestServeRefuses(t *testing.T) {
	for what, c := range map[string]struct {
		flags []string
		exit  int
		want  string
	}{
		"nothing":            {[]string{"--data", t.TempDir()}, 2, "--config with auth.jwt"},
		"no tokens":          {declared(t, "storage: {}\n", goodSchema), 2, "--config with auth.jwt"},
		"no schema":          {declared(t, goodConfig, goodSchema)[:4], 2, "--schema"},
		"a bad schema":       {declared(t, goodConfig, "buckets:\n  notes: {bakend: local}\n"), 1, `schema.yaml:2:11: `},
		"a bad rule":         {declared(t, goodConfig, "buckets:\n  notes:\n    rules:\n      read: auth.id ==\n"), 1, `schema.yaml:4:`},
		"a bad config":       {declared(t, "auth: {jwt: {secret: short}}\n", goodSchema), 1, `alyx.yml:1:22: `},
		"an unset variable":  {declared(t, "auth: {jwt: {secret: \"${NOT_SET_ANYWHERE}\"}}\n", goodSchema), 1, "NOT_SET_ANYWHERE"},
		"a missing file":     {[]string{"--config", "/nowhere/alyx.yml"}, 1, "/nowhere/alyx.yml"},
		"a bad backend":      {declared(t, strings.Replace(goodConfig, "local: {type: filesystem, filesystem: {path: PATH}}", "local: {type: s3, s3: {bucket: b, sse: AES}}", 1), goodSchema), 1, "AES256"},
		"dev for everybody":  {[]string{"--dev", "--addr", "0.0.0.0:0", "--data", t.TempDir()}, 2, "loopback"},
		"an address of none": {append(declared(t, goodConfig, goodSchema), "--addr", "nonsense"), 2, "nonsense"},
	} {
		t.Run(what, func(t *testing.T) {
			_, stderr := (&shell{t, c.flags}).run(c.exit, "", "serve")
			if !strings.Contains(stderr, c.want) {
				t.Errorf("told %q, want %q in it", stderr, c.want)
			}
		})
	}
}

func TestSchemaCheck(t *testing.T) {
	out, _ := (&shell{t, declared(t, goodConfig, goodSchema)}).with("--config", "--schema").run(0, "", "schema", "check")
	if !strings.Contains(out, "1 buckets, 0 file fields, good") {
		t.Errorf("told %q", out)
	}
	const fields = "collections:\n  posts:\n    fields:\n      cover: {type: file, file: {bucket: notes}}\n"
	out, _ = (&shell{t, declared(t, goodConfig, fields+goodSchema)}).with("--config", "--schema").run(0, "", "schema", "check")
	if !strings.Contains(out, "1 buckets, 1 file fields, good") {
		t.Errorf("told %q", out)
	}
	wrong := strings.Replace(fields, "bucket: notes", "bucket: nonesuch, on_delete: bogus", 1)
	out, _ = (&shell{t, declared(t, goodConfig, wrong+goodSchema)}).with("--config", "--schema").run(1, "", "schema", "check")
	if !strings.Contains(out, "schema.yaml:4:42: ") || !strings.Contains(out, "schema.yaml:4:63: ") {
		t.Errorf("told %q", out)
	}
	old := write(t, filepath.Join(t.TempDir(), "old.yaml"), strings.Replace(fields, "notes", "gone", 1))
	out, _ = (&shell{t, declared(t, goodConfig, fields+goodSchema)}).with("--config", "--schema").run(1, "", "schema", "check", "--against", old)
	if !strings.Contains(out, "schema.yaml:4:7: ") || !strings.Contains(out, "bucket was gone and is notes; write link_plans: {posts.cover: keep}") {
		t.Errorf("told %q", out)
	}
	plans := "link_plans: {posts.cover: release, posts.id: keep}\n"
	out, _ = (&shell{t, declared(t, goodConfig, plans+fields+goodSchema)}).with("--config", "--schema").run(0, "", "schema", "check", "--against", old)
	if !strings.Contains(out, "is notes; its links are let go") || !strings.Contains(out, "field posts.id has not changed") {
		t.Errorf("told %q", out)
	}
	(&shell{t, declared(t, goodConfig, goodSchema)[:4]}).with("--config").run(2, "", "schema", "check", "--against", old)
	flags := declared(t, goodConfig, "buckets:\n  a:\n    max_file_size: big\n    enabled: perhaps\n  b: {}\n")
	out, _ = (&shell{t, flags}).with("--config", "--schema").run(1, "", "schema", "check")
	if !strings.Contains(out, "schema.yaml:3:20: ") || !strings.Contains(out, "schema.yaml:4:14: ") {
		t.Errorf("told %q", out)
	}
	out, _ = (&shell{t, declared(t, goodConfig, "buckets: {a: {}}\n")}).with("--config", "--schema").run(0, "", "schema", "check")
	if !strings.Contains(out, "schema.yaml:1:11: ") || !strings.Contains(out, "(warning)") {
		t.Errorf("no warning of a bucket without rules: %q", out)
	}
	if entries, err := os.ReadDir(filepath.Dir(flags[1])); err != nil || len(entries) != 2 {
		t.Errorf("checking has made %v, %v", entries, err)
	}
	(&shell{t, nil}).run(2, "", "schema", "check")
}

func TestToken(t *testing.T) {
	flags := declared(t, strings.Replace(goodConfig, "jwt: {", "jwt: {issuer: alyx, audience: cairn, ", 1), goodSchema)
	out, _ := (&shell{t, flags}).with("--config").run(0, "", "token", "ann", "--claim", "role=editor", "--expires", "1m")
	cfg, err := schema.ParseConfig("alyx.yml", []byte(read(t, flags[3])), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := auth.NewVerifier(cfg.Auth.JWT)
	if err != nil {
		t.Fatal(err)
	}
	if sub, claims, err := v.Verify(t.Context(), strings.TrimSpace(out)); err != nil || sub != "ann" || claims["role"] != "editor" {
		t.Errorf("%q %v %v", sub, claims, err)
	}
	(&shell{t, flags[:2]}).run(2, "", "token", "ann")
}

func read(t *testing.T, file string) string {
	t.Helper()
	p, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// Commands on a directory see the buckets of the schema, and say so when it
// is not given.
func TestDirectoryWithSchema(t *testing.T) {
	flags := declared(t, goodConfig, goodSchema)
	s := &shell{t, flags}
	file := write(t, filepath.Join(t.TempDir(), "f.txt"), "hello")
	s.run(0, "", "put", "--bucket", "notes", file)
	if out, _ := s.run(0, "", "get", "notes/f.txt"); out != "hello" {
		t.Errorf("got %q", out)
	}
	s.run(0, "", "check")
	(&shell{t, flags[:4]}).run(0, "", "check")
	_, stderr := (&shell{t, flags[:2]}).run(1, "", "ls")
	if !strings.Contains(stderr, "--config") {
		t.Errorf("without settings: %q", stderr)
	}
	flags[5] = write(t, filepath.Join(t.TempDir(), "schema.yaml"), "buckets: {other: {}}\n")
	_, stderr = s.run(1, "", "ls", "other")
	if !strings.Contains(stderr, `"notes"`) || !strings.Contains(stderr, "1 files") {
		t.Errorf("with a schema without the bucket: %q", stderr)
	}
}

// A process that may open few files takes fewer connections.
func TestConnectionsFit(t *testing.T) {
	for _, c := range []struct {
		n     int
		limit uint64
		want  int
	}{
		{4096, 1 << 20, 4096}, {4096, 5120, 4096}, {4096, 5119, 4095}, {4096, 4096, 3072}, {4096, 1024, 512},
		{4096, 256, 128}, {100, 1024, 100}, {4096, 0, 1}, {4096, 1<<64 - 1, 4096},
	} {
		if got := fitConnections(c.n, c.limit); got != c.want {
			t.Errorf("%d with %d files: %d, want %d", c.n, c.limit, got, c.want)
		}
	}
}
