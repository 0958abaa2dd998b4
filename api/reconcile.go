package api

import (
	"fmt"
	"net/http"

	"github.com/cairn-store/cairn/buckets/links"
)

// A runAnswer is what each step of a reconciliation answers.
type runAnswer struct {
	Run    string           `json:"run"` // for the next step
	Counts links.Reconciled `json:"counts"`

	Dangling   *[]links.Dangling `json:"dangling,omitempty"`   // of rows
	Links      *[]links.Link     `json:"links,omitempty"`      // to be asked about
	Done       *bool             `json:"done,omitempty"`       // all links were asked about
	Reconciled *bool             `json:"reconciled,omitempty"` // of the end
}

func answerRun(w http.ResponseWriter, run *links.Run, out *runAnswer) error {
	out.Run, out.Counts = run.Token(), run.Counts()
	return writeJSON(w, http.StatusOK, out)
}

// readRun reads the body of a step into in, and returns the run that token names in it.
func readRun(r *http.Request, h *links.Host, in any, token *string) (*links.Run, error) {
	if err := readHost(r, in); err != nil {
		return nil, err
	}
	return h.ResumeRun(*token)
}

func beginRun(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		DryRun   bool `json:"dry_run"`
		Force    bool `json:"force"`
		MaxDrops *int `json:"max_drops"`
	}
	if err := readHost(r, &in); err != nil {
		return err
	}
	opts := &links.ReconcileOptions{DryRun: in.DryRun, Force: in.Force}
	if in.MaxDrops != nil {
		if *in.MaxDrops < 1 {
			return fmt.Errorf("max_drops %d: want a number from 1 on: %w", *in.MaxDrops, errRequest)
		}
		opts.MaxDrops = *in.MaxDrops
	}
	run, err := h.BeginRun(r.Context(), opts)
	if err != nil {
		return err
	}
	return answerRun(w, run, &runAnswer{})
}

// reconcileRows makes the links that records lack.
func reconcileRows(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		Run  string      `json:"run"`
		Rows []links.Row `json:"rows"`
		Last bool        `json:"last"`
	}
	run, err := readRun(r, h, &in, &in.Run)
	if err != nil {
		return err
	}
	dangling, err := run.AddRows(r.Context(), in.Rows, in.Last)
	if err != nil {
		return err
	}
	dangling = append([]links.Dangling{}, dangling...)
	return answerRun(w, run, &runAnswer{Dangling: &dangling})
}

// reconcileLinks takes the verdicts on a page of links, and answers with the next.
func reconcileLinks(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		Run      string          `json:"run"`
		Verdicts []links.Verdict `json:"verdicts"`
		Limit    *int            `json:"limit"`
	}
	run, err := readRun(r, h, &in, &in.Run)
	if err != nil {
		return err
	}
	limit := defaultLimit
	if in.Limit != nil {
		limit = *in.Limit
	}
	page, done, err := run.NextLinks(r.Context(), in.Verdicts, limit)
	if err != nil {
		return err
	}
	page = append([]links.Link{}, page...)
	return answerRun(w, run, &runAnswer{Links: &page, Done: &done})
}

// dropLinks lets links go that the host has denied.
func dropLinks(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		Run   string          `json:"run"`
		Links []links.Verdict `json:"links"` // exists is false
	}
	run, err := readRun(r, h, &in, &in.Run)
	if err != nil {
		return err
	}
	if err := run.Drop(r.Context(), in.Links); err != nil {
		return err
	}
	return answerRun(w, run, &runAnswer{})
}

// endRun ends a reconciliation.
func endRun(w http.ResponseWriter, r *http.Request, h *links.Host) error {
	var in struct {
		Run string `json:"run"`
	}
	run, err := readRun(r, h, &in, &in.Run)
	if err != nil {
		return err
	}
	reconciled, err := run.End(r.Context())
	if err != nil {
		return err
	}
	return answerRun(w, run, &runAnswer{Reconciled: &reconciled})
}
