package collect

import (
	"iter"
	"math"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
)

// A mark of a digest says what keeps its chunk alive, or which grave held it: a
// value in a digests.Log, which the first 16 bytes of the digest stand for. Should
// two digests begin with the same 16, the dead one of them is kept, which loses no
// data.
//
// buried is set in the value of a mark that no root has made. The rest of the value
// is the place of the grave in a graveLog: the newest has the lowest. Of a mark of a
// root, the value is the number that the walk gave it. So of the marks of a digest
// the one with the lowest value counts.
const buried = 1 << 63

// maxVisited is how many segments a mark remembers: those of a thousand million
// chunks, in 512 MiB at most. Beyond it segments are walked again for each place
// that they stand in.
const maxVisited = 8 << 20

// findMark returns the value of the mark that counts of a digest, or the highest
// number. It is for few digests.
func findMark(l *digests.Log, d cas.Digest) (uint64, error) {
	v, ok, err := l.Find(digests.KeyOf(d))
	if err != nil || ok {
		return v, err
	}
	return math.MaxUint64, nil
}

// A markedChunk is an entry of the index with its mark.
type markedChunk struct {
	cas.ChunkEntry
	marked bool
	value  uint64
}

func (c *markedChunk) isLive() bool { return c.marked && c.value < buried }

// joinMarks yields the entries of an index, in order of digests, each with its
// mark. What it yields is valid until the next.
func joinMarks(entries iter.Seq2[cas.ChunkEntry, error], marks *digests.Log) iter.Seq2[*markedChunk, error] {
	return func(yield func(*markedChunk, error) bool) {
		var c markedChunk
		for j, err := range digests.JoinChunks(entries, marks) {
			c = markedChunk{j.Entry, j.Found, j.Value}
			if !yield(&c, err) {
				return
			}
		}
	}
}
