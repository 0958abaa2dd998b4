//go:build !amd64

package chunker

func hasBlocks() bool { return false }

func scanBlocks(*byte, int, uint16) (int, uint64) { panic("chunker: no scanBlocks here") }
