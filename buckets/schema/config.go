package schema

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"

	"github.com/cairn-store/cairn/buckets/rules"
)

// A Config is Cairn's part of alyx.yml.
type Config struct {
	Storage Storage
	Auth    Auth
	Server  Server
}

// Storage names the backends.
type Storage struct {
	Backends   map[string]*Backend `key:"backends" doc:"backends by name"`
	Operators  string              `key:"operators" doc:"CEL over auth and request: who may see physical sizes, run reports, and pass every rule"`
	Collection *Collection         `key:"collection" doc:"how the space of what was removed comes back"`
	Scrub      *Scrub              `key:"scrub" doc:"how stored bytes are read again and verified"`
}

// Collection says how space comes back.
type Collection struct {
	Interval Duration `key:"interval" doc:"from the end of a collection to the next; off leaves it to cairn gc" default:"1h"`
	Rate     Size     `key:"rate" doc:"bytes a second that packs are rewritten with, so that little is left to be felt of it" default:"32MiB"`
	MaxWait  Duration `key:"max_wait" doc:"how long a request that uploads keeps from collection what it has stored and found stored; one that takes longer looks again, and is refused if some is gone" default:"24h"`
}

// Scrub says how stored bytes are verified.
type Scrub struct {
	Interval Duration `key:"interval" doc:"from the end of a scrub to the next; off leaves it to cairn scrub" default:"1d"`
	MaxAge   Duration `key:"max_age" doc:"the time after which a pack is read again" default:"30d"`
	Rate     Size     `key:"rate" doc:"bytes a second that are read" default:"16MiB"`
}

// A Backend is where packs lie.
type Backend struct {
	Type       string      `key:"type" doc:"filesystem or s3"`
	Filesystem *Filesystem `key:"filesystem,local" doc:"of type filesystem"`
	S3         *S3         `key:"s3" doc:"of type s3"`
	PackSize   Size        `key:"pack_size" doc:"bytes at which a pack is sealed: by default 64 MiB, with s3 32 MiB, less on a volume below 4 GB"`
	MaxSize    Size        `key:"max_size" doc:"bytes of its packs beyond which uploads are refused (507), what was given up or purged and is not collected yet included; all else goes on"`
}

// Filesystem is a directory.
type Filesystem struct {
	Path string `key:"path" doc:"directory of the packs"`

	alyxPrefix string
}

// S3 is a bucket of S3 or of a service that speaks it. Without keys the
// default credential chain applies.
type S3 struct {
	Bucket          string `key:"bucket" doc:"S3 bucket that holds the backend's packs"`
	Prefix          string `key:"prefix" doc:"of all keys, so that a bucket can be shared"`
	Endpoint        string `key:"endpoint" doc:"URL of the service; empty is AWS"`
	Region          string `key:"region" doc:"of the service; auto is us-east-1 with an endpoint, else what the environment says" default:"auto"`
	AccessKeyID     string `key:"access_key_id" doc:"static key"`
	SecretAccessKey string `key:"secret_access_key" doc:"static secret"`
	SessionToken    string `key:"session_token" doc:"of temporary keys"`
	ForcePathStyle  bool   `key:"force_path_style" doc:"true for most services that are not AWS" default:"false"`
	StorageClass    string `key:"storage_class" doc:"of packs, such as STANDARD_IA; classes that must be restored before they are read won't do"`
	SSE             string `key:"sse" doc:"encryption by the service: AES256, aws:kms or aws:kms:dsse; by default what the bucket says"`
	KMSKeyID        string `key:"kms_key_id" doc:"key of aws:kms; by default the account's own"`
	SingleWriter    bool   `key:"single_writer" doc:"true, on a service without conditional PUT, where a second server would not be noticed: you see to it that there is none; a HEAD comes before each PUT" default:"false"`
	Checksums       string `key:"checksums" doc:"when_supported adds checksums that some services do not know to the sums that are signed" default:"when_required"`
	ReadBack        string `key:"read_back" doc:"auto reads each object back before it counts, where the service does not notice bytes that were damaged on their way to it; always, never" default:"auto"`
	CacheDir        string `key:"cache_dir" doc:"directory on this machine that keeps what was read last; none without it"`
	CacheSize       Size   `key:"cache_size" doc:"bytes that cache_dir may take" default:"10GiB"`

	alyxPrefix string
}

// Auth says which tokens are accepted.
type Auth struct {
	JWT *JWT `key:"jwt" doc:"tokens of Alyx or of an identity provider"`
}

// JWT says which JSON Web Tokens are accepted.
type JWT struct {
	Secret    string   `key:"secret" doc:"of HS256, at least 32 bytes"`
	JWKS      string   `key:"jwks" doc:"file or https URL of public keys, for RS256, ES256 and EdDSA, each by the kind of its key"`
	Algorithm string   `key:"algorithm" doc:"the one algorithm taken; by default HS256 with a secret, and those of the kinds of keys with jwks"`
	Issuer    string   `key:"issuer" doc:"that iss must be; empty takes any"`
	Audience  Words    `key:"audience" doc:"that aud must hold, or one of several; none takes any"`
	Leeway    Duration `key:"leeway" doc:"by which clocks may differ" default:"30s"`

	ExpOptional bool `key:"exp_optional" doc:"true takes tokens without exp too, which are then valid for ever" default:"false"`
}

func (*JWT) ignoredKeys() []string { return []string{"access_ttl", "refresh_ttl"} }

// CORS says whose pages may use the API.
type CORS struct {
	Disabled       Not      `key:"enabled" doc:"false allows none" default:"true"`
	AllowedOrigins []string `key:"allowed_origins" doc:"such as https://app.example.com; * is any, without credentials"`
	AllowedHeaders []string `key:"allowed_headers" doc:"that pages may send beside those of the API, of tracing and of common libraries; * is any"`
}

func (*CORS) ignoredKeys() []string {
	return []string{"allowed_methods", "exposed_headers", "allow_credentials", "max_age"}
}

// Server says how requests are taken.
type Server struct {
	TrustedProxies []string `key:"trusted_proxies" doc:"addresses or networks whose X-Forwarded-For or, without that, Forwarded is believed"`
	CORS           CORS     `key:"cors" doc:"pages of other origins that may use the API"`
	RateLimit      Bound    `key:"rate_limit" doc:"requests a second that one caller may send in the long run; 0 is no limit" default:"2000"`
	RateBurst      int      `key:"rate_burst" doc:"requests that one caller may send at once" default:"10000"`
	MaxConcurrent  Bound    `key:"max_concurrent" doc:"requests that one caller may have under way; 0 is no limit" default:"256"`
	MaxConnections int      `key:"max_connections" doc:"connections taken at a time; beyond, those that wait longest for a request are dropped" default:"4096"`
	MaxPerAddress  int      `key:"max_connections_per_address" doc:"of them from one address, or network of 64 bits with IPv6; trusted proxies may have more" default:"512"`
	PublicURL      string   `key:"public_url" doc:"what URLs in answers begin with, a path included, such as https://example.com/storage; by default the request's own"`
	Log            Log      `key:"log" doc:"what is logged, and how"`
	Audit          Audit    `key:"audit" doc:"who has changed what"`
	Compat         Compat   `key:"compat" doc:"alyx: requests and answers are spelt as Alyx's own clients spell and read them, and DELETE removes for good; rules stay as they are"`
}

// Compat says whose clients a server serves in their own spelling. "" is nobody's
// but Cairn's.
type Compat string

// CompatAlyx is the spelling of Alyx's generated clients and of its admin page.
const CompatAlyx Compat = "alyx"

func (*Compat) choices() []string { return []string{string(CompatAlyx)} }

// defaultBackend is the backend of a configuration that names none: the
// store's own directory.
const defaultBackend = "local"

func (c *Config) backendNames() []string {
	if c == nil || len(c.Storage.Backends) == 0 {
		return []string{defaultBackend}
	}
	return slices.Sorted(maps.Keys(c.Storage.Backends))
}

// findBackend returns the settings of a backend, nil if it has none.
func (c *Config) findBackend(name string) *Backend {
	if c == nil {
		return nil
	}
	return c.Storage.Backends[name]
}

// ParseConfig reads alyx.yml. In storage and auth.jwt unknown keys are refused;
// in server, keys that are not Cairn's are passed over, as are other sections.
// ${NAME} in a value becomes what getenv returns for NAME. The error is
// Problems.
func ParseConfig(file string, text []byte, getenv func(string) (string, bool)) (*Config, error) {
	src := &source{file: file, text: text}
	root := src.parseDocument()
	if root == nil {
		return nil, src.err()
	}
	out := &Config{}
	setDefaults(valueOf(&out.Server))
	src.eachKey(root, func(k, value *yaml.Node) {
		switch k.Value {
		case "storage":
			src.expandEnv(value, getenv)
			src.decode(value, valueOf(&out.Storage))
			src.checkStorage(value, &out.Storage)
		case "auth":
			src.decodeKnown(value, valueOf(&out.Auth), getenv)
			if len(src.problems) == 0 {
				src.checkJWT(nodeAt(value, "jwt"), out.Auth.JWT)
			}
		case "server":
			src.decodeKnown(value, valueOf(&out.Server), getenv)
			src.checkServer(value, &out.Server)
		}
	})
	return out, src.err()
}

// decodeKnown decodes the keys of a section that v has, and passes over the
// others, which are Alyx's.
func (s *source) decodeKnown(n *yaml.Node, v reflect.Value, getenv func(string) (string, bool)) {
	if isNull(n) {
		return
	}
	fields := fieldsOf(v)
	s.eachKey(n, func(k, value *yaml.Node) {
		for _, f := range fields {
			if slices.Contains(f.keys, k.Value) && !isNull(value) {
				s.expandEnv(value, getenv)
				s.decode(value, v.Field(f.index))
			}
		}
	})
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}`)

// expandEnv replaces ${NAME} in the values below n. The replacement is never
// parsed as YAML.
func (s *source) expandEnv(n *yaml.Node, getenv func(string) (string, bool)) {
	if n.Kind == yaml.MappingNode {
		for i := 1; i < len(n.Content); i += 2 {
			s.expandEnv(n.Content[i], getenv)
		}
		return
	}
	for _, c := range n.Content {
		s.expandEnv(c, getenv)
	}
	if n.Kind != yaml.ScalarNode {
		return
	}
	n.Value = variable.ReplaceAllStringFunc(n.Value, func(m string) string {
		part := variable.FindStringSubmatch(m)
		if v, ok := getenv(part[1]); ok {
			return v
		}
		if part[2] == "" {
			s.addProblem(n, "environment variable %s is not set; set it, or write ${%s:-VALUE}", part[1], part[1])
		}
		return strings.TrimPrefix(part[2], ":-")
	})
}

func (s *source) checkStorage(n *yaml.Node, st *Storage) {
	for _, name := range slices.Sorted(maps.Keys(st.Backends)) {
		b, at := st.Backends[name], nodeAt(n, "backends", name)
		if !bucketName.MatchString(name) {
			s.addProblem(at, "backend name %q: want a small letter, then small letters, digits, _ or -", name)
		}
		if b == nil {
			s.addProblem(at, "backend %q is empty: give its type", name)
			continue
		}
		s.checkBackendConfig(at, name, b)
	}
	if c := st.Collection; c != nil && c.MaxWait == Off {
		s.addProblem(nodeAt(n, "collection", "max_wait"), "max_wait of nothing: want at least 1s, such as 24h")
	}
	if c := st.Scrub; c != nil && c.MaxAge == Off {
		s.addProblem(nodeAt(n, "scrub", "max_age"), "max_age of nothing: want at least 1s, such as 30d")
	}
	if st.Operators == "" {
		return
	}
	env, err := rules.NewEnv()
	if err == nil {
		_, err = env.Compile(st.Operators)
	}
	if err != nil {
		s.addProblem(nodeAt(n, "operators"), "operators does not compile: %s", err)
	}
}

func (s *source) checkBackendConfig(at *yaml.Node, name string, b *Backend) {
	types := []string{"filesystem", "s3"}
	switch {
	case b.Type == "":
		s.addProblem(at, "backend %q has no type%s", name, suggest("", types))
	case !slices.Contains(types, b.Type):
		s.addProblem(nodeAt(at, "type"), "backend type %q is not known%s", b.Type, suggest(b.Type, types))
	case b.Type == "filesystem" && (b.Filesystem == nil || b.Filesystem.Path == ""):
		s.addNoPath(at, name)
	case b.Type == "s3" && b.S3 == nil:
		s.addProblem(at, "backend %q has no bucket: write s3: {bucket: NAME}", name)
	case b.Type == "s3" && b.S3.Bucket == "":
		s.addNoBucket(nodeAt(at, "s3"), name)
	case b.Type == "s3" && (b.S3.AccessKeyID == "") != (b.S3.SecretAccessKey == ""):
		s.addProblem(nodeAt(at, "s3"), "backend %q has half a key: give access_key_id and secret_access_key, or neither", name)
	case b.Type == "filesystem" && b.S3 != nil, b.Type == "s3" && b.Filesystem != nil:
		s.addProblem(at, "backend %q is a %s and has settings of another type", name, b.Type)
	}
	if b.PackSize != 0 && (b.PackSize < minPack || b.PackSize > maxPack) {
		s.addProblem(nodeAt(at, "pack_size"), "packs of %s: want 4MiB to 1GiB", humanize.IBytes(uint64(b.PackSize)))
	}
	if b.S3 != nil {
		s.checkS3(nodeAt(at, "s3"), b.S3)
	}
}

const (
	minPack = 4 << 20
	maxPack = 1 << 30
)

func (s *source) checkS3(at *yaml.Node, b *S3) {
	words := func(key, value string, all ...string) {
		if value != "" && !slices.Contains(all, value) {
			s.addProblem(nodeAt(at, key), "%s %q is not known%s", key, value, suggest(value, all))
		}
	}
	words("checksums", b.Checksums, "when_required", "when_supported")
	words("read_back", b.ReadBack, "auto", "always", "never")
	words("sse", b.SSE, "AES256", "aws:kms", "aws:kms:dsse")
	if b.KMSKeyID != "" && !strings.HasPrefix(b.SSE, "aws:kms") {
		s.addProblem(nodeAt(at, "kms_key_id"), "kms_key_id goes with sse: aws:kms")
	}
	for _, class := range []string{"GLACIER", "DEEP_ARCHIVE"} {
		if b.StorageClass == class {
			s.addProblem(nodeAt(at, "storage_class"), "storage class %s: packs must be readable at once", class)
		}
	}
	if strings.HasPrefix(b.Prefix, "/") || strings.Contains(b.Prefix, "//") {
		s.addProblem(nodeAt(at, "prefix"), "prefix %q: write it as a/b", b.Prefix)
	}
	if s.refusePlaceholder(nodeAt(at, "endpoint"), "endpoint", b.Endpoint) {
		return
	}
	if u, err := url.Parse(b.Endpoint); b.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		s.addProblem(nodeAt(at, "endpoint"), "endpoint %q: write it as https://host", b.Endpoint)
	}
}

// algorithms are those that tokens may be signed by: the first with a secret,
// the others with a key set.
var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

const minSecret = 32 // bytes, as RFC 7518 3.2 demands of HS256

func (s *source) checkJWT(n *yaml.Node, j *JWT) {
	if j == nil {
		return
	}
	switch {
	case j.Secret == "" && j.JWKS == "":
		s.addProblem(n, "auth.jwt needs a secret, or jwks")
	case j.Secret != "" && len(j.Secret) < minSecret:
		s.addProblem(nodeAt(n, "secret"), "the secret is %d bytes, want at least %d", len(j.Secret), minSecret)
	case j.Algorithm == "":
	case !slices.Contains(algorithms, j.Algorithm):
		s.addProblem(nodeAt(n, "algorithm"), "algorithm %q is not taken%s", j.Algorithm, suggest(j.Algorithm, algorithms))
	case j.Algorithm == "HS256" && j.Secret == "", j.Algorithm != "HS256" && j.JWKS == "":
		s.addProblem(nodeAt(n, "algorithm"), "algorithm %s does not go with what is configured: HS256 is for a secret, the others for jwks", j.Algorithm)
	}
	if u, err := url.Parse(j.JWKS); strings.Contains(j.JWKS, "://") && (err != nil || !SafeURL(u)) {
		s.addProblem(nodeAt(n, "jwks"), "jwks %q: keys are fetched by https, or by http from this machine", j.JWKS)
	}
}

// Algorithms returns those that tokens may be signed by. They follow from the
// configuration, never from a token.
func (j *JWT) Algorithms() []string {
	if j.Algorithm != "" {
		return []string{j.Algorithm}
	}
	var out []string
	if j.Secret != "" {
		out = append(out, "HS256")
	}
	if j.JWKS != "" {
		out = append(out, algorithms[1:]...)
	}
	return out
}

// SafeURL reports whether nobody on the way can change what is fetched from u:
// by https, or by http on this machine.
func SafeURL(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// origin is a scheme, a host and perhaps a port. A star stands for whole labels
// and needs a domain behind it: pages that match may send credentials.
var origin = regexp.MustCompile(`^https?://((\*\.([A-Za-z0-9-]+\.)+)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9a-f:]+\])(:[0-9]+)?$`)

func (s *source) checkServer(n *yaml.Node, sv *Server) {
	for i, p := range sv.TrustedProxies {
		if _, err := ParseNetwork(p); err != nil {
			s.addProblem(nodeAt(n, "trusted_proxies").Content[i], "%s", err)
		}
	}
	if sv.RateBurst < 0 {
		s.addProblem(nodeAt(n, "rate_burst"), "rate_burst %d is negative", sv.RateBurst)
	}
	for key, v := range map[string]int{"max_connections": sv.MaxConnections, "max_connections_per_address": sv.MaxPerAddress} {
		if v < 1 {
			s.addProblem(nodeAt(n, key), "%s %d: want at least 1", key, v)
		}
	}
	for i, o := range sv.CORS.AllowedOrigins {
		if o != "*" && !origin.MatchString(o) {
			s.addProblem(nodeAt(n, "cors", "allowed_origins").Content[i], "origin %q: write it as https://host, https://*.example.com, or *", o)
		}
	}
	if sv.PublicURL != "" {
		if _, err := ParsePublicURL(sv.PublicURL); err != nil {
			s.addProblem(nodeAt(n, "public_url"), "public_url %s", err)
		}
	}
	for i, h := range sv.CORS.AllowedHeaders {
		if !headerName.MatchString(h) {
			s.addProblem(nodeAt(n, "cors", "allowed_headers").Content[i], "header %q: write the name of a header, such as X-Tenant, or *", h)
		}
	}
}

var headerName = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$") // as RFC 9110 has it

// ParsePublicURL reads what URLs of a server begin with: scheme and host, and
// perhaps a path, which comes without a slash at its end. Scheme and host are as
// browsers write an origin: in lower case, and without the port that is the scheme's.
func ParsePublicURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q: write it as https://files.example.com or https://example.com/storage", text)
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); port == "" || port == defaultPorts()[u.Scheme] {
		u.Host = strings.TrimSuffix(strings.TrimSuffix(u.Host, port), ":")
	}
	return u, nil
}

func defaultPorts() map[string]string { return map[string]string{"http": "80", "https": "443"} }

// ParseNetwork reads an address or a network.
func ParseNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network: write 10.0.0.1 or 10.0.0.0/8", text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func valueOf[T any](p *T) reflect.Value { return reflect.ValueOf(p).Elem() }
