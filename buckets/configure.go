package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

// ErrBucketInUse reports a bucket that holds files and would be left out, or
// moved away from them.
var ErrBucketInUse = errors.New("bucket holds files")

// ApplySchema makes the buckets what s says, all or none of them: requests
// that come after it find the new ones. It fails with ErrBucketInUse where a
// bucket that holds files would go or move.
func (s *Store) ApplySchema(ctx context.Context, sc *schema.Schema) error {
	policies, err := Policies(sc)
	if err != nil {
		return err
	}
	return s.SetPolicies(ctx, policies)
}

// SetPolicies is ApplySchema for policies that come from no schema.
func (s *Store) SetPolicies(ctx context.Context, policies map[string]Policy) error {
	s.binding.Lock()
	defer s.binding.Unlock()
	policies = maps.Clone(policies)
	if len(s.chunks) == 1 {
		for name, p := range policies {
			p.Domain = cmp.Or(p.Domain, s.anyDomain())
			policies[name] = p
		}
	}
	if err := s.adoptMoves(ctx, policies); err != nil {
		return fmt.Errorf("buckets: %w", err)
	}
	all := make(map[string]*bucket)
	for name, p := range policies {
		if err := schema.CheckBucketName(name); err != nil {
			return fmt.Errorf("buckets: %w", err)
		}
		if p.Domain == "" {
			return fmt.Errorf("buckets: bucket %q names no backend, and there are %d", name, len(s.chunks))
		}
		if s.chunks[p.Domain] == nil {
			return fmt.Errorf("buckets: bucket %q: no backend is called %q", name, p.Domain)
		}
		p.setDefaults()
		if p.Versions.Keep < 0 || p.Versions.KeepFor < 0 || p.Trash.KeepFor < 0 {
			return fmt.Errorf("buckets: bucket %q: keep %d, keep_for %s and trash %s must not be negative; 0 is the default",
				name, p.Versions.Keep, p.Versions.KeepFor, p.Trash.KeepFor)
		}
		if p.Trash.Forever && (p.Trash.Off || p.Trash.KeepFor > 0) {
			return fmt.Errorf("buckets: bucket %q: the trash is kept for ever, and is not: set one of Off, KeepFor and Forever", name)
		}
		if err := p.checkWords(); err != nil {
			return fmt.Errorf("buckets: bucket %q: %w", name, err)
		}
		if p.Acknowledge == AckJournal && !s.chunks[p.Domain].Behind() {
			return fmt.Errorf("buckets: bucket %q: acknowledge: journal begins with the next start", name)
		}
		if p.Access.SignedURLTTL > access.MaxSignedLife {
			return fmt.Errorf("buckets: bucket %q: URLs signed for %s: at most %s", name, p.Access.SignedURLTTL, access.MaxSignedLife)
		}
		var err error
		if p.CacheControl, err = cleanCacheControl(p.CacheControl); err != nil {
			return fmt.Errorf("buckets: bucket %q: %w", name, err)
		}
		splitter, err := chunker.Profile(p.Profile)
		if err != nil {
			return fmt.Errorf("buckets: bucket %q: %w", name, err)
		}
		all[name] = &bucket{Policy: p, name: name, splitter: splitter}
	}
	if err := s.setHomes(ctx, policies); err != nil {
		return fmt.Errorf("buckets: %w", err)
	}
	if before := s.buckets.Load(); before != nil { // Run tells what a server begins with
		if err := s.auditSchema(ctx, *before, all); err != nil {
			return fmt.Errorf("buckets: %w", err)
		}
	}
	s.buckets.Store(&all)
	return nil
}

// anyDomain returns one of the domains.
func (s *Store) anyDomain() string {
	for name := range s.chunks {
		return name
	}
	return ""
}

const (
	defaultMaxComposed = 5e9 // bytes
	defaultTrash       = 30 * 24 * time.Hour
)

// setDefaults replaces zero values by the defaults.
func (p *Policy) setDefaults() {
	if p.Profile == "" {
		p.Profile = "balanced"
	}
	if p.Uncompressed {
		p.Compression = cas.Compression{}
	} else if p.Compression.Codec == cas.Raw {
		p.Compression.Codec = cas.Zstd
	}
	if p.Trash.KeepFor == 0 && !p.Trash.Off && !p.Trash.Forever {
		p.Trash.KeepFor = defaultTrash
	}
	if p.Limits.MaxComposedSize == 0 {
		p.Limits.MaxComposedSize = defaultMaxComposed
	}
	if p.Limits.TypeCheck == "" {
		p.Limits.TypeCheck = TypeSniff
	}
	if p.Access.SignedURLTTL == 0 {
		p.Access.SignedURLTTL = access.DefaultSignedLife
	}
	if p.UploadExpiry == 0 {
		p.UploadExpiry = 24 * time.Hour
	}
	if p.MaxUploads == 0 {
		p.MaxUploads = defaultMaxUploads
	}
	if p.Dedup == "" {
		p.Dedup = DedupPrincipal
	}
	if p.Acknowledge == "" {
		p.Acknowledge = AckRemote
	}
}

// checkWords checks what is one of a few words, which a program may misspell.
func (p *Policy) checkWords() error {
	for _, c := range []struct {
		what, word string
		of         []string
	}{
		{"dedup", string(p.Dedup), []string{string(DedupPrincipal), string(DedupBucket), string(DedupGlobal)}},
		{"acknowledge", string(p.Acknowledge), []string{string(AckRemote), string(AckJournal)}},
		{"type_check", string(p.Limits.TypeCheck), []string{string(TypeStrict), string(TypeSniff), string(TypeDeclared)}},
	} {
		if !slices.Contains(c.of, c.word) {
			return fmt.Errorf("%s %q is not one of %q", c.what, c.word, c.of)
		}
	}
	if c := p.Compression; c.Codec > cas.Gzip || c.Level < 0 || c.Level > 9 {
		return fmt.Errorf("compression by codec %d at level %d: want 0 to 9 of a codec that is known", c.Codec, c.Level)
	}
	return checkDigests(p.Digests)
}

// Policies returns the policies of the buckets of a schema.
func Policies(sc *schema.Schema) (map[string]Policy, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	out := make(map[string]Policy)
	for name, b := range sc.Buckets {
		if b == nil {
			b = &schema.Bucket{}
		}
		p, err := policyOf(b)
		if err != nil {
			return nil, fmt.Errorf("buckets: bucket %q: %w", name, err)
		}
		for op, src := range map[access.Op]string{access.OpCreate: b.Rules.Create, access.OpRead: b.Rules.Read, access.OpUpdate: b.Rules.Update,
			access.OpDelete: b.Rules.Delete, access.OpDownload: b.Rules.Download, access.OpList: b.Rules.List, access.OpTrash: b.Rules.Trash} {
			if src == "" {
				continue
			}
			if p.Access.Rules[op], err = env.Compile(src); err != nil {
				return nil, fmt.Errorf("buckets: bucket %q: rule %s: %w", name, op, err)
			}
		}
		out[name] = p
	}
	return out, nil
}

// policyOf returns the policy of a bucket, without its rules.
func policyOf(b *schema.Bucket) (Policy, error) {
	codecs := map[string]cas.Codec{"none": cas.Raw, "gzip": cas.Gzip, "zstd": cas.Zstd, "": cas.Zstd}
	codec, ok := codecs[b.Compression.Codec]
	if !ok {
		return Policy{}, fmt.Errorf("compression %q is not none, gzip or zstd", b.Compression.Codec)
	}
	return Policy{
		Domain: b.Backend, Profile: string(b.Chunking), Digests: b.Digests,
		Compression: cas.Compression{Codec: codec, Level: b.Compression.Level}, Uncompressed: b.Compression.Codec == "none",
		Limits: Limits{MaxFileSize: int64(b.MaxFileSize), MaxTotalSize: int64(b.MaxTotalSize), MaxOwnerSize: int64(b.MaxOwnerSize),
			MaxComposedSize: int64(b.MaxComposedSize),
			Types:           b.AllowedTypes, Extensions: b.AllowedExtensions, TypeCheck: TypeCheck(b.TypeCheck)},
		Appends: AppendLimits{MinSize: int64(b.UploadLimits.MinSize), MaxAppend: int64(b.UploadLimits.MaxAppend), MinAppend: int64(b.UploadLimits.MinAppend)},
		Access: access.Policy{Rules: make(map[access.Op]*rules.Rule), FileRules: b.FileRules, Disabled: bool(b.Disabled),
			SignedURLTTL: time.Duration(b.SignedURLTTL), LinkByRead: b.LinkPolicy == schema.LinkByRead},
		Versions:    Versions{Off: bool(b.Versioning.Off), Keep: b.Versioning.Keep, KeepFor: b.Versioning.KeepFor.Or(0)},
		Trash:       Trash{Off: b.Trash == schema.Off, KeepFor: b.Trash.Or(0)},
		InlineTypes: b.InlineTypes, CacheControl: b.CacheControl,
		UploadExpiry: b.UploadExpiry.Or(0), MaxUploads: b.MaxUploads, Dedup: Dedup(b.Dedup), Acknowledge: Acknowledge(b.Acknowledge),
	}, nil
}
