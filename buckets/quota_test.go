package buckets_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/internal/race"
)

// What counts under max_owner_size and max_total_size: files and all that is
// written about them, uploads under way and all that is known of them, each byte
// once. Both limits are 100,000 bytes here; ann does all steps but those of bob.
func TestQuotasCount(t *testing.T) {
	race.LeaveOut(t)
	const limit = 100_000
	type world struct {
		s        *buckets.Store
		ann, bob *buckets.Bucket
		ids      []string
	}
	type step func(w *world) error
	text := func(n int) string { return strings.Repeat("x", n) }
	file := func(name string, n int, opts *buckets.PutOptions) step {
		return func(w *world) error {
			f, err := w.ann.Put(t.Context(), name, bytes.NewReader(noise(uint64(n), n)), opts)
			if err == nil {
				w.ids = append(w.ids, f.ID)
			}
			return err
		}
	}
	begin := func(o *upload.Options, n int) step {
		return func(w *world) error {
			up, err := uploads(w.ann).Begin(t.Context(), fmt.Sprint("up", len(w.ids)), o)
			if err != nil {
				return err
			}
			w.ids = append(w.ids, up.ID)
			p := noise(uint64(n), n)
			if o == nil || !o.Listed {
				_, err = uploads(w.ann).Append(t.Context(), up.ID, 0, bytes.NewReader(p), nil)
				return err
			}
			chunks := cut(t, up.Listed.Chunker, p)
			if _, _, err = uploads(w.ann).AppendList(t.Context(), up.ID, 0, listing(chunks)); err == nil {
				_, err = uploads(w.ann).ReceiveChunks(t.Context(), up.ID, sending(chunks))
			}
			return err
		}
	}
	sized := func(name string, n int) step {
		return file(name, n, &buckets.PutOptions{Size: int64(n), SizeKnown: true})
	}
	pieces := func(n int) step { return begin(nil, n) }
	list := func(n int) step { return begin(&upload.Options{Listed: true}, n) }
	commit := func(i int) step {
		return func(w *world) error { _, err := commitUpload(uploads(w.ann), t.Context(), w.ids[i]); return err }
	}
	cancel := func(i int) step {
		return func(w *world) error { return uploads(w.ann).Cancel(t.Context(), w.ids[i]) }
	}
	describe := func(p *buckets.Patch) step {
		return func(w *world) error { _, err := w.ann.Update(t.Context(), w.ids[0], p); return err }
	}
	broken := func(n int) step {
		return func(w *world) error {
			_, err := w.ann.Put(t.Context(), "broken", newFailing(noise(uint64(n), n), io.ErrUnexpectedEOF), nil)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("broken off: %w", err)
			}
			return nil
		}
	}
	brokenEdit := func(i, n int) step {
		return func(w *world) error {
			_, err := w.ann.Extend(t.Context(), w.ids[i], newFailing(noise(uint64(n), n), io.ErrUnexpectedEOF), int64(n)+1, nil)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("edit broken off: %w", err)
			}
			return nil
		}
	}
	staleEdit := func(i, n int) step {
		return func(w *world) error {
			pieces := []buckets.Piece{{Data: noise(uint64(n), n)}}
			_, err := w.ann.Edit(t.Context(), w.ids[i], append(pieces, buckets.Piece{File: "f_no", Length: -1}), nil)
			if !errors.Is(err, buckets.ErrNoFile) {
				return fmt.Errorf("edit of what is not there: %w", err)
			}
			return nil
		}
	}
	collect := func(w *world) error {
		_, err := w.s.Collect(t.Context(), nil)
		return err
	}
	composed := func(i int) step {
		return func(w *world) error {
			_, err := w.ann.Compose(t.Context(), "composed", []buckets.Piece{{File: w.ids[i], Length: -1}}, nil)
			return err
		}
	}
	bob := func(s step) step { return func(w *world) error { return s(&world{ann: w.bob, bob: w.ann}) } }
	notes := map[string]any{"n": text(15_000)}
	tags := []string{text(100), text(101), text(102), text(103)}
	about := &buckets.PutOptions{Metadata: notes}
	failsWith := func(want error, s step) step {
		return func(w *world) error {
			if err := s(w); !errors.Is(err, want) {
				return fmt.Errorf("%v, want %w", err, want)
			}
			return nil
		}
	}
	refused := func(s step) step { return failsWith(buckets.ErrQuota, s) }
	later := func(s step) step { return failsWith(buckets.ErrUncollected, s) }
	for what, steps := range map[string][]step{
		"empty files with metadata": {file("1", 0, about), file("2", 0, about), file("3", 0, about), file("4", 0, about), file("5", 0, about), file("6", 0, about),
			refused(file("7", 0, about))},
		"a file with metadata":              {file("1", 80_000, about), refused(file("2", 10_000, nil)), file("3", 4000, nil)},
		"metadata written later":            {file("1", 90_000, nil), refused(describe(&buckets.Patch{Metadata: notes})), describe(&buckets.Patch{Metadata: map[string]any{"a": 1}})},
		"tags":                              {file("1", 99_900, nil), refused(describe(&buckets.Patch{Tags: &tags}))},
		"a file and pieces":                 {file("1", 60_000, nil), refused(pieces(41_000)), pieces(39_000)},
		"a file and a list":                 {file("1", 60_000, nil), refused(list(41_000)), list(39_000)},
		"uploads with metadata":             {begin(&upload.Options{PutOptions: *about}, 0), file("1", 0, nil), commit(0), refused(file("2", 90_000, nil))},
		"an upload becomes a file":          {pieces(100_000), commit(0), refused(file("2", 1, nil))},
		"a list becomes a file":             {list(99_000), commit(0), refused(file("2", 1001, nil)), file("3", 1000, nil)},
		"a file ends idle uploads":          {pieces(40_000), pieces(41_000), file("1", 50_000, nil), refused(commit(0)), commit(1)},
		"a file of all ends all uploads":    {pieces(40_000), pieces(41_000), file("1", 100_000, nil), refused(commit(0)), refused(commit(1))},
		"cancelled uploads":                 {pieces(90_000), cancel(0), pieces(91_000), cancel(1), later(pieces(20_000)), later(file("1", 100_000, nil)), collect, file("1", 100_000, nil)},
		"cancelled lists":                   {list(50_000), cancel(0), list(50_001), cancel(1), list(50_002), cancel(2), later(list(52_000)), collect, list(52_000), commit(4)},
		"uploads broken off":                {broken(90_000), broken(91_000), later(file("1", 50_000, nil)), collect, file("1", 50_000, nil)},
		"edits broken off":                  {file("1", 1000, nil), brokenEdit(0, 90_000), brokenEdit(0, 91_000), later(file("2", 50_000, nil)), collect, file("2", 50_000, nil)},
		"edits that store nothing":          {file("1", 1000, nil), staleEdit(0, 90_000), staleEdit(0, 91_000), file("2", 50_000, nil)},
		"evicted again and again":           {pieces(90_000), pieces(91_000), later(pieces(92_000)), collect, pieces(93_000), commit(3)},
		"what became a file is not left":    {pieces(90_000), commit(0), cancel(0), pieces(9000), commit(1)},
		"the same bytes listed again":       {list(60_000), list(60_000), list(60_000), commit(0)},
		"a version by list, mostly known":   {list(40_000), commit(0), list(40_000), commit(1), refused(file("1", 30_000, nil))},
		"many uploads that end one another": {pieces(60_000), pieces(61_000), pieces(62_000), refused(commit(0)), refused(commit(1)), commit(2)},
		"a list of more than all":           {refused(list(100_001))},
		// No collection makes room for what does not fit beside files.
		"little room, with leftovers": {broken(60_000), broken(61_000), file("1", 70_000, nil), refused(sized("2", 30_001)), later(sized("2", 30_000)), later(file("2", 30_001, nil)),
			refused(composed(0)), later(pieces(30_000)), later(list(30_000)), collect, file("2", 30_000, nil)},
		"no room, with leftovers": {broken(60_000), broken(40_000), file("1", 100_000, nil), refused(sized("2", 1)), refused(file("2", 1, nil)),
			refused(pieces(1)), refused(list(1)), refused(composed(0)), sized("2", 0)},
		"another's files": {bob(file("1", 60_000, nil)), file("2", 40_000, nil)},
	} {
		for name, l := range map[string]buckets.Limits{"owner": {MaxOwnerSize: limit}, "total": {MaxTotalSize: limit}} {
			t.Run(what+" by "+name, func(t *testing.T) {
				s, b := limitedStore(t, l)
				w := &world{s: s, ann: b.As(&access.Principal{ID: "ann", Operator: true}), bob: b.As(&access.Principal{ID: "bob", Operator: true})}
				for i, s := range steps {
					if err := s(w); err != nil {
						t.Fatalf("step %d: %v", i, err)
					}
					// Which upload is idle longest is told by milliseconds.
					for at := time.Now().UnixMilli(); time.Now().UnixMilli() == at; {
						runtime.Gosched()
					}
				}
			})
		}
	}
	// What others have under way counts in the bucket, and is never ended.
	s, b := limitedStore(t, buckets.Limits{MaxTotalSize: limit})
	w := &world{s: s, ann: b.As(&access.Principal{ID: "ann", Operator: true}), bob: b.As(&access.Principal{ID: "bob", Operator: true})}
	for i, s := range []step{bob(pieces(60_000)), refused(file("1", 41_000, nil)), refused(pieces(41_000)), refused(list(41_000)), collect, file("2", 40_000, nil), refused(pieces(1000))} {
		if err := s(w); err != nil {
			t.Errorf("beside another's upload, step %d: %v", i, err)
		}
	}
}
