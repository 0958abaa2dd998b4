package manifesttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// testRoots compares a random history with a model: Roots must yield exactly the
// digests that the versions and parts of a domain lead to.
func (s *suite) testRoots() {
	seed := rand.Uint64()
	s.t.Logf("seed %d", seed)
	m := &rootModel{suite: s, r: rand.New(rand.NewPCG(seed, 1)), files: make(map[manifest.FileID]*rootFile),
		uploads: make(map[manifest.UploadID]*rootUpload)}
	for _, h := range []manifest.Home{{Bucket: "at-x", Domain: "x"}, {Bucket: "at-y", Domain: "y"},
		{Bucket: "moving", Domain: "x", To: "y", Been: []string{"y"}}, {Bucket: "been", Domain: "y", Been: []string{"x"}}} {
		s.update(func(tx manifest.Tx) error { return tx.PutHome(s.ctx, &h) })
	}
	for i := range 150 {
		m.takeStep()
		if i%50 == 49 {
			s.restart()
			m.check("x")
			m.check("y")
		}
	}
}

type rootModel struct {
	*suite
	r       *rand.Rand
	n       uint64
	files   map[manifest.FileID]*rootFile
	uploads map[manifest.UploadID]*rootUpload
}

type rootFile struct {
	bucket   string
	versions map[manifest.VersionID][]cas.Digest
}

type rootUpload struct {
	row   manifest.Upload
	parts []cas.Digest // roots
}

// isIn reports whether files of the bucket may be in a domain.
func isIn(bucket, domain string) bool {
	switch bucket {
	case "at-x":
		return domain == "x"
	case "at-y", "been":
		return domain == "y"
	}
	return true // it is being moved, or has no home
}

func (m *rootModel) pickBucket() string {
	return []string{"at-x", "at-y", "moving", "been", "unknown"}[m.r.IntN(5)]
}

func (m *rootModel) randomRefs(n int) (out []cas.Ref, ds []cas.Digest) {
	for range n {
		m.n++
		d := cas.Sum(binary.BigEndian.AppendUint64(nil, m.n))
		out, ds = append(out, cas.Ref{Digest: d, Length: 7}), append(ds, d)
	}
	return out, ds
}

// randomContent returns a content with an inline list, or with a tree of which
// only the top exists.
func (m *rootModel) randomContent() (manifest.Content, []cas.Digest) {
	if m.r.IntN(3) == 0 {
		_, ds := m.randomRefs(1)
		return manifest.Content{Size: 7 * 100, Chunks: 100, Chunker: "c", Top: ds[0]}, ds
	}
	refs, ds := m.randomRefs(1 + m.r.IntN(4))
	return manifest.Content{Size: int64(7 * len(refs)), Chunks: int64(len(refs)), Chunker: "c", Inline: refs}, ds
}

func pick[K comparable, V any](r *rand.Rand, from map[K]V) (k K, v V, ok bool) {
	n := 0
	for key, val := range from {
		if n++; r.IntN(n) == 0 {
			k, v, ok = key, val, true
		}
	}
	return k, v, ok
}

func (m *rootModel) takeStep() {
	switch m.r.IntN(8) {
	case 0, 1:
		f := &manifest.File{ID: manifest.NewFileID(), Bucket: m.pickBucket(), Name: fmt.Sprint(m.n)}
		m.files[f.ID] = &rootFile{f.Bucket, make(map[manifest.VersionID][]cas.Digest)}
		m.update(func(tx manifest.Tx) error { f := *f; return tx.PutFile(m.ctx, &f) })
		m.addVersion(f.ID)
	case 2:
		if id, _, ok := pick(m.r, m.files); ok {
			m.addVersion(id)
		}
	case 3:
		id, f, ok := pick(m.r, m.files)
		if !ok {
			return
		}
		if vid, _, ok := pick(m.r, f.versions); ok && len(f.versions) > 1 {
			m.update(func(tx manifest.Tx) error { return tx.DropManifests(m.ctx, []manifest.VersionID{vid}, day) })
			delete(f.versions, vid)
		} else {
			m.update(func(tx manifest.Tx) error { return tx.Purge(m.ctx, id, day) })
			delete(m.files, id)
		}
	case 4:
		if id, _, ok := pick(m.r, m.files); ok {
			m.update(func(tx manifest.Tx) error {
				f, err := tx.File(m.ctx, id)
				if err != nil {
					return err
				}
				f.State, f.DeletedAt = manifest.Trashed, day
				return tx.PutFile(m.ctx, f)
			})
		}
	case 5:
		u := &rootUpload{row: *newUpload(m.pickBucket(), "ann", 1)}
		u.row.Domain, u.row.Listed = []string{"x", "y"}[m.r.IntN(2)], m.r.IntN(4) == 0
		m.uploads[u.row.ID] = u
		m.putUploads(&u.row)
	case 6:
		if id, u, ok := pick(m.r, m.uploads); ok {
			refs, ds := m.randomRefs(1 + m.r.IntN(3))
			n := u.row.Parts
			switch {
			case !u.row.Listed:
				u.row.Parts, u.parts = n+1, append(u.parts, ds...)
			case m.r.IntN(2) == 0: // chunks that were sent
				n = manifest.SentParts + u.row.Sent
				u.row.Sent, u.parts = u.row.Sent+1, append(u.parts, ds...)
			default:
				u.row.Parts++
			}
			m.update(func(tx manifest.Tx) error {
				return errors.Join(tx.PutPart(m.ctx, id, n, refs), tx.PutUpload(m.ctx, &u.row))
			})
		}
	case 7:
		if id, u, ok := pick(m.r, m.uploads); ok {
			delete(m.uploads, id)
			u.row.Expired = m.r.IntN(2) == 0
			if !u.row.Expired {
				u.row.Manifest = manifest.NewVersionID()
			}
			m.putUploads(&u.row)
		}
	}
}

func (m *rootModel) addVersion(id manifest.FileID) {
	c, ds := m.randomContent()
	v := &manifest.Manifest{ID: manifest.NewVersionID(), File: id, Content: c, CreatedAt: day}
	m.update(func(tx manifest.Tx) error {
		f, err := tx.File(m.ctx, id)
		if err != nil {
			return err
		}
		f.LastVersion++
		f.Versions++
		f.Current, v.Version = v.ID, f.LastVersion
		return errors.Join(tx.PutManifest(m.ctx, v), tx.PutFile(m.ctx, f))
	})
	m.files[id].versions[v.ID] = ds
}

func (m *rootModel) check(domain string) {
	m.t.Helper()
	want, got := make(map[cas.Digest]bool), make(map[cas.Digest]bool)
	for _, f := range m.files {
		for _, ds := range f.versions {
			for _, d := range ds {
				if isIn(f.bucket, domain) {
					want[d] = true
				}
			}
		}
	}
	for _, u := range m.uploads {
		for _, d := range u.parts {
			if u.row.Domain == domain || u.row.Bucket == "moving" {
				want[d] = true
			}
		}
	}
	for r, err := range m.s.Roots(m.ctx, domain) {
		if err != nil {
			m.t.Fatal(err)
		}
		if (r.Version == "") == (r.Upload == "") {
			m.t.Errorf("a root of nothing, or of two: %+v", r)
		}
		if !r.Top.IsZero() {
			got[r.Top] = true
		}
		for _, c := range r.Chunks {
			got[c.Digest] = true
		}
	}
	if !maps.Equal(got, want) {
		m.t.Errorf("roots of %s: %d digests, want %d", domain, len(got), len(want))
	}
}
