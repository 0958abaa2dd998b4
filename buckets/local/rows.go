package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// rows checks every file and version: that its chunks can be read, that its
// row is what the packs say, and mends the packs where they lag behind.
func (c *checker) rows(ctx context.Context) (err error) {
	all, err := c.s.meta.Homes(ctx)
	if err != nil {
		return err
	}
	c.homes = make(map[string]*manifest.Home)
	for _, h := range all {
		c.homes[h.Bucket] = h
	}
	said, err := c.records.cursor()
	defer said.stop()
	if err != nil {
		return err
	}
	for f, err := range c.s.meta.AllFiles(ctx) {
		if err != nil {
			return err
		}
		c.report.Files++
		records, err := said.of(f.ID)
		if err != nil {
			return err
		}
		d := c.domainOf(f, &records)
		if d == nil {
			c.problem(Problem{Kind: "metadata", FileID: string(f.ID), Path: f.Bucket + "/" + f.Path(),
				Detail: fmt.Sprintf("nothing tells where the content of bucket %q lies; give --config and --schema", f.Bucket)})
			continue
		}
		if rev := records.revision; rev != f.Revision {
			d.missing = append(d.missing, manifest.Record{File: f})
			c.problem(Problem{Kind: "metadata", FileID: string(f.ID), Path: f.Bucket + "/" + f.Path(), Repaired: c.repairs(),
				Detail: fmt.Sprintf("the packs hold revision %d of the file's row, the database %d", rev, f.Revision)})
		}
		if _, err := c.s.meta.Manifest(ctx, f.Current); errors.Is(err, fs.ErrNotExist) {
			c.problem(Problem{Kind: "manifest", FileID: string(f.ID), Path: f.Bucket + "/" + f.Path(), ManifestID: string(f.Current),
				Detail: "the file's current version is missing"})
		}
		n, err := d.versions(ctx, f, &records)
		if err != nil {
			return err
		}
		if n != f.Versions {
			c.problem(Problem{Kind: "manifest", FileID: string(f.ID), Path: f.Bucket + "/" + f.Path(),
				Detail: fmt.Sprintf("the file counts %d versions, there are %d", f.Versions, n)})
		}
	}
	for _, d := range c.domains {
		if err := d.append(ctx); err != nil {
			return err
		}
	}
	return nil
}

// domainOf finds where a file's content lies: where the database says or, if
// it has never been told, where the policy of its bucket does or, without one,
// where its record was found.
func (c *checker) domainOf(f *manifest.File, records *fileRecords) *domainChecker {
	if h, ok := c.homes[f.Bucket]; ok && h.Domain != "" {
		return c.domains[h.Domain]
	}
	if p, ok := c.opts.Buckets[f.Bucket]; ok {
		return c.domains[p.Domain]
	}
	if records.revision > 0 {
		return c.domains[records.domain]
	}
	if len(c.s.domains) == 1 {
		return c.domains[c.s.domains[0].name]
	}
	return nil
}

// append brings the records that are missing there to the packs.
func (c *domainChecker) append(ctx context.Context) error {
	for c.repairs() && len(c.missing) > 0 {
		seq, err := c.s.meta.TakeNumber(ctx)
		if err != nil {
			return err
		}
		slots, n, err := manifest.EncodeSome(seq, c.missing)
		if err != nil {
			return err
		}
		if err := c.chunks.AppendRecords(ctx, &cas.Records{Commit: seq, Slots: slots}); err != nil {
			return err
		}
		c.missing = c.missing[n:]
	}
	return nil
}

func (c *domainChecker) versions(ctx context.Context, f *manifest.File, records *fileRecords) (n uint64, err error) {
	for m, err := range c.s.meta.Versions(ctx, f.ID) {
		if err != nil {
			return n, err
		}
		n++
		c.report.Manifests++
		if !records.has(m.Version) {
			c.missing = append(c.missing, manifest.Record{Manifest: m})
			c.problem(Problem{Kind: "metadata", FileID: string(f.ID), Path: f.Bucket + "/" + f.Path(), ManifestID: string(m.ID), Repaired: c.repairs(),
				Detail: "the packs do not hold the version's row"})
		}
		if why, err := c.readable(ctx, m); err != nil {
			return n, err
		} else if why != nil {
			why.Kind, why.FileID, why.ManifestID, why.Path = "manifest", string(f.ID), string(m.ID), f.Bucket+"/"+f.Path()
			c.report.Damaged = append(c.report.Damaged, *why)
		}
	}
	return n, nil
}

// readable returns nil, or what keeps the version from being read whole.
func (c *domainChecker) readable(ctx context.Context, m *manifest.Manifest) (*Problem, error) {
	var why *Problem
	stop := errors.New("stop")
	ds := make([]cas.Digest, 1)
	out := make([]cas.ChunkEntry, 1)
	err := m.Runs(ctx, getSegments{c}, func(r cas.Ref, _ int64) error {
		if pack, ok := c.bad[r.Digest]; ok {
			why = &Problem{Digest: r.Digest.String(), Pack: pack.String(), Detail: "a chunk is damaged"}
			return stop
		}
		ds[0] = r.Digest
		if err := c.chunks.Index().Chunks(ctx, ds, out); err != nil {
			return err
		}
		if out[0].Frame == (cas.FrameID{}) || out[0].Length != r.Length {
			why = &Problem{Digest: r.Digest.String(), Detail: "a chunk is not stored"}
			return stop
		}
		return nil
	})
	var ce *cas.CorruptError
	switch {
	case err == stop:
		return why, nil
	case errors.As(err, &ce):
		return &Problem{Digest: ce.Digest.String(), Pack: ce.Pack.String(), Detail: "a segment of the chunk list is damaged"}, nil
	case errors.Is(err, manifest.ErrFormat):
		return &Problem{Detail: err.Error()}, nil
	}
	return nil, err
}

// getSegments finds segments in the database or else in the packs.
type getSegments struct{ c *domainChecker }

func (g getSegments) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	out, err := g.c.s.meta.Segments(g.c.name).Segments(ctx, ds)
	for i := 0; err == nil && i < len(out); i++ {
		if out[i] == nil {
			out[i], err = g.c.chunks.Get(ctx, ds[i], nil)
		}
	}
	return out, err
}

// sums compares the usage of every bucket, and of every owner in it, with the
// rows.
func (c *checker) sums(ctx context.Context) error {
	type share struct{ bucket, owner string }
	want := make(map[string]manifest.Usage)
	owned := make(map[share]manifest.Usage)
	names := make(map[string]int)
	for f, err := range c.s.meta.AllFiles(ctx) {
		if err != nil {
			return err
		}
		who := share{f.Bucket, f.Owner}
		want[f.Bucket], owned[who] = counted(want[f.Bucket], f), counted(owned[who], f)
		if f.State == manifest.Active {
			names[f.Bucket]++
		}
	}
	wrong := false
	for bucket, w := range want {
		got, err := c.s.meta.Usage(ctx, bucket)
		if err != nil {
			return err
		}
		n := 0
		for _, err := range c.s.meta.List(ctx, bucket, nil) {
			if err != nil {
				return err
			}
			n++
		}
		if got != w || n != names[bucket] {
			wrong = true
			c.problem(Problem{Kind: "index", Repaired: c.repairs(),
				Detail: fmt.Sprintf("bucket %q: names or usage do not agree with the files", bucket)})
		}
	}
	for who, w := range owned {
		got, err := c.s.meta.OwnerUsage(ctx, who.bucket, who.owner)
		if err != nil {
			return err
		}
		if got != w {
			wrong = true
			c.problem(Problem{Kind: "index", Repaired: c.repairs(),
				Detail: fmt.Sprintf("bucket %q: usage of owner %q does not agree with the files", who.bucket, who.owner)})
		}
	}
	if wrong && c.repairs() {
		return c.s.meta.Reindex(ctx)
	}
	return nil
}

// counted is u with f in it.
func counted(u manifest.Usage, f *manifest.File) manifest.Usage {
	if f.State == manifest.Trashed {
		u.TrashedFiles, u.TrashedVersions = u.TrashedFiles+1, u.TrashedVersions+int64(f.Versions)
		u.TrashedBytes, u.TrashedChunks = u.TrashedBytes+f.TotalSize, u.TrashedChunks+f.TotalChunks
	} else {
		u.Files, u.Versions = u.Files+1, u.Versions+int64(f.Versions)
		u.Bytes, u.Chunks = u.Bytes+f.TotalSize, u.Chunks+f.TotalChunks
	}
	return u
}
