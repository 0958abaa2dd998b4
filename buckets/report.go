package buckets

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// Dedup reports what the store holds and what it takes.
func (s *Store) Dedup(ctx context.Context) (*DedupReport, error) {
	r := &DedupReport{IndexBytes: s.meta.DiskSize()}
	for f, err := range s.meta.AllFiles(ctx) {
		if err != nil {
			return nil, err
		}
		r.Files++
		r.Manifests += int64(f.Versions)
		r.LogicalBytes += f.TotalSize
		r.Chunks += f.TotalChunks
	}
	for _, c := range s.chunks {
		u, err := c.Usage(ctx)
		if err != nil {
			return nil, err
		}
		r.UniqueChunks += u.Chunks
		r.UniqueBytes += u.Bytes
		r.StoredBytes += u.PackBytes
	}
	if r.StoredBytes > 0 {
		r.DedupRatio = float64(r.LogicalBytes) / float64(r.StoredBytes)
	}
	return r, nil
}

// A Row is a row of _alyx_files: one version of one file.
type Row struct {
	ID               string            `json:"id"` // manifest, m_…
	FileID           string            `json:"file_id"`
	Version          uint64            `json:"version"`
	Bucket           string            `json:"bucket"`
	Name             string            `json:"name"`
	Folder           string            `json:"folder"`
	MIMEType         string            `json:"mime_type"`
	DeclaredMIMEType string            `json:"declared_mime_type"`
	Size             int64             `json:"size"`
	Root             string            `json:"root"`
	Digests          map[string]string `json:"digests"`
	Segments         *RowSegments      `json:"segments"`
	Chunker          string            `json:"chunker"`
	Metadata         json.RawMessage   `json:"metadata"`
	Tags             []string          `json:"tags"`
	CacheControl     string            `json:"cache_control"`
	Owner            string            `json:"owner"`
	Access           map[string]string `json:"access"`
	State            State             `json:"state"`
	CreatedAt        time.Time         `json:"created_at"` // of the version
	UpdatedAt        time.Time         `json:"updated_at"` // of the file
	DeletedAt        *time.Time        `json:"deleted_at"`
}

// RowSegments say where the tree of a version's chunk list begins. A list short
// enough to stand in the row itself has none.
type RowSegments struct {
	Top    string `json:"top"`    // digest of its top
	Height int    `json:"height"` // levels under the top
}

// Dump yields every row of _alyx_files, for operators.
func (s *Store) Dump(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		b := &Bucket{s: s}
		for row, err := range s.meta.AllRows(ctx, "") {
			if err != nil {
				yield(Row{}, err)
				return
			}
			f, m := row.File, row.Manifest
			if m == nil {
				continue
			}
			r := b.describeFile(f, m).toRow()
			r.Metadata = json.RawMessage(f.Metadata)
			if len(r.Metadata) == 0 {
				r.Metadata = json.RawMessage("{}")
			}
			if r.Chunker = m.Chunker; !m.Top.IsZero() {
				r.Segments = &RowSegments{m.Top.String(), m.Height}
			}
			r.Root = m.Root().String()
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (f *File) toRow() Row {
	r := Row{ID: f.ManifestID, FileID: f.ID, Version: f.Version, Bucket: f.Bucket, Name: f.Name, Folder: f.Folder,
		MIMEType: f.MIMEType, DeclaredMIMEType: f.DeclaredMIMEType, Size: f.Size, Digests: map[string]string{},
		Tags: append([]string{}, f.Tags...), CacheControl: f.CacheControl, Owner: f.Owner, Access: f.Access, State: f.State,
		CreatedAt: f.VersionCreatedAt, UpdatedAt: f.UpdatedAt}
	if r.Access == nil {
		r.Access = map[string]string{}
	}
	for name, d := range f.Checksums {
		if name != "root" {
			r.Digests[name] = d
		}
	}
	if !f.DeletedAt.IsZero() {
		t := f.DeletedAt
		r.DeletedAt = &t
	}
	return r
}
