package cas_test

import (
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// Every level decodes, and the highest makes less of text than the lowest.
func TestLevels(t *testing.T) {
	race.LeaveOut(t)
	text := prose(seeded(t), 900_000)
	for _, codec := range []cas.Codec{cas.Zstd, cas.Gzip} {
		sizes := make(map[int]int64)
		for _, level := range []int{0, 1, 3, 6, 9} {
			s := newWorld(t).store(t, nil)
			b := s.NewBatch(t.Context(), &cas.BatchOptions{Compression: cas.Compression{Codec: codec, Level: level}})
			if err := b.Put(text); err != nil {
				t.Fatal(err)
			}
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
			sizes[level] = b.Stats().StoredBytes
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			checkGet(t, s, text)
		}
		if sizes[9] >= sizes[1] {
			t.Errorf("%s: level 9 takes %d bytes, level 1 %d", codec, sizes[9], sizes[1])
		}
	}
}
