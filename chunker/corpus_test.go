package chunker

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const frameSize = 1 << 20 // plain bytes that a frame is filled up to

// frames compresses new chunks as a store does, many together.
type frames struct {
	enc    *zstd.Encoder
	plain  []byte
	stored int64 // bytes
}

func (f *frames) add(chunk []byte) {
	if len(f.plain)+len(chunk) > frameSize {
		f.flush()
	}
	f.plain = append(f.plain, chunk...)
}

func (f *frames) flush() {
	if len(f.plain) > 0 {
		f.stored += int64(len(f.enc.EncodeAll(f.plain, nil)))
		f.plain = f.plain[:0]
	}
}

// TestCorpus measures dedup and compression of every profile over the files of
// the folder CAIRN_CORPUS, in order of their names. Each file is an upload.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("CAIRN_CORPUS")
	if dir == "" {
		t.Skip("CAIRN_CORPUS names no folder")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range profiles {
		var sum tally
		out := frames{enc: enc}
		for _, name := range files {
			if err := cutFile(name, p.splitter, &sum, &out); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%-8s %s: %.2f MB in %d chunks, average %.1f KiB, longest %.0f KiB; unique %.2f MB in %d chunks; in zstd frames %.2f MB",
			p.name, p.splitter, float64(sum.total)/1e6, sum.chunks, sum.average()/1024, float64(sum.longest)/1024,
			float64(sum.unique)/1e6, sum.uniqueChunks, float64(out.stored)/1e6)
	}
}

func cutFile(name string, s Splitter, sum *tally, out *frames) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for c := New(f, s); ; {
		chunk, err := c.Next()
		if errors.Is(err, io.EOF) {
			out.flush()
			return nil
		}
		if err != nil {
			return err
		}
		if sum.add(chunk) {
			out.add(chunk)
		}
	}
}
