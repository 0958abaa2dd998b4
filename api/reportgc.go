package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/manifest"
)

// reportGarbage answers what was freed and what waits to be.
func (s *Server) reportGarbage(ctx context.Context, opts *report.Options, took func() int64) (any, error) {
	g, err := s.store.ReportGarbage(ctx, opts)
	if err != nil {
		return nil, err
	}
	v := &client.GarbageReport{At: client.Time{Time: g.At}, Freed: freedSumsView(&g.Freed), Entries: g.Entries,
		Days: []client.FreedDay{}, Buckets: []client.BucketGarbage{}, Newest: []client.FreedEntry{}, Waiting: waitingView(g.Waiting),
		Backends: []client.BackendGarbage{}, Uploads: []client.UnfinishedUpload{}, UploadCount: g.UploadCount, UploadBytes: g.UploadBytes, TookMS: took()}
	if !g.Since.IsZero() {
		v.Since = &client.Time{Time: g.Since}
	}
	for i := range g.Days {
		v.Days = append(v.Days, client.FreedDay{Day: g.Days[i].Day.Format(time.DateOnly), FreedSums: freedSumsView(&g.Days[i].FreedSums)})
	}
	for _, b := range g.Buckets {
		v.Buckets = append(v.Buckets, client.BucketGarbage{Bucket: b.Bucket, FreedBytes: b.Freed, Entries: b.Entries, WaitingBytes: b.Waiting,
			LeftoverBytes: b.Leftovers, Uploads: b.Uploads, HeldBytes: b.Held})
	}
	for i := range g.Newest {
		v.Newest = append(v.Newest, freedView(&g.Newest[i]))
	}
	for i := range g.Domains {
		v.Backends = append(v.Backends, backendGarbageView(&g.Domains[i]))
	}
	for _, u := range g.Uploads {
		v.Uploads = append(v.Uploads, unfinishedView(u))
	}
	return v, nil
}

func freedSumsView(s *report.FreedSums) client.FreedSums {
	return client.FreedSums{PurgedBytes: s.Purged, NobodyBytes: s.Nobody, CopiedBytes: s.Copied}
}

func waitingView(sums []collect.WaitingSum) []client.WaitingSum {
	out := []client.WaitingSum{}
	for _, s := range sums {
		out = append(out, client.WaitingSum{Reason: string(s.Reason), Count: s.Count, Bytes: s.Bytes})
	}
	return out
}

func backendGarbageView(d *report.DomainGarbage) client.BackendGarbage {
	v := client.BackendGarbage{Backend: d.Domain, Waiting: waitingView(d.Sums), Epoch: d.Epoch, Floor: d.Floor, Graves: d.Graves,
		WaitsFor: []client.WaitsFor{}, Packs: []client.WaitingPack{}, PackCount: d.PackCount}
	for _, w := range d.Writers {
		v.WaitsFor = append(v.WaitsFor, client.WaitsFor{Since: client.Time{Time: w.At}, Epoch: w.Begin})
	}
	for _, p := range d.Packs {
		v.Packs = append(v.Packs, client.WaitingPack{Pack: p.Pack.String(), Size: p.Size, DeadBytes: p.Dead, Reason: string(p.Reason)})
	}
	return v
}

func unfinishedView(u *manifest.Upload) client.UnfinishedUpload {
	return client.UnfinishedUpload{Bucket: u.Bucket, UploadID: string(u.ID), Principal: u.Who, Path: names.Join(u.Folder, u.Name), HeldBytes: u.Held,
		CreatedAt: client.Time{Time: u.CreatedAt}, ExpiresAt: client.Time{Time: u.ExpiresAt}}
}

// A ledgerLine is a line of the ledger. The last one has only End, or an error.
type ledgerLine struct {
	*client.FreedEntry
	End   bool          `json:"end,omitempty"`
	Error *client.Error `json:"error,omitempty"`
}

// listLedger answers all that the ledger has, a line of JSON an entry.
func (s *Server) listLedger(w http.ResponseWriter, r *http.Request) error {
	told := false
	tell := func(l *ledgerLine) error {
		if !told {
			w.Header().Set("Content-Type", "application/x-ndjson")
			told = true
		}
		return json.NewEncoder(w).Encode(l)
	}
	for f, err := range s.store.Ledger(r.Context()) {
		if err != nil && !told {
			return err
		}
		if err != nil {
			s.log.Error("list of the ledger given up", "request", requestIDOf(r), "error", err)
			p := problemOf(err)
			return tell(&ledgerLine{Error: &client.Error{Status: p.Status, Code: p.Code, Detail: p.Detail, RequestID: requestIDOf(r)}})
		}
		v := freedView(f)
		if err := tell(&ledgerLine{FreedEntry: &v}); err != nil {
			return err
		}
	}
	return tell(&ledgerLine{End: true})
}
