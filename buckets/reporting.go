package buckets

import (
	"context"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/manifest"
)

func (s *Store) reportStore() *report.Store {
	return &report.Store{Meta: s.meta, Chunks: s.chunks, Now: s.now,
		Segments: func(domain string) manifest.SegmentGetter { return collect.FindSegments(s.collecting.store, domain) }}
}

// ReportUsage sums up what is stored and what it takes, from sums that are kept
// current. For operators, as all of this file.
func (s *Store) ReportUsage(ctx context.Context, opts *report.Options) (*report.Usage, error) {
	return report.MakeUsage(ctx, s.reportStore(), opts)
}
