package buckets

import (
	"context"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/manifest"
)

// accessPolicy returns who may do what in a bucket now, nil for a bucket that
// does not exist.
func (s *Store) accessPolicy(name string) *access.Policy {
	if b := s.lookup(name); b != nil {
		return &b.Access
	}
	return nil
}

// Keys returns the API keys of the store and the keys that sign its URLs.
func (s *Store) Keys() *access.Keys { return s.keys }

// keyRows are what the keys and grants of a store are kept in.
type keyRows struct {
	manifest.Found
	s *Store
}

// Update implements access.Rows.
func (r keyRows) Update(ctx context.Context, fn func(tx manifest.Tx) error) error {
	return r.s.updateLocal(ctx, fn)
}

// Now implements access.Rows.
func (r keyRows) Now() time.Time { return r.s.now() }

// Explain says whether who may do op in the bucket, to the file or version id
// if that is not empty, and what decides it.
func (s *Store) Explain(ctx context.Context, bucket string, op access.Op, id string, who *access.Principal, up *rules.Upload) (*access.Decision, error) {
	b, err := s.Bucket(bucket)
	if err != nil {
		return nil, err
	}
	req := &access.Request{Op: op, Bucket: bucket, Who: who, Upload: up}
	if id != "" {
		if req.File, req.Version, err = b.findRows(ctx, id, &GetOptions{Trashed: true}); err != nil {
			return nil, err
		}
	}
	return s.guard.Explain(ctx, req), nil
}

// Grants returns the signed URLs of the bucket.
func (b *Bucket) Grants() *access.Grants {
	return access.NewGrants(b.s.keys, b.s.guard, &access.Granted{Bucket: b.b.name, Who: b.who,
		TTL: b.b.Access.SignedURLTTL, MaxFileSize: b.b.Limits.MaxFileSize,
		Find: func(ctx context.Context, id string) (*manifest.File, *manifest.Manifest, error) {
			return b.findRows(ctx, id, nil)
		}})
}

// check returns nil if the bucket's principal may do what req asks for.
func (b *Bucket) check(ctx context.Context, req *access.Request) error {
	req.Bucket, req.Who = b.b.name, b.who
	if err := b.findRecord(ctx, req); err != nil {
		return err
	}
	if err := b.s.guard.Check(ctx, req); err != nil {
		return err
	}
	return b.checkHeld(req) // those who may not know of it have learnt nothing
}

// checkFile is check for op on version m of f.
func (b *Bucket) checkFile(ctx context.Context, op access.Op, f *manifest.File, m *manifest.Manifest) error {
	return b.check(ctx, &access.Request{Op: op, File: f, Version: m})
}

// mayList reports whether the principal may see version m of f in a listing.
func (b *Bucket) mayList(ctx context.Context, f *manifest.File, m *manifest.Manifest) (bool, error) {
	return b.s.guard.MayList(ctx, b.b.name, b.who, f, m)
}

// grant returns the grant of the bucket's principal, nil for those who come
// without a signed URL.
func (b *Bucket) grant() *access.Grant {
	if b.who == nil {
		return nil
	}
	return b.who.Grant
}

// useGrant counts a use of the principal's grant in a transaction, if there is a
// grant, and fails if it has ended.
func (b *Bucket) useGrant(ctx context.Context, tx manifest.Tx) error {
	return b.grant().Use(ctx, tx, b.s.now())
}
