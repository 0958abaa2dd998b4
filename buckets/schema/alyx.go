package schema

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What alyx.yml and schema.yaml say in Alyx and Cairn does in another way is
// refused with the line to write instead.

// importHint says how files that Alyx has stored come over.
const importHint = `"cairn import alyx" brings over what Alyx has stored`

// ParseAlyxStorage reads the section storage of alyx.yml as Alyx has it, to import
// from: base_path and bucket_prefix are taken, see Backend.AlyxPrefix, and S3 needs no
// bucket. Everything else is as with ParseConfig.
func ParseAlyxStorage(file string, text []byte, getenv func(string) (string, bool)) (*Config, error) {
	src := &source{file: file, text: text, alyx: true}
	root := src.parseDocument()
	if root == nil {
		return nil, src.err()
	}
	out := &Config{}
	if storage := findKey(root, "storage"); storage != nil {
		src.expandEnv(storage, getenv)
		src.decode(storage, valueOf(&out.Storage))
		src.checkStorage(storage, &out.Storage)
	}
	return out, src.err()
}

// AlyxPrefix is what stands before the names of buckets where Alyx keeps files. Only
// ParseAlyxStorage reads it.
func (b *Backend) AlyxPrefix() string {
	switch {
	case b.Filesystem != nil:
		return b.Filesystem.alyxPrefix
	case b.S3 != nil:
		return b.S3.alyxPrefix
	}
	return ""
}

// takeAlyxKey implements alyxKeyTaker.
func (f *Filesystem) takeAlyxKey(key string, value *yaml.Node) bool {
	return takePrefix(&f.alyxPrefix, key == "base_path", value)
}

// takeAlyxKey implements alyxKeyTaker.
func (b *S3) takeAlyxKey(key string, value *yaml.Node) bool {
	return takePrefix(&b.alyxPrefix, key == "bucket_prefix", value)
}

func takePrefix(prefix *string, isPrefix bool, value *yaml.Node) bool {
	if !isPrefix || value.Kind != yaml.ScalarNode {
		return false
	}
	if !isNull(value) {
		*prefix = value.Value
	}
	return true
}

// refuseKey implements keyRefuser.
func (*Filesystem) refuseKey(key string, n *yaml.Node) string {
	if key != "base_path" {
		return ""
	}
	const why = ": in Alyx it stands before the names of buckets, in Cairn nothing does: "
	if path := findKey(n, "path"); path != nil && path.Value != "" {
		return fmt.Sprintf("%sleave this line out, \"path: %s\" is enough; %s", why, path.Value, importHint)
	}
	value := "DIR"
	if v := findKey(n, key); v.Kind == yaml.ScalarNode && !isNull(v) {
		value = v.Value
	}
	return fmt.Sprintf("%sa directory of packs is written \"path: %s\"; %s", why, value, importHint)
}

// refuseKey implements keyRefuser.
func (*S3) refuseKey(key string, n *yaml.Node) string {
	if key != "bucket_prefix" {
		return ""
	}
	const why = ": in Alyx each bucket is an S3 bucket, with this before its name; in Cairn a backend is one S3 bucket: "
	if bucket := findKey(n, "bucket"); bucket != nil && bucket.Value != "" {
		return fmt.Sprintf("%sleave this line out, \"bucket: %s\" is enough, and \"prefix: DIR\" shares it; %s", why, bucket.Value, importHint)
	}
	name := "cairn"
	if v := findKey(n, key); v.Kind == yaml.ScalarNode && !isNull(v) {
		name = v.Value + name
	}
	return fmt.Sprintf("%swrite \"bucket: %s\", or the name of another S3 bucket, and \"prefix: DIR\" to share it; %s", why, name, importHint)
}

// addNoPath refuses a backend of type filesystem without a path, unless refuseKey
// has said what to write.
func (s *source) addNoPath(at *yaml.Node, backend string) {
	for _, key := range []string{"filesystem", "local"} {
		if findKey(nodeAt(at, key), "base_path") != nil {
			return
		}
	}
	s.addProblem(at, "backend %q has no path: write filesystem: {path: DIR}", backend)
}

// addNoBucket refuses S3 settings that name no bucket, unless refuseKey has said
// what to write.
func (s *source) addNoBucket(at *yaml.Node, backend string) {
	if findKey(at, "bucket_prefix") == nil && !s.alyx {
		s.addProblem(at, "backend %q has no bucket: write \"bucket: cairn-%s\", or the name of another S3 bucket, which holds the packs of all "+
			"buckets of this backend (in Alyx each bucket is an S3 bucket); %s", backend, backend, importHint)
	}
}

var placeholder = regexp.MustCompile(`<([^<>]*)>`)

// refusePlaceholder refuses the value of a key that has <something> in it, as
// Alyx's examples do, and reports whether it does.
func (s *source) refusePlaceholder(at *yaml.Node, key, value string) bool {
	m := placeholder.FindStringSubmatch(value)
	if m == nil {
		return false
	}
	word := strings.ToUpper(strings.ReplaceAll(m[1], "-", "_"))
	s.addProblem(at, "%s %q is an example: write \"%s: %s\", with your own %s", key, value, key, strings.ReplaceAll(value, m[0], word), m[1])
	return true
}

// respellType returns a hint for what Alyx takes for a media type, "" for other
// texts.
func respellType(text string) string {
	if text == "*" {
		return `; write "*/*"`
	}
	if bare, _, ok := strings.Cut(text, ";"); ok && IsMediaType(strings.TrimSpace(bare)) {
		return fmt.Sprintf("; write %q, which takes every charset", strings.TrimSpace(bare))
	}
	return ""
}
