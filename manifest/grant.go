package manifest

import (
	"context"
	"iter"
	"time"
)

// A Grant is what a signed URL stands for. Its encoding is what is signed, so
// it never changes. How often it was used is counted beside it.
type Grant struct {
	ID       GrantID
	Bucket   string
	Op       string
	File     FileID    // "" for an upload that makes a new file
	Manifest VersionID // if only that version is meant

	Folder  string
	Name    string
	MaxSize int64
	Types   []string

	Disposition string
	Filename    string
	IP          string
	MaxUses     int64

	Owner     string
	Ruled     bool   // the rules decide about its signer, who had Claims
	Claims    []byte // a JSON object, "" for none
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Grants are the ways to find grants, of a Store and of a Tx.
type Grants interface {
	// Grant returns a grant of a bucket, or fs.ErrNotExist.
	Grant(ctx context.Context, bucket string, id GrantID) (*Grant, error)

	// Grants yields the grants of a bucket that owner has signed, in order of
	// IDs; "" is everybody.
	Grants(ctx context.Context, bucket, owner string) iter.Seq2[*Grant, error]
}

// GrantChanges are what a Tx does to grants.
type GrantChanges interface {
	// PutGrant writes a new grant, which has not been used.
	PutGrant(ctx context.Context, g *Grant) error

	// UseGrant counts a use of a grant and returns how many there are now. A
	// grant that is not there is fs.ErrNotExist.
	UseGrant(ctx context.Context, bucket string, id GrantID) (int64, error)

	// DropGrant removes a grant. One that is not there is not an error.
	DropGrant(ctx context.Context, bucket string, id GrantID) error

	// DropGrantsOf removes grants that owner has signed, of all buckets, at
	// most limit, and returns how many.
	DropGrantsOf(ctx context.Context, owner string, limit int) (int, error)

	// SweepGrants removes the grants of all buckets that have expired before a
	// moment, at most limit, and returns how many.
	SweepGrants(ctx context.Context, before time.Time, limit int) (int, error)
}

// Tags of a grant.
const (
	gID = 1 + iota
	gBucket
	gOp
	gFile
	gManifest
	gFolder
	gName
	gMaxSize
	gTypes
	gDisposition
	gFilename
	gIP
	gMaxUses
	gOwner
	gRuled
	gClaims
	gCreatedAt
	gExpiresAt

	gLast = gExpiresAt
)

// AppendBinary appends the row's canonical encoding.
func (g *Grant) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{bad: g.ID == ""}
	e.id(gID, string(g.ID), grantPrefix)
	e.str(gBucket, g.Bucket)
	e.str(gOp, g.Op)
	e.id(gFile, string(g.File), filePrefix)
	e.id(gManifest, string(g.Manifest), versionPrefix)
	e.str(gFolder, g.Folder)
	e.str(gName, g.Name)
	e.size(gMaxSize, g.MaxSize)
	e.list(gTypes, g.Types)
	e.str(gDisposition, g.Disposition)
	e.str(gFilename, g.Filename)
	e.str(gIP, g.IP)
	e.size(gMaxUses, g.MaxUses)
	e.str(gOwner, g.Owner)
	e.flag(gRuled, g.Ruled)
	e.bytes(gClaims, g.Claims)
	e.time(gCreatedAt, g.CreatedAt)
	e.time(gExpiresAt, g.ExpiresAt)
	return e.end(b, tagGrant, "grant")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (g *Grant) UnmarshalBinary(p []byte) error {
	d := newDecoder(p, tagGrant, "grant", gLast)
	*g = Grant{}
	g.ID = GrantID(d.id(gID, grantPrefix))
	g.Bucket = d.str(gBucket)
	g.Op = d.str(gOp)
	g.File = FileID(d.id(gFile, filePrefix))
	g.Manifest = VersionID(d.id(gManifest, versionPrefix))
	g.Folder = d.str(gFolder)
	g.Name = d.str(gName)
	g.MaxSize = d.size(gMaxSize)
	g.Types = d.list(gTypes)
	g.Disposition = d.str(gDisposition)
	g.Filename = d.str(gFilename)
	g.IP = d.str(gIP)
	g.MaxUses = d.size(gMaxUses)
	g.Owner = d.str(gOwner)
	g.Ruled = d.flag(gRuled)
	g.Claims = d.bytes(gClaims)
	g.CreatedAt = d.time(gCreatedAt)
	g.ExpiresAt = d.time(gExpiresAt)
	if g.ID == "" {
		d.fail()
	}
	return d.end()
}
