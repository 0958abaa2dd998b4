package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/rules"
	"github.com/cairn-store/cairn/manifest"
)

// Grants makes, redeems and ends the signed URLs of one bucket, for one
// principal.
type Grants struct {
	keys  *Keys // of the store
	guard *Guard
	of    Granted
}

// Granted is what the grants of a bucket are about.
type Granted struct {
	Bucket string
	// Who is nil for trusted callers in this process.
	Who *Principal
	// TTL is the bucket's Policy.SignedURLTTL.
	TTL time.Duration
	// MaxFileSize is the largest upload that the bucket takes, 0 for any.
	MaxFileSize int64
	// Find returns the rows of an active file of the bucket by the file's ID or
	// a version's. It asks nobody, so nothing that it finds is shown before the
	// guard has been asked.
	Find func(ctx context.Context, id string) (*manifest.File, *manifest.Manifest, error)
}

// NewGrants returns the grants of a bucket. guard decides about what is signed.
func NewGrants(keys *Keys, guard *Guard, of *Granted) *Grants {
	return &Grants{keys: keys, guard: guard, of: *of}
}

// Sign makes a grant of g's operation, file or name, and limits, and returns it
// with the token that proves it. If g.File is a version's ID, that version is
// granted. life 0 is 15 minutes; more than the bucket allows is refused.
//
// Signing needs the right to do what the grant lets others do. From then on the
// grant alone decides about downloads. What an upload brings must be what its
// signer may bring by the rules of the moment of the upload.
func (s *Grants) Sign(ctx context.Context, g Grant, life time.Duration) (*Grant, string, error) {
	ctx = ActFor(ctx, s.of.Who)
	if err := g.validate(); err != nil {
		return nil, "", err
	}
	if s.of.TTL < 0 || s.of.Who != nil && s.of.Who.Grant != nil {
		return nil, "", fmt.Errorf("no URLs are signed here: %w", ErrGrantScope)
	}
	if life == 0 {
		life = min(defaultGrantLife, s.of.TTL)
	}
	if life < 0 || life > s.of.TTL {
		return nil, "", fmt.Errorf("a life of %s: use up to %s: %w", life, s.of.TTL, fs.ErrInvalid)
	}
	if g.Bucket = s.of.Bucket; s.of.Who != nil {
		g.Owner = s.of.Who.ID
	}
	if err := s.checkMaySign(ctx, &g); err != nil {
		return nil, "", err
	}
	rows := s.keys.rows
	g.ID, g.CreatedAt = string(manifest.NewGrantID()), rows.Now()
	g.ExpiresAt = g.CreatedAt.Add(life)
	row, err := g.toRow(s.of.Who)
	if err != nil {
		return nil, "", err
	}
	text, err := row.AppendBinary(nil)
	if err != nil {
		return nil, "", err
	}
	key, err := s.keys.currentSignKey(ctx)
	if err != nil {
		return nil, "", err
	}
	err = rows.Update(ctx, func(tx manifest.Tx) error {
		if id, ok := strings.CutPrefix(g.Owner, KeyOwner); ok {
			if _, err := tx.APIKey(ctx, id); errors.Is(err, fs.ErrNotExist) {
				return ErrKey // dropped meanwhile
			} else if err != nil {
				return err
			}
		}
		return tx.PutGrant(ctx, row)
	})
	if err != nil {
		return nil, "", err
	}
	return &g, g.ID + "." + signText(key, text), nil
}

// checkMaySign checks that the signer may do all that the grant lets others do.
func (s *Grants) checkMaySign(ctx context.Context, g *Grant) error {
	if g.File == "" {
		return s.checkMayUpload(ctx, g, nil, nil)
	}
	f, v, err := s.of.Find(ctx, g.File)
	if err != nil {
		return err
	}
	if _, ok := manifest.ParseVersionID(g.File); ok {
		g.Manifest = g.File
	}
	g.File = string(f.ID)
	if g.Op != GrantUpload {
		return s.guard.Check(ctx, &Request{Op: OpDownload, Bucket: s.of.Bucket, Who: s.of.Who, File: f, Version: v})
	}
	if g.Manifest != "" {
		return ErrNoFile // a version never gets other content
	}
	g.Name, g.Folder = "", "" // the upload takes those of the file
	return s.checkMayUpload(ctx, g, f, v)
}

// checkMayUpload checks the largest upload that the grant allows, of each type
// that it allows.
func (s *Grants) checkMayUpload(ctx context.Context, g *Grant, f *manifest.File, v *manifest.Manifest) error {
	up := rules.Upload{Name: g.Name, Folder: g.Folder, Path: names.Join(g.Folder, g.Name), Size: g.MaxSize, Protocol: "signed"}
	if up.Size == 0 {
		up.Size = math.MaxInt64
		if s.of.MaxFileSize > 0 {
			up.Size = s.of.MaxFileSize
		}
	}
	op := OpCreate
	if f != nil {
		op, up.Name, up.Folder, up.Path = OpUpdate, f.Name, f.Folder, f.Path()
	}
	types := g.Types
	if len(types) == 0 {
		types = []string{""}
	}
	for _, t := range types {
		each := up
		each.MIMEType = t
		if err := s.guard.Check(ctx, &Request{Op: op, Bucket: s.of.Bucket, Who: s.of.Who, File: f, Version: v, Upload: &each}); err != nil {
			return err
		}
	}
	return nil
}

// Redeem returns the principal that a signed URL's token makes of its bearer,
// who comes from the address ip. It fails with ErrGrant, ErrGrantExpired or
// ErrGrantScope.
func (s *Grants) Redeem(ctx context.Context, token, ip string) (*Principal, error) {
	if len(token) > maxGrantToken {
		return nil, ErrGrant
	}
	id, mac, _ := strings.Cut(token, ".")
	row, err := s.findRow(ctx, id)
	if errors.Is(err, ErrNoGrant) {
		return nil, ErrGrant
	}
	if err != nil {
		return nil, err
	}
	text, err := row.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if err := s.keys.verifyText(ctx, text, mac); err != nil {
		return nil, err
	}
	g, err := grantOfRow(row)
	if err != nil {
		return nil, err
	}
	if !s.keys.rows.Now().Before(g.ExpiresAt) {
		return nil, ErrGrantExpired
	}
	if g.IP != "" {
		n, err := parseNetwork(g.IP)
		if err != nil {
			return nil, fmt.Errorf("grant %s: %w", g.ID, err)
		}
		a, err := netip.ParseAddr(ip)
		if err != nil || !n.Contains(a.Unmap()) {
			return nil, ErrGrantScope
		}
	}
	return &Principal{ID: g.Owner, Grant: g}, nil
}

// findRow returns the row of a grant of the bucket, or ErrNoGrant.
func (s *Grants) findRow(ctx context.Context, id string) (*manifest.Grant, error) {
	gid, ok := manifest.ParseGrantID(id)
	if !ok {
		return nil, ErrNoGrant
	}
	row, err := s.keys.rows.Grant(ctx, s.of.Bucket, gid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoGrant
	}
	return row, err
}

// List returns the grants of the bucket that the principal has signed, and to
// operators and trusted callers all, oldest first. Expired ones stay until they
// are swept.
func (s *Grants) List(ctx context.Context) ([]Grant, error) {
	out := []Grant{}
	signer := ""
	if w := s.of.Who; w != nil && !w.Operator {
		if signer = w.ID; signer == "" || w.Grant != nil {
			return out, nil
		}
	}
	for row, err := range s.keys.rows.Grants(ctx, s.of.Bucket, signer) {
		if err != nil {
			return nil, err
		}
		g, err := grantOfRow(row)
		if err != nil {
			return nil, err
		}
		if g.signer = nil; s.owns(g) {
			out = append(out, *g)
		}
	}
	return out, nil
}

// owns reports whether the principal may see and revoke a grant.
func (s *Grants) owns(g *Grant) bool {
	switch {
	case s.of.Who == nil:
		return true
	case s.of.Who.Grant != nil:
		return false
	}
	return s.of.Who.Operator || s.of.Who.ID != "" && s.of.Who.ID == g.Owner
}

// Get returns one of List, or ErrNoGrant.
func (s *Grants) Get(ctx context.Context, id string) (*Grant, error) {
	row, err := s.findRow(ctx, id)
	if err != nil {
		return nil, err
	}
	g, err := grantOfRow(row)
	if err != nil {
		return nil, err
	}
	if g.signer = nil; !s.owns(g) {
		return nil, ErrNoGrant
	}
	return g, nil
}

// Revoke ends one of List: its URL is worth nothing from now on.
func (s *Grants) Revoke(ctx context.Context, id string) error {
	g, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	return s.keys.rows.Update(ActFor(ctx, s.of.Who), func(tx manifest.Tx) error { return tx.DropGrant(ctx, g.Bucket, manifest.GrantID(g.ID)) })
}
