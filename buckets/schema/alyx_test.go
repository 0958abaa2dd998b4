package schema

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The backends that alyx.example.yaml of Alyx shows behind number signs: the
// lines below storage.backends, and what is refused of them, by place.
var alyxBackends = []struct {
	name, text string
	refused    []string // "LINE:COLUMN: part of the message"
	path       string   // that the backend has once it is mended
	bucket     string
}{
	{"local", "type: filesystem\nfilesystem:\n  path: ./storage\n  base_path: app-",
		[]string{`7:9: unknown key "base_path": in Alyx it stands before the names of buckets`}, "./storage", ""},
	{"s3-primary", "type: s3\ns3:\n  region: us-east-1\n  access_key_id: ${AWS_ACCESS_KEY_ID}\n  secret_access_key: ${AWS_SECRET_ACCESS_KEY}\n  bucket_prefix: alyx-",
		[]string{`9:9: unknown key "bucket_prefix": in Alyx each bucket is an S3 bucket`}, "", "alyx-cairn"},
	{"minio", "type: s3\ns3:\n  endpoint: https://minio.example.com\n  region: us-east-1\n  access_key_id: ${MINIO_ACCESS_KEY}\n  secret_access_key: ${MINIO_SECRET_KEY}\n  force_path_style: true",
		[]string{`6:9: backend "minio" has no bucket`}, "", "cairn-minio"},
	{"cloudflare-r2", "type: s3\ns3:\n  endpoint: https://<account-id>.r2.cloudflarestorage.com\n  region: auto\n  access_key_id: ${R2_ACCESS_KEY_ID}\n  secret_access_key: ${R2_SECRET_ACCESS_KEY}",
		[]string{`6:9: backend "cloudflare-r2" has no bucket`, `6:19: endpoint "https://<account-id>.r2.cloudflarestorage.com" is an example`}, "", "cairn-cloudflare-r2"},
	{"do-spaces", "type: s3\ns3:\n  endpoint: https://nyc3.digitaloceanspaces.com\n  region: nyc3\n  access_key_id: ${DO_SPACES_KEY}\n  secret_access_key: ${DO_SPACES_SECRET}\n  force_path_style: true",
		[]string{`6:9: backend "do-spaces" has no bucket`}, "", "cairn-do-spaces"},
	{"uploads", "type: filesystem\nfilesystem:\n  path: ./uploads\n  base_path: temp-  # temp-avatars, temp-documents, etc.",
		[]string{`7:9: unknown key "base_path"`}, "./uploads", ""},
	{"archives", "type: filesystem\nfilesystem:\n  path: /mnt/archives\n  base_path: archive-  # archive-2024, archive-backup, etc.",
		[]string{`7:9: unknown key "base_path"`}, "/mnt/archives", ""},
	// Not in the example: what was written for Cairn before.
	{"dir", "type: filesystem\nfilesystem:\n  base_path: ./data",
		[]string{`6:9: unknown key "base_path"`}, "./data", ""},
	{"both", "type: s3\ns3:\n  bucket: mine\n  bucket_prefix: alyx-", []string{`7:9: unknown key "bucket_prefix"`}, "", "mine"},
}

var quotedLine = regexp.MustCompile(`write "(\w+: [^"]+)"|written "(\w+: [^"]+)"|leave (this line) out`)

// Each example of Alyx's backends loads, or is refused at its place with the line
// that makes it load.
func TestAlyxBackends(t *testing.T) {
	getenv := func(string) (string, bool) { return "secret", true }
	for _, c := range alyxBackends {
		text := "storage:\n  backends:\n    " + c.name + ":\n      " + strings.ReplaceAll(c.text, "\n", "\n      ") + "\n"
		_, err := ParseConfig("alyx.yml", []byte(text), getenv)
		var ps Problems
		errors.As(err, &ps)
		if len(ps) != len(c.refused) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		lines := strings.Split(text, "\n")
		for i, p := range ps {
			place, part, _ := strings.Cut(c.refused[i], ": ")
			if got := fmt.Sprintf("%d:%d", p.Line, p.Column); got != place || !strings.HasPrefix(p.Message, part) {
				t.Errorf("%s: %v, want %s", c.name, p, c.refused[i])
			}
			if strings.Contains(p.Message, "base_path") || strings.Contains(p.Message, "bucket") {
				if !strings.Contains(p.Message, "cairn import alyx") {
					t.Errorf("%s: %v does not say how files come over", c.name, p)
				}
			}
			m := quotedLine.FindStringSubmatch(p.Message)
			switch {
			case m == nil:
				t.Errorf("%s: %v names no line to write", c.name, p)
			case m[3] != "":
				lines[p.Line-1] = ""
			case strings.Contains(p.Message, "has no bucket"):
				lines[p.Line-1] = "        " + m[1] + "\n" + lines[p.Line-1]
			default: // in place of what stands there
				lines[p.Line-1] = lines[p.Line-1][:strings.LastIndex(lines[p.Line-1], "\n")+1] + "        " + m[1] + m[2]
			}
		}
		mended := strings.Join(lines, "\n")
		cfg, err := ParseConfig("alyx.yml", []byte(mended), getenv)
		if err != nil {
			t.Errorf("%s: mended as it says:\n%s\n%v", c.name, mended, err)
			continue
		}
		b := cfg.Storage.Backends[c.name]
		if b.Filesystem != nil && b.Filesystem.Path != c.path || b.S3 != nil && b.S3.Bucket != c.bucket {
			t.Errorf("%s: %+v %+v", c.name, b.Filesystem, b.S3)
		}
	}
}

// The example as it stands, all backends behind number signs, has the store's own
// directory for a backend; what is not Cairn's is passed over.
func TestAlyxConfig(t *testing.T) {
	cfg, err := ParseConfig("alyx.yaml", []byte(`
server:
  host: localhost
  port: 8090
  read_timeout: 30s
  max_body_size: 10485760
  cors: {enabled: true, allowed_origins: ["*"], allow_credentials: false, exposed_headers: [X-Request-ID], max_age: 12h}
  tls: {enabled: true, cert_file: /path/to/cert.pem, key_file: /path/to/key.pem, auto_tls: true, domain: api.example.com}
database: {path: alyx.db, turso: {enabled: true, url: "libsql://your-db.turso.io", auth_token: "${TURSO_AUTH_TOKEN}"}}
auth:
  jwt: {secret: "${SECRET}", access_ttl: 15m, refresh_ttl: 168h, issuer: alyx, audience: ["https://api.example.com"]}
  password: {min_length: 8}
  oauth: {github: {client_id: "${GITHUB_CLIENT_ID}"}}
storage:
  backends:
`), getenv)
	if err != nil || len(cfg.Storage.Backends) != 0 || cfg.Server.Compat != "" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// The buckets of schema.example.yaml of Alyx load with all that it shows behind
// number signs, and its fields that hold files.
func TestAlyxSchema(t *testing.T) {
	cfg, err := ParseConfig("alyx.yaml", []byte("storage: {backends: {local: {type: filesystem, filesystem: {path: ./storage}}}}"), getenv)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("schema.yaml", []byte(`
version: 1
buckets:
  avatars:
    backend: local # References alyx.yaml storage.backends.local
    max_file_size: 5242880 # 5MB in bytes
    allowed_types: [image/jpeg, image/png, image/webp, image/gif]
    rules:
      create: "auth.id != null"
      read: "true"
      delete: "auth.id == file.uploader_id || auth.role == 'admin'"
  documents:
    backend: local
    max_file_size: 10485760 # 10MB
    allowed_types:
      - application/pdf
      - application/msword
      - application/vnd.openxmlformats-officedocument.wordprocessingml.document
      - application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
    compression: true
    max_total_size: 1073741824  # 1GB
collections:
  users:
    fields:
      id: {type: uuid, primary: true, default: auto}
      avatar:
        type: file
        nullable: true
        file:
          bucket: avatars
          max_size: 5242880
          allowed_types: [image/jpeg, image/png, image/webp]
          on_delete: cascade
    rules: {create: "true", read: "auth.id == doc.id || auth.role == 'admin'"}
  posts:
    fields:
      featured_image: {type: file, nullable: true, file: {bucket: documents, on_delete: set_null}}
functions: {hello-node: {runtime: node, entrypoint: index.js}}
`), cfg)
	if err != nil {
		t.Fatal(err)
	}
	a, d := s.Buckets["avatars"], s.Buckets["documents"]
	if a.MaxFileSize != 5242880 || len(a.AllowedTypes) != 4 || d.Compression.Codec != "zstd" || d.MaxTotalSize != 1<<30 || len(s.Fields) != 2 {
		t.Errorf("%+v %+v %+v", a, d, s.Fields)
	}
}

// Media types as Alyx takes them are refused with those to write.
func TestAlyxTypes(t *testing.T) {
	for given, want := range map[string]string{"text/plain; charset=utf-8": `write "text/plain"`, "'*'": `write "*/*"`, "image": "is not a media type"} {
		_, err := Parse("schema.yaml", []byte("buckets:\n  b:\n    allowed_types:\n    - "+given+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), "schema.yaml:4:7: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", given, err, want)
		}
	}
}

func TestCompat(t *testing.T) {
	cfg, err := ParseConfig("alyx.yml", []byte("server: {compat: alyx}"), nil)
	if err != nil || cfg.Server.Compat != CompatAlyx {
		t.Errorf("%v, %v", cfg, err)
	}
	for given, want := range map[string]string{"alix": `did you mean "alyx"`, "appwrite": "use one of alyx", "true": "use one of alyx"} {
		_, err := ParseConfig("alyx.yml", []byte("server:\n  compat: "+given+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), "alyx.yml:2:11: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", given, err, want)
		}
	}
}
