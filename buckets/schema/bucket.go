// Package schema reads what an operator writes: the buckets of schema.yaml and
// the backends, tokens and server settings of alyx.yml. Parse and ParseConfig
// begin here. What is wrong is reported as Problems, each with file, line,
// column and what to write instead.
//
// The tags of a struct's fields are the only list of its keys: key, default and
// doc make the parser, KEYS.md and schema.json.
package schema

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cairn-store/cairn/buckets/rules"
)

// A Bucket is one entry below buckets in schema.yaml. Its zero value is that of an
// entry without keys: whatever is not set has the default that its tag names.
type Bucket struct {
	Backend           string      `key:"backend" doc:"name of a backend of alyx.yml; may be left out when there is only one"`
	Disabled          Not         `key:"enabled" doc:"false refuses everybody but operators" default:"true"`
	MaxFileSize       Size        `key:"max_file_size" doc:"bytes of one file"`
	MaxTotalSize      Size        `key:"max_total_size" doc:"logical bytes of all versions in the bucket, the trash, metadata and unfinished uploads included; what ended uploads have left may take as much again until it is collected"`
	MaxOwnerSize      Size        `key:"max_owner_size" doc:"the same, of one owner; unfinished uploads, those idle longest first, are given up for what else the owner stores"`
	MaxComposedSize   Size        `key:"max_composed_size" doc:"bytes that one request may make of stored content; as much as its largest source may always be made, and what the request brings does not count" default:"5GB"`
	AllowedTypes      []string    `key:"allowed_types" doc:"media types taken, by any of their names: image/png, image/*, */*; text/plain takes text whose kind only its name tells too"`
	AllowedExtensions []string    `key:"allowed_extensions" doc:"ends of names taken, without the dot, in lower case"`
	TypeCheck         TypeCheck   `key:"type_check" doc:"what types are checked against: strict (content, name and declaration agree), sniff (content; which kind of text it is, its name says), declared" default:"sniff"`
	Compression       Compression `key:"compression" doc:"none, gzip or zstd; {codec: zstd, level: 9}; true is zstd"`
	Chunking          Chunking    `key:"chunking" doc:"how content is cut: a profile, or {profile: NAME}" default:"balanced"`
	Digests           []string    `key:"digests" doc:"whole-file digests kept beside the root: sha256, blake3, md5"`
	Dedup             Dedup       `key:"dedup" doc:"among whose files an upload may be told that bytes are there: principal, bucket, global" default:"principal"`
	Acknowledge       Acknowledge `key:"acknowledge" doc:"of a backend in S3: where a change is durable when it is answered: remote (in S3) or journal (on this machine, sent behind)" default:"remote"`
	Versioning        Versioning  `key:"versioning" doc:"true, false, or {enabled, keep, keep_for}; it holds for files in the trash too"`
	Trash             Duration    `key:"trash" doc:"how long deleted files can be brought back; off purges at once, and with the next sweep what is in the trash" default:"30d"`
	UploadExpiry      Duration    `key:"upload_expiry" doc:"how long an unfinished upload is kept" default:"24h"`
	MaxUploads        int         `key:"max_uploads" doc:"uploads in pieces that one principal may have under way" default:"1000"`
	UploadLimits      Pieces      `key:"upload_limits" doc:"limits on the requests of resumable uploads by the IETF's protocol, told in Upload-Limit beside max_file_size and upload_expiry"`
	SignedURLTTL      Duration    `key:"signed_url_ttl" doc:"the longest life of a signed URL; off signs none" default:"7d"`
	InlineTypes       []string    `key:"inline_types" doc:"media types that /view shows in place; by default harmless images, audio, video and text. Scripts and styles are served as text/plain unless their type stands here in full (text/css; not text/*)"`
	CacheControl      string      `key:"cache_control" doc:"header Cache-Control of content, for files that have none of their own: max-age=3600. public and s-maxage count only where everybody may download"`
	FileRules         bool        `key:"file_rules" doc:"true lets a file's access member replace the bucket's rules for it" default:"false"`
	Rules             Rules       `key:"rules" doc:"CEL expressions by operation; a missing one denies"`
	LinkPolicy        LinkPolicy  `key:"link_policy" doc:"what whoever links a record to a file with on_delete cascade or restrict needs: delete (the right to delete the file) or read (the right to read it; readers can then keep the owner from deleting it, or bring it into the trash)" default:"delete"`
	Transforms        Reserved    `key:"transforms" doc:"reserved"`
	Encryption        Reserved    `key:"encryption" doc:"reserved"`
	Antivirus         Reserved    `key:"antivirus" doc:"reserved"`
}

// Pieces are limits on requests that bring a part of an upload.
type Pieces struct {
	MinSize   Size `key:"min_size" doc:"bytes of the smallest file that is taken in pieces"`
	MaxAppend Size `key:"max_append_size" doc:"bytes of one request"`
	MinAppend Size `key:"min_append_size" doc:"bytes of one request that is not the last"`
}

// Rules are the sources of a bucket's rules; "" is a missing one.
type Rules struct {
	Create   string `key:"create" doc:"begin and commit uploads"`
	Read     string `key:"read" doc:"see metadata, versions, references, manifest"`
	Update   string `key:"update" doc:"new versions, metadata, access, restore of a version"`
	Delete   string `key:"delete" doc:"trash, purge, delete of a version"`
	Download string `key:"download" doc:"read content by any route; read's rule if missing"`
	List     string `key:"list" doc:"list files and see usage; read's rule if missing. One that names file filters"`
	Trash    string `key:"trash" doc:"see, download and restore files in the trash, by any route; delete's rule if missing. To purge them takes both. One that names file filters"`
}

// A Schema is what schema.yaml declares of files.
type Schema struct {
	Buckets   map[string]*Bucket
	Fields    []Field         // that hold files, by collection and name
	LinkPlans map[string]Plan `key:"link_plans" doc:"by COLLECTION.FIELD, for fields that hold files and get another bucket, pin or on_delete, or go: what becomes of the links that records have made by them: keep (they stay as they were made), release (they are let go, and their policy does not follow)"`
	Warnings  Problems        // of what is allowed but probably a mistake

	file              string
	fieldsAt, plansAt map[string]*yaml.Node // keys of fields and plans, by Field.Key
}

var (
	bucketName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	mediaType  = regexp.MustCompile(`^(\*/\*|[a-z0-9][a-z0-9!#$&^_.+-]*/(\*|[a-z0-9][a-z0-9!#$&^_.+-]*))$`)
	extension  = regexp.MustCompile(`^[a-z0-9][a-z0-9_+-]*(\.[a-z0-9_+-]+)*$`)
)

// IsMediaType reports whether s is a media type in small letters, or a wildcard
// for some: image/png, image/*.
func IsMediaType(s string) bool { return mediaType.MatchString(s) }

const (
	maxName      = 63 // bytes of a bucket's name
	maxSignedTTL = Duration(365 * 24 * time.Hour)
)

var digests = []string{"sha256", "blake3", "md5"}

const wantMediaType = "a media type such as image/png or image/*"

// Parse reads the buckets of schema.yaml and the fields of collections that hold
// files, and passes over the rest of Alyx's schema. cfg names the backends. The
// error is Problems.
func Parse(file string, text []byte, cfg *Config) (*Schema, error) {
	src := &source{file: file, text: text}
	out := &Schema{Buckets: make(map[string]*Bucket), file: file, plansAt: make(map[string]*yaml.Node)}
	root := src.parseDocument()
	if root == nil {
		return nil, src.err()
	}
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	c := &checker{source: src, cfg: cfg, env: env}
	parts := make(map[string]*yaml.Node)
	c.eachKey(root, func(k, value *yaml.Node) { parts[k.Value] = value })
	if n := parts["buckets"]; n != nil && !isNull(n) {
		c.eachKey(n, func(k, value *yaml.Node) {
			c.checkName(k)
			b := &Bucket{}
			setDefaults(valueOf(b))
			c.decode(value, valueOf(b))
			c.checkBucket(k, value, b)
			out.Buckets[k.Value] = b
		})
	}
	if n := parts["collections"]; n != nil {
		out.Fields = c.readFields(n, out.Buckets)
	}
	if n := parts["link_plans"]; n != nil && !isNull(n) {
		c.readPlans(n, out)
	}
	out.fieldsAt = c.fieldsAt
	c.warnings.sortByPlace()
	out.Warnings = c.warnings
	return out, c.err()
}

// A checker checks what was decoded.
type checker struct {
	*source
	cfg      *Config
	env      *rules.Env
	warnings Problems
	fieldsAt map[string]*yaml.Node // keys of file fields, by Field.Key
}

func (c *checker) addWarning(n *yaml.Node, format string, args ...any) {
	c.warnings = append(c.warnings, c.problemAt(n, format, args...))
}

func (c *checker) checkName(k *yaml.Node) {
	if err := CheckBucketName(k.Value); err != nil {
		c.addProblem(k, "%v", err)
	}
}

// CheckBucketName checks the name of a bucket: it stands in paths of URLs, and in rows
// for ever.
func CheckBucketName(name string) error {
	switch {
	case strings.HasPrefix(name, "_alyx_"):
		return fmt.Errorf("bucket name %q: names that begin with _alyx_ are the system's", name)
	case !bucketName.MatchString(name):
		return fmt.Errorf("bucket name %q: want a small letter, then small letters, digits, _ or -", name)
	case len(name) > maxName:
		return fmt.Errorf("bucket name %q: at most %d characters are taken", name, maxName)
	}
	return nil
}

// checkBucket checks b, whose name is k and whose keys are n.
func (c *checker) checkBucket(k, n *yaml.Node, b *Bucket) {
	c.checkBackend(k, n, b)
	c.checkTexts(n, "allowed_types", b.AllowedTypes, mediaType, wantMediaType)
	c.checkTexts(n, "inline_types", b.InlineTypes, mediaType, wantMediaType)
	c.checkTexts(n, "allowed_extensions", b.AllowedExtensions, extension, "an extension in small letters without its dot, such as pdf")
	if _, err := ParseCacheControl(b.CacheControl); err != nil {
		c.addProblem(nodeAt(n, "cache_control"), "%s", err)
	}
	for i, d := range b.Digests {
		if !slices.Contains(digests, d) {
			c.addProblem(nodeAt(n, "digests").Content[i], "%q is not a digest%s", d, suggest(d, digests))
		}
	}
	if l := b.Compression.Level; l < 0 || l > 9 {
		c.addProblem(nodeAt(n, "compression", "level"), "compression level %d is not 0 to 9", l)
	}
	if _, err := oneOf(&yaml.Node{Kind: yaml.ScalarNode, Value: b.Compression.Codec}, codecs...); err != nil {
		c.addProblem(nodeAt(n, "compression", "codec"), "%s", err)
	}
	if b.Versioning.Keep < 0 {
		c.addProblem(nodeAt(n, "versioning", "keep"), "keep %d is not a number of versions", b.Versioning.Keep)
	}
	if b.SignedURLTTL > maxSignedTTL {
		c.addProblem(nodeAt(n, "signed_url_ttl"), "signed_url_ttl is at most 365d")
	}
	if b.UploadExpiry == Off {
		c.addProblem(nodeAt(n, "upload_expiry"), "upload_expiry 0: uploads need some time; write 24h")
	}
	if b.MaxUploads < 1 {
		c.addProblem(nodeAt(n, "max_uploads"), "max_uploads %d: want at least 1", b.MaxUploads)
	}
	if p := b.UploadLimits; p.MaxAppend > 0 && p.MinAppend > p.MaxAppend {
		c.addProblem(nodeAt(n, "upload_limits", "min_append_size"), "min_append_size is more than max_append_size: no request could be right")
	}
	if b.MaxTotalSize > 0 && b.MaxFileSize > b.MaxTotalSize {
		c.addProblem(nodeAt(n, "max_file_size"), "max_file_size is more than max_total_size: no file may be larger than its bucket")
	}
	c.checkRules(k, n, b)
}

// checkTexts checks each text of a list, which is the value of a key of n.
func (c *checker) checkTexts(n *yaml.Node, key string, texts []string, valid *regexp.Regexp, want string) {
	for i, text := range texts {
		if !valid.MatchString(text) {
			c.addProblem(nodeAt(n, key).Content[i], "%q is not %s%s", text, want, respellType(text))
		}
	}
}

// checkBackend sets b's backend where only one exists and none is named, and
// checks that it exists.
func (c *checker) checkBackend(k, n *yaml.Node, b *Bucket) {
	names := c.cfg.backendNames()
	switch {
	case b.Backend == "" && len(names) == 1:
		b.Backend = names[0]
	case b.Backend == "":
		c.addProblem(k, "bucket %q names no backend%s", k.Value, suggest("", names))
	case !slices.Contains(names, b.Backend):
		c.addProblem(nodeAt(n, "backend"), "there is no backend %q in storage.backends%s", b.Backend, suggest(b.Backend, names))
	}
	if of := c.cfg.findBackend(b.Backend); b.Acknowledge == "journal" && (of == nil || of.Type != "s3") {
		c.addProblem(nodeAt(n, "acknowledge"), "acknowledge: journal is for backends in S3; backend %q is a directory, which answers no later", b.Backend)
	}
}

func (c *checker) checkRules(k, n *yaml.Node, b *Bucket) {
	v, used := valueOf(&b.Rules), false
	for _, f := range fieldsOf(v) {
		text := v.Field(f.index).String()
		at := nodeAt(n, "rules", f.keys[0])
		if text == "" {
			if at.Kind == yaml.ScalarNode && at.Tag == "!!str" {
				c.addProblem(at, "rule %s is empty: write \"false\" to deny, or leave it out", f.keys[0])
			}
			continue
		}
		used = true
		_, err := c.env.Compile(text)
		var syntax *rules.SyntaxError
		if errors.As(err, &syntax) {
			c.addProblem(c.placeInside(at, syntax.Line, syntax.Column), "rule %s does not compile: %s", f.keys[0], syntax.Message)
		}
	}
	if !used {
		c.addWarning(k, "bucket %s has no rules: only operators can use it", k.Value)
	}
}

// placeInside returns a node at the line and column of the file where those of
// the text n are, as far as YAML's quoting allows.
func (c *checker) placeInside(n *yaml.Node, line, column int) *yaml.Node {
	at := *n
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		at.Line += line
		if lines := strings.Split(string(c.text), "\n"); at.Line <= len(lines) {
			text := lines[at.Line-1]
			at.Column = len(text) - len(strings.TrimLeft(text, " ")) + column
		}
	case n.Style&yaml.FoldedStyle != 0 || line > 1:
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		at.Column += column
	default:
		at.Column += column - 1
	}
	return &at
}
