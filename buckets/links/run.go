package links

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cairn-store/cairn/manifest"
)

// ErrRun reports a step of a Run that its state does not allow.
var ErrRun = fmt.Errorf("the run of a reconciliation does not go on so%w", hidden(fs.ErrInvalid))

// A Run is a Reconcile in steps, for hosts that call from elsewhere: AddRows with pages
// of the host's rows, NextLinks for pages of its links until it is done, Drop for those
// that it has denied, then End. As Reconcile it may leave rows or links out, and
// does not count then.
//
// All that is known of a run is in its token, which each step changes. The store keeps
// nothing of it: a run that is given up costs nothing, and a step whose answer was lost
// can be sent again, though it counts only what it still finds to do.
type Run struct {
	h     *Host
	state runState
}

// A runState is what a token of a run holds.
type runState struct {
	Database string `json:"db"` // of the host, when the run began
	Session  uint64 `json:"s"`  // the last that had begun
	DryRun   bool   `json:"dry,omitempty"`
	Force    bool   `json:"force,omitempty"`
	MaxDrops int    `json:"max,omitempty"`

	AllRows  bool `json:"rows,omitempty"`  // all rows were seen
	AllLinks bool `json:"links,omitempty"` // all links were asked about
	// Asked is how many links the last page had. They are behind From, up to At.
	Asked int             `json:"n,omitempty"`
	From  manifest.LinkID `json:"from,omitempty"`
	At    manifest.LinkID `json:"at,omitempty"`
	// Denied is how many links the host has not, Dropped how many of those were given
	// to Drop.
	Denied  int64 `json:"no,omitempty"`
	Dropped int64 `json:"drop,omitempty"`

	Done Reconciled `json:"done"`
}

const runPrefix = "r1."

// Bounds of one step of a run.
const (
	maxRunRows  = 1000
	maxRunLinks = 1000
	// maxRunReads is how many pages NextLinks reads for one that has links.
	maxRunReads = 20
)

// A Verdict is what a host says of a link that it was asked about.
type Verdict struct {
	ID       manifest.LinkID `json:"id"`
	Revision uint64          `json:"revision"` // as the link had it
	Exists   bool            `json:"exists"`   // the record has what it stands for
}

// BeginRun begins a run. Dangling and Dropped of opts, which may be nil, are not called.
func (h *Host) BeginRun(ctx context.Context, opts *ReconcileOptions) (*Run, error) {
	if opts == nil {
		opts = &ReconcileOptions{}
	}
	row, err := h.liveRow(ctx)
	if err != nil {
		return nil, wrap("reconcile", err)
	}
	return &Run{h, runState{Database: hex.EncodeToString(row.ID[:]), Session: row.Session,
		DryRun: opts.DryRun, Force: opts.Force, MaxDrops: opts.MaxDrops}}, nil
}

// ResumeRun goes on with the run of a token.
func (h *Host) ResumeRun(token string) (*Run, error) {
	r := &Run{h: h}
	rest, ok := strings.CutPrefix(token, runPrefix)
	p, err := base64.RawURLEncoding.DecodeString(rest)
	if err == nil {
		err = json.Unmarshal(p, &r.state)
	}
	if !ok || err != nil {
		return nil, wrap("reconcile", fmt.Errorf("%.40q: %w", token, ErrToken))
	}
	return r, nil
}

// Token returns what ResumeRun goes on with.
func (r *Run) Token() string {
	p, err := json.Marshal(&r.state)
	if err != nil {
		panic(err) // numbers and text
	}
	return runPrefix + base64.RawURLEncoding.EncodeToString(p)
}

// Counts returns what the run has found until now.
func (r *Run) Counts() Reconciled { return r.state.Done }

// liveRow returns the row of the host, whose session must be live.
func (h *Host) liveRow(ctx context.Context) (*manifest.Host, error) {
	row, err := h.k.Meta().Host(ctx, h.name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !row.IsLive(h.session) {
		return nil, fmt.Errorf("host %q, session %d: %w", h.name, h.session, ErrSession)
	}
	return row, err
}

// current returns the row of the host, which must be what it was when the run began.
func (r *Run) current(ctx context.Context) (*manifest.Host, error) {
	row, err := r.h.liveRow(ctx)
	if err == nil && (row.Session != r.state.Session || hex.EncodeToString(row.ID[:]) != r.state.Database) {
		err = fmt.Errorf("host %q was opened again meanwhile: %w", r.h.name, ErrSession)
	}
	return row, err
}

// reconciliation returns what a step shares with Reconcile, of a host that is what it
// was when the run began. keep takes its counts.
func (r *Run) reconciliation(host *manifest.Host) (step *reconciliation, keep func()) {
	step = &reconciliation{h: r.h, host: host, opts: &ReconcileOptions{DryRun: r.state.DryRun, Force: r.state.Force}, done: r.state.Done}
	return step, func() { r.state.Done = step.done }
}

// AddRows makes the links that rows of the host lack, and returns the values whose
// files are not there. last says that these were the last rows; there may be none.
func (r *Run) AddRows(ctx context.Context, rows []Row, last bool) ([]Dangling, error) {
	host, err := r.current(ctx)
	if err != nil {
		return nil, wrap("reconcile", err)
	}
	switch {
	case r.state.AllRows || r.state.At != "" || r.state.AllLinks:
		return nil, wrap("reconcile", fmt.Errorf("rows come first, and not after the last: %w", ErrRun))
	case len(rows) > maxRunRows:
		return nil, wrap("reconcile", fmt.Errorf("%d rows at once, at most %d are taken: %w", len(rows), maxRunRows, ErrValue))
	}
	step, keep := r.reconciliation(host)
	var dangling []Dangling
	step.opts.Dangling = func(d Dangling) { dangling = append(dangling, d) }
	for i := range rows {
		if n := len(rows[i].Values); n > maxValues {
			return nil, wrap("reconcile", fmt.Errorf("%d values of one field, at most %d are taken: %w", n, maxValues, ErrValue))
		}
		step.done.Rows++
		if err := step.checkRow(ctx, &rows[i]); err != nil {
			return nil, wrap("reconcile", err)
		}
	}
	keep()
	r.state.AllRows = last
	return dangling, nil
}

// NextLinks takes the host's verdicts on the links that it returned last, all of them
// and in their order, and returns those that come next, at most limit: perhaps none,
// though it is not done. Done means that all were asked about. Pending links that exist
// are confirmed. Those that do not are dropped by Drop alone, unless they are too many:
// then it fails with ErrTooManyDrops.
//
// The host must look into its database after it has got the links.
func (r *Run) NextLinks(ctx context.Context, verdicts []Verdict, limit int) (links []Link, done bool, err error) {
	host, err := r.current(ctx)
	if err == nil && (limit < 1 || limit > maxRunLinks) {
		err = fmt.Errorf("%d links at once, 1 to %d are possible: %w", limit, maxRunLinks, ErrValue)
	}
	if err == nil {
		err = r.checkVerdicts(verdicts)
	}
	if err == nil {
		err = r.takeVerdicts(ctx, host, verdicts)
	}
	if err == nil {
		links, err = r.readLinks(ctx, host, limit)
	}
	if err == nil && r.state.AllLinks {
		err = r.checkDrops()
	}
	if err != nil {
		return nil, false, wrap("reconcile", err)
	}
	return links, r.state.AllLinks, nil
}

// readLinks returns the next links to be asked about.
func (r *Run) readLinks(ctx context.Context, host *manifest.Host, limit int) (out []Link, err error) {
	r.state.From, r.state.Asked = r.state.At, 0
	for reads := 0; !r.state.AllLinks && len(out) == 0 && reads < maxRunReads; reads++ {
		links, err := r.h.k.Meta().HostLinks(ctx, r.h.name, r.state.At, limit)
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			r.state.At = l.ID
			if r.h.isAskable(host, l) {
				out = append(out, describeLink(l))
			}
		}
		r.state.AllLinks = len(links) == 0
	}
	r.state.Asked = len(out)
	r.state.Done.Links += int64(len(out))
	return out, nil
}

// checkDrops fails if more links were denied than the run may let go.
func (r *Run) checkDrops() error {
	if n := r.state.Denied; !r.state.DryRun && !r.state.Force && n > r.mostDrops() {
		return fmt.Errorf("%d of %d links, at most %d: %w", n, r.state.Done.Links, r.mostDrops(), ErrTooManyDrops)
	}
	return nil
}

// mostDrops is how many links the run may let go.
func (r *Run) mostDrops() int64 {
	if r.state.MaxDrops > 0 {
		return int64(r.state.MaxDrops)
	}
	return max(leastMaxDrops, r.state.Done.Links/10)
}

// isAskable reports whether the host is asked about a link: one that is pending in a
// session that has not ended may become anything, and of a field that is not declared
// any more the host knows nothing.
func (h *Host) isAskable(host *manifest.Host, l *manifest.Link) bool {
	return h.fields[l.Collection+"."+l.Field] != nil && (l.State == manifest.LinkConfirmed || l.State == manifest.LinkPending && !host.IsLive(l.Session))
}

// checkVerdicts checks that verdicts are on the links of the last page.
func (r *Run) checkVerdicts(verdicts []Verdict) error {
	if len(verdicts) != r.state.Asked {
		return fmt.Errorf("%d verdicts on %d links: %w", len(verdicts), r.state.Asked, ErrRun)
	}
	after := r.state.From
	for i := range verdicts {
		if id := verdicts[i].ID; id <= after || id > r.state.At {
			return fmt.Errorf("verdict on link %.40q, which is not in its place on the page: %w", id, ErrRun)
		}
		after = verdicts[i].ID
	}
	return nil
}

// takeVerdicts confirms pending links that exist, and counts what does not.
func (r *Run) takeVerdicts(ctx context.Context, host *manifest.Host, verdicts []Verdict) error {
	step, keep := r.reconciliation(host)
	var confirm []manifest.LinkID
	for i := range verdicts {
		v := &verdicts[i]
		if !v.Exists {
			r.state.Denied++
		}
		l, err := r.h.k.Meta().Link(ctx, v.ID)
		if errors.Is(err, fs.ErrNotExist) || err == nil && l.Revision != v.Revision {
			continue // it was changed meanwhile, and stays as it is
		}
		switch {
		case err != nil:
			return err
		case l.Host != r.h.name || !r.h.isAskable(host, l):
			return fmt.Errorf("link %s: %w", l.ID, ErrRun)
		case !v.Exists:
			step.countDrop(l)
		case l.State == manifest.LinkPending:
			step.done.Confirmed++
			confirm = append(confirm, l.ID)
		default:
			if err := step.noteEvent(ctx, l); err != nil {
				return err
			}
		}
	}
	keep()
	if r.state.DryRun || len(confirm) == 0 {
		return nil
	}
	return step.confirm(ctx, confirm)
}

// Drop lets links go that the host has denied, at most a page at a time, unless they
// were changed since. Their policies follow. In a dry run it changes nothing.
func (r *Run) Drop(ctx context.Context, links []Verdict) error {
	return wrap("reconcile", r.drop(ctx, links))
}

func (r *Run) drop(ctx context.Context, links []Verdict) error {
	host, err := r.current(ctx)
	if err != nil {
		return err
	}
	n := int64(len(links))
	switch {
	case !r.state.AllLinks:
		return fmt.Errorf("links are dropped when all were asked about: %w", ErrRun)
	case n > maxRunLinks:
		return fmt.Errorf("%d links at once, at most %d are taken: %w", n, maxRunLinks, ErrValue)
	case r.state.Dropped+n > r.state.Denied:
		return fmt.Errorf("%d links, of %d that the host has denied: %w", r.state.Dropped+n, r.state.Denied, ErrRun)
	}
	gone := make([]*manifest.Link, n)
	for i := range links {
		if links[i].Exists {
			return fmt.Errorf("link %.40q exists: %w", links[i].ID, ErrRun)
		}
		gone[i] = &manifest.Link{ID: links[i].ID, Revision: links[i].Revision}
	}
	r.state.Dropped += n
	if r.state.DryRun {
		return nil
	}
	step, _ := r.reconciliation(host)
	return step.drop(ctx, gone)
}

// End ends the run. If it went over all rows and all links, and is not a dry one, the
// host counts as reconciled, and it reports true. It fails if links that the host has
// denied were not given to Drop.
func (r *Run) End(ctx context.Context) (reconciled bool, err error) {
	host, err := r.current(ctx)
	if err == nil && (r.state.Asked > 0 || !r.state.DryRun && r.state.Dropped < r.state.Denied) {
		err = fmt.Errorf("%d verdicts are due, and %d of %d denied links were dropped: %w", r.state.Asked, r.state.Dropped, r.state.Denied, ErrRun)
	}
	if err != nil || r.state.DryRun || !r.state.AllRows || !r.state.AllLinks {
		return false, wrap("reconcile", err)
	}
	err = r.h.finishReconcile(ctx, host)
	return err == nil, wrap("reconcile", err)
}
