package chunker

import (
	"bytes"
	"io"
	"testing"
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

// BenchmarkFlooded splits what passes the filter as often as possible.
func BenchmarkFlooded(b *testing.B) {
	g := profile(b, "media").(*gear)
	p := flood(b, g, g.max)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		g.Split(p)
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
