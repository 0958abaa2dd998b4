package manifest

import (
	"context"
	"iter"
	"time"
)

// A Point is what a domain held on a day, so that reports can show how that has
// changed.
type Point struct {
	Day    time.Time // midnight, UTC
	Domain string

	Files, Versions, LogicalBytes int64 // of all files, those in the trash too
	References                    int64 // to chunks, of all versions
	Chunks, UniqueBytes           int64 // distinct chunks, and their plain bytes
	LiveBytes                     int64 // stored bytes of frames that chunks need
	PackBytes, RecordBytes        int64 // of all packs, and of their frames of records
	FreedBytes                    int64 // that collections gave back on that day
}

// Points are the methods of a Store for points.
type Points interface {
	// PutPoint takes the place of the point of the same day and domain. It is
	// durable as a change by cas.Index.Apply is.
	PutPoint(ctx context.Context, p *Point) error
	// Points yields the points of the days that do not lie before since, oldest
	// first, those of a day in order of domains.
	Points(ctx context.Context, since time.Time) iter.Seq2[*Point, error]
	// DropPoints removes the points of the days before a time.
	DropPoints(ctx context.Context, before time.Time) error
}

// AppendBinary appends the canonical encoding of the row.
func (p *Point) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagPoint, "point", p) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (p *Point) UnmarshalBinary(b []byte) error {
	*p = Point{}
	return parseRow(b, tagPoint, "point", 12, p)
}

func (p *Point) codeFields(c *codec) {
	c.time(1, &p.Day)
	c.text(2, &p.Domain)
	for i, n := range []*int64{&p.Files, &p.Versions, &p.LogicalBytes, &p.References, &p.Chunks, &p.UniqueBytes,
		&p.LiveBytes, &p.PackBytes, &p.RecordBytes, &p.FreedBytes} {
		c.size(byte(3+i), n)
	}
}
