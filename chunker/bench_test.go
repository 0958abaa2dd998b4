package chunker

import (
	"bytes"
	"io"
	"testing"
	"time"
)

func BenchmarkSplit(b *testing.B) {
	const size = 16 << 20
	for _, input := range []struct {
		name string
		data []byte
	}{{"random", stream("bench", size)}, {"text", prose("bench", size)}, {"zeros", make([]byte, size)}} {
		for _, name := range []string{"fine", "balanced", "bulk", "media"} {
			s := profile(b, name)
			b.Run(input.name+"/"+name, func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					for p := input.data; len(p) > 0; {
						p = p[s.Split(p):]
					}
				}
			})
		}
	}
}

// BenchmarkBlocks splits by blocks and by the loop in Go in turn, so that what
// else the machine does slows down both, and reports how much faster blocks are.
// Flooded data passes the filter once in 2 or 64 bytes: a block for every call.
func BenchmarkBlocks(b *testing.B) {
	if !hasBlocks() {
		b.Skip("not on this processor")
	}
	const size = 16 << 20
	media := profile(b, "media").(*gear)
	for _, input := range []struct {
		name, profile string
		data          []byte
	}{
		{"random", "fine", stream("bench", size)},
		{"random", "balanced", stream("bench", size)},
		{"random", "bulk", stream("bench", size)},
		{"random", "media", stream("bench", size)},
		{"text", "balanced", prose("bench", size)},
		{"zeros", "balanced", make([]byte, size)},
		{"flooded2", "media", flood(b, media, 2, size)},
		{"flooded64", "media", flood(b, media, 64, size)},
	} {
		b.Run(input.name+"/"+input.profile, func(b *testing.B) {
			g := profile(b, input.profile).(*gear)
			var took [2]time.Duration
			for b.Loop() {
				for i, g := range []*gear{g, inGo(g)} {
					begin := time.Now()
					for p := input.data; len(p) > 0; {
						p = p[g.Split(p):]
					}
					took[i] += time.Since(begin)
				}
			}
			bytes := float64(size) * float64(b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(bytes/1e6/took[0].Seconds(), "MB/s")
			b.ReportMetric(bytes/1e6/took[1].Seconds(), "MB/s-in-Go")
			b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "times")
		})
	}
}

func BenchmarkNext(b *testing.B) {
	p := stream("bench", 16<<20)
	for _, name := range []string{"fine", "balanced", "media", "whole"} {
		b.Run(name, func(b *testing.B) {
			c := New(nil, profile(b, name))
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				c.Reset(bytes.NewReader(p))
				for {
					if _, err := c.Next(); err == io.EOF {
						break
					}
				}
			}
		})
	}
}
