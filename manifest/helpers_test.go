package manifest_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// seeded returns a random source whose seed is printed when the test fails.
// CAIRN_SEED repeats a run.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("CAIRN_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("CAIRN_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// fixedRef is the i-th of an endless list of references that never changes.
func fixedRef(i int) cas.Ref {
	p := binary.BigEndian.AppendUint64([]byte("fixed reference "), uint64(i))
	d := cas.Sum(p)
	return cas.Ref{Digest: d, Length: 1 + binary.BigEndian.Uint32(d[:4])%cas.MaxChunk}
}

func fixedRefs(n int) []cas.Ref {
	refs := make([]cas.Ref, n)
	for i := range refs {
		refs[i] = fixedRef(i)
	}
	return refs
}

// segments keeps segments in memory, and counts what is asked for.
type segments struct {
	mu    sync.Mutex
	m     map[cas.Digest][]byte // guarded by mu
	asked int                   // guarded by mu; segments
	calls int                   // guarded by mu
	bytes int64                 // guarded by mu; of what was put and not there
}

func newSegments() *segments { return &segments{m: make(map[cas.Digest][]byte)} }

func (s *segments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range segs {
		if s.m[g.Digest] == nil {
			s.m[g.Digest] = slices.Clone(g.Data)
			s.bytes += int64(len(g.Data))
		}
	}
	return ctx.Err()
}

func (s *segments) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.asked = s.calls+1, s.asked+len(ds)
	out := make([][]byte, len(ds))
	for i, d := range ds {
		out[i] = s.m[d]
	}
	return out, ctx.Err()
}

func (s *segments) put(p []byte) (cas.Digest, error) {
	d := cas.SumSegment(p)
	return d, s.PutSegments(context.Background(), []manifest.Segment{{Digest: d, Data: p}})
}

// list makes a content of refs, keeping its segments in s.
func (s *segments) list(t testing.TB, refs []cas.Ref) *manifest.Content {
	t.Helper()
	c, err := manifest.BuildList(refs, s.put)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	fixedFile    = manifest.FileID("f_00000000000000000000000000000000000g")
	fixedUUID    = manifest.FileID("0123abcd-4567-4ef0-89ab-cdef00112233")
	fixedVersion = manifest.VersionID("m_0000000000000000000000000000000000h0")
)

// fixedRows are rows with every field set and rows with as few as can be.
func fixedRows(t testing.TB) (files map[string]*manifest.File, manifests map[string]*manifest.Manifest) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)
	files = map[string]*manifest.File{
		"file-empty": {},
		"file-full": {ID: fixedFile, Revision: 300, Bucket: "demo", Folder: "a/b", Name: "ü.txt",
			State: manifest.Trashed, Owner: "anna", Access: map[string]string{"read": "true", "delete": ""},
			Metadata: []byte(`{"k":1}`), Tags: []string{"z", "", "a"}, Current: fixedVersion, LastVersion: 9,
			Versions: 3, TotalSize: 1 << 40, TotalChunks: 1 << 20, CreatedAt: at, UpdatedAt: at.Add(time.Hour),
			DeletedAt: at.Add(2 * time.Hour)},
	}
	uuid := *files["file-full"]
	uuid.ID = fixedUUID
	files["file-uuid"] = &uuid
	cached := uuid
	cached.ContentAt = at.Add(time.Second)
	cached.CacheControl = "max-age=60, immutable"
	files["file-cached"] = &cached
	cascaded := cached
	cascaded.Cascaded = true
	files["file-cascaded"] = &cascaded
	full := &manifest.Manifest{ID: fixedVersion, File: fixedFile, Version: 3, MIMEType: "text/plain",
		DeclaredMIMEType: "text/html", CreatedAt: at, CreatedBy: "u_1"}
	segmented := *full
	full.Content = *newSegments().list(t, fixedRefs(3))
	full.Chunker, full.Digests = "gear", map[string][]byte{"sha256": {1, 2, 3}, "md5": {0, 255}}
	segmented.Content = *newSegments().list(t, fixedRefs(700))
	manifests = map[string]*manifest.Manifest{
		"manifest-empty":     {},
		"manifest-inline":    full,
		"manifest-segmented": &segmented,
	}
	return files, manifests
}
