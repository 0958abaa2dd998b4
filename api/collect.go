package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
)

// collectSpace collects once.
func (s *Server) collectSpace(w http.ResponseWriter, r *http.Request) error {
	var in client.CollectOptions
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Rate < 0 {
		return fmt.Errorf("rate %d: want bytes a second, 0 for no bound: %w", in.Rate, errRequest)
	}
	return s.answerWorking(w, r, "collection", func(ctx context.Context, k *worker) (any, error) {
		report, err := s.store.Collect(ctx, &collect.Options{DryRun: in.DryRun, Full: in.Full, Rate: in.Rate, Progress: k.noteCollect})
		if err != nil {
			return nil, err
		}
		return collectedView(report), nil
	})
}

// collectStatus answers what of collection is under way in this process.
func (s *Server) collectStatus(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, collectStatusView(s.store.CollectStatus()))
}

// pauseCollect keeps the store from collecting by itself, or lets it.
func (s *Server) pauseCollect(paused bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.store.PauseCollect(paused)
		return s.collectStatus(w, r)
	}
}

func collectStatusView(st buckets.CollectStatus) *client.CollectStatus {
	v := &client.CollectStatus{Paused: st.Paused}
	if st.Running != nil {
		at := workingView(st.Running)
		v.Running = &at
	}
	if st.Last != nil {
		v.Last = collectedView(st.Last)
	}
	return v
}

// workingView returns the progress of a collection as clients see it.
func workingView(p *collect.Progress) client.Working {
	return client.Working{Phase: p.Phase, Backend: p.Domain, Done: p.Done, Total: p.Total}
}

// collectedView returns the report of a collection as clients see it.
func collectedView(r *collect.Report) *client.Collected {
	v := &client.Collected{DryRun: r.DryRun, Full: r.Full, StartedAt: client.Time{Time: r.Started}, EndedAt: client.Time{Time: r.Ended},
		Backends: []client.BackendCollected{}}
	for i := range r.Domains {
		d := &r.Domains[i]
		b := client.BackendCollected{Backend: d.Domain, Unchanged: d.Unchanged, Problems: d.Problems, Freed: []client.FreedBytes{}, CollectedSums: client.CollectedSums{
			FreedBytes: d.FreedBytes, DeletedPacks: d.DeletedPacks, RewrittenPacks: d.RewrittenPacks, CopiedBytes: d.CopiedBytes,
			DroppedChunks: d.DroppedChunks, DroppedBytes: d.DroppedStored, WaitingChunks: d.WaitingChunks, WaitingBytes: d.WaitingBytes,
			DeadBytes: d.DeadBytes, RecordBytes: d.RecordBytes, LiveChunks: d.LiveChunks}}
		for _, f := range d.Freed {
			b.Freed = append(b.Freed, client.FreedBytes{Bucket: f.Bucket, Path: f.Path, FileID: f.File, Bytes: f.Bytes})
		}
		v.Add(&b.CollectedSums)
		v.Backends = append(v.Backends, b)
	}
	return v
}
