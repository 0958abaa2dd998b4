package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

const (
	poolBlocks = 48
	blockSize  = 192 << 10
)

// A block is a run of bytes that a seed names. Those of the pool are in many
// files, of all workers.
type block uint64

func (b block) bytes() []byte {
	p := make([]byte, blockSize)
	seed := sha256.Sum256(fmt.Appendf(nil, "block %d", b))
	rand.NewChaCha8(seed).Read(p)
	return p
}

// newBlocks returns the blocks that are in many files.
func newBlocks() map[block][]byte {
	pool := make(map[block][]byte)
	for b := range block(poolBlocks) {
		pool[b] = b.bytes()
	}
	return pool
}

// A span is a part of a block.
type span struct {
	block  block
	off, n int
}

// A text is content as the blocks that it is made of.
type text []span

func (x text) size() (n int) {
	for _, s := range x {
		n += s.n
	}
	return n
}

// cut returns the bytes from one offset to another.
func (x text) cut(from, to int) (out text) {
	at := 0
	for _, s := range x {
		lo, hi := max(from-at, 0), min(to-at, s.n)
		if lo < hi {
			out = append(out, span{s.block, s.off + lo, hi - lo})
		}
		at += s.n
	}
	return out
}

// A state is what is known of a file: its versions, oldest first. A file that is
// gone has none.
type state struct {
	versions []edition
	trashed  bool
}

type edition struct {
	sum  string // sha256
	text text
	id   string // its manifest ID, "" where the answer was lost
	n    uint64
}

func (s state) sums() []string {
	var out []string
	for _, v := range s.versions {
		out = append(out, v.sum)
	}
	return out
}

func (s state) with(v edition) state {
	return state{versions: append(slices.Clone(s.versions), v)}
}

// A kept is a file of a worker.
type kept struct {
	bucket, path, id string
	state
}

// A worker does what users do, and knows what must have come of it.
type worker struct {
	*arena
	n       int
	r       *rand.Rand
	c       *client.Client
	files   []*kept
	made    int
	unique  block
	pending []*sending // uploads that were left where they are
	counts  map[string]int
}

func (w *worker) render(x text) []byte {
	out := make([]byte, 0, x.size())
	for _, s := range x {
		p := w.pool[s.block]
		if p == nil {
			p = s.block.bytes()
		}
		out = append(out, p[s.off:s.off+s.n]...)
	}
	return out
}

func (w *worker) sumOf(x text) string { return sum(w.render(x)) }

// newText makes content: mostly of what others have too.
func (w *worker) newText() (x text) {
	if w.r.IntN(4) == 0 {
		return text{w.newSpan(1 + w.r.IntN(4000))}
	}
	for range 1 + w.r.IntN(5) {
		x = append(x, w.newSpan(blockSize/4+w.r.IntN(blockSize*3/4)))
	}
	return x
}

func (w *worker) newSpan(n int) span {
	b := block(w.r.IntN(poolBlocks))
	if w.r.IntN(5) == 0 {
		w.unique++
		b = w.unique
	}
	return span{b, w.r.IntN(blockSize - n + 1), n}
}

// run works until it is over.
func (w *worker) run(ctx, over context.Context) {
	for over.Err() == nil && ctx.Err() == nil && !w.t.Failed() {
		w.step(ctx)
	}
}

// step does one thing.
func (w *worker) step(ctx context.Context) {
	if len(w.files) < 4 || len(w.files) < 24 && w.r.IntN(3) == 0 {
		w.putFile(ctx)
		return
	}
	f := w.files[w.r.IntN(len(w.files))]
	if f.trashed {
		if w.r.IntN(2) == 0 {
			w.changeFile(ctx, "undelete", f, state{versions: f.versions}, func() error {
				_, err := w.c.Undelete(ctx, f.bucket, f.id)
				return err
			})
		} else {
			w.purgeFile(ctx, f)
		}
		return
	}
	switch n := w.r.IntN(20); {
	case n < 4:
		w.replaceFile(ctx, f)
	case n < 8:
		w.editFile(ctx, f)
	case n < 9:
		w.copyFile(ctx, f)
	case n < 11:
		w.changeFile(ctx, "delete", f, state{versions: f.versions, trashed: true}, func() error { return w.c.Delete(ctx, f.bucket, f.id) })
	case n < 12 || len(f.versions) > 6:
		w.purgeFile(ctx, f)
	case n < 14:
		w.changeVersions(ctx, f)
	default:
		w.readFile(ctx, f)
	}
}

// try runs a request. It returns whether the server has done it: if not, or if
// that is not known, the server was killed, or said that it cannot do it now.
func (w *worker) try(what string, do func() error) bool {
	w.counts[what]++
	err := do()
	if err != nil {
		w.judge(what, err)
	}
	return err == nil
}

// judge fails the test unless err is one that a killed server, or a move, makes.
func (a *arena) judge(what string, err error) {
	var refusal *client.Error
	if errors.As(err, &refusal) && refusal.Status != http.StatusServiceUnavailable {
		a.t.Errorf("%s: %v", what, err)
	}
}

// changeFile does what makes next of a file.
func (w *worker) changeFile(ctx context.Context, what string, f *kept, next state, do func() error) {
	before := f.state
	if ok := w.try(what, do); ok {
		f.state = next
	}
	w.settle(ctx, what, f, before, next)
}

// settle asks the server what a file is after a change whose answer may be lost.
// That must be what it was before, or after: the latter, if that was answered.
func (w *worker) settle(ctx context.Context, what string, f *kept, before, after state) {
	if len(f.versions) > 0 && slices.Equal(f.sums(), after.sums()) && f.trashed == after.trashed && f.versions[len(f.versions)-1].id != "" {
		return
	}
	got, ok := w.observe(ctx, f)
	if !ok {
		return
	}
	for _, may := range []state{after, before} {
		if slices.Equal(got.sums(), may.sums()) && (got.trashed == may.trashed || len(may.versions) == 0) {
			for i := range may.versions {
				got.versions[i].text = may.versions[i].text
			}
			if f.state = got; len(got.versions) == 0 {
				w.files = slices.DeleteFunc(w.files, func(o *kept) bool { return o == f })
			}
			return
		}
	}
	w.t.Errorf("after %s %s/%s is %v (trashed %v), want %v (%v) or %v (%v)", what, f.bucket, f.path,
		got.sums(), got.trashed, after.sums(), after.trashed, before.sums(), before.trashed)
}

// observe returns what the server has of a file; ok is false if the test ends.
func (w *worker) observe(ctx context.Context, f *kept) (out state, ok bool) {
	for ; ctx.Err() == nil; w.waitForServer(ctx) {
		st, err := w.lookUp(ctx, f)
		if isGone(err) {
			return state{}, true
		}
		if err == nil {
			f.id = st.ID
			out = state{trashed: st.State == "trashed"}
			if out.versions, err = w.listVersions(ctx, f); err == nil {
				return out, true
			}
		}
		w.judge("look at "+f.path, err)
		if w.t.Failed() {
			return out, false
		}
	}
	return out, false
}

func (w *worker) lookUp(ctx context.Context, f *kept) (*client.File, error) {
	if f.id == "" {
		return w.c.StatPath(ctx, f.bucket, f.path, nil)
	}
	return w.c.Stat(ctx, f.bucket, f.id, &client.GetOptions{Trashed: true})
}

// listVersions returns the versions of a file, oldest first.
func (w *worker) listVersions(ctx context.Context, f *kept) (out []edition, err error) {
	for v, err := range w.c.Versions(ctx, f.bucket, f.id) {
		if err != nil {
			return nil, err
		}
		out = append(out, edition{sum: v.Checksums["sha256"], id: v.ManifestID, n: v.Version})
	}
	slices.Reverse(out)
	return out, nil
}

func isGone(err error) bool {
	var refusal *client.Error
	return errors.As(err, &refusal) && refusal.Status == http.StatusNotFound
}

// newFile returns a file that is not there yet, under a path of its own.
func (w *worker) newFile(bucket string) *kept {
	w.made++
	return &kept{bucket: bucket, path: fmt.Sprintf("w%d-%d", w.n, w.made)}
}

func (w *worker) chooseBucket() string { return []string{"docs", "moving"}[w.r.IntN(2)] }

// putFile stores a new file by some protocol.
func (w *worker) putFile(ctx context.Context) {
	f, x := w.newFile(w.chooseBucket()), w.newText()
	w.makeFile(ctx, "put", f, x, func() (*client.File, error) { return w.send(ctx, f, x) })
}

// makeFile does what makes a new file.
func (w *worker) makeFile(ctx context.Context, what string, f *kept, x text, do func() (*client.File, error)) {
	next := state{versions: []edition{{text: x, sum: w.sumOf(x)}}}
	w.files = append(w.files, f)
	w.changeFile(ctx, what, f, next, func() error {
		out, err := do()
		if err == nil && out != nil {
			f.id, next.versions[0].id, next.versions[0].n = out.ID, out.ManifestID, out.Version
			if out.Name != f.path || out.Checksums["sha256"] != next.versions[0].sum {
				w.t.Errorf("%s %s: it is %q, %v, want %s", what, f.path, out.Name, out.Checksums, next.versions[0].sum)
			}
		}
		return err
	})
}

// addVersion does what makes a new version of a file.
func (w *worker) addVersion(ctx context.Context, what string, f *kept, x text, do func() (*client.File, error)) {
	next := f.with(edition{text: x, sum: w.sumOf(x)})
	w.changeFile(ctx, what, f, next, func() error {
		out, err := do()
		if err == nil {
			v := &next.versions[len(next.versions)-1]
			v.id, v.n = out.ManifestID, out.Version
		}
		return err
	})
}

func (w *worker) current(f *kept) *edition { return &f.versions[len(f.versions)-1] }

// replaceFile stores a new version: other content, or what an older one has.
func (w *worker) replaceFile(ctx context.Context, f *kept) {
	x := w.newText()
	if w.r.IntN(3) == 0 {
		x = append(w.current(f).text.cut(0, w.current(f).text.size()/2), x...)
	}
	p := w.render(x)
	w.addVersion(ctx, "replace", f, x, func() (*client.File, error) {
		defer w.clock()()
		if w.r.IntN(2) == 0 {
			return w.c.Replace(ctx, f.bucket, f.id, bytes.NewReader(p), &client.UploadOptions{Size: int64(len(p)), SizeKnown: true})
		}
		out, err := w.c.Put(ctx, f.bucket, "", bytes.NewReader(p), &client.PutOptions{FileID: f.id})
		if err != nil {
			return nil, err
		}
		return out.File, nil
	})
}

// editFile changes a part of a file.
func (w *worker) editFile(ctx context.Context, f *kept) {
	old := w.current(f).text
	size := old.size()
	at, add := w.r.IntN(size+1), text{w.newSpan(1 + w.r.IntN(20000))}
	p := w.render(add)
	switch w.r.IntN(4) {
	case 0:
		w.addVersion(ctx, "append", f, append(old.cut(0, size), add...), func() (*client.File, error) {
			return w.c.Append(ctx, f.bucket, f.id, bytes.NewReader(p), int64(len(p)), nil)
		})
	case 1:
		x := append(append(old.cut(0, at), add...), old.cut(at+len(p), size)...)
		w.addVersion(ctx, "overwrite", f, x, func() (*client.File, error) {
			return w.c.WriteRange(ctx, f.bucket, f.id, int64(at), bytes.NewReader(p), int64(len(p)), nil)
		})
	case 2:
		at = max(at, 1)
		w.addVersion(ctx, "truncate", f, old.cut(0, at), func() (*client.File, error) {
			return w.c.Truncate(ctx, f.bucket, f.id, int64(at), nil)
		})
	default:
		n, out := int64(at), w.newFile(f.bucket)
		in := &client.Composition{Name: out.path, Pieces: []client.Piece{{File: f.id, Length: &n}, {Data: p}, {File: f.id, Offset: n}}}
		w.makeFile(ctx, "compose", out, append(append(old.cut(0, at), add...), old.cut(at, size)...), func() (*client.File, error) {
			return w.c.Compose(ctx, f.bucket, in, nil)
		})
	}
}

func (w *worker) copyFile(ctx context.Context, f *kept) {
	out := w.newFile(w.chooseBucket())
	w.makeFile(ctx, "copy", out, w.current(f).text, func() (*client.File, error) {
		return w.c.Copy(ctx, f.bucket, f.id, &client.CopyOptions{Bucket: out.bucket, Name: out.path})
	})
}

func (w *worker) purgeFile(ctx context.Context, f *kept) {
	w.changeFile(ctx, "purge", f, state{}, func() error { return w.c.Purge(ctx, f.bucket, f.id) })
}

// changeVersions makes an old version current, or removes it.
func (w *worker) changeVersions(ctx context.Context, f *kept) {
	i := w.r.IntN(len(f.versions))
	old := f.versions[i]
	if i == len(f.versions)-1 || w.r.IntN(2) == 0 {
		w.addVersion(ctx, "restore", f, old.text, func() (*client.File, error) { return w.c.RestoreVersion(ctx, f.bucket, f.id, old.n) })
		return
	}
	next := state{versions: slices.Delete(slices.Clone(f.versions), i, i+1)}
	w.changeFile(ctx, "remove version", f, next, func() error { return w.c.DeleteVersion(ctx, f.bucket, f.id, old.n) })
}

// readFile reads a version, or a range of it.
func (w *worker) readFile(ctx context.Context, f *kept) {
	v := &f.versions[w.r.IntN(len(f.versions))]
	from, to := 0, v.text.size()
	if to > 0 && w.r.IntN(2) == 0 {
		from = w.r.IntN(to)
		to = from + 1 + w.r.IntN(to-from)
	}
	w.try("read", func() error { return w.readRange(ctx, f, v, from, to) })
}

// readRange compares bytes of a version with what they must be.
func (w *worker) readRange(ctx context.Context, f *kept, v *edition, from, to int) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/files/"+f.bucket+"/"+v.id+"/download?trashed=true", nil)
	if err != nil {
		return err
	}
	if from < to {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return &client.Error{Status: resp.StatusCode, Detail: string(p)}
	}
	if want := w.render(v.text.cut(from, to)); !bytes.Equal(p, want) {
		w.t.Errorf("%s/%s version %d from %d to %d: %d other bytes", f.bucket, f.path, v.n, from, to, len(p))
	}
	return nil
}

// verify reads every version of every file.
func (w *worker) verify(ctx context.Context, t *testing.T) (versions int) {
	for _, f := range w.files {
		for i := range f.versions {
			v := &f.versions[i]
			versions++
			if err := w.readRange(ctx, f, v, 0, v.text.size()); err != nil {
				t.Errorf("%s/%s (%s) version %d (%s), trashed %v: %v", f.bucket, f.path, f.id, v.n, v.id, f.trashed, err)
			}
		}
	}
	return versions
}

// clock begins to measure an upload. What the returned function ends counts
// unless the server was killed meanwhile, or collection was turned on or off.
func (a *arena) clock() func() {
	began, life, on := time.Now(), a.life.Load(), a.collecting.Load()
	return func() {
		if a.life.Load() != life || a.collecting.Load() != on {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.took[on] = append(a.took[on], time.Since(began))
	}
}

func describeCounts(ws []*worker) string {
	all := make(map[string]int)
	for _, w := range ws {
		for what, n := range w.counts {
			all[what] += n
		}
	}
	out := ""
	for _, what := range slices.Sorted(maps.Keys(all)) {
		out += fmt.Sprintf(" %s %d", what, all[what])
	}
	return out
}
