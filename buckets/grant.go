package buckets

import (
	"context"
	"encoding/json"
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

var (
	// ErrNoGrant reports the ID of a grant that there is not.
	ErrNoGrant = concept("no such grant", fs.ErrNotExist)
	// ErrGrant reports a signed URL that is not valid: forged, or revoked.
	ErrGrant = concept("signed URL is not valid", fs.ErrPermission)
	// ErrGrantExpired reports a signed URL whose time or uses are over.
	ErrGrantExpired = concept("signed URL has expired", fs.ErrPermission)
	// ErrGrantScope reports a signed URL that is used for something else.
	ErrGrantScope = concept("signed URL is not for this", fs.ErrPermission)
)

// A GrantOp is what the bearer of a signed URL may do.
type GrantOp string

const (
	GrantDownload GrantOp = "download"
	GrantView     GrantOp = "view"   // show in place
	GrantUpload   GrantOp = "upload" // a new file, or a version of the one named
)

// A Grant is what a signed URL stands for. All of it is under the signature.
type Grant struct {
	ID     string  `json:"id"`
	Op     GrantOp `json:"operation"`
	Bucket string  `json:"bucket"`

	File     string `json:"file,omitempty"`     // f_…; "" for an upload that makes a new file
	Manifest string `json:"manifest,omitempty"` // m_…, if only that version is meant

	Folder  string   `json:"folder,omitempty"` // of an upload
	Name    string   `json:"name,omitempty"`   // that an upload must have; "" is any
	MaxSize int64    `json:"max_size,omitempty"`
	Types   []string `json:"mime_types,omitempty"` // found or declared, as the bucket judges

	Disposition string `json:"disposition,omitempty"` // attachment or inline
	Filename    string `json:"filename,omitempty"`    // that a download is saved as
	IP          string `json:"ip,omitempty"`          // address or network that may use it
	MaxUses     int64  `json:"max_uses,omitempty"`    // 0 is no limit

	Owner     string    `json:"owner"` // who signed it, and owns what is uploaded
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`

	signer *Principal // whom the rules decide about; nil where they did not
}

const (
	defaultGrantLife = 15 * time.Minute
	maxGrantLife     = 7 * 24 * time.Hour
)

// allows decides about a request of the grant's bearer.
func (g *Grant) allows(req *Request) error {
	if req.Bucket != g.Bucket {
		return ErrGrantScope
	}
	ok := false
	switch g.Op {
	case GrantDownload, GrantView:
		ok = req.Op == OpDownload && req.File != nil && req.File.ID == g.File && (g.Manifest == "" || req.File.ManifestID == g.Manifest)
	case GrantUpload:
		up := req.Upload
		switch {
		case up == nil:
		case g.File != "":
			ok = req.Op == OpUpdate && req.File != nil && req.File.ID == g.File
		default:
			ok = req.Op == OpCreate && up.Folder == g.Folder && (g.Name == "" || up.Name == g.Name)
		}
	}
	if !ok {
		return ErrGrantScope
	}
	return nil
}

// Sign makes a grant of g's operation, file or name, limits and life, and the
// token that proves it. It needs the right to do what it grants; from then on
// the grant alone decides about downloads. What an upload brings must be what
// its signer may bring, by the rules of that moment. Of an ID that names a version, that one is granted.
// life zero is 15 minutes; more than the bucket's limit is refused.
func (b *Bucket) Sign(ctx context.Context, g Grant, life time.Duration) (*Grant, string, error) {
	if err := g.check(); err != nil {
		return nil, "", err
	}
	longest := b.b.SignedURLTTL
	if longest < 0 || b.grant() != nil {
		return nil, "", fmt.Errorf("no URLs are signed here: %w", ErrGrantScope)
	}
	if life == 0 {
		life = min(defaultGrantLife, longest)
	}
	if life < 0 || life > longest {
		return nil, "", fmt.Errorf("a life of %s: use up to %s: %w", life, longest, fs.ErrInvalid)
	}
	g.Bucket, g.Owner = b.b.name, b.whoID()
	if err := b.maySign(ctx, &g); err != nil {
		return nil, "", err
	}
	g.ID, g.CreatedAt = string(manifest.NewGrantID()), b.s.now()
	g.ExpiresAt = g.CreatedAt.Add(life)
	row, err := g.row(b.who)
	if err != nil {
		return nil, "", err
	}
	text, err := row.AppendBinary(nil)
	if err != nil {
		return nil, "", err
	}
	key, err := b.s.signer.current(ctx)
	if err != nil {
		return nil, "", err
	}
	err = b.s.keep(ctx, func(tx manifest.Tx) error {
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
	return &g, g.ID + "." + sign(key, text), nil
}

// row is the grant as it is kept and signed, with the claims of its signer if
// the rules decide about them.
func (g *Grant) row(signer *Principal) (*manifest.Grant, error) {
	row := &manifest.Grant{ID: manifest.GrantID(g.ID), Bucket: g.Bucket, Op: string(g.Op), File: manifest.FileID(g.File),
		Manifest: manifest.VersionID(g.Manifest), Folder: g.Folder, Name: g.Name, MaxSize: g.MaxSize, Types: g.Types,
		Disposition: g.Disposition, Filename: g.Filename, IP: g.IP, MaxUses: g.MaxUses, Owner: g.Owner,
		CreatedAt: g.CreatedAt, ExpiresAt: g.ExpiresAt}
	if signer == nil || signer.Operator || signer.Scope != nil {
		return row, nil
	}
	row.Ruled = true
	if len(signer.Claims) == 0 {
		return row, nil
	}
	var err error
	row.Claims, err = json.Marshal(signer.Claims)
	return row, err
}

// grantOf reads what row made.
func grantOf(row *manifest.Grant) (*Grant, error) {
	g := &Grant{ID: string(row.ID), Op: GrantOp(row.Op), Bucket: row.Bucket, File: string(row.File),
		Manifest: string(row.Manifest), Folder: row.Folder, Name: row.Name, MaxSize: row.MaxSize, Types: row.Types,
		Disposition: row.Disposition, Filename: row.Filename, IP: row.IP, MaxUses: row.MaxUses, Owner: row.Owner,
		CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt}
	if !row.Ruled {
		return g, nil
	}
	g.signer = &Principal{ID: g.Owner}
	if len(row.Claims) == 0 {
		return g, nil
	}
	if err := json.Unmarshal(row.Claims, &g.signer.Claims); err != nil {
		return nil, fmt.Errorf("grant %s: %w", g.ID, err)
	}
	return g, nil
}

// check checks what the caller chose.
func (g *Grant) check() error {
	switch g.Op {
	case GrantDownload, GrantView:
		if g.Name != "" || g.Folder != "" || g.MaxSize != 0 || len(g.Types) > 0 || g.File == "" {
			return fmt.Errorf("a %s is of a file, and has no name, folder, size or types: %w", g.Op, fs.ErrInvalid)
		}
	case GrantUpload:
		if g.Disposition != "" || g.Filename != "" {
			return concept("an upload has no disposition", fs.ErrInvalid)
		}
	default:
		return fmt.Errorf("operation %q: use download, view or upload: %w", names.Clip(string(g.Op)), fs.ErrInvalid)
	}
	if g.Disposition != "" && g.Disposition != "attachment" && g.Disposition != "inline" {
		return fmt.Errorf("disposition %q: use attachment or inline: %w", names.Clip(g.Disposition), fs.ErrInvalid)
	}
	if g.MaxSize < 0 || g.MaxUses < 0 {
		return concept("max_size and max_uses are not negative", fs.ErrInvalid)
	}
	if g.IP != "" {
		if _, err := network(g.IP); err != nil {
			return fmt.Errorf("ip %q: use an address or a network such as 192.0.2.0/24: %w", names.Clip(g.IP), fs.ErrInvalid)
		}
	}
	if len(g.Types) > maxTags || len(g.Filename) > names.MaxName {
		return fmt.Errorf("at most %d types and %d bytes of file name: %w", maxTags, names.MaxName, fs.ErrInvalid)
	}
	var err error
	if g.Name != "" {
		if g.Name, err = names.Clean(g.Name); err != nil {
			return err
		}
	}
	g.Folder, err = names.CleanFolder(g.Folder)
	return err
}

func network(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(a.BitLen())
}

// maySign asks whether the signer may do all that the grant lets others do.
func (b *Bucket) maySign(ctx context.Context, g *Grant) error {
	if g.File == "" {
		return b.mayUploadAll(ctx, g, nil)
	}
	f, m, err := b.find(ctx, g.File, nil)
	if err != nil {
		return err
	}
	if _, ok := manifest.ParseVersionID(g.File); ok {
		g.Manifest = g.File
	}
	g.File = string(f.ID)
	file := b.file(f, m)
	if g.Op != GrantUpload {
		return b.allow(ctx, OpDownload, file)
	}
	if g.Manifest != "" {
		return ErrNoFile // a version never gets other content
	}
	g.Name, g.Folder = "", "" // the file's
	return b.mayUploadAll(ctx, g, file)
}

// mayUploadAll asks about the largest upload that the grant allows, of each
// type that it allows.
func (b *Bucket) mayUploadAll(ctx context.Context, g *Grant, f *File) error {
	up := rules.Upload{Name: g.Name, Folder: g.Folder, Path: names.Join(g.Folder, g.Name), Size: g.MaxSize, Protocol: "signed"}
	if up.Size == 0 {
		up.Size = math.MaxInt64
		if l := b.b.Limits.MaxFileSize; l > 0 {
			up.Size = l
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
	for _, up.MIMEType = range types {
		each := up
		if err := b.decide(ctx, &Request{Op: op, File: f, Upload: &each}); err != nil {
			return err
		}
	}
	return nil
}

// Redeem returns the principal that a signed URL's token makes of its bearer,
// who comes from the address ip. It fails with ErrGrant, ErrGrantExpired or
// ErrGrantScope.
func (b *Bucket) Redeem(ctx context.Context, token, ip string) (*Principal, error) {
	if len(token) > maxGrantToken {
		return nil, ErrGrant
	}
	id, mac, _ := strings.Cut(token, ".")
	gid, ok := manifest.ParseGrantID(id)
	if !ok {
		return nil, ErrGrant
	}
	row, err := b.s.meta.Grant(ctx, b.b.name, gid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrGrant
	}
	if err != nil {
		return nil, err
	}
	text, err := row.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if err := b.s.signer.verify(ctx, text, mac); err != nil {
		return nil, err
	}
	g, err := grantOf(row)
	if err != nil {
		return nil, err
	}
	if !b.s.now().Before(g.ExpiresAt) {
		return nil, ErrGrantExpired
	}
	if g.IP != "" {
		n, _ := network(g.IP) // check has looked at it
		a, err := netip.ParseAddr(ip)
		if err != nil || !n.Contains(a.Unmap()) {
			return nil, ErrGrantScope
		}
	}
	return &Principal{ID: g.Owner, Grant: g}, nil
}

// grant is the bearer's, nil for those who come without a signed URL.
func (b *Bucket) grant() *Grant {
	if b.who == nil {
		return nil
	}
	return b.who.Grant
}

// use checks that the bearer's grant has not ended meanwhile, and counts one
// use of it if its uses are limited.
func (b *Bucket) use(ctx context.Context, tx manifest.Tx) error {
	g := b.grant()
	if g == nil {
		return nil
	}
	id := manifest.GrantID(g.ID)
	if _, err := tx.Grant(ctx, g.Bucket, id); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return ErrGrant // revoked meanwhile
		}
		return err
	}
	if !b.s.now().Before(g.ExpiresAt) {
		return ErrGrantExpired
	}
	if g.MaxUses == 0 {
		return nil
	}
	n, err := tx.UseGrant(ctx, g.Bucket, id)
	if err == nil && n > g.MaxUses {
		err = ErrGrantExpired
	}
	return err
}

// useNow is use in a transaction of its own.
func (b *Bucket) useNow(ctx context.Context) error {
	if g := b.grant(); g == nil || g.MaxUses == 0 {
		return nil
	}
	return b.s.keep(ctx, func(tx manifest.Tx) error { return b.use(ctx, tx) })
}

// Grants returns the grants of the bucket that the principal has signed, and
// to operators and trusted callers all, oldest first; expired ones stay until
// they are swept.
func (b *Bucket) Grants(ctx context.Context) ([]Grant, error) {
	out := []Grant{}
	signer := ""
	if w := b.who; w != nil && !w.Operator {
		if signer = w.ID; signer == "" || w.Grant != nil {
			return out, nil
		}
	}
	for row, err := range b.s.meta.Grants(ctx, b.b.name, signer) {
		if err != nil {
			return nil, err
		}
		g, err := grantOf(row)
		if err != nil {
			return nil, err
		}
		if g.signer = nil; b.mine(g) {
			out = append(out, *g)
		}
	}
	return out, nil
}

func (b *Bucket) mine(g *Grant) bool {
	switch {
	case b.who == nil:
		return true
	case b.who.Grant != nil:
		return false
	}
	return b.who.Operator || b.who.ID != "" && b.who.ID == g.Owner
}

// Grant returns one of Grants, or ErrNoGrant.
func (b *Bucket) Grant(ctx context.Context, id string) (*Grant, error) {
	gid, ok := manifest.ParseGrantID(id)
	if !ok {
		return nil, ErrNoGrant
	}
	row, err := b.s.meta.Grant(ctx, b.b.name, gid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoGrant
	}
	if err != nil {
		return nil, err
	}
	g, err := grantOf(row)
	if err != nil {
		return nil, err
	}
	if g.signer = nil; !b.mine(g) {
		return nil, ErrNoGrant
	}
	return g, nil
}

// Revoke ends one of Grants: its URL is worth nothing from now on.
func (b *Bucket) Revoke(ctx context.Context, id string) error {
	g, err := b.Grant(ctx, id)
	if err != nil {
		return err
	}
	return b.s.keep(ctx, func(tx manifest.Tx) error { return tx.DropGrant(ctx, g.Bucket, manifest.GrantID(g.ID)) })
}
