package chunker

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/blake3"
)

// stream returns n bytes of BLAKE3's extendable output for seed. Golden cuts
// depend on it, and other languages can reproduce it.
func stream(seed string, n int) []byte {
	h := blake3.New()
	h.WriteString(seed)
	p := make([]byte, n)
	h.Digest().Read(p)
	return p
}

// words holds the vocabulary of prose, in the order that golden cuts need.
var words = [16]string{
	"the ", "chunk", " of ", "a store", ".\n", "return ", "  ", "func", "(x)", " = ", "0", "content", ", ", "byte", " and ", "{}\n\t",
}

// prose returns n bytes of low-entropy text: the word for the low four bits of
// every byte of the stream.
func prose(seed string, n int) []byte {
	p := make([]byte, 0, n+16)
	for _, b := range stream(seed, n) {
		if p = append(p, words[b&15]...); len(p) >= n {
			break
		}
	}
	return p[:n]
}

// sparse returns n bytes as disk images have them: stretches of random bytes,
// zeros with a few bytes set, and zeros, 64 KiB each, in turn.
func sparse(seed string, n int) []byte {
	p := stream(seed, n)
	for i, b := range p {
		switch kind := i >> 16 % 3; {
		case kind == 1 && b >= 8, kind == 2:
			p[i] = 0
		}
	}
	return p
}

// cuts returns the chunk lengths of p.
func cuts(s Splitter, p []byte) []int {
	var lengths []int
	for len(p) > 0 {
		n := s.Split(p[:min(len(p), s.Max())])
		lengths = append(lengths, n)
		p = p[n:]
	}
	return lengths
}

// tally counts distinct chunks. Its zero value is ready.
type tally struct {
	seen                 map[[32]byte]bool
	total, unique        int64 // bytes
	chunks, uniqueChunks int
	longest              int // bytes
}

// add counts a chunk and reports whether it is new.
func (t *tally) add(chunk []byte) bool {
	if t.seen == nil {
		t.seen = make(map[[32]byte]bool)
	}
	t.total += int64(len(chunk))
	t.chunks++
	t.longest = max(t.longest, len(chunk))
	sum := blake3.Sum256(chunk)
	if t.seen[sum] {
		return false
	}
	t.seen[sum] = true
	t.unique += int64(len(chunk))
	t.uniqueChunks++
	return true
}

// average returns the mean chunk length in bytes.
func (t *tally) average() float64 { return float64(t.total) / float64(t.chunks) }

func (t *tally) addAll(s Splitter, p []byte) {
	for _, n := range cuts(s, p) {
		t.add(p[:n])
		p = p[n:]
	}
}

// versions returns count versions of one text. Each is its predecessor with
// edits scattered over it: parts replaced, deleted, inserted or moved.
func versions(size, count, edits int) [][]byte {
	r := rand.New(rand.NewChaCha8([32]byte{'v'}))
	all := [][]byte{prose("versions", size)}
	for len(all) < count {
		p := bytes.Clone(all[len(all)-1])
		for range edits {
			p = edit(r, p, 1+r.IntN(2000))
		}
		all = append(all, p)
	}
	return all
}

// edit returns p with one change of up to n bytes.
func edit(r *rand.Rand, p []byte, n int) []byte {
	at := r.IntN(len(p) - n)
	fresh := make([]byte, n)
	for i := range fresh {
		fresh[i] = words[3][r.IntN(len(words[3]))]
	}
	tail := p[at:]
	switch r.IntN(4) {
	case 0: // replace
		tail = tail[n:]
	case 1: // delete
		fresh, tail = nil, tail[n:]
	case 2: // insert
	case 3: // copy from elsewhere
		from := r.IntN(len(p) - n)
		fresh = p[from : from+n]
	}
	return bytes.Join([][]byte{p[:at], fresh, tail}, nil)
}

func profile(t testing.TB, name string) Splitter {
	t.Helper()
	s, err := Profile(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
