package schema_test

import (
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/schema"
)

// What differs is named by its key, and of a schema with both values.
func TestCompareBuckets(t *testing.T) {
	parse := func(keys string) *schema.Bucket {
		t.Helper()
		s, err := schema.Parse("schema.yaml", []byte("buckets: {b: {"+keys+"}}"), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.Buckets["b"]
	}
	for keys, want := range map[string]string{
		"": "max_file_size: 1.0 MiB→;trash: off→720h0m0s;rules.read: true→",
		"max_file_size: 1MiB, trash: off, rules: {read: 'true'}":                               "",
		"max_file_size: 2MiB, trash: off, rules: {read: 'true', list: 'auth.id != null'}":      "max_file_size: 1.0 MiB→2.0 MiB;rules.list: →auth.id != null",
		"max_file_size: 1MiB, trash: 7d, rules: {read: 'true'}, enabled: false":                "enabled: true→false;trash: off→168h0m0s",
		"max_file_size: 1MiB, trash: off, rules: {read: 'true'}, allowed_types: [a/b, c/*]":    "allowed_types: →a/b c/*",
		"max_file_size: 1MiB, trash: off, rules: {read: 'true'}, versioning: {keep: 3}":        "versioning.keep: 0→3",
		"max_file_size: 1MiB, trash: off, rules: {read: 'true'}, compression: {level: 9}":      "compression.level: 0→9",
		"max_file_size: 1MiB, trash: off, rules: {read: 'true'}, upload_limits: {min_size: 5}": "upload_limits.min_size: →5 B",
	} {
		var got []string
		for _, c := range parse(keys).Compare(parse("max_file_size: 1MiB, trash: off, rules: {read: 'true'}")) {
			got = append(got, c.Key+": "+c.Old+"→"+c.New)
		}
		if text := strings.Join(got, ";"); text != want {
			t.Errorf("%s: %q, want %q", keys, text, want)
		}
	}
}

// Of a configuration no value is told: it may be a secret.
func TestCompareConfigs(t *testing.T) {
	parse := func(text string) *schema.Config {
		t.Helper()
		c, err := schema.ParseConfig("alyx.yml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const base = `
auth: {jwt: {secret: 0123456789abcdef0123456789abcdef}}
storage: {backends: {near: {type: filesystem, filesystem: {path: /near}}, far: {type: s3, s3: {bucket: far}}}, scrub: {interval: off}}
server: {rate_limit: 5}
`
	for _, c := range []struct{ old, now, want string }{
		{"a", "a", ""},
		{"0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210", "auth.jwt.secret"},
		{"auth: {jwt", "other: {jwt", "auth.jwt"},
		{"/near", "/elsewhere", "storage.backends.near.filesystem.path"},
		{"bucket: far", "bucket: further, region: eu", "storage.backends.far.s3.bucket storage.backends.far.s3.region"},
		{"near: {type: filesystem, filesystem: {path: /near}}, ", "", "storage.backends.near"},
		{", scrub: {interval: off}", "", "storage.scrub"},
		{"rate_limit: 5", "cors: {enabled: false}, log: {level: debug}", "server.cors.enabled server.rate_limit server.log.level"},
	} {
		var got []string
		for _, ch := range parse(strings.ReplaceAll(base, c.old, c.now)).Compare(parse(base)) {
			if got = append(got, ch.Key); ch.Old != "" || ch.New != "" {
				t.Errorf("values are told: %+v", ch)
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", c.now, text, c.want)
		}
	}
}
