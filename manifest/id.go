package manifest

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// A FileID names a file over all its versions, a VersionID one manifest for
// ever, a GrantID what a signed URL carries, an UploadID content on its way. IDs sort by the time they were
// made and end in 128 random bits.
type (
	FileID    string // f_…
	VersionID string // m_…
	GrantID   string // g_…
	UploadID  string // u_…
)

const (
	filePrefix    = "f_"
	versionPrefix = "m_"
	grantPrefix   = "g_"
	uploadPrefix  = "u_"
	idLength      = 2 + 36
)

// NewFileID returns the ID of a new file.
func NewFileID() FileID { return FileID(newID(filePrefix)) }

// NewVersionID returns the ID of a new manifest.
func NewVersionID() VersionID { return VersionID(newID(versionPrefix)) }

// NewGrantID returns the ID of a new grant.
func NewGrantID() GrantID { return GrantID(newID(grantPrefix)) }

// idEncoding keeps the order of what it encodes.
func idEncoding() *base32.Encoding {
	return base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
}

func newID(prefix string) string {
	var b [22]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16)
	rand.Read(b[6:])
	return prefix + idEncoding().EncodeToString(b[:])
}

// ParseFileID reports whether s is a file's ID, well formed.
func ParseFileID(s string) (FileID, bool) { return FileID(s), wellFormed(s, filePrefix) }

// ParseVersionID reports whether s is a manifest's ID, well formed.
func ParseVersionID(s string) (VersionID, bool) { return VersionID(s), wellFormed(s, versionPrefix) }

// NewUploadID returns the ID of a new upload.
func NewUploadID() UploadID { return UploadID(newID(uploadPrefix)) }

// ParseUploadID reports whether s is an upload's ID, well formed.
func ParseUploadID(s string) (UploadID, bool) { return UploadID(s), wellFormed(s, uploadPrefix) }

// ParseGrantID reports whether s is a grant's ID, well formed.
func ParseGrantID(s string) (GrantID, bool) { return GrantID(s), wellFormed(s, grantPrefix) }

func wellFormed(s, prefix string) bool {
	if len(s) != idLength || s[:2] != prefix {
		return false
	}
	b, err := idEncoding().DecodeString(s[2:])
	return err == nil && idEncoding().EncodeToString(b) == s[2:]
}
