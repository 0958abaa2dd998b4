package api

import (
	"context"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/report"
)

// reportFragmentation answers how scattered files lie in packs.
func (s *Server) reportFragmentation(ctx context.Context, opts *report.Options, took func() int64) (any, error) {
	r, err := s.store.ReportFragmentation(ctx, opts)
	if err != nil {
		return nil, err
	}
	v := &client.FragmentationReport{At: client.Time{Time: r.At}, FragmentSums: fragmentSumsView(&r.FragmentSums), Buckets: []client.BucketFragments{},
		Classes: []client.FragmentClass{}, Worst: []client.FileFragments{}, TookMS: took()}
	for i := range r.Buckets {
		v.Buckets = append(v.Buckets, client.BucketFragments{Bucket: r.Buckets[i].Bucket, FragmentSums: fragmentSumsView(&r.Buckets[i].FragmentSums)})
	}
	for _, c := range r.Classes {
		v.Classes = append(v.Classes, client.FragmentClass{Most: c.Most, Files: c.Files, Bytes: c.Bytes})
	}
	for i := range r.Worst {
		f := &r.Worst[i]
		v.Worst = append(v.Worst, client.FileFragments{
			FileRef: client.FileRef{Bucket: f.Bucket, Path: f.Path, FileID: string(f.File), ManifestID: string(f.Version)},
			Size:    f.Size, Ranges: f.Ranges, RangesPerMiB: f.PerMiB(), Requests: f.Requests, FetchBytes: f.Bytes})
	}
	return v, nil
}

func fragmentSumsView(s *report.FragmentSums) client.FragmentSums {
	return client.FragmentSums{Files: s.Files, Bytes: s.Bytes, Ranges: s.Ranges, Requests: s.Requests, FetchBytes: s.ReadCost.Bytes, UnreadFiles: s.Unread}
}
