package cas

import (
	"context"
	"fmt"
	"sync"
)

// WindowSize is how many plain bytes a reader that goes through a file in
// order had better read from a remote store at a time; longReaders may do so
// at the same time. A window of it may take two requests, where a pack ends in
// it; on the whole there are fewer than one for every 8 MiB.
const (
	WindowSize  = 12 << 20
	longReaders = 2
)

// AheadSize is how many bytes all readers of a store may keep that nobody has asked
// for yet. Far away it has to hide how long a request takes.
const (
	AheadSize    = 64 << 20
	farAheadSize = 256 << 20
)

// A Cache keeps the stored bytes of frames near. What it gives need not be
// right: it is verified like all that is read. Its methods may be called
// concurrently and do not keep p.
type Cache interface {
	Get(id FrameID, p []byte) bool // fills p, which is as long as what was put
	Put(id FrameID, p []byte)
	Drop(id FrameID)
}

// LongReader asks for leave to read a remote store in windows of WindowSize.
// Where it is given, release must be called in the end.
func (s *Store) LongReader() (release func(), ok bool) {
	if !s.remote {
		return nil, false
	}
	select {
	case s.long <- struct{}{}:
		return sync.OnceFunc(func() { <-s.long }), true
	default:
		return nil, false
	}
}

// TakeAhead takes n bytes of the room for what readers keep that nobody has asked
// for yet. Where it is given, GiveAheadBack must give it back in the end.
func (s *Store) TakeAhead(n int64) bool { return s.ahead.TryAcquire(n) }

// GiveAheadBack gives back what TakeAhead has taken.
func (s *Store) GiveAheadBack(n int64) { s.ahead.Release(n) }

// Get appends the chunk d to dst and returns the extended slice. What it
// returns has been verified; damage is a *CorruptError.
func (s *Store) Get(ctx context.Context, d Digest, dst []byte) ([]byte, error) {
	e := make([]ChunkEntry, 1)
	if err := s.ix.Chunks(ctx, []Digest{d}, e); err != nil {
		return dst, fmt.Errorf("cas: get %s: %w", d, err)
	}
	n := len(dst)
	dst = append(dst, make([]byte, e[0].Length)...)
	if err := s.Read(ctx, []Ref{{Digest: d, Length: e[0].Length}}, dst[n:]); err != nil {
		return dst[:n], err
	}
	return dst, nil
}

// Read fills dst with the chunks refs, one after another; their lengths must
// sum up to len(dst). Chunks of one frame are read together and frames side
// by side. What it delivers has been verified; damage is a *CorruptError.
func (s *Store) Read(ctx context.Context, refs []Ref, dst []byte) error {
	wants, err := s.planRead(ctx, refs, dst)
	if err == nil {
		err = s.load.loadChunks(ctx, wants)
	}
	if err != nil {
		return fmt.Errorf("cas: read: %w", err)
	}
	return nil
}
