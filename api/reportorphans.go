package api

import (
	"context"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/report"
)

// reportOrphans answers what lies in backends and in the database and nothing names.
func (s *Server) reportOrphans(ctx context.Context, opts *report.Options, took func() int64) (any, error) {
	o, err := s.store.ReportOrphans(ctx, opts)
	if err != nil {
		return nil, err
	}
	v := &client.OrphanReport{At: client.Time{Time: o.At}, Sums: []client.OrphanSum{}, Found: []client.Orphan{},
		Unlinked: []client.UnlinkedFile{}, Links: []client.OrphanLink{}, TookMS: took()}
	for _, sum := range o.Sums {
		v.Sums = append(v.Sums, client.OrphanSum{Kind: string(sum.Kind), Remedy: string(sum.Remedy), Host: sum.Host, Count: sum.Count, Bytes: sum.Bytes})
	}
	for _, f := range o.Found {
		v.Found = append(v.Found, client.Orphan{Kind: string(f.Kind), Remedy: string(f.Remedy), Backend: f.Domain, Name: f.Name, Bytes: f.Bytes})
	}
	for _, f := range o.Unlinked {
		v.Unlinked = append(v.Unlinked, client.UnlinkedFile{Bucket: f.Bucket, Path: f.Path, FileID: string(f.File), State: f.State.String(), Bytes: f.Bytes})
	}
	for _, l := range o.Links {
		v.Links = append(v.Links, client.OrphanLink{Kind: string(l.Kind), Remedy: string(l.Remedy), Bucket: l.Bucket, Reference: referenceView(l.Link)})
	}
	return v, nil
}
