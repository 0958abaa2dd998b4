package buckets

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/manifest"
)

// Reports are for operators.

func (s *Store) reportStore() *report.Store {
	return &report.Store{Meta: s.meta, Chunks: s.chunks, Now: s.now,
		Collect: s.collecting.store, MaxWriterAge: s.collecting.policy.MaxWait,
		Segments: func(domain string) manifest.SegmentGetter { return collect.FindSegments(s.collecting.store, domain) }}
}

// ReportDedup compares what is stored with what it takes. It takes about as long as
// a collection that finds nothing to do. It notes what is stored today.
func (s *Store) ReportDedup(ctx context.Context, opts *report.Options) (*report.Dedup, error) {
	if err := s.notePoints(ctx); err != nil && ctx.Err() == nil { // as on a full disk
		s.log.Warn("what is stored today was not noted", "error", err)
	}
	return report.MakeDedup(ctx, s.reportStore(), opts)
}

// ReportFragmentation tells how scattered the current versions of files lie, and what
// reading them would cost. It looks up each of their chunks.
func (s *Store) ReportFragmentation(ctx context.Context, opts *report.Options) (*report.Fragmentation, error) {
	return report.MakeFragmentation(ctx, s.reportStore(), opts)
}

// ReportUsage sums up what is stored and what it takes, from sums that are kept
// current.
func (s *Store) ReportUsage(ctx context.Context, opts *report.Options) (*report.Usage, error) {
	return report.MakeUsage(ctx, s.reportStore(), opts)
}

// ReportGarbage tells where freed bytes went, what waits to be freed and for what,
// and what unfinished uploads hold. It takes as long as a collection that finds
// nothing to do.
func (s *Store) ReportGarbage(ctx context.Context, opts *report.Options) (*report.Garbage, error) {
	return report.MakeGarbage(ctx, s.reportStore(), opts)
}

// ReportOrphans finds what lies in backends and in the database and nothing names or
// needs, and files and links of records that lack each other. It takes as long as a
// collection that finds nothing to do.
func (s *Store) ReportOrphans(ctx context.Context, opts *report.Options) (*report.Orphans, error) {
	return report.MakeOrphans(ctx, s.reportStore(), opts)
}

// Ledger yields what the ledger has of freed bytes, the newest entries first.
func (s *Store) Ledger(ctx context.Context) iter.Seq2[*manifest.Freed, error] {
	return s.meta.Ledger(ctx)
}

// pointCheck is the time between two looks whether a day has begun.
const pointCheck = 10 * time.Minute

// runPoints notes what is stored once a day in UTC, until ctx is done.
func (s *Store) runPoints(ctx context.Context) error {
	noted := time.Time{}
	for {
		if today := s.now().UTC().Truncate(24 * time.Hour); !today.Equal(noted) {
			switch err := s.notePoints(ctx); {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				s.log.Error("what is stored today was not noted; it is tried again", "after", pointCheck, "error", err)
			default:
				noted = today
			}
		}
		select {
		case <-time.After(pointCheck):
		case <-ctx.Done():
			return nil
		}
	}
}

// notePoints notes what is stored today, unless the store takes no changes.
func (s *Store) notePoints(ctx context.Context) error {
	if s.checkWritable(ctx) != nil { // which was logged
		return nil
	}
	return WrapSpace(report.NotePoints(ctx, s.reportStore(), s.removalTime()))
}
