package client

// A Session is an upload by chunk list; see api/SESSIONS.md.
type Session struct {
	ID            string        `json:"id"` // u_…
	Bucket        string        `json:"bucket"`
	Name          string        `json:"name"`
	Folder        string        `json:"folder"`
	Chunker       string        `json:"chunker"` // that must cut the file
	Size          *int64        `json:"size"`    // nil while it is not known
	ListedChunks  int64         `json:"listed_chunks"`
	ListedBytes   int64         `json:"listed_bytes"`
	ReceivedBytes int64         `json:"received_bytes"`
	CreatedAt     Time          `json:"created_at"`
	ExpiresAt     Time          `json:"expires_at"`
	Limits        SessionLimits `json:"limits"`

	Missing      []string `json:"missing,omitempty"` // digests, when the session was opened with chunks
	MissingBytes int64    `json:"missing_bytes"`
}

// SessionLimits bound the requests of a session, in bytes.
type SessionLimits struct {
	MinChunk int64 `json:"min_chunk"` // of all but a file's last
	MaxChunk int64 `json:"max_chunk"`
	MaxBatch int64 `json:"max_batch"` // of a request with chunks
}

// A NewSession opens a session. It has a Name or a FileID.
type NewSession struct {
	Name          string         `json:"name,omitempty"`
	Folder        string         `json:"folder,omitempty"`
	FileID        string         `json:"file_id,omitempty"` // f_…, of which it makes a version
	Size          *int64         `json:"size,omitempty"`
	MIMEType      string         `json:"mime_type,omitempty"`
	Metadata      map[string]any `json:"metadata,omitempty"`
	Tags          []string       `json:"tags,omitempty"`
	CacheControl  string         `json:"cache_control,omitempty"`
	OnConflict    string         `json:"on_conflict,omitempty"` // new (default), version, fail
	IfMatch       string         `json:"if_match,omitempty"`
	SkipUnchanged bool           `json:"skip_unchanged,omitempty"`
	Digests       []string       `json:"digests,omitempty"` // nil leaves them to the bucket, "none" is none
	Bases         []string       `json:"bases,omitempty"`
	Chunks        []Chunk        `json:"chunks,omitempty"`
}

// A Listed answers a request that appends to the chunk list.
type Listed struct {
	ListedChunks int64    `json:"listed_chunks"`
	ListedBytes  int64    `json:"listed_bytes"`
	Missing      []string `json:"missing"` // digests of the piece that must be sent
	MissingBytes int64    `json:"missing_bytes"`
}

// A MissingPage is a page of the chunks of a session that must be sent.
type MissingPage struct {
	Missing   []MissingChunk `json:"missing"`
	NextAfter *int64         `json:"next_after"` // nil when there is no more
}

// A MissingChunk is a chunk that must be sent.
type MissingChunk struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Index  int64  `json:"index"` // in the list
}

// ReceivedChunks answers a request with chunks.
type ReceivedChunks struct {
	Chunks int64 `json:"received_chunks"`
	Bytes  int64 `json:"received_bytes"`
}

// ServerCapabilities are what a client needs for uploads by chunk list.
type ServerCapabilities struct {
	Hash      string            `json:"hash"`
	Profiles  map[string]string `json:"profiles"` // chunkers by name
	Golden    []GoldenCuts      `json:"golden"`
	Limits    ServerLimits      `json:"limits"`
	Protocols []string          `json:"protocols"`
}

// GoldenCuts are the chunk lengths of an input of chunker/FORMAT.md.
type GoldenCuts struct {
	Input   string `json:"input"`
	Size    int64  `json:"size"` // bytes
	Chunker string `json:"chunker"`
	Cuts    []int  `json:"cuts"`
}

// ServerLimits bound sessions.
type ServerLimits struct {
	MaxListJSON   int64 `json:"max_list_json"`   // bytes
	MaxListChunks int64 `json:"max_list_chunks"` // of a file
	MaxBatch      int64 `json:"max_batch"`       // bytes
	MaxBases      int   `json:"max_bases"`
}

// Media types of bodies.
const (
	ChunkListType = "application/vnd.cairn.chunk-list"
	ChunksType    = "application/vnd.cairn.chunks"
	BitmapType    = "application/vnd.cairn.bitmap"
)
