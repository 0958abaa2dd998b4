package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// ReportOptions are options of reports; nil and zero values are defaults.
type ReportOptions struct {
	Top int // how many entries a list has, at most MaxTop; 0 is 20
}

// MaxTop is how many entries a list of a report has at most.
const MaxTop = 1000

// fetchReport has the server make a report. It calls progress, if that is not nil,
// about once a second.
func fetchReport[R any](ctx context.Context, c *Client, name string, opts *ReportOptions, progress func(*Working)) (*R, error) {
	q := &request{method: http.MethodGet, admin: true, path: []string{"storage", "reports", name}}
	if opts != nil && opts.Top != 0 {
		q.query = url.Values{"top": {strconv.Itoa(opts.Top)}}
	}
	return followWork[R](ctx, c, q, progress)
}
