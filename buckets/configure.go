package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
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

// SetPolicies is ApplySchema for policies that no schema declares.
func (s *Store) SetPolicies(ctx context.Context, policies map[string]Policy) error {
	all := make(map[string]*bucket)
	for name, p := range policies {
		if s.chunks[p.Domain] == nil {
			return fmt.Errorf("buckets: bucket %q: no backend is called %q", name, p.Domain)
		}
		p.fill()
		if p.Acknowledge == AckJournal && !s.chunks[p.Domain].Behind() {
			return fmt.Errorf("buckets: bucket %q: acknowledge: journal begins with the next start", name)
		}
		if p.SignedURLTTL > maxSignedLife {
			return fmt.Errorf("buckets: bucket %q: URLs signed for %s: at most %s", name, p.SignedURLTTL, maxSignedLife)
		}
		splitter, err := chunker.Profile(p.Profile)
		if err != nil {
			return fmt.Errorf("buckets: bucket %q: %w", name, err)
		}
		all[name] = &bucket{Policy: p, name: name, splitter: splitter}
	}
	s.binding.Lock()
	defer s.binding.Unlock()
	if err := s.bind(ctx, policies); err != nil {
		return fmt.Errorf("buckets: %w", err)
	}
	s.buckets.Store(&all)
	return nil
}

// fill puts defaults in the place of zero values.
func (p *Policy) fill() {
	if p.Profile == "" {
		p.Profile = "balanced"
	}
	if p.Limits.TypeCheck == "" {
		p.Limits.TypeCheck = TypeSniff
	}
	if p.SignedURLTTL == 0 {
		p.SignedURLTTL = maxGrantLife
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

// bound is the kind of values that name the domain in which a bucket's files
// lie.
const bound = "bucket"

// bind ties every bucket to its domain, and unties those that are left out.
// Commits check the tie, so that no upload that began before a move ends up in
// the wrong place, or in none.
func (s *Store) bind(ctx context.Context, policies map[string]Policy) error {
	known, err := s.meta.Buckets(ctx)
	if err != nil {
		return err
	}
	for v, err := range s.meta.Values(ctx, bound, "") { // an upload may just be making the first file of any
		if err != nil {
			return err
		}
		known = append(known, v.Key)
	}
	return s.keep(ctx, func(tx manifest.Tx) error {
		for _, name := range known {
			p, ok := policies[name]
			err := stays(ctx, tx, name, p.Domain, ok)
			if err == nil && !ok {
				err = tx.DropValue(ctx, bound, name)
			}
			if err != nil {
				return err
			}
		}
		for name, p := range policies {
			if d, err := tx.Value(ctx, bound, name); err == nil && string(d) == p.Domain {
				continue
			}
			if err := tx.PutValue(ctx, bound, name, []byte(p.Domain)); err != nil {
				return err
			}
		}
		return nil
	})
}

// stays checks that the files of a bucket can still be found.
func stays(ctx context.Context, tx manifest.Tx, name, domain string, declared bool) error {
	u, err := tx.Usage(ctx, name)
	if err != nil || u.Files+u.TrashedFiles == 0 {
		return err
	}
	if !declared {
		return fmt.Errorf("bucket %q is not declared, and holds %d files and %d in the trash: %w; declare it in --schema, or purge them",
			name, u.Files, u.TrashedFiles, ErrBucketInUse)
	}
	was, err := tx.Value(ctx, bound, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && string(was) != domain {
		return fmt.Errorf("bucket %q is moved from backend %q to %q, and holds %d files and %d in the trash: %w; copy them to a new bucket",
			name, was, domain, u.Files, u.TrashedFiles, ErrBucketInUse)
	}
	return err
}

// errMoved says that the bucket moved while an upload was on its way.
var errMoved = fmt.Errorf("the bucket's backend was changed during the upload: %w", ErrChunksGone)

// here checks in a transaction that the bucket's files lie where u's content
// was put.
func (u *upload) here(ctx context.Context, tx manifest.Tx) error {
	d, err := tx.Value(ctx, bound, u.b.b.name)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoBucket
	}
	if err == nil && string(d) != u.b.b.Domain {
		return errMoved
	}
	return err
}

// RestoreDomains notes in a database made anew in which domain the files of
// each bucket lie.
func RestoreDomains(ctx context.Context, meta manifest.Store, domains map[string]string) error {
	_, err := meta.Update(ctx, func(tx manifest.Tx) error {
		for bucket, d := range domains {
			if err := tx.PutValue(ctx, bound, bucket, []byte(d)); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// Policies are what the buckets of a schema are set up to do.
func Policies(sc *schema.Schema) (map[string]Policy, error) {
	env, err := rules.NewEnv()
	if err != nil {
		return nil, err
	}
	out := make(map[string]Policy)
	for name, b := range sc.Buckets {
		p := policyOf(b)
		for op, src := range map[Op]string{OpCreate: b.Rules.Create, OpRead: b.Rules.Read, OpUpdate: b.Rules.Update,
			OpDelete: b.Rules.Delete, OpDownload: b.Rules.Download, OpList: b.Rules.List} {
			if src == "" {
				continue
			}
			if p.Rules[op], err = env.Compile(src); err != nil {
				return nil, fmt.Errorf("buckets: bucket %q: rule %s: %w", name, op, err)
			}
		}
		out[name] = p
	}
	return out, nil
}

// policyOf is all of a bucket's policy but its rules.
func policyOf(b *schema.Bucket) Policy {
	codecs := map[string]cas.Codec{"none": cas.Raw, "gzip": cas.Gzip, "zstd": cas.Zstd}
	p := Policy{
		Domain: b.Backend, Profile: string(b.Chunking), Digests: b.Digests, Disabled: !b.Enabled,
		Compression: cas.Compression{Codec: codecs[b.Compression.Codec], Level: b.Compression.Level},
		Limits: Limits{MaxFileSize: int64(b.MaxFileSize), MaxTotalSize: int64(b.MaxTotalSize), MaxOwnerSize: int64(b.MaxOwnerSize),
			Types: b.AllowedTypes, Extensions: b.AllowedExtensions, TypeCheck: TypeCheck(b.TypeCheck)},
		Pieces: Pieces{MinSize: int64(b.UploadLimits.MinSize), MaxAppend: int64(b.UploadLimits.MaxAppend), MinAppend: int64(b.UploadLimits.MinAppend)},
		Rules:  make(map[Op]*rules.Rule), FileRules: b.FileRules,
		Versions:    Versions{Off: !b.Versioning.Enabled, Keep: b.Versioning.Keep, KeepFor: time.Duration(b.Versioning.KeepFor)},
		Trash:       Trash{Off: b.Trash == 0, KeepFor: time.Duration(b.Trash)},
		InlineTypes: b.InlineTypes, SignedURLTTL: time.Duration(b.SignedURLTTL),
		UploadExpiry: time.Duration(b.UploadExpiry), MaxUploads: b.MaxUploads, Dedup: Dedup(b.Dedup), Acknowledge: Acknowledge(b.Acknowledge),
	}
	if p.SignedURLTTL == 0 {
		p.SignedURLTTL = -1
	}
	if p.Digests == nil {
		p.Digests = []string{}
	}
	return p
}
