package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
)

const collectTell = time.Second // between two lines of progress

// collectSpace collects once, and answers with a line of JSON each second. The
// collection is given up if the request ends before it.
func (s *Server) collectSpace(w http.ResponseWriter, r *http.Request) error {
	var in client.CollectOptions
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Rate < 0 {
		return fmt.Errorf("rate %d: want bytes a second, 0 for no bound: %w", in.Rate, errRequest)
	}
	var at atomic.Pointer[collect.Progress]
	at.Store(&collect.Progress{})
	opts := CollectOptions(&in, func(p collect.Progress) { at.Store(&p) })
	var report *collect.Report
	ended := make(chan error, 1)
	go func() {
		var err error
		report, err = s.store.Collect(r.Context(), opts)
		ended <- err
	}()
	tick := time.NewTicker(collectTell)
	defer tick.Stop()
	told := false
	tell := func(v *client.Collecting) error {
		if !told {
			w.Header().Set("Content-Type", "application/x-ndjson")
			told = true
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	}
	for {
		select {
		case <-tick.C:
			tell(CollectingView(at.Load())) // fails only if the client is gone, which ends the request
		case err := <-ended:
			if err == nil {
				return tell(&client.Collecting{Phase: "done", Report: CollectedView(report)})
			}
			if !told {
				return err
			}
			s.log.Error("collection given up", "request", requestIDOf(r), "error", err)
			p := problemOf(err)
			return tell(&client.Collecting{Phase: "done", Error: &client.Error{Status: p.Status, Code: p.Code, Detail: p.Detail, RequestID: requestIDOf(r)}})
		}
	}
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
		v.Running = CollectingView(st.Running)
	}
	if st.Last != nil {
		v.Last = CollectedView(st.Last)
	}
	return v
}

// CollectOptions returns the options of a collection that a client asks for.
func CollectOptions(o *client.CollectOptions, progress func(collect.Progress)) *collect.Options {
	return &collect.Options{DryRun: o.DryRun, Full: o.Full, Rate: o.Rate, Progress: progress}
}

// CollectingView returns the progress of a collection as clients see it.
func CollectingView(p *collect.Progress) *client.Collecting {
	return &client.Collecting{Phase: p.Phase, Backend: p.Domain, Done: p.Done, Total: p.Total}
}

// CollectedView returns the report of a collection as clients see it.
func CollectedView(r *collect.Report) *client.Collected {
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
