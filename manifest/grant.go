package manifest

import (
	"context"
	"iter"
	"time"
)

// A Grant is the permission that a signed URL carries. Its encoding is what is
// signed, so it never changes. The uses of a grant are counted in a separate
// place.
type Grant struct {
	ID       GrantID
	Bucket   string
	Op       string
	File     FileID    // "" for an upload that makes a new file
	Manifest VersionID // set if the grant is for that version only

	Folder  string
	Name    string
	MaxSize int64
	Types   []string

	Disposition string
	Filename    string
	IP          string
	MaxUses     int64

	Owner     string
	Ruled     bool   // the rules of the bucket apply to the signer, who had Claims
	Claims    []byte // a JSON object, "" for none
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Grants are the read methods for grants, of a Store and of a Tx.
type Grants interface {
	// Grant returns a grant of a bucket, or fs.ErrNotExist.
	Grant(ctx context.Context, bucket string, id GrantID) (*Grant, error)

	// GrantUses returns how often a grant was used. It is 0 for one that does
	// not exist.
	GrantUses(ctx context.Context, bucket string, id GrantID) (int64, error)

	// Grants yields the grants of a bucket that owner has signed, in order of
	// IDs. An empty owner means all signers.
	Grants(ctx context.Context, bucket, owner string) iter.Seq2[*Grant, error]
}

// GrantChanges are the write methods for grants, of a Tx.
type GrantChanges interface {
	// PutGrant writes a new grant, with a count of uses of 0.
	PutGrant(ctx context.Context, g *Grant) error

	// UseGrant counts a use of a grant and returns the new count, or
	// fs.ErrNotExist.
	UseGrant(ctx context.Context, bucket string, id GrantID) (int64, error)

	// DropGrant removes a grant. It is no error if there is none.
	DropGrant(ctx context.Context, bucket string, id GrantID) error

	// DropGrantsOf removes at most limit grants that owner has signed, of all
	// buckets, and returns how many.
	DropGrantsOf(ctx context.Context, owner string, limit int) (int, error)

	// SweepGrants removes at most limit grants of all buckets that expired
	// before a time, and returns how many.
	SweepGrants(ctx context.Context, before time.Time, limit int) (int, error)
}

// AppendBinary appends the canonical encoding of the row.
func (g *Grant) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagGrant, "grant", g) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (g *Grant) UnmarshalBinary(p []byte) error {
	*g = Grant{}
	return parseRow(p, tagGrant, "grant", 18, g)
}

func (g *Grant) codeFields(c *codec) {
	c.grantID(1, &g.ID)
	c.text(2, &g.Bucket)
	c.text(3, &g.Op)
	c.fileID(4, &g.File)
	c.versionID(5, &g.Manifest)
	c.text(6, &g.Folder)
	c.text(7, &g.Name)
	c.size(8, &g.MaxSize)
	c.list(9, &g.Types)
	c.text(10, &g.Disposition)
	c.text(11, &g.Filename)
	c.text(12, &g.IP)
	c.size(13, &g.MaxUses)
	c.text(14, &g.Owner)
	c.flag(15, &g.Ruled)
	c.bytes(16, &g.Claims)
	c.time(17, &g.CreatedAt)
	c.time(18, &g.ExpiresAt)
	c.must(g.ID != "")
}
