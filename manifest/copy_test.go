package manifest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A content that cannot be copied, since its version was removed meanwhile, leaves
// the copier without those of its chunks that others need too: they are copied with
// the others.
func TestCopyAfterAFailure(t *testing.T) {
	const n = 10
	for lost := range n {
		from, to := openStore(t), openStore(t)
		p := noise(rand.New(rand.NewPCG(1, 2)), n*1000)
		var refs []cas.Ref
		if err := write(t, from, &segments{}, p, 1000).Walk(t.Context(), nil, nil, func(rs []cas.Ref) error {
			refs = append(refs, rs...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		gone := append([]cas.Ref(nil), refs...)
		gone[lost] = cas.Ref{Digest: cas.Sum([]byte("collected")), Length: 1000}
		k := &manifest.Copier{From: from, To: to}
		if err := k.Refs(t.Context(), gone); err == nil {
			t.Fatal("what is not stored was copied")
		}
		if err := k.Refs(t.Context(), refs); err != nil {
			t.Fatal(err)
		}
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := to.Read(t.Context(), refs, make([]byte, len(p))); err != nil {
			t.Errorf("chunk %d was lost: %v", lost, err)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
