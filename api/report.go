package api

import (
	"context"
	"net/http"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/manifest"
)

// makeReport answers with the report that reportOn makes, and how far it is until
// then. What reportOn is given says how long the report took so far.
func (s *Server) makeReport(what string, reportOn func(ctx context.Context, opts *report.Options, took func() int64) (any, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q := queryOf(r)
		opts := &report.Options{Top: int(q.readNumber("top", 0, 1, report.MaxTop))}
		if q.err != nil {
			return q.err
		}
		return s.answerWorking(w, r, "report on "+what, func(ctx context.Context, k *worker) (any, error) {
			opts.Progress = func(p report.Progress) {
				k.note(client.Working{Phase: p.Phase, Backend: p.Domain, Done: p.Done, Total: p.Total})
			}
			started := time.Now()
			return reportOn(ctx, opts, func() int64 { return time.Since(started).Milliseconds() })
		})
	}
}

// reportUsage answers what is stored and what it takes.
func (s *Server) reportUsage(ctx context.Context, opts *report.Options, took func() int64) (any, error) {
	u, err := s.store.ReportUsage(ctx, opts)
	if err != nil {
		return nil, err
	}
	v := &client.UsageReport{At: client.Time{Time: u.At}, FileSums: fileSumsView(&u.Files),
		UploadSums: client.UploadSums{UnfinishedBytes: u.Unfinished, LeftoverBytes: u.Leftovers}, PackSums: packSumsView(&u.Packs), MetadataBytes: u.Metadata,
		Buckets: []client.BucketUsage{}, Owners: []client.OwnerUsage{}, OtherOwners: u.OtherOwners, Others: fileSumsView(&u.Others),
		Backends: []client.BackendUsage{}, TookMS: took()}
	for i := range u.Buckets {
		b := &u.Buckets[i]
		v.Buckets = append(v.Buckets, client.BucketUsage{Bucket: b.Bucket, Backend: b.Domain, FileSums: fileSumsView(&b.Usage),
			UploadSums: client.UploadSums{UnfinishedBytes: b.Unfinished, LeftoverBytes: b.Leftovers}})
	}
	for i := range u.Owners {
		o := &u.Owners[i]
		v.Owners = append(v.Owners, client.OwnerUsage{Bucket: o.Bucket, Owner: o.Owner, FileSums: fileSumsView(&o.Usage)})
	}
	for i := range u.Domains {
		v.Backends = append(v.Backends, client.BackendUsage{Backend: u.Domains[i].Domain, PackSums: packSumsView(&u.Domains[i].PackSums)})
	}
	return v, nil
}

func fileSumsView(u *manifest.Usage) client.FileSums {
	return client.FileSums{Files: u.Files, Versions: u.Versions, Bytes: u.Bytes, References: u.Chunks,
		TrashedFiles: u.TrashedFiles, TrashedVersions: u.TrashedVersions, TrashedBytes: u.TrashedBytes, TrashedReferences: u.TrashedChunks,
		DescribedBytes: u.Described}
}

func packSumsView(p *report.PackSums) client.PackSums {
	return client.PackSums{Packs: p.Packs, StoredBytes: p.Bytes, LiveBytes: p.Live, RecordBytes: p.Records, DeadBytes: p.Dead, DoomedBytes: p.Doomed}
}
