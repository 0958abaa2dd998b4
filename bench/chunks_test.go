package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/cairn-store/cairn/chunker"
)

// countingTool counts the chunks that it is given.
type countingTool struct {
	t       *testing.T
	chunks  int
	removed map[byte]int // units by the last letters of their names
	dirs    map[string]bool
}

func (c *countingTool) writeUnit(dir string, n int, chunks [][]byte) error {
	s, err := chunker.Profile("fine")
	rest := bytes.Join(chunks, nil)
	for ; err == nil && len(rest) > 0; c.chunks++ {
		cut := s.Split(rest[:min(len(rest), s.Max())])
		if rest = rest[cut:]; cut != len(chunks[0]) {
			c.t.Errorf("a chunk of %d bytes, want %d", cut, len(chunks[0]))
		}
	}
	name := nameUnit(n)
	c.removed[name[len(name)-1]]++
	c.dirs[dir] = true
	return errors.Join(err, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
}

func (c *countingTool) store(_ context.Context, dir string, _ int) (result, error) {
	_, err := os.Stat(dir)
	return result{wall: time.Second, peak: 3e6}, err
}

func (c *countingTool) steps() []chunkStep {
	return []chunkStep{{"one", func(context.Context) (result, error) { return result{peak: 7e6}, nil }}, {"", func(context.Context) (result, error) { return result{peak: 9e6}, nil }}}
}

func (c *countingTool) sizes() (packs, index int64, err error) { return 5e6, 0, nil }

// Units are made of chunks of one length, stored in batches that are deleted, and
// a known share of them is removed in each step.
func TestChunks(t *testing.T) {
	block, err := makeBlock()
	if err != nil {
		t.Fatal(err)
	}
	b := &chunkBench{chunkOptions: &chunkOptions{}, work: t.TempDir(), units: 100, unit: 10, batch: 60, block: block}
	c := &countingTool{t: t, removed: make(map[byte]int), dirs: make(map[string]bool)}
	var out bytes.Buffer
	tw := tabwriter.NewWriter(&out, 0, 0, 1, ' ', 0)
	if err := errors.Join(b.runTool(t.Context(), tw, "counting", c), tw.Flush()); err != nil {
		t.Fatal(err)
	}
	if want := 1000; c.chunks != want || c.removed['a'] != 1 || c.removed['b'] != 29 || len(c.dirs) != 2 {
		t.Errorf("%d chunks, units %v, batches %v", c.chunks, c.removed, c.dirs)
	}
	for dir := range c.dirs {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "counting store 2.00 0.00 3 5.0") || !strings.HasPrefix(lines[1], "counting one   0.00 0.00 7") {
		t.Errorf("shown:\n%s", out.String())
	}
}
