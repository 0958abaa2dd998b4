package api

import (
	"context"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/report"
)

// reportDedup answers how much less is stored than users have stored, and why.
func (s *Server) reportDedup(ctx context.Context, opts *report.Options, took func() int64) (any, error) {
	r, err := s.store.ReportDedup(ctx, opts)
	if err != nil {
		return nil, err
	}
	v := &client.DedupReport{At: client.Time{Time: r.At}, DedupSums: dedupSumsView(&r.DedupSums), MetadataBytes: r.Metadata, Backends: []client.BackendDedup{},
		Buckets: groupListView(&r.Buckets), Owners: groupListView(&r.Owners), Types: groupListView(&r.Types), Folders: groupListView(&r.Folders),
		Chunks: []client.SharedChunk{}, Contents: []client.SharedContent{}, ChunkSizes: []client.SizeClass{}, Days: []client.DedupDay{}}
	for i := range r.Domains {
		v.Backends = append(v.Backends, client.BackendDedup{Backend: r.Domains[i].Domain, DedupSums: dedupSumsView(&r.Domains[i].DedupSums)})
	}
	for i := range r.Chunks {
		c := &r.Chunks[i]
		v.Chunks = append(v.Chunks, client.SharedChunk{Digest: c.Digest.String(), Backend: c.Domain, References: c.References, Length: c.Length,
			StoredBytes: c.StoredBytes, SavedBytes: c.Saved(), Examples: fileRefsView(c.Examples)})
	}
	for i := range r.Contents {
		c := &r.Contents[i]
		v.Contents = append(v.Contents, client.SharedContent{Backend: c.Domain, Size: c.Size, Versions: c.Versions, SavedBytes: c.Saved(), Examples: fileRefsView(c.Examples)})
	}
	for _, c := range r.Sizes {
		v.ChunkSizes = append(v.ChunkSizes, client.SizeClass{From: c.From, Chunks: c.Chunks, Bytes: c.Bytes})
	}
	for i := range r.Points {
		p := &r.Points[i]
		v.Days = append(v.Days, client.DedupDay{Day: p.Day.UTC().Format(time.DateOnly), Files: p.Files, Versions: p.Versions, References: p.References,
			LogicalBytes: p.LogicalBytes, UniqueChunks: p.Chunks, UniqueBytes: p.UniqueBytes, LiveBytes: p.LiveBytes, RecordBytes: p.RecordBytes,
			StoredBytes: p.PackBytes, FreedBytes: p.FreedBytes})
	}
	v.TookMS = took()
	return v, nil
}

func dedupSumsView(s *report.DedupSums) client.DedupSums {
	v := client.DedupSums{Files: s.Files, Versions: s.Versions, References: s.References, LogicalBytes: s.LogicalBytes,
		UniqueChunks: s.UniqueChunks, UniqueBytes: s.UniqueBytes, CompressedBytes: s.CompressedBytes, ListBytes: s.SegmentBytes,
		OtherChunks: s.OtherChunks, OtherBytes: s.OtherBytes, RecordBytes: s.RecordBytes, Packs: s.Packs, StoredBytes: s.StoredBytes,
		SavedByDedup: s.LogicalBytes - s.UniqueBytes, SavedByCompression: s.UniqueBytes - s.CompressedBytes, MissingChunks: s.Missing, UnreadSegments: s.Unread}
	if s.StoredBytes > 0 {
		v.DedupRatio = float64(s.LogicalBytes) / float64(s.StoredBytes)
	}
	return v
}

func groupListView(l *report.GroupList) client.GroupList {
	v := client.GroupList{Groups: []client.Group{}, Others: l.Others, Rest: groupSumsView(&l.Rest)}
	for i := range l.Groups {
		v.Groups = append(v.Groups, client.Group{Name: l.Groups[i].Name, GroupSums: groupSumsView(&l.Groups[i])})
	}
	return v
}

func groupSumsView(g *report.Group) client.GroupSums {
	return client.GroupSums{Versions: g.Versions, References: g.References, LogicalBytes: g.LogicalBytes, UniqueBytes: g.UniqueBytes, ExclusiveBytes: g.ExclusiveBytes,
		CompressedBytes: g.StoredBytes, ExclusiveStored: g.ExclusiveStored, ShareStored: g.ShareStored}
}

func fileRefsView(examples []report.Example) []client.FileRef {
	out := []client.FileRef{}
	for _, x := range examples {
		out = append(out, client.FileRef{Bucket: x.Bucket, Path: x.Path, FileID: string(x.File), ManifestID: string(x.Version)})
	}
	return out
}
