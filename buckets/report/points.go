package report

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// pointYears is how long points are kept.
const pointYears = 10

// NotePoints notes what each domain holds as that of today, in UTC: it takes the
// place of what was noted today before. It reads a row for each owner, frame, pack
// and entry of the ledger. Points that are older than ten years at removal, a time
// that removals go by, are dropped; zero drops none.
func NotePoints(ctx context.Context, s *Store, removal time.Time) error {
	today := s.Now().UTC().Truncate(24 * time.Hour)
	files, err := sumDomains(ctx, s)
	if err != nil {
		return fmt.Errorf("note what is stored today: %w", err)
	}
	freed, err := sumFreed(ctx, s, today)
	if err != nil {
		return fmt.Errorf("note what is stored today: %w", err)
	}
	for _, domain := range s.listDomains() {
		u := files[domain]
		p := &manifest.Point{Day: today, Domain: domain, Files: u.Files + u.TrashedFiles, Versions: u.Versions + u.TrashedVersions,
			LogicalBytes: u.Bytes + u.TrashedBytes, References: u.Chunks + u.TrashedChunks, FreedBytes: freed[domain]}
		err := addStored(ctx, p, s.Chunks[domain].Index())
		if err == nil {
			err = s.Meta.PutPoint(ctx, p)
		}
		if err != nil {
			return fmt.Errorf("note what backend %q stores today: %w", domain, err)
		}
	}
	if removal.IsZero() {
		return nil
	}
	return s.Meta.DropPoints(ctx, removal.UTC().Truncate(24*time.Hour).AddDate(-pointYears, 0, 0))
}

// sumDomains sums up the files of each domain.
func sumDomains(ctx context.Context, s *Store) (map[string]manifest.Usage, error) {
	homes, err := findHomes(ctx, s)
	if err != nil {
		return nil, err
	}
	out := make(map[string]manifest.Usage)
	for owned, err := range s.Meta.OwnerUsages(ctx) {
		if err != nil {
			return nil, err
		}
		domain := homes.domainOf(owned.Bucket)
		u := out[domain]
		addUsage(&u, &owned.Usage)
		out[domain] = u
	}
	return out, nil
}

// sumFreed sums up what each backend has got back on a day.
func sumFreed(ctx context.Context, s *Store, day time.Time) (map[string]int64, error) {
	out := make(map[string]int64)
	for f, err := range s.Meta.Ledger(ctx) {
		if err != nil {
			return nil, err
		}
		if !f.Copied && f.At.UTC().Truncate(24*time.Hour).Equal(day) {
			out[f.Domain] += f.Bytes
		}
	}
	return out, nil
}

// addStored adds what the index counts to a point.
func addStored(ctx context.Context, p *manifest.Point, index cas.Index) error {
	for f, err := range index.AllFrames(ctx) {
		if err != nil {
			return err
		}
		if f.Kind != cas.KindSegment {
			p.Chunks += int64(f.Live)
			p.UniqueBytes += int64(f.LiveBytes)
		}
	}
	for k, err := range index.AllPacks(ctx) {
		if err != nil {
			return err
		}
		p.LiveBytes += k.Live
		p.PackBytes += k.Size
		p.RecordBytes += k.Records
	}
	return nil
}

// ListPoints returns the points up to today, the oldest first, each the sum over all
// domains of a day. There are at most those of ten years.
func ListPoints(ctx context.Context, s *Store) (out []manifest.Point, err error) {
	now := s.Now()
	for p, err := range s.Meta.Points(ctx, time.Time{}) {
		if err != nil {
			return nil, fmt.Errorf("list what was stored on each day: %w", err)
		}
		if p.Day.After(now) {
			break // of a clock that was ahead; it is replaced when that day comes
		}
		if n := len(out); n > 0 && out[n-1].Day.Equal(p.Day) {
			addPoint(&out[n-1], p)
			continue
		}
		p.Domain = ""
		out = append(out, *p)
	}
	return out, nil
}

func addPoint(to, p *manifest.Point) {
	to.Files += p.Files
	to.Versions += p.Versions
	to.LogicalBytes += p.LogicalBytes
	to.References += p.References
	to.Chunks += p.Chunks
	to.UniqueBytes += p.UniqueBytes
	to.LiveBytes += p.LiveBytes
	to.PackBytes += p.PackBytes
	to.RecordBytes += p.RecordBytes
	to.FreedBytes += p.FreedBytes
}
