package report

import (
	"cmp"
	"context"
)

// homes tell in which domain the versions of a bucket are counted.
type homes struct {
	domains map[string]string // by bucket
	known   map[string]bool
	first   string // domain
}

// findHomes reads where buckets are. One that is no longer declared is where it was
// last.
func findHomes(ctx context.Context, s *Store) (*homes, error) {
	rows, err := s.Meta.Homes(ctx)
	if err != nil {
		return nil, err
	}
	h := &homes{make(map[string]string), make(map[string]bool), s.listDomains()[0]}
	for _, d := range s.listDomains() {
		h.known[d] = true
	}
	for _, row := range rows {
		h.domains[row.Bucket] = cmp.Or(row.Domain, row.From)
	}
	return h, nil
}

// domainOf returns the domain of a bucket, the first if there is no such domain.
func (h *homes) domainOf(bucket string) string {
	if d := h.domains[bucket]; h.known[d] {
		return d
	}
	return h.first
}
