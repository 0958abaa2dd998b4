package schema

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	text, err := os.ReadFile("testdata/schema.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("schema.yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, a := s.Buckets["documents"], s.Buckets["avatars"]
	want := &Bucket{
		Backend: "local", MaxFileSize: 5e9, MaxTotalSize: 200e9, MaxOwnerSize: 10e9, MaxComposedSize: 5e9,
		AllowedTypes: []string{"application/pdf", "image/*"}, AllowedExtensions: []string{"pdf", "png", "jpg"},
		TypeCheck: TypeStrict, Compression: Compression{"zstd", 9}, Chunking: "balanced", Digests: []string{"sha256", "md5"},
		Dedup: DedupBucket, Acknowledge: "remote", Versioning: Versioning{false, 20, Duration(90 * 24 * time.Hour)}, Trash: Duration(30 * 24 * time.Hour),
		UploadExpiry: Duration(24 * time.Hour), MaxUploads: 1000, SignedURLTTL: Duration(time.Hour),
		InlineTypes: []string{"image/png", "image/jpeg", "application/pdf"}, FileRules: true, LinkPolicy: LinkByRead,
		Rules: Rules{"auth.id != null", "file.owner == auth.id ||\n\"team\" in file.tags\n", "file.owner == auth.id", "file.owner == auth.id", "file.owner == auth.id", "auth.id != null", "auth.role == 'admin'"},
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("documents:\n%+v, want\n%+v", d, want)
	}
	if a.MaxFileSize != 5<<20 || a.Compression.Codec != "zstd" || bool(a.Versioning.Off) || a.Dedup != DedupPrincipal ||
		a.TypeCheck != TypeSniff || a.LinkPolicy != LinkByDelete || a.Trash != Duration(720*time.Hour) || bool(a.Disabled) {
		t.Errorf("avatars: %+v", a)
	}
	if len(s.Warnings) > 0 {
		t.Errorf("warnings: %v", s.Warnings)
	}
}

// wrong are schemas that are refused: what is wrong, the place and a part of
// the message.
var wrong = []struct{ text, at, message string }{
	{"buckets:\n  a:\n    max_size: 1\n", "3:5", `did you mean "max_file_size"`},
	{"buckets:\n  a:\n    enabeld: true\n", "3:5", `did you mean "enabled"`},
	{"buckets:\n  a: {rules: {craete: 'true'}}\n", "2:15", `did you mean "create"`},
	{"buckets:\n  A: {}\n", "2:3", "small letter"},
	{"buckets:\n  1a: {}\n", "2:3", "small letter"},
	{"buckets:\n  a.b: {}\n", "2:3", "small letter"},
	{"buckets:\n  _alyx_files: {}\n", "2:3", "system's"},
	{"buckets:\n  " + strings.Repeat("a", 64) + ": {}\n", "2:3", "at most 63"},
	{"buckets:\n  a: {}\n  a: {}\n", "3:3", "a second time; the first is in line 2"},
	{"buckets:\n  a: {trash: 1d, trash: 2d}\n", "2:18", "a second time"},
	{"buckets: [a]\n", "1:10", "want keys and values"},
	{"buckets:\n  a: 5\n", "2:6", "want keys and values"},
	{"- a\n", "1:1", "want keys and values"},
	{"buckets:\n  a:\n    backend: locla\n", "3:14", `did you mean "local"`},
	{"buckets:\n  a:\n    backend: [local]\n", "3:14", "want a text"},
	{"buckets:\n  a: {max_file_size: -1}\n", "2:22", "not a size"},
	{"buckets:\n  a: {max_file_size: 0}\n", "2:22", "leave the key out for no limit"},
	{"buckets:\n  a: {max_file_size: 10 parsecs}\n", "2:22", "not a size"},
	{"buckets:\n  a: {max_total_size: 99999999EB}\n", "2:23", "not a size"},
	{"buckets:\n  a: {max_owner_size: [1]}\n", "2:23", "not a size"},
	{"buckets:\n  a:\n    max_file_size: 2GB\n    max_total_size: 1GB\n", "3:20", "larger than its bucket"},
	{"buckets:\n  a: {enabled: maybe}\n", "2:16", `"maybe" is not true or false`},
	{"buckets:\n  a:\n    allowed_types: image/png\n", "3:20", "want a list"},
	{"buckets:\n  a:\n    allowed_types:\n      - image/png\n      - png\n", "5:9", "media type"},
	{"buckets:\n  a: {allowed_types: [image/png, 'IMAGE/*']}\n", "2:34", "media type"},
	{"x: &types [png]\nbuckets:\n  a: {allowed_types: *types}\n", "1:12", "media type"},
	{"buckets:\n  a: {allowed_extensions: [.pdf]}\n", "2:28", "without its dot"},
	{"buckets:\n  a: {type_check: strcit}\n", "2:19", `did you mean "strict"`},
	{"buckets:\n  a: {compression: brotli}\n", "2:20", "use one of none, gzip, zstd"},
	{"buckets:\n  a: {compression: {codec: zstd, level: 99}}\n", "2:41", "not 0 to 9"},
	{"buckets:\n  a: {compression: {algo: zstd}}\n", "2:21", "unknown key"},
	{"buckets:\n  a: {chunking: fast}\n", "2:17", "profile"},
	{"buckets:\n  a: {digests: [crc32]}\n", "2:17", "not a digest"},
	{"buckets:\n  a: {dedup: everyone}\n", "2:14", "use one of principal, bucket, global"},
	{"buckets:\n  a: {versioning: {keep: -3}}\n", "2:26", "number of versions"},
	{"buckets:\n  a: {versioning: {keep: many}}\n", "2:26", "whole number"},
	{"buckets:\n  a: {versioning: sometimes}\n", "2:19", "not possible here"},
	{"buckets:\n  a: {trash: 30 days}\n", "2:14", "not a duration"},
	{"buckets:\n  a: {trash: -1h}\n", "2:14", "not a duration"},
	{"buckets:\n  a: {upload_expiry: soon}\n", "2:22", "not a duration"},
	{"buckets:\n  a: {inline_types: [pdf]}\n", "2:22", "media type"},
	{"buckets:\n  a: {link_policy: download}\n", "2:20", "use one of delete, read"},
	{"link_plans: keep\n", "1:13", "want keys and values"},
	{"link_plans: {posts.cover: hold}\n", "1:27", "use one of keep, release"},
	{"link_plans: {posts.cover: }\n", "1:27", "use one of keep, release"},
	{"link_plans: {cover: keep}\n", "1:14", "want COLLECTION.FIELD"},
	{"link_plans: {posts.fields.cover: keep}\n", "1:14", "want COLLECTION.FIELD"},
	{"link_plans:\n  a.b: keep\n  a.b: release\n", "3:3", "a second time"},
	{"buckets:\n  a: {file_rules: 'no way'}\n", "2:19", "true or false"},
	{"buckets:\n  a:\n    rules:\n      read: auth.id ==\n", "4:23", "does not compile"},
	{"buckets:\n  a:\n    rules:\n      read: \"file.sise > 1\"\n", "4:18", "sise"},
	{"buckets:\n  a:\n    rules:\n      read: |\n        true &&\n        usr.id == 'x'\n", "6:9", "undeclared"},
	{"buckets:\n  a: {rules: {read: ''}}\n", "2:21", "empty"},
	{"buckets:\n  a: {rules: {read: file.size}}\n", "2:21", "want a bool"},
	{"buckets:\n  a: {encryption: {enabled: true}}\n", "2:19", "not available yet"},
	{"buckets:\n  a: {<<: {trash: 1d}}\n", "2:7", "merge keys"},
	{"buckets:\n\ta: {}\n", "2:1", "not YAML"},
	{"buckets: {}\n---\nbuckets: {}\n", "2:1", "second document"},
}

func TestWrong(t *testing.T) {
	for i, c := range wrong {
		_, err := Parse("s.yaml", []byte(c.text), nil)
		wantProblem(t, fmt.Sprint(i), err, c.text, "s.yaml:"+c.at+": ", c.message)
	}
}

func wantProblem(t *testing.T, name string, err error, text, at, message string) {
	t.Helper()
	var ps Problems
	if !errors.As(err, &ps) {
		t.Errorf("%s: %v, want Problems of\n%s", name, err, text)
		return
	}
	if len(ps) != 1 || !strings.HasPrefix(ps[0].Error(), at) || !strings.Contains(ps[0].Message, message) {
		t.Errorf("%s: %v\nwant %s… %s of\n%s", name, err, at, message, text)
	}
}

func TestManyProblemsInOrder(t *testing.T) {
	_, err := Parse("s", []byte("buckets:\n  a: {trash: x, dedup: y}\n  B: {}\n"), nil)
	if want := "s:2:14: \"x\" is not a duration; write 90s, 15m, 24h or 30d\n" +
		"s:2:24: \"y\" is not possible here; use one of principal, bucket, global\n" +
		"s:3:3: bucket name \"B\": want a small letter, then small letters, digits, _ or -"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

func TestBackendChosen(t *testing.T) {
	two := &Config{Storage: Storage{Backends: map[string]*Backend{"fast": {}, "cold": {}}}}
	if _, err := Parse("s", []byte("buckets: {a: {}}"), two); err == nil || !strings.Contains(err.Error(), "use one of cold, fast") {
		t.Errorf("two backends and none named: %v", err)
	}
	one := &Config{Storage: Storage{Backends: map[string]*Backend{"fast": {}}}}
	s, err := Parse("s", []byte("buckets: {a: }"), one)
	if err != nil || s.Buckets["a"].Backend != "fast" || bool(s.Buckets["a"].Disabled) {
		t.Errorf("one backend and none named: %v", err)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings.Error(), "no rules") {
		t.Errorf("warnings %v, want one of a bucket that nobody can use", s.Warnings)
	}
}

var env = map[string]string{"SECRET": strings.Repeat("s", 32), "KEY": "k: [", "SHORT": "x"}

func getenv(name string) (string, bool) { v, ok := env[name]; return v, ok }

func TestConfig(t *testing.T) {
	cfg, err := ParseConfig("alyx.yml", []byte(`
server: {port: 8090, max_body_size: 10, trusted_proxies: [10.1.2.3/8, "::1"], cors: {enabled: true, allowed_origins: ["https://a.example", "http://localhost:3000", "https://*.b.example", "http://[::1]:80"], max_age: 12h}}
database:
  path: ${UNSET}
auth:
  jwt: {secret: "${SECRET}", issuer: alyx, audience: ["${AUD:-files}"], access_ttl: 15m, refresh_ttl: 168h}
  oauth: {google: {client_id: x}}
storage:
  operators: auth.role == 'admin'
  collection: {rate: 100MB}
  backends:
    local: {type: filesystem, filesystem: {path: ./data}}
    r2:
      type: s3
      s3: {bucket: b, endpoint: https://r2.example, access_key_id: "${KEY}", secret_access_key: x, force_path_style: true}
`), getenv)
	if err != nil {
		t.Fatal(err)
	}
	if j := cfg.Auth.JWT; j.Secret != env["SECRET"] || !reflect.DeepEqual(j.Audience, Words{"files"}) || !reflect.DeepEqual(j.Algorithms(), []string{"HS256"}) || j.Leeway != Duration(30*time.Second) {
		t.Errorf("jwt: %+v", j)
	}
	b := cfg.Storage.Backends
	if b["local"].Filesystem.Path != "./data" || b["r2"].S3.AccessKeyID != "k: [" || b["r2"].S3.Region != "auto" || !b["r2"].S3.ForcePathStyle {
		t.Errorf("backends: %+v %+v", b["local"].Filesystem, b["r2"].S3)
	}
	if c := cfg.Storage.Collection; *c != (Collection{Interval: Duration(time.Hour), Rate: 100e6, MaxWait: Duration(24 * time.Hour)}) {
		t.Errorf("collection: %+v", c)
	}
}

func TestWrongConfig(t *testing.T) {
	for i, c := range []struct{ text, at, message string }{
		{"storage:\n  backend: {}\n", "2:3", `did you mean "backends"`},
		{"storage:\n  backends:\n    a: {type: filesystem, filesystem: {path: x, base_path: y}}\n", "3:49", "leave this line out"},
		{"storage:\n  backends:\n    a: {type: ftp}\n", "3:15", "use one of filesystem, s3"},
		{"storage:\n  backends:\n    a: {filesystem: {path: x}}\n", "3:8", "no type"},
		{"storage:\n  backends:\n    a: {type: filesystem}\n", "3:8", "no path"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {region: x}}\n", "3:23", "no bucket"},
		{"storage:\n  backends:\n    a: {type: s3}\n", "3:8", "no bucket"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b, bucket_prefix: x}}\n", "3:35", "is one S3 bucket"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b, access_key_id: x}}\n", "3:23", "half a key"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b, kms_key_id: x}}\n", "3:47", "aws:kms"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b, checksums: always}}\n", "3:46", "when_required"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b, storage_class: GLACIER}}\n", "3:50", "at once"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b, endpoint: minio:9000}}\n", "3:45", "https://host"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b, prefix: /x}}\n", "3:43", "a/b"},
		{"storage:\n  backends:\n    a: {type: s3, s3: {bucket: b}, pack_size: 1kB}\n", "3:47", "4MiB to 1GiB"},
		{"storage:\n  collection: {intervall: 1h}\n", "2:16", `did you mean "interval"`},
		{"storage:\n  collection: {interval: often}\n", "2:26", "not a duration"},
		{"storage:\n  collection: {rate: 0}\n", "2:22", "not a size"},
		{"storage:\n  collection: {max_wait: off}\n", "2:26", "at least 1s"},
		{"storage:\n  scrub: {max_age: off}\n", "2:20", "at least 1s"},
		{"storage:\n  operators: auth.role ==\n", "2:14", "does not compile"},
		{"auth:\n  jwt: {isuer: x}\n", "2:9", `did you mean "issuer"`},
		{"auth:\n  jwt: {audience: {a: b}}\n", "2:19", "a list of texts"},
		{"auth:\n  jwt: {secret: short}\n", "2:17", "at least 32"},
		{"auth:\n  jwt: {secret: \"${NONE}\"}\n", "2:17", "NONE is not set"},
		{"auth:\n  jwt: {issuer: x}\n", "2:8", "needs a secret, or jwks"},
		{"auth:\n  jwt: {jwks: keys.json, algorithm: none}\n", "2:37", "not taken"},
		{"auth:\n  jwt: {jwks: keys.json, algorithm: HS256}\n", "2:37", "does not go with"},
		{"auth:\n  jwt: {jwks: 'http://x', algorithm: RS256}\n", "2:15", "fetched by https"},
		{"server:\n  trusted_proxies: [proxy]\n", "2:21", "neither an address"},
		{"server:\n  cors: {allowed_origins: [example.com]}\n", "2:28", "https://host"},
		{"server:\n  cors: {allowed_origins: ['https://*']}\n", "2:28", "https://*.example.com"},
		{"server:\n  cors: {allowed_origins: ['https://a.com', 'https://*.com']}\n", "2:45", "https://*.example.com"},
		{"server:\n  cors: {allowed_origins: ['https://*example.com']}\n", "2:28", "https://*.example.com"},
		{"server:\n  cors: {allowed_origins: ['https://a.*']}\n", "2:28", "https://*.example.com"},
		{"server:\n  cors: {allowed_origins: ['https://a.com/']}\n", "2:28", "https://host"},
		{"server:\n  cors: {allowed_headers: [X-A, 'X B']}\n", "2:33", "name of a header"},
		{"server:\n  cors: {allowed_headers: ['X-A: 1']}\n", "2:28", "name of a header"},
		{"server:\n  public_url: files.example.com\n", "2:15", "https://files.example.com"},
		{"server:\n  public_url: https://example.com/storage?x=1\n", "2:15", "https://example.com/storage"},
		{"server:\n  public_url: ftp://example.com\n", "2:15", "https://example.com/storage"},
	} {
		_, err := ParseConfig("a.yml", []byte(c.text), getenv)
		var ps Problems
		if errors.As(err, &ps) {
			err = ps[:1]
		}
		wantProblem(t, fmt.Sprint(i), err, c.text, "a.yml:"+c.at+": ", c.message)
	}
}

func FuzzParse(f *testing.F) {
	text, _ := os.ReadFile("testdata/schema.yaml")
	f.Add(text)
	for _, c := range wrong {
		f.Add([]byte(c.text))
	}
	for _, c := range wrongFields {
		f.Add([]byte(withBuckets(c.text)))
	}
	f.Add([]byte("collections: &a {x: {fields: &b {c: {<<: [*a, *b], type: file}, <<: *b}}, <<: *a}"))
	f.Add([]byte("buckets: &a {x: *a}"))
	f.Add([]byte("buckets: &a\n  b: *a\n  rules: {read: *a}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("f", text, nil)
		fields, fieldsErr := ParseFields("f", text)
		if err == nil {
			changes, _, changesErr := s.CompareFields(fields)
			if fieldsErr != nil || changesErr != nil || len(changes) > 0 || !reflect.DeepEqual(fields, s.Fields) {
				t.Errorf("read alone, the fields of a good schema are %+v, %v; %v", fields, fieldsErr, changes)
			}
		}
		var ps Problems
		if err != nil && (!errors.As(err, &ps) || len(ps) == 0) {
			t.Errorf("%v is not Problems", err)
		}
		ParseConfig("f", text, getenv)
	})
}

// A bound of 0 in a file is none; nothing is the default.
func TestBounds(t *testing.T) {
	for text, want := range map[string]Bound{"": 2000, "rate_limit: 0": Unbounded, "rate_limit: 7": 7, "rate_limit:": 2000} {
		cfg, err := ParseConfig("alyx.yml", []byte("server: {"+text+"}"), nil)
		if err != nil || cfg.Server.RateLimit != want {
			t.Errorf("%q: %+v, %v", text, cfg, err)
		}
	}
	for _, text := range []string{"-1", "1.5", "many", "[]", "1e30"} {
		if _, err := ParseConfig("alyx.yml", []byte("server: {rate_limit: "+text+"}"), nil); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	if got := [3]int{Bound(0).Or(5), Bound(3).Or(5), Unbounded.Or(5)}; got != [3]int{5, 3, math.MaxInt} {
		t.Errorf("%d", got)
	}
}

// A browser compares an origin letter by letter.
func TestParsePublicURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://files.example.com":             "https://files.example.com",
		"HTTPS://Files.Example.COM/":            "https://files.example.com",
		"https://files.example.com:443/Storage": "https://files.example.com/Storage",
		"http://files.example.com:80":           "http://files.example.com",
		"http://files.example.com:443":          "http://files.example.com:443",
		"https://files.example.com:8443":        "https://files.example.com:8443",
		"https://files.example.com:":            "https://files.example.com",
		"https://[::1]:443":                     "https://[::1]",
		"https://[2001:DB8::80]/storage/":       "https://[2001:db8::80]/storage",
	} {
		if u, err := ParsePublicURL(text); err != nil || u.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, u, err, want)
		}
	}
}
