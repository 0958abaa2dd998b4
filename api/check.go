package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/check"
)

// checkStored verifies the store while it is in use.
func (s *Server) checkStored(w http.ResponseWriter, r *http.Request) error {
	var in client.CheckOptions
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Rate < 0 {
		return fmt.Errorf("rate %d: want bytes a second, 0 for no bound: %w", in.Rate, errRequest)
	}
	return s.answerWorking(w, r, "check", func(ctx context.Context, k *worker) (any, error) {
		report, err := check.Served(ctx, s.store, &check.Options{Rate: in.Rate,
			Progress: func(p check.Progress) { k.note(CheckingView(&p)) },
			Found:    func(p *check.Problem) { k.tell(ctx, ProblemView(p)) }})
		if err != nil {
			return nil, err
		}
		return CheckedView(report), nil
	})
}

// CheckingView returns the progress of a check as clients see it.
func CheckingView(p *check.Progress) client.Working {
	return client.Working{Phase: p.Phase, Backend: p.Domain, Done: p.Done, Total: p.Total}
}

// ProblemView returns what a check has found as clients see it.
func ProblemView(p *check.Problem) *client.CheckProblem {
	v := client.CheckProblem(*p)
	return &v
}

// CheckedView returns the report of a check as clients see it.
func CheckedView(r *check.Report) *client.Checked {
	v := &client.Checked{OK: r.OK, Packs: r.Packs, Chunks: r.Chunks, Segments: r.Segments, Files: r.Files, Manifests: r.Manifests, Bytes: r.Bytes,
		Rebuilt: r.Rebuilt, CaughtUp: r.CaughtUp, Problems: []client.CheckProblem{}, ProblemCount: r.ProblemCount, Damaged: []client.CheckProblem{}, DamagedCount: r.DamagedCount,
		Kinds: r.Kinds, PacksByWriter: []client.WriterPacks{}, TookSeconds: r.TookSeconds}
	for i := range r.Problems {
		v.Problems = append(v.Problems, *ProblemView(&r.Problems[i]))
	}
	for i := range r.Damaged {
		v.Damaged = append(v.Damaged, *ProblemView(&r.Damaged[i]))
	}
	for _, w := range r.PacksByWriter {
		v.PacksByWriter = append(v.PacksByWriter, client.WriterPacks(w))
	}
	if r.Plan != nil {
		plan := client.RepairPlan(*r.Plan)
		v.Plan = &plan
	}
	return v
}
