package client

import (
	"context"
	"iter"
	"net/http"
)

// A Row is what a field of a record has in the host's database.
type Row struct {
	Collection string   `json:"collection"`
	Record     string   `json:"record"`
	Field      string   `json:"field"`
	Values     []string `json:"values"`
}

// A Dangling is a value of a record whose file, or version, is deleted or unknown.
type Dangling struct {
	Collection string `json:"collection"`
	Record     string `json:"record"`
	Field      string `json:"field"`
	Value      string `json:"value"`
	Trashed    bool   `json:"trashed"` // it can be restored
}

// Reconciled counts what a reconciliation has found.
type Reconciled struct {
	Rows      int64 `json:"rows"`
	Links     int64 `json:"links"`
	Made      int64 `json:"made"`
	Confirmed int64 `json:"confirmed"`
	LetGo     int64 `json:"let_go"`
	Released  int64 `json:"released"`
	Revived   int64 `json:"revived"`
	Dangling  int64 `json:"dangling"`
}

// ReconcileOptions are choices of Reconcile.
type ReconcileOptions struct {
	DryRun   bool `json:"dry_run,omitempty"`
	Force    bool `json:"force,omitempty"`     // lets go more than MaxDrops
	MaxDrops int  `json:"max_drops,omitempty"` // 0 is 1,000, or a tenth of the links if that is more

	Dangling func(Dangling) `json:"-"` // is called for each
}

const runPage = 500 // rows, and links, of a step

// runStep is what each step of a run answers.
type runStep struct {
	Run        string       `json:"run"`
	Counts     Reconciled   `json:"counts"`
	Dangling   []Dangling   `json:"dangling"`
	Links      []RecordLink `json:"links"`
	Done       bool         `json:"done"` // all links were asked about
	Reconciled bool         `json:"reconciled"`
}

// A verdict is what the host says of a link.
type verdict struct {
	ID       string `json:"id"`
	Revision uint64 `json:"revision"`
	Exists   bool   `json:"exists"`
}

// Reconcile makes links and records agree, in both directions: rows yields all values
// of file fields, exists reports whether a record has what a link stands for. It must
// see all that was committed before it is called. opts may be nil.
func (s *HostSession) Reconcile(ctx context.Context, exists func(ctx context.Context, l RecordLink) (bool, error), rows iter.Seq2[Row, error], opts *ReconcileOptions) (*Reconciled, error) {
	if opts == nil {
		opts = &ReconcileOptions{}
	}
	r := &hostRun{s: s, opts: opts}
	err := r.step(ctx, "", opts)
	if err == nil {
		err = r.sendRows(ctx, rows)
	}
	var denied []verdict
	if err == nil {
		denied, err = r.askAll(ctx, exists)
	}
	for err == nil && len(denied) > 0 {
		n := min(runPage, len(denied))
		err = r.step(ctx, "drop", map[string]any{"run": r.at.Run, "links": denied[:n]})
		denied = denied[n:]
	}
	if err == nil {
		err = r.step(ctx, "end", map[string]any{"run": r.at.Run})
	}
	return &r.at.Counts, err
}

// A hostRun is a Reconcile under way.
type hostRun struct {
	s    *HostSession
	opts *ReconcileOptions
	at   runStep
}

// step sends a step, and keeps its answer.
func (r *hostRun) step(ctx context.Context, name string, body any) error {
	path := []string{"reconcile"}
	if name != "" {
		path = append(path, name)
	}
	var next runStep
	if err := r.s.c.callJSON(ctx, r.s.newRequest(http.MethodPost, path...).withJSON(body), &next); err != nil {
		return err
	}
	r.at = next
	return nil
}

func (r *hostRun) sendRows(ctx context.Context, rows iter.Seq2[Row, error]) error {
	var page []Row
	send := func(last bool) error {
		err := r.step(ctx, "rows", map[string]any{"run": r.at.Run, "rows": page, "last": last})
		if err == nil && r.opts.Dangling != nil {
			for _, d := range r.at.Dangling {
				r.opts.Dangling(d)
			}
		}
		page = page[:0]
		return err
	}
	values := 0
	for row, err := range rows {
		if err != nil {
			return err
		}
		if len(page) == runPage || values+len(row.Values) > 10*runPage {
			if err := send(false); err != nil {
				return err
			}
			values = 0
		}
		page = append(page, row)
		values += len(row.Values)
	}
	return send(true)
}

// askAll asks about all links, and returns those that the host has not.
func (r *hostRun) askAll(ctx context.Context, exists func(ctx context.Context, l RecordLink) (bool, error)) (denied []verdict, err error) {
	verdicts := []verdict{}
	for {
		if err := r.step(ctx, "links", map[string]any{"run": r.at.Run, "verdicts": verdicts, "limit": runPage}); err != nil {
			return nil, err
		}
		if r.at.Done {
			return denied, nil
		}
		verdicts = verdicts[:0]
		for _, l := range r.at.Links {
			is, err := exists(ctx, l)
			if err != nil {
				return nil, err
			}
			verdicts = append(verdicts, verdict{l.ID, l.Revision, is})
			if !is {
				denied = append(denied, verdicts[len(verdicts)-1])
			}
		}
	}
}
