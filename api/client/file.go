package client

import (
	"encoding/json"
	"time"
)

// A File is what the server returns about a file, or one of its versions.
type File struct {
	ID               string            `json:"id"`          // f_…
	ManifestID       string            `json:"manifest_id"` // m_…, of this version
	Bucket           string            `json:"bucket"`
	Name             string            `json:"name"`
	Folder           string            `json:"folder"`
	Path             string            `json:"path"` // folder and name
	Size             int64             `json:"size"` // bytes
	MIMEType         string            `json:"mime_type"`
	DeclaredMIMEType string            `json:"declared_mime_type"`
	Checksums        map[string]string `json:"checksums"` // "root" and others, lower-case hex
	Version          uint64            `json:"version"`
	VersionsCount    int               `json:"versions_count"`
	State            string            `json:"state"` // active, trashed, quarantined
	Owner            string            `json:"owner"`
	Access           map[string]string `json:"access"`
	Metadata         map[string]any    `json:"metadata"`
	Tags             []string          `json:"tags"`
	CacheControl     string            `json:"cache_control,omitempty"` // of its content; "" is the bucket's
	Refs             int               `json:"refs"`                    // records that hold it, to operators
	CreatedAt        Time              `json:"created_at"`
	UpdatedAt        Time              `json:"updated_at"`
	DeletedAt        *Time             `json:"deleted_at"`
	Links            Links             `json:"links"`

	// NewBytes and StoredBytes are set in answers to an operator's upload:
	// bytes of chunks that were not stored before, and what they take.
	NewBytes    *int64 `json:"new_bytes,omitempty"`
	StoredBytes *int64 `json:"stored_bytes,omitempty"`

	// Unchanged says that an upload made no new version, because the current
	// one has the same content.
	Unchanged bool `json:"unchanged,omitempty"`
}

// Links are paths on the server.
type Links struct {
	Download string `json:"download"`
	View     string `json:"view"`
}

// A Time is written as RFC 3339 in UTC with milliseconds.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

// A Usage is the totals of a bucket, before deduplication and compression.
type Usage struct {
	Bucket       string `json:"bucket"`
	Files        int64  `json:"files"`
	Versions     int64  `json:"versions"`
	Bytes        int64  `json:"bytes"`
	TrashedFiles int64  `json:"trashed_files"`
	TrashedBytes int64  `json:"trashed_bytes"`
}

// A Chunk is an element of a version's chunk list.
type Chunk struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// A Diff compares the chunk lists of two versions.
type Diff struct {
	From         uint64 `json:"from"`
	To           uint64 `json:"to"`
	SharedBytes  int64  `json:"shared_bytes"` // of To, in chunks that From has
	AddedBytes   int64  `json:"added_bytes"`  // of To, in chunks that From lacks
	RemovedBytes int64  `json:"removed_bytes"`
}

// Capabilities are the limits and options of a bucket. A limit of zero is
// none.
type Capabilities struct {
	Hash              string   `json:"hash"`    // of chunks
	Chunker           string   `json:"chunker"` // how content is cut, with all parameters
	Protocols         []string `json:"protocols"`
	MaxFileSize       int64    `json:"max_file_size"`
	AllowedTypes      []string `json:"allowed_types"`
	AllowedExtensions []string `json:"allowed_extensions"`
	TypeCheck         string   `json:"type_check"`
	Digests           []string `json:"digests"`
	DedupScope        string   `json:"dedup_scope"`    // whose files count when an upload asks which chunks are stored
	UploadExpiry      int64    `json:"upload_expiry"`  // seconds that an unfinished upload is kept
	SignedURLTTL      int64    `json:"signed_url_ttl"` // seconds; 0 is none
	Versioning        bool     `json:"versioning"`
	FileRules         bool     `json:"file_rules"`
}

// A Key is an API key. Only the answer that creates it has its token.
type Key struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Buckets    []string `json:"buckets"`
	Operations []string `json:"operations"`
	Operator   bool     `json:"operator"`
	CreatedAt  Time     `json:"created_at"`
	ExpiresAt  *Time    `json:"expires_at"`
	Token      string   `json:"token,omitempty"`
}

// A SignedURL is a URL that can be used without a token of one's own.
type SignedURL struct {
	URL       string `json:"url"`
	Method    string `json:"method"` // of the request that it allows
	Token     string `json:"token"`  // the secret part of the URL
	GrantID   string `json:"grant_id"`
	Operation string `json:"operation"`
	ExpiresAt Time   `json:"expires_at"`
}

// A Page is a part of a listing.
type Page struct {
	Files      []*File  `json:"files"`
	Folders    []string `json:"folders"`     // paths
	NextCursor string   `json:"next_cursor"` // "" at the end

	// Total is how many files and folders all pages have. It is nil behind a
	// cursor, and where there are more than the server counts: at least
	// TotalAtLeast then.
	Total        *int `json:"total"`
	TotalAtLeast *int `json:"total_at_least"`
}
