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
	// Keys are those of the store, and Guard decides about what is signed.
	Keys  *Keys
	Guard *Guard

	Bucket string
	// Who is nil for trusted callers in this process.
	Who *Principal
	// TTL is the bucket's Policy.SignedURLTTL.
	TTL time.Duration
	// MaxFileSize is the largest upload that the bucket takes, 0 for any.
	MaxFileSize int64
	// Find returns the rows of an active file of the bucket by the file's ID or
	// a version's.
	Find func(ctx context.Context, id string) (*manifest.File, *manifest.Manifest, error)
}

// Sign makes a grant of g's operation, file or name, and limits, and returns it
// with the token that proves it. If g.File is a version's ID, that version is
// granted. life 0 is 15 minutes; more than TTL is refused.
//
// Signing needs the right to do what the grant lets others do. From then on the
// grant alone decides about downloads. What an upload brings must be what its
// signer may bring by the rules of the moment of the upload.
func (s *Grants) Sign(ctx context.Context, g Grant, life time.Duration) (*Grant, string, error) {
	if err := g.validate(); err != nil {
		return nil, "", err
	}
	if s.TTL < 0 || s.Who != nil && s.Who.Grant != nil {
		return nil, "", fmt.Errorf("no URLs are signed here: %w", ErrGrantScope)
	}
	if life == 0 {
		life = min(defaultGrantLife, s.TTL)
	}
	if life < 0 || life > s.TTL {
		return nil, "", fmt.Errorf("a life of %s: use up to %s: %w", life, s.TTL, fs.ErrInvalid)
	}
	if g.Bucket = s.Bucket; s.Who != nil {
		g.Owner = s.Who.ID
	}
	if err := s.checkMaySign(ctx, &g); err != nil {
		return nil, "", err
	}
	rows := s.Keys.rows
	g.ID, g.CreatedAt = string(manifest.NewGrantID()), rows.Now()
	g.ExpiresAt = g.CreatedAt.Add(life)
	row, err := g.toRow(s.Who)
	if err != nil {
		return nil, "", err
	}
	text, err := row.AppendBinary(nil)
	if err != nil {
		return nil, "", err
	}
	key, err := s.Keys.currentSignKey(ctx)
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
	f, v, err := s.Find(ctx, g.File)
	if err != nil {
		return err
	}
	if _, ok := manifest.ParseVersionID(g.File); ok {
		g.Manifest = g.File
	}
	g.File = string(f.ID)
	if g.Op != GrantUpload {
		return s.Guard.Check(ctx, &Request{Op: OpDownload, Bucket: s.Bucket, Who: s.Who, File: f, Version: v})
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
		if s.MaxFileSize > 0 {
			up.Size = s.MaxFileSize
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
		if err := s.Guard.Check(ctx, &Request{Op: op, Bucket: s.Bucket, Who: s.Who, File: f, Version: v, Upload: &each}); err != nil {
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
	if err := s.Keys.verifyText(ctx, text, mac); err != nil {
		return nil, err
	}
	g, err := grantOfRow(row)
	if err != nil {
		return nil, err
	}
	if !s.Keys.rows.Now().Before(g.ExpiresAt) {
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
	row, err := s.Keys.rows.Grant(ctx, s.Bucket, gid)
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
	if w := s.Who; w != nil && !w.Operator {
		if signer = w.ID; signer == "" || w.Grant != nil {
			return out, nil
		}
	}
	for row, err := range s.Keys.rows.Grants(ctx, s.Bucket, signer) {
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
	case s.Who == nil:
		return true
	case s.Who.Grant != nil:
		return false
	}
	return s.Who.Operator || s.Who.ID != "" && s.Who.ID == g.Owner
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
	return s.Keys.rows.Update(ctx, func(tx manifest.Tx) error { return tx.DropGrant(ctx, g.Bucket, manifest.GrantID(g.ID)) })
}
