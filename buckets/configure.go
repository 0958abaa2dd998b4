package buckets

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	if err := s.adoptMoves(ctx, policies); err != nil {
		return fmt.Errorf("buckets: %w", err)
	}
	all := make(map[string]*bucket)
	for name, p := range policies {
		if s.chunks[p.Domain] == nil {
			return fmt.Errorf("buckets: bucket %q: no backend is called %q", name, p.Domain)
		}
		p.setDefaults()
		if p.Versions.Keep < 0 || p.Versions.KeepFor < 0 || p.Trash.KeepFor < 0 {
			return fmt.Errorf("buckets: bucket %q: keep %d, keep_for %s and trash %s must not be negative; 0 keeps everything",
				name, p.Versions.Keep, p.Versions.KeepFor, p.Trash.KeepFor)
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
	s.buckets.Store(&all)
	return nil
}

const defaultMaxComposed = 5e9 // bytes

// setDefaults replaces zero values by the defaults.
func (p *Policy) setDefaults() {
	if p.Profile == "" {
		p.Profile = "balanced"
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

// Policies returns the policies of the buckets of a schema.
func Policies(sc *schema.Schema) (map[string]Policy, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	out := make(map[string]Policy)
	for name, b := range sc.Buckets {
		p := policyOf(b)
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
func policyOf(b *schema.Bucket) Policy {
	codecs := map[string]cas.Codec{"none": cas.Raw, "gzip": cas.Gzip, "zstd": cas.Zstd}
	p := Policy{
		Domain: b.Backend, Profile: string(b.Chunking), Digests: b.Digests,
		Compression: cas.Compression{Codec: codecs[b.Compression.Codec], Level: b.Compression.Level},
		Limits: Limits{MaxFileSize: int64(b.MaxFileSize), MaxTotalSize: int64(b.MaxTotalSize), MaxOwnerSize: int64(b.MaxOwnerSize),
			MaxComposedSize: int64(b.MaxComposedSize),
			Types:           b.AllowedTypes, Extensions: b.AllowedExtensions, TypeCheck: TypeCheck(b.TypeCheck)},
		Appends: AppendLimits{MinSize: int64(b.UploadLimits.MinSize), MaxAppend: int64(b.UploadLimits.MaxAppend), MinAppend: int64(b.UploadLimits.MinAppend)},
		Access: access.Policy{Rules: make(map[access.Op]*rules.Rule), FileRules: b.FileRules, Disabled: !b.Enabled,
			SignedURLTTL: time.Duration(b.SignedURLTTL), LinkByRead: b.LinkPolicy == schema.LinkByRead},
		Versions:    Versions{Off: !b.Versioning.Enabled, Keep: b.Versioning.Keep, KeepFor: time.Duration(b.Versioning.KeepFor)},
		Trash:       Trash{Off: b.Trash == 0, KeepFor: time.Duration(b.Trash)},
		InlineTypes: b.InlineTypes, CacheControl: b.CacheControl,
		UploadExpiry: time.Duration(b.UploadExpiry), MaxUploads: b.MaxUploads, Dedup: Dedup(b.Dedup), Acknowledge: Acknowledge(b.Acknowledge),
	}
	if p.Access.SignedURLTTL == 0 {
		p.Access.SignedURLTTL = -1
	}
	if p.Digests == nil {
		p.Digests = []string{}
	}
	return p
}
