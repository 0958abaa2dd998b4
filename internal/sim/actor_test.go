package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

// An actor changes files of its own, one after the other. Their contents overlap
// with those of others.
type actor struct {
	w     *world
	id    int
	rng   *rand.Rand
	files []*file
}

// A file is a path that one actor changes, with what it may hold: what the last
// change that was acknowledged left there, and what changes since may have done
// whose outcome is unknown.
type file struct {
	name string
	id   string          // of the file there, "" if it is not known
	may  map[uint64]bool // sums of contents; absent stands for none
	any  bool            // or any content that was ever made
}

// absent is the content of a path without an active file.
const absent = 0

func newActor(w *world, id int) *actor {
	a := &actor{w: w, id: id, rng: rand.New(rand.NewPCG(w.seed, uint64(100+id)))}
	for i := range 2 {
		a.files = append(a.files, &file{name: fmt.Sprintf("a%d-%d", id, i), may: map[uint64]bool{absent: true}})
	}
	return a
}

// content makes a new content, which is to be noted.
func (a *actor) content() []byte {
	n := 1 + a.rng.IntN(4)
	if a.w.large && a.rng.IntN(3) == 0 {
		n = 40
	}
	var b []byte
	for range n {
		b = append(b, a.w.pool[a.rng.IntN(len(a.w.pool))]...)
	}
	return b
}

// note remembers a content and returns its sum.
func (w *world) note(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.contents[h.Sum64()] = b
	return h.Sum64()
}

func sumOf(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// settle notes how a change of f to a content ended.
func (f *file) settle(err error, sum uint64) {
	if err == nil {
		f.may, f.any = map[uint64]bool{sum: true}, false
		return
	}
	f.may[sum] = true
}

// known returns the content of f, if it is certain.
func (a *actor) known(f *file) ([]byte, bool) {
	if f.any || len(f.may) != 1 || f.may[absent] {
		return nil, false
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	for sum := range f.may {
		return a.w.contents[sum], true
	}
	return nil, false
}

// act does one thing.
func (a *actor) act(ctx context.Context) error {
	f := a.files[a.rng.IntN(len(a.files))]
	n := a.rng.IntN(20)
	// What is taken from a version takes what is damaged over as it is.
	if a.w.damage && n >= 10 && n < 15 {
		n -= 10
	}
	if a.w.made && a.rng.IntN(10) == 0 {
		return a.makeFrom(ctx, f)
	}
	switch {
	case n < 5:
		return a.put(ctx, f)
	case n < 8:
		return a.putInPieces(ctx, f)
	case n < 10:
		return a.putByList(ctx, f)
	case n < 12:
		return a.copyFrom(ctx, f)
	case n < 14:
		return a.edit(ctx, f)
	case n < 15:
		return a.restore(ctx, f)
	case n < 17:
		return a.remove(ctx, f)
	case n < 18:
		return a.dropVersion(ctx, f)
	}
	return a.verify(ctx, f)
}

func (a *actor) put(ctx context.Context, f *file) error {
	b := a.content()
	sum := a.w.note(b) // before others can see it
	got, err := a.w.bucket().Put(ctx, f.name, bytes.NewReader(b), nil)
	f.settle(err, sum)
	if err == nil {
		f.id = got.ID
	}
	return nil
}

func (a *actor) putInPieces(ctx context.Context, f *file) error {
	b := a.content()
	sum := a.w.note(b)
	in := a.w.uploads.In(a.w.bucket())
	up, err := in.Begin(ctx, f.name, nil)
	if err != nil {
		return nil
	}
	for n := 0; n < len(b); {
		if a.rng.IntN(10) == 0 {
			return nil // its client is gone
		}
		next := min(len(b), n+1+a.rng.IntN(40<<10))
		now, err := in.Append(ctx, up.ID, int64(n), bytes.NewReader(b[n:next]), nil)
		if err != nil {
			return nil
		}
		if now.Offset != int64(next) {
			return fmt.Errorf("%s: upload stands at %d after %d bytes", f.name, now.Offset, next)
		}
		n = next
	}
	up, err = in.Commit(ctx, up.ID)
	f.settle(err, sum)
	if err == nil {
		f.id = up.File.ID
	}
	return nil
}

func (a *actor) putByList(ctx context.Context, f *file) error {
	b := a.content()
	sum := a.w.note(b)
	in := a.w.uploads.In(a.w.bucket())
	up, err := in.Begin(ctx, f.name, &upload.Options{Listed: true})
	if err != nil {
		return nil
	}
	s, err := chunker.Parse(up.Listed.Chunker)
	if err != nil {
		return err
	}
	var cut [][]byte
	for c := chunker.New(bytes.NewReader(b), s); ; {
		p, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		cut = append(cut, bytes.Clone(p))
	}
	i := 0
	_, lacking, err := in.AppendList(ctx, up.ID, 0, func() (cas.Ref, error) {
		if i == len(cut) {
			return cas.Ref{}, io.EOF
		}
		i++
		return cas.Ref{Digest: cas.Sum(cut[i-1]), Length: uint32(len(cut[i-1]))}, nil
	})
	for range 4 {
		if err != nil {
			return nil
		}
		var send []int
		for c, err := range lacking.Each(ctx) {
			if err != nil {
				return nil
			}
			send = append(send, int(c.Index))
		}
		if _, err = in.ReceiveChunks(ctx, up.ID, func() (upload.SentChunk, error) {
			if len(send) == 0 {
				return upload.SentChunk{}, io.EOF
			}
			c := cut[send[0]]
			send = send[1:]
			return upload.SentChunk{Digest: cas.Sum(c), Bytes: c}, nil
		}); err != nil {
			return nil
		}
		var done *upload.Upload
		done, err = in.Commit(ctx, up.ID)
		if err == nil {
			f.settle(nil, sum)
			f.id = done.File.ID
			return nil
		}
		f.settle(err, sum)
		var missing *upload.MissingError
		if errors.As(err, &missing) { // collected since it was told, or marked
			lacking, err = missing.Lacking, nil
		}
	}
	return nil
}

// copyFrom copies any file to f, in place of what is there.
func (a *actor) copyFrom(ctx context.Context, f *file) error {
	of := a.w.actors[a.rng.IntN(len(a.w.actors))]
	from := of.files[a.rng.IntN(len(of.files))]
	b := a.w.bucket()
	src, err := b.StatPath(ctx, from.name)
	if err != nil {
		return nil
	}
	f.any = true // until it is told otherwise
	got, err := b.Copy(ctx, src.ID, b, &buckets.CopyOptions{Name: f.name, OnConflict: buckets.ConflictVersion})
	if err != nil {
		return nil
	}
	f.id, f.may = got.ID, map[uint64]bool{}
	return nil
}

func (a *actor) edit(ctx context.Context, f *file) error {
	base, ok := a.known(f)
	if !ok || f.id == "" {
		return nil
	}
	add := a.w.pool[a.rng.IntN(len(a.w.pool))]
	var want []byte
	var do func() (*buckets.File, error)
	switch b := a.w.bucket(); a.rng.IntN(3) {
	case 0:
		want = slices.Concat(base, add)
		do = func() (*buckets.File, error) { return b.Extend(ctx, f.id, bytes.NewReader(add), int64(len(add)), nil) }
	case 1:
		n := a.rng.IntN(len(base)) + 1
		want = base[:n]
		do = func() (*buckets.File, error) { return b.Truncate(ctx, f.id, int64(n), nil) }
	default:
		n := a.rng.IntN(len(base))
		want = slices.Concat(base[:n], add)
		if n+len(add) < len(base) {
			want = append(want, base[n+len(add):]...)
		}
		do = func() (*buckets.File, error) {
			return b.Overwrite(ctx, f.id, int64(n), bytes.NewReader(add), int64(len(add)), nil)
		}
	}
	sum := a.w.note(want) // before others can see it
	_, err := do()
	f.settle(err, sum)
	return nil
}

func (a *actor) restore(ctx context.Context, f *file) error {
	if f.id == "" {
		return nil
	}
	var ns []uint64
	for v, err := range a.w.bucket().Versions(ctx, f.id) {
		if err != nil {
			return nil
		}
		ns = append(ns, v.Version)
	}
	if len(ns) == 0 {
		return nil
	}
	f.any = true
	if _, err := a.w.bucket().RestoreVersion(ctx, f.id, ns[a.rng.IntN(len(ns))]); err == nil {
		f.may = map[uint64]bool{}
	}
	return nil
}

// remove moves a file to the trash, and out of it again, or purges it.
func (a *actor) remove(ctx context.Context, f *file) error {
	if f.id == "" {
		return nil
	}
	b := a.w.bucket()
	before, wasAny := maps.Clone(f.may), f.any
	_, err := b.Delete(ctx, f.id, nil)
	f.settle(err, absent)
	if err != nil {
		return nil
	}
	if a.rng.IntN(3) == 0 {
		got, err := b.Undelete(ctx, f.id)
		switch {
		case err == nil && got.Name != f.name:
			f.id = ""
		case err == nil:
			f.may, f.any = before, wasAny
			delete(f.may, absent)
		default:
			maps.Copy(f.may, before)
			f.any = wasAny
		}
		return nil
	}
	if err := b.Purge(ctx, f.id, nil); err == nil {
		f.id = ""
	}
	return nil
}

func (a *actor) dropVersion(ctx context.Context, f *file) error {
	if f.id == "" {
		return nil
	}
	at, err := a.w.bucket().Stat(ctx, f.id, nil)
	if err != nil || at.Version < 2 {
		return nil
	}
	a.w.bucket().DeleteVersion(ctx, f.id, 1+a.rng.Uint64N(at.Version-1)) // never the current one
	return nil
}

// verify reads a file and compares it with what it may hold.
func (a *actor) verify(ctx context.Context, f *file) error {
	got, err := a.w.readAll(ctx, f.name, &buckets.GetOptions{ByPath: true})
	if errors.Is(err, errInjected) || errors.Is(err, errCrashed) || a.w.p.crashed.Load() {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if !f.may[absent] {
			return fmt.Errorf("%s is gone: %w", f.name, err)
		}
		return nil
	}
	var damaged *cas.CorruptError
	if a.w.damage && errors.As(err, &damaged) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", f.name, err)
	}
	sum := sumOf(got)
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if _, made := a.w.contents[sum]; !f.may[sum] && !(f.any && made) {
		return fmt.Errorf("%s holds a content of %d bytes that it cannot have", f.name, len(got))
	}
	return nil
}

// prepare makes what is there before the steps begin: files, some of them purged.
func (w *world) prepare(ctx context.Context) error {
	for _, a := range w.actors {
		for i, f := range a.files {
			if err := a.put(ctx, f); err != nil {
				return err
			}
			if f.id == "" {
				return fmt.Errorf("%s could not be put", f.name)
			}
			if i == 0 && a.rng.IntN(2) == 0 {
				if err := w.bucket().Purge(ctx, f.id, nil); err != nil {
					return err
				}
				f.id, f.may = "", map[uint64]bool{absent: true}
			}
		}
	}
	return nil
}
