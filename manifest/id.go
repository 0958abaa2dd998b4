package manifest

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// A FileID names a file with all its versions, a VersionID one version, a
// GrantID a grant, an UploadID an upload. IDs sort by the time when they were
// made and end in 128 random bits. A file from another system may keep its UUID
// as its ID, in the canonical form of lower case.
type (
	FileID    string // f_… or a UUID
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

// idEncoding preserves the order of the bytes.
func idEncoding() *base32.Encoding {
	return base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
}

func newID(prefix string) string {
	var b [22]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16)
	rand.Read(b[6:])
	return prefix + idEncoding().EncodeToString(b[:])
}

// ParseFileID reports whether s is a well-formed ID of a file.
func ParseFileID(s string) (FileID, bool) { return FileID(s), wellFormed(s, filePrefix) }

// ParseVersionID reports whether s is a well-formed ID of a version.
func ParseVersionID(s string) (VersionID, bool) { return VersionID(s), wellFormed(s, versionPrefix) }

// NewUploadID returns the ID of a new upload.
func NewUploadID() UploadID { return UploadID(newID(uploadPrefix)) }

// ParseUploadID reports whether s is a well-formed ID of an upload.
func ParseUploadID(s string) (UploadID, bool) { return UploadID(s), wellFormed(s, uploadPrefix) }

// ParseGrantID reports whether s is a well-formed ID of a grant.
func ParseGrantID(s string) (GrantID, bool) { return GrantID(s), wellFormed(s, grantPrefix) }

func wellFormed(id, prefix string) bool {
	_, ok := appendID(nil, id, prefix)
	return ok
}

const (
	idBytes   = 22
	uuidBytes = 16
	uuidText  = 36
)

// appendID appends the binary form of an ID: 22 bytes, or the 16 of a file's
// UUID. It reports whether the ID is well formed.
func appendID(b []byte, id, prefix string) ([]byte, bool) {
	var p []byte
	switch {
	case len(id) == idLength && id[:2] == prefix:
		p, _ = idEncoding().DecodeString(id[2:])
	case len(id) == uuidText && prefix == filePrefix:
		p, _ = hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	}
	if text, ok := idText(p, prefix); !ok || text != id {
		return b, false
	}
	return append(b, p...), true
}

// idText returns the text of an ID in binary form.
func idText(p []byte, prefix string) (string, bool) {
	switch {
	case len(p) == idBytes:
		return prefix + idEncoding().EncodeToString(p), true
	case len(p) == uuidBytes && prefix == filePrefix:
		return fmt.Sprintf("%x-%x-%x-%x-%x", p[:4], p[4:6], p[6:8], p[8:10], p[10:]), true
	}
	return "", false
}
