package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// previewRemoval answers what a removal would give back.
func (s *Server) previewRemoval(w http.ResponseWriter, r *http.Request) error {
	var in client.Removal
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if len(in.Delete) == 0 && in.Bucket == "" && in.VersionsBefore == nil {
		return fmt.Errorf("want delete, bucket or versions_before: %w", errRequest)
	}
	if in.Prefix != "" && in.Bucket == "" {
		return fmt.Errorf("prefix %.80q without a bucket: %w", in.Prefix, errRequest)
	}
	removal := &buckets.Removal{Bucket: in.Bucket, Prefix: in.Prefix}
	if in.VersionsBefore != nil {
		removal.Before = in.VersionsBefore.Time
	}
	for _, ref := range in.Delete {
		bucket, id, ok := strings.Cut(ref, "/")
		if !ok {
			return fmt.Errorf("delete %.80q: want BUCKET/ID: %w", ref, errRequest)
		}
		removal.Delete = append(removal.Delete, buckets.FileRef{Bucket: bucket, ID: id})
	}
	return s.answerWorking(w, r, "preview of a removal", func(ctx context.Context, k *worker) (any, error) {
		started := time.Now()
		p, err := s.store.PreviewRemoval(ctx, removal, k.noteCollect)
		if err != nil {
			return nil, err
		}
		return previewView(p, time.Since(started)), nil
	})
}

// noteCollect notes the progress of what package collect does.
func (k *worker) noteCollect(p collect.Progress) { k.note(workingView(&p)) }

// explainStored answers what keeps a chunk, a pack or a file.
func (s *Server) explainStored(w http.ResponseWriter, r *http.Request) error {
	started := time.Now()
	q := r.URL.Query()
	var explain func(ctx context.Context, k *worker) (*collect.Explanation, error)
	switch digest, pack, file := q.Get("digest"), q.Get("pack"), q.Get("file"); {
	case len(q["digest"])+len(q["pack"])+len(q["file"]) != 1, digest+pack+file == "":
		return fmt.Errorf("want one of digest, pack and file: %w", errRequest)
	case digest != "":
		d, err := cas.ParseDigest(digest)
		if err != nil {
			return fmt.Errorf("digest: %w: %w", err, errRequest)
		}
		explain = func(ctx context.Context, _ *worker) (*collect.Explanation, error) {
			return s.store.ExplainChunk(ctx, d)
		}
	case pack != "":
		id, ok := cas.ParsePackID(pack)
		if !ok {
			return fmt.Errorf("pack %.80q: want 32 hexadecimal digits: %w", pack, errRequest)
		}
		explain = func(ctx context.Context, _ *worker) (*collect.Explanation, error) {
			return s.store.ExplainPack(ctx, id)
		}
	default:
		explain = func(ctx context.Context, k *worker) (*collect.Explanation, error) {
			return s.store.ExplainFile(ctx, file, k.noteCollect)
		}
	}
	return s.answerWorking(w, r, "explanation", func(ctx context.Context, k *worker) (any, error) {
		x, err := explain(ctx, k)
		if err != nil {
			return nil, err
		}
		return explainedView(x, time.Since(started)), nil
	})
}

func previewView(p *collect.Preview, took time.Duration) *client.RemovalPreview {
	sums := func(s *collect.PreviewSums) client.RemovalSums {
		return client.RemovalSums{FreedBytes: s.FreedBytes, PendingBytes: s.PendingBytes, SharedBytes: s.SharedBytes, WaitingBytes: s.WaitingBytes}
	}
	v := &client.RemovalPreview{Files: p.Files, Versions: p.Versions, LogicalBytes: p.LogicalBytes, RemovalSums: sums(&p.PreviewSums),
		Backends: []client.BackendPreview{}, Links: removalLinksView(&p.Links), TookMS: took.Milliseconds()}
	for i := range p.Domains {
		v.Backends = append(v.Backends, client.BackendPreview{Backend: p.Domains[i].Domain, RemovalSums: sums(&p.Domains[i].PreviewSums)})
	}
	return v
}

func explainedView(x *collect.Explanation, took time.Duration) *client.Explained {
	v := &client.Explained{Kind: x.Kind, Kept: x.Kept(), Because: []string{}, Holders: []client.ChunkHolder{}, HolderCount: x.HolderCount, Unread: x.Unread, Sources: x.Sources}
	for _, r := range x.Because {
		v.Because = append(v.Because, string(r))
	}
	for i := range x.Holders {
		v.Holders = append(v.Holders, holderView(&x.Holders[i]))
	}
	for i := range x.Linked {
		v.Linked = append(v.Linked, linkedFileView(&x.Linked[i]))
	}
	v.Unreconciled = x.Unreconciled
	for _, p := range x.Places {
		v.Places = append(v.Places, client.ChunkPlace{Backend: p.Domain, Pack: p.Pack.String(), Frame: p.Frame.String(), Offset: p.Offset,
			StoredBytes: p.Stored, Length: p.Length, Damaged: p.Bad})
	}
	if p := x.Pack; p != nil {
		v.Pack = &client.PackExplained{Backend: p.Domain, Size: p.Size, LiveBytes: p.Live, DeadBytes: p.Dead, RecordBytes: p.Records, Frames: p.Frames,
			Sealed: p.Sealed, Doomed: p.Doomed, LastCommit: p.LastCommit, Checkpoint: p.Checkpoint}
	}
	for _, w := range x.Writers {
		v.WaitsFor = append(v.WaitsFor, client.WaitsFor{Since: client.Time{Time: w.At}, Epoch: w.Begin})
	}
	if g := x.Removed; g != nil {
		v.Removed = &client.RemovedFile{Bucket: g.Bucket, Path: g.Path, FileID: string(g.File), RemovedAt: client.Time{Time: g.At}}
	}
	for i := range x.Freed {
		v.Freed = append(v.Freed, freedView(&x.Freed[i]))
	}
	if x.Returns != nil {
		v.Preview = previewView(x.Returns, took)
	}
	return v
}

// holderView returns what needs a chunk as clients see it.
func holderView(h *collect.Holder) client.ChunkHolder {
	v := client.ChunkHolder{Bucket: h.Bucket, Path: h.Path, FileID: string(h.File), ManifestID: string(h.Version), Version: h.Number, UploadID: string(h.Upload)}
	if h.Upload == "" {
		v.State = h.State.String()
	}
	if h.Pins != (collect.LinkCounts{}) {
		pins := linkCountsView(h.Pins)
		v.Links, v.Overdue = &pins, h.Overdue
	}
	return v
}

// freedView returns an entry of the ledger as clients see it.
func freedView(f *manifest.Freed) client.FreedEntry {
	v := client.FreedEntry{At: client.Time{Time: f.At}, Backend: f.Domain, Pack: f.Pack.String(), Bucket: f.Cause.Bucket, Path: f.Cause.Path,
		FileID: string(f.Cause.File), Bytes: f.Bytes, Copied: f.Copied}
	if !f.Cause.At.IsZero() {
		v.RemovedAt = &client.Time{Time: f.Cause.At}
	}
	return v
}
