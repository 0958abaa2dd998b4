package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

var (
	// ErrNoGrant reports the ID of a grant that does not exist.
	ErrNoGrant = kindOf(fs.ErrNotExist, "no such grant")
	// ErrGrant reports a signed URL that is not valid: forged, or revoked.
	ErrGrant = kindOf(fs.ErrPermission, "signed URL is not valid")
	// ErrGrantExpired reports a signed URL whose time or uses are over.
	ErrGrantExpired = kindOf(fs.ErrPermission, "signed URL has expired")
	// ErrGrantScope reports a signed URL that is used for something else.
	ErrGrantScope = kindOf(fs.ErrPermission, "signed URL is not for this")
)

// A GrantOp is what the bearer of a signed URL may do.
type GrantOp string

const (
	GrantDownload GrantOp = "download"
	GrantView     GrantOp = "view"   // show in place
	GrantUpload   GrantOp = "upload" // a new file, or a version of the one named
)

// A Grant is what a signed URL stands for. The signature is over all of it.
type Grant struct {
	ID     string  `json:"id"`
	Op     GrantOp `json:"operation"`
	Bucket string  `json:"bucket"`

	// File is f_…, or "" for an upload that makes a new file.
	File string `json:"file,omitempty"`
	// Manifest is m_… if only that version is meant.
	Manifest string `json:"manifest,omitempty"`

	// An upload goes into Folder and must have Name, unless that is "".
	Folder  string `json:"folder,omitempty"`
	Name    string `json:"name,omitempty"`
	MaxSize int64  `json:"max_size,omitempty"`
	// Types are media types, found or declared, as the bucket judges.
	Types []string `json:"mime_types,omitempty"`

	// Disposition is attachment or inline, and Filename what a download is
	// saved as.
	Disposition string `json:"disposition,omitempty"`
	Filename    string `json:"filename,omitempty"`
	// IP is the address or network that may use it, "" for any.
	IP string `json:"ip,omitempty"`
	// MaxUses 0 is no limit.
	MaxUses int64 `json:"max_uses,omitempty"`

	// Owner has signed it, and owns what is uploaded.
	Owner     string    `json:"owner"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`

	// signer is the principal whose rules decide about uploads. It is nil where
	// no rules decided about the signer: an operator, an API key.
	signer *Principal
}

const (
	defaultGrantLife = 15 * time.Minute
	// DefaultSignedLife is the longest life of a signed URL where the policy
	// does not say.
	DefaultSignedLife = 7 * 24 * time.Hour
	// MaxSignedLife is the longest that a policy may allow.
	MaxSignedLife = 366 * 24 * time.Hour

	maxGrantTypes = 64
)

// checkRequest returns nil if the grant's bearer may do what req asks for.
func (g *Grant) checkRequest(req *Request) error {
	if req.Bucket != g.Bucket {
		return ErrGrantScope
	}
	ok := false
	switch g.Op {
	case GrantDownload, GrantView:
		ok = req.Op == OpDownload && req.File != nil && string(req.File.ID) == g.File && (g.Manifest == "" || string(req.Version.ID) == g.Manifest)
	case GrantUpload:
		up := req.Upload
		switch {
		case up == nil:
		case g.File != "":
			ok = req.Op == OpUpdate && req.File != nil && string(req.File.ID) == g.File
		default:
			ok = req.Op == OpCreate && up.Folder == g.Folder && (g.Name == "" || up.Name == g.Name)
		}
	}
	if !ok {
		return ErrGrantScope
	}
	return nil
}

// toRow returns the grant as it is kept and signed, with the claims of its signer if
// rules decide about the signer.
func (g *Grant) toRow(signer *Principal) (*manifest.Grant, error) {
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

// grantOfRow is the reverse of Grant.toRow.
func grantOfRow(row *manifest.Grant) (*Grant, error) {
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

// validate checks what the caller chose, and brings names into their canonical
// form.
func (g *Grant) validate() error {
	switch g.Op {
	case GrantDownload, GrantView:
		if g.Name != "" || g.Folder != "" || g.MaxSize != 0 || len(g.Types) > 0 || g.File == "" {
			return fmt.Errorf("a %s is of a file, and has no name, folder, size or types: %w", g.Op, fs.ErrInvalid)
		}
	case GrantUpload:
		if g.Disposition != "" || g.Filename != "" {
			return kindOf(fs.ErrInvalid, "an upload has no disposition")
		}
	default:
		return fmt.Errorf("operation %q: use download, view or upload: %w", names.Clip(string(g.Op)), fs.ErrInvalid)
	}
	if g.Disposition != "" && g.Disposition != "attachment" && g.Disposition != "inline" {
		return fmt.Errorf("disposition %q: use attachment or inline: %w", names.Clip(g.Disposition), fs.ErrInvalid)
	}
	if g.MaxSize < 0 || g.MaxUses < 0 {
		return kindOf(fs.ErrInvalid, "max_size and max_uses are not negative")
	}
	if g.IP != "" {
		if _, err := parseNetwork(g.IP); err != nil {
			return fmt.Errorf("ip %q: use an address or a network such as 192.0.2.0/24: %w", names.Clip(g.IP), fs.ErrInvalid)
		}
	}
	if len(g.Types) > maxGrantTypes || len(g.Filename) > names.MaxName {
		return fmt.Errorf("at most %d types and %d bytes of file name: %w", maxGrantTypes, names.MaxName, fs.ErrInvalid)
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

func parseNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(a.BitLen())
}

// CheckUses returns ErrGrantExpired if the grant's uses are over. A nil Grant
// has no uses to count.
func (g *Grant) CheckUses(ctx context.Context, rows manifest.Grants) error {
	if g == nil || g.MaxUses == 0 {
		return nil
	}
	n, err := rows.GrantUses(ctx, g.Bucket, manifest.GrantID(g.ID))
	if err == nil && n >= g.MaxUses {
		err = ErrGrantExpired
	}
	return err
}

// Use checks in a transaction that the grant has not ended meanwhile, and counts
// one use of it if its uses are limited. now is the store's time. A nil Grant
// has nothing to check.
func (g *Grant) Use(ctx context.Context, tx manifest.Tx, now time.Time) error {
	if g == nil {
		return nil
	}
	id := manifest.GrantID(g.ID)
	if _, err := tx.Grant(ctx, g.Bucket, id); errors.Is(err, fs.ErrNotExist) {
		return ErrGrant // revoked meanwhile
	} else if err != nil {
		return err
	}
	if !now.Before(g.ExpiresAt) {
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
