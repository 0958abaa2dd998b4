package chunker

import (
	"syscall"
	"testing"
)

// Nothing before and nothing behind p is read: there may be no memory.
func TestBlocksStayInside(t *testing.T) {
	skipWithoutBlocks(t)
	page := syscall.Getpagesize()
	all, err := syscall.Mmap(-1, 0, 3*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(all)
	p := all[page : 2*page]
	copy(p, stream("inside", page))
	for _, outside := range [][]byte{all[:page], all[2*page:]} {
		if err := syscall.Mprotect(outside, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	for size := gearWindow; size <= 64+4*blockSize; size++ {
		for n := gearWindow - 1; n < min(size, gearWindow+blockSize); n++ {
			checkPlaces(t, "front", p[:size:size], n, 1<<26)
			checkPlaces(t, "back", p[page-size:], n, 1<<26)
		}
	}
	checkPlaces(t, "page", p, gearWindow-1, 1<<26)
}
