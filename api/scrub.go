package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/scrub"
)

// scrubStored reads stored bytes again, once.
func (s *Server) scrubStored(w http.ResponseWriter, r *http.Request) error {
	var in client.ScrubOptions
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Rate < 0 {
		return fmt.Errorf("rate %d: want bytes a second, 0 for no bound: %w", in.Rate, errRequest)
	}
	if in.MaxAgeSeconds < 0 || in.MaxAgeSeconds > math.MaxInt64/int64(time.Second) {
		return fmt.Errorf("max_age_seconds %d: want seconds, 0 for 30 days: %w", in.MaxAgeSeconds, errRequest)
	}
	return s.answerWorking(w, r, "scrub", func(ctx context.Context, k *worker) (any, error) {
		report, err := s.store.Scrub(ctx, &scrub.Options{All: in.All, MaxAge: time.Duration(in.MaxAgeSeconds) * time.Second, Rate: in.Rate,
			Progress: func(p scrub.Progress) { k.note(scrubbingView(&p)) }})
		if err != nil {
			return nil, err
		}
		return scrubbedView(report), nil
	})
}

// scrubStatus answers what of scrubs is under way in this process.
func (s *Server) scrubStatus(w http.ResponseWriter, r *http.Request) error {
	st, err := s.store.ScrubStatus(r.Context())
	if err != nil {
		return err
	}
	v := &client.ScrubStatus{Backends: []client.BackendState{}}
	if st.Running != nil {
		at := scrubbingView(st.Running)
		v.Running = &at
	}
	if st.Last != nil {
		v.Last = scrubbedView(st.Last)
	}
	for i := range st.Domains {
		d := &st.Domains[i]
		b := client.BackendState{Backend: d.Domain, ScrubAges: client.ScrubAges{Packs: d.Packs, NeverRead: d.NeverRead, Damaged: d.Damaged}}
		if !d.Oldest.IsZero() {
			b.OldestAt = &client.Time{Time: d.Oldest}
		}
		v.Add(&b.ScrubAges)
		v.Backends = append(v.Backends, b)
	}
	return writeJSON(w, http.StatusOK, v)
}

// scrubbingView returns the progress of a scrub as clients see it.
func scrubbingView(p *scrub.Progress) client.Working {
	return client.Working{Phase: p.Phase, Backend: p.Domain, Done: p.Done, Total: p.Total}
}

// scrubbedView returns the report of a scrub as clients see it.
func scrubbedView(r *scrub.Report) *client.Scrubbed {
	v := &client.Scrubbed{OK: r.IsClean(), StartedAt: client.Time{Time: r.Started}, EndedAt: client.Time{Time: r.Ended}, Backends: []client.BackendScrubbed{}}
	for i := range r.Domains {
		d := &r.Domains[i]
		b := client.BackendScrubbed{Backend: d.Domain, Bad: []string{}, Failed: []client.FailedPack{}, Hurt: []client.HurtFile{}, ScrubSums: client.ScrubSums{
			Packs: d.Packs, Bytes: d.Bytes, SkippedPacks: d.Skipped, BadChunks: d.BadChunks, FailedPacks: d.FailedPacks, HurtCount: d.HurtVersions}}
		for _, digest := range d.Bad {
			b.Bad = append(b.Bad, digest.String())
		}
		for _, f := range d.Failed {
			b.Failed = append(b.Failed, client.FailedPack{Pack: f.Pack.String(), Why: f.Why})
		}
		for _, h := range d.Hurt {
			b.Hurt = append(b.Hurt, client.HurtFile{Bucket: h.Bucket, Path: h.Path, FileID: string(h.File), ManifestID: string(h.Version), UploadID: string(h.Upload)})
		}
		v.Add(&b.ScrubSums)
		v.Backends = append(v.Backends, b)
	}
	return v
}
