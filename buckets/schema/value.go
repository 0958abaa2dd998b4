package schema

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"

	"github.com/cairn-store/cairn/chunker"
)

// A Size is a number of bytes: 1048576, 10MB (of 1000) or 10MiB (of 1024).
type Size int64

func (s *Size) parseNode(n *yaml.Node) error {
	v, err := humanize.ParseBytes(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v > math.MaxInt64 || v == 0 {
		return fmt.Errorf("%s is not a size; write 1048576, 10MB or 10MiB, or leave the key out for no limit", describeNode(n))
	}
	*s = Size(v)
	return nil
}

// A Duration is a time span: 90s, 15m, 24h, 30d, 2w; 0 or off is Off. The zero value
// stands for the key's default.
type Duration time.Duration

// Off is the Duration of what is turned off.
const Off Duration = -1

// Or returns the time span, 0 for Off, and def for the zero value.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(max(d, 0))
}

func (d *Duration) parseNode(n *yaml.Node) error {
	v, err := ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		return fmt.Errorf("%s is not a duration; write 90s, 15m, 24h or 30d", describeNode(n))
	}
	if *d = Duration(v); v == 0 {
		*d = Off
	}
	return nil
}

// A Bound is how many of something there may be. In a file 0 is Unbounded; the zero
// value stands for the key's default.
type Bound int

// Unbounded is the Bound of what is not bounded.
const Unbounded Bound = -1

// Or returns the bound, the highest number for Unbounded, and def for the zero value.
func (b Bound) Or(def int) int {
	switch {
	case b == 0:
		return def
	case b < 0:
		return math.MaxInt
	}
	return int(b)
}

func (b *Bound) parseNode(n *yaml.Node) error {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < 0 {
		return fmt.Errorf("%s is not a number of at least 0", describeNode(n))
	}
	if *b = Bound(v); v == 0 {
		*b = Unbounded
	}
	return nil
}

func (*Bound) shape() (string, shape) { return "number", shape{"type": "integer", "minimum": 0} }

// A Not is the opposite of its key, whose default is true: so the zero value stands
// for the default.
type Not bool

func (v *Not) parseNode(n *yaml.Node) error {
	b, err := strconv.ParseBool(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		return fmt.Errorf("%s is not true or false", describeNode(n))
	}
	*v = Not(!b)
	return nil
}

// ParseDuration reads a Duration as it stands in a schema.
func ParseDuration(text string) (time.Duration, error) {
	if text == "0" || text == "off" || text == "false" {
		return 0, nil
	}
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			f, err := strconv.ParseFloat(number, 64)
			if err != nil || !(f >= 0) || f > float64(math.MaxInt64/unit) {
				return 0, errors.New("bad duration")
			}
			return time.Duration(f * float64(unit)), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("negative duration")
	}
	return d, err
}

// Words are one or several texts, written as a text or a list.
type Words []string

func (w *Words) parseNode(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		*w = Words{n.Value}
		return nil
	}
	*w = nil
	if n.Kind == yaml.SequenceNode {
		for _, e := range n.Content {
			if e.Kind != yaml.ScalarNode || e.Value == "" {
				return fmt.Errorf("%s is not a text", describeNode(e))
			}
			*w = append(*w, e.Value)
		}
		return nil
	}
	return fmt.Errorf("%s is neither a text nor a list of texts", describeNode(n))
}

// A choice is a value that is one of a few words.
type choice interface{ choices() []string }

// oneOf returns the word that n is, one of words.
func oneOf(n *yaml.Node, words ...string) (string, error) {
	if n.Kind != yaml.ScalarNode || !slices.Contains(words, n.Value) {
		return "", fmt.Errorf("%s is not possible here%s", describeNode(n), suggest(n.Value, words))
	}
	return n.Value, nil
}

// TypeCheck says what an upload's media type is checked against.
type TypeCheck string

// What is checked: that content, name and declaration agree; the content
// alone; the declaration alone.
const (
	TypeStrict   TypeCheck = "strict"
	TypeSniff    TypeCheck = "sniff"
	TypeDeclared TypeCheck = "declared"
)

func (*TypeCheck) choices() []string { return []string{"strict", "sniff", "declared"} }

// Acknowledge says where a change is durable when it is answered.
type Acknowledge string

func (*Acknowledge) choices() []string { return []string{"remote", "journal"} }

// Dedup says among whose files an upload may be told that bytes are there.
type Dedup string

// The files that count: those of the same principal, those of the bucket, all.
const (
	DedupPrincipal Dedup = "principal"
	DedupBucket    Dedup = "bucket"
	DedupGlobal    Dedup = "global"
)

func (*Dedup) choices() []string { return []string{"principal", "bucket", "global"} }

// LinkPolicy says which right to a file it takes to link a record to it that may
// keep others from deleting it, or have it deleted.
type LinkPolicy string

// The rights.
const (
	LinkByDelete LinkPolicy = "delete"
	LinkByRead   LinkPolicy = "read"
)

func (*LinkPolicy) choices() []string { return []string{"delete", "read"} }

// Compression is how frames are packed: none, gzip or zstd, by word, as true
// (zstd) or false (none), or with a level. No codec is zstd.
type Compression struct {
	Codec string `key:"codec" doc:"none, gzip or zstd" default:"zstd"`
	Level int    `key:"level" doc:"1 (fast) to 9 (small); 0 is the usual one" default:"0"`
}

var codecs = []string{"none", "gzip", "zstd"}

func (c *Compression) parseNode(n *yaml.Node) error {
	word, err := oneOf(n, append(slices.Clone(codecs), "true", "false")...)
	switch word {
	case "":
		return err
	case "true":
		word = "zstd"
	case "false":
		word = "none"
	}
	c.Codec = word
	return nil
}

// Chunking is how content is cut: a profile's name, or {profile: NAME}.
type Chunking string

func (c *Chunking) parseNode(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		if len(n.Content) != 2 || n.Content[0].Value != "profile" {
			return errors.New("chunking takes one key: {profile: balanced}")
		}
		n = n.Content[1]
	}
	name := n.Value
	if name == "default" {
		name = "balanced"
	}
	if _, err := chunker.Profile(name); err != nil || n.Kind != yaml.ScalarNode {
		return fmt.Errorf("%s is not a chunking profile%s", describeNode(n), suggest(n.Value, chunker.Profiles()))
	}
	*c = Chunking(name)
	return nil
}

// Versioning says which versions of a file are kept beside the newest.
type Versioning struct {
	Off     Not      `key:"enabled" doc:"false keeps only the newest version" default:"true"`
	Keep    int      `key:"keep" doc:"versions kept, the newest among them; 0 keeps all" default:"0"`
	KeepFor Duration `key:"keep_for" doc:"how long a version is kept after the next one came; 0 is for ever" default:"0"`
}

func (v *Versioning) parseNode(n *yaml.Node) error {
	word, err := oneOf(n, "true", "false")
	v.Off = word == "false"
	return err
}

// Reserved is the value of a key whose function is not built yet: it may be
// empty, or say enabled: false.
type Reserved struct{}

func (Reserved) parseNode(n *yaml.Node) error {
	if isNull(n) || n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		return nil
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "enabled" && n.Content[1].Value == "false" {
		return nil
	}
	return errors.New("this is reserved and not available yet: leave it out, or write {}")
}
