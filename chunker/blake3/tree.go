package blake3

import (
	"encoding/binary"
	"math/bits"

	"lukechampine.com/blake3/guts"
)

// groupSize is how many bytes guts compresses at a time: 16 of BLAKE3's chunks
// of 1 KiB, which are a whole subtree.
const groupSize = guts.MaxSIMD * guts.ChunkSize

// A tree is a summer by guts, which compresses groups. The tree above
// the groups is built here, without goroutines or allocations: the Hasher of
// guts' own module starts a goroutine for each subtree.
type tree struct {
	key   [8]uint32
	flags uint32

	// stack has the chaining values of whole subtrees, the largest first: one
	// for each bit that is set in the number of groups compressed so far.
	stack [64][8]uint32

	// tail is where the end of the input is copied to, since guts reads a
	// whole group whatever the length.
	tail [groupSize]byte
}

func newTree() *tree { return &tree{key: guts.IV} }

func newDerivedTree(context string) *tree {
	t := &tree{key: guts.IV, flags: guts.FlagDeriveKeyContext}
	root := t.compressAll([]byte(context))
	t.key, t.flags = guts.ChainingValue(root), guts.FlagDeriveKeyMaterial
	return t
}

func (t *tree) sum(p []byte) (d [32]byte) {
	for i, word := range guts.ChainingValue(t.compressAll(p)) {
		binary.LittleEndian.PutUint32(d[4*i:], word)
	}
	return d
}

// compressAll returns the root node of p.
func (t *tree) compressAll(p []byte) guts.Node {
	groups := uint64(0) // compressed, all followed by more
	depth := 0          // of stack
	for len(p) > groupSize {
		node := guts.CompressBuffer((*[groupSize]byte)(p), groupSize, &t.key, groups*guts.MaxSIMD, t.flags)
		p = p[groupSize:]
		value := guts.ChainingValue(node)
		groups++
		for range bits.TrailingZeros64(groups) {
			depth--
			value = t.joinSubtrees(t.stack[depth], value)
		}
		t.stack[depth] = value
		depth++
	}
	node := t.compressLast(p, groups*guts.MaxSIMD)
	for depth > 0 {
		depth--
		node = guts.ParentNode(t.stack[depth], guts.ChainingValue(node), &t.key, t.flags)
	}
	node.Flags |= guts.FlagRoot
	return node
}

// compressLast returns the node of the last group, which may be short.
func (t *tree) compressLast(p []byte, counter uint64) guts.Node {
	if len(p) <= guts.ChunkSize {
		return guts.CompressChunk(p, &t.key, counter, t.flags)
	}
	group := &t.tail
	if len(p) == groupSize {
		group = (*[groupSize]byte)(p)
	} else {
		copy(group[:], p)
	}
	return guts.CompressBuffer(group, len(p), &t.key, counter, t.flags)
}

// joinSubtrees returns the chaining value of the parent of two subtrees.
func (t *tree) joinSubtrees(left, right [8]uint32) [8]uint32 {
	return guts.ChainingValue(guts.ParentNode(left, right, &t.key, t.flags))
}
