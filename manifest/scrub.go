package manifest

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Scrubbed is what came of the last scrub of a pack: its bytes were read and
// compared with their digests.
type Scrubbed struct {
	Pack   cas.PackID
	At     time.Time // when it was read
	Size   int64     // of the pack
	Bytes  int64     // that were read of it
	Bad    int64     // damaged chunks that were found
	Failed string    // why the pack could not be read; "" if it could
}

// Scrubs are the methods of a Store for the results of scrubs.
type Scrubs interface {
	// PutScrubbed takes the place of what was noted of these packs. It is durable
	// as a change by cas.Index.Apply is: to lose it means to read packs again.
	PutScrubbed(ctx context.Context, domain string, ss []Scrubbed) error
	// AllScrubbed yields what was noted, in order of packs, of one moment.
	AllScrubbed(ctx context.Context, domain string) iter.Seq2[Scrubbed, error]
	// DropScrubbed removes what was noted of packs. Those that are gone are no
	// error.
	DropScrubbed(ctx context.Context, domain string, ids []cas.PackID) error
}

// AppendBinary appends the canonical encoding of the row.
func (s *Scrubbed) AppendBinary(b []byte) ([]byte, error) {
	return appendRow(b, tagScrubbed, "scrubbed pack", s)
}

// UnmarshalBinary decodes what AppendBinary wrote.
func (s *Scrubbed) UnmarshalBinary(p []byte) error {
	*s = Scrubbed{}
	return parseRow(p, tagScrubbed, "scrubbed pack", 6, s)
}

func (s *Scrubbed) codeFields(c *codec) {
	c.packID(1, &s.Pack)
	c.time(2, &s.At)
	c.size(3, &s.Size)
	c.size(4, &s.Bytes)
	c.size(5, &s.Bad)
	c.text(6, &s.Failed)
}
