package api

import (
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
)

func linkCountsView(c collect.LinkCounts) client.LinkCounts {
	return client.LinkCounts{Standing: c.Standing, Released: c.Released}
}

// linkedFileView returns a file that links hold as operators see it.
func linkedFileView(l *collect.LinkedFile) client.LinkedFile {
	v := client.LinkedFile{Bucket: l.Bucket, Path: l.Path, FileID: string(l.File), ManifestID: string(l.Version), State: l.State.String(),
		LinkCounts: linkCountsView(l.LinkCounts), Restrict: l.Restrict, SetNull: l.SetNull, Overdue: l.Overdue, Records: []client.Reference{}}
	if l.Gone {
		v.State = string(buckets.Purged)
	}
	for _, link := range l.Links {
		v.Records = append(v.Records, referenceView(link))
	}
	return v
}

func removalLinksView(l *collect.PreviewLinks) client.RemovalLinks {
	v := client.RemovalLinks{LinkCounts: linkCountsView(l.LinkCounts), Refused: l.Refused, Refusing: []client.LinkedFile{},
		Told: append([]string{}, l.Told...), Unreconciled: append([]string{}, l.Unreconciled...)}
	for i := range l.Refusing {
		v.Refusing = append(v.Refusing, linkedFileView(&l.Refusing[i]))
	}
	return v
}
