package client

// LinkCounts count links of records that hold something.
type LinkCounts struct {
	Standing int64 `json:"standing"` // that a record has, or may have
	Released int64 `json:"released"` // that ended, and hold until files would have left the trash since
}

// A LinkedFile is a file, or a version of one, that links of records hold.
type LinkedFile struct {
	Bucket     string `json:"bucket"`
	Path       string `json:"path"`
	FileID     string `json:"file_id"`
	ManifestID string `json:"manifest_id,omitempty"` // "" if links to all versions count
	State      string `json:"state"`                 // purged too: then its links hold nothing
	LinkCounts
	Restrict int64       `json:"restrict"` // those of them that refuse its removal
	SetNull  int64       `json:"set_null"` // those of them whose hosts are told of its removal
	Overdue  bool        `json:"overdue"`  // its time in the trash is over: only links, or a host, keep it
	Records  []Reference `json:"records"`  // the first of those whose links stand
}

// RemovalLinks are the links to what a removal selects: to files of which all goes, and
// to single versions of others.
type RemovalLinks struct {
	LinkCounts
	Refused      int64        `json:"refused"`            // files and versions that links with on_delete: restrict keep
	Refusing     []LinkedFile `json:"refusing"`           // the first of them, at most 10
	Told         []string     `json:"told_hosts"`         // hosts that are told of the removal of the others
	Unreconciled []string     `json:"unreconciled_hosts"` // until they are reconciled nothing is removed
}
