package buckets_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
)

// BenchmarkPut stores files of several sizes, all of them new, one after another.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 30} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, err := local.Open(b.Context(), b.TempDir(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			demo, err := s.Bucket("demo")
			if err != nil {
				b.Fatal(err)
			}
			p := noise(1, size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := range b.N {
				for at := 0; at < len(p); at += 1 << 10 { // no chunk is stored
					binary.LittleEndian.PutUint64(p[at:], binary.LittleEndian.Uint64(p[at:])+uint64(i)+1)
				}
				if _, err := demo.Put(b.Context(), fmt.Sprint("f", i), bytes.NewReader(p), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
