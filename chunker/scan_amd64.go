package chunker

import "golang.org/x/sys/cpu"

// hasBlocks reports whether this processor can run scanBlocks.
func hasBlocks() bool { return cpu.X86.HasAVX2 }

// nibbleTables holds G as scanBlocks looks it up, by nibble: the low and the
// high bytes of gearLow, then those of gearHigh.
//
//lint:ignore U1000 scan_amd64.s reads it
var nibbleTables = splitBytes(gearLow, gearHigh)

func splitBytes(tables ...[16]uint16) (out [4][16]byte) {
	for t, table := range tables {
		for i, g := range table {
			out[2*t][i], out[2*t+1][i] = byte(g), byte(g>>8)
		}
	}
	return out
}

// scanBlocks goes through blocks of 64 bytes, the first of which begins 32
// bytes behind p, until it finds places n with C(n) <= most behind bytes of
// one. It returns the number of the block, and in bit i of hits whether the
// place behind byte i of it is one. Without any it returns blocks and 0.
//
//go:noescape
func scanBlocks(p *byte, blocks int, most uint16) (i int, hits uint64)
