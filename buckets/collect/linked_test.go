package collect_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// putLinks makes links of three hosts to versions and files, in all states. The first
// host refers to the bucket and is not reconciled, nor is the second, which refers to
// another one.
func (w *world) putLinks(rnd *rand.Rand, n int) {
	w.t.Helper()
	ctx := w.t.Context()
	must(w.t, w.update(ctx, "", func(tx manifest.Tx) error {
		for _, h := range []manifest.Host{{Name: "h0", Unreconciled: true, Buckets: []string{bucket}}, {Name: "h1", Unreconciled: true, Buckets: []string{"other"}}, {Name: "h2"}} {
			if err := tx.PutHost(ctx, &h); err != nil {
				return err
			}
		}
		return nil
	}))
	var rows []*manifest.Row
	for row, err := range w.meta.AllRows(ctx, "") {
		must(w.t, err)
		rows = append(rows, row)
	}
	for i := range n {
		m := rows[rnd.IntN(len(rows))].Manifest
		l := manifest.Link{ID: manifest.NewLinkID(), Host: fmt.Sprint("h", rnd.IntN(3)), Bucket: bucket, File: m.File, Collection: "posts", Record: fmt.Sprint(i),
			Field: "f", OnDelete: manifest.OnDelete(rnd.IntN(4)), State: manifest.LinkState(rnd.IntN(4)), At: time.Now().UTC().Truncate(time.Millisecond)}
		if rnd.IntN(2) == 0 {
			l.Version = m.ID
		}
		l.Due = l.State == manifest.LinkReleased && rnd.IntN(2) == 0
		must(w.t, w.update(ctx, domain, func(tx manifest.Tx) error {
			row := l
			return tx.PutLink(ctx, &row)
		}))
	}
}

// linksTo returns the links to a file or, if v is not "", to a version, in order of
// IDs.
func (w *world) linksTo(f manifest.FileID, v manifest.VersionID) (ls []*manifest.Link) {
	w.t.Helper()
	for l, err := range w.meta.AllLinks(w.t.Context(), "") {
		must(w.t, err)
		if l.File == f && (v == "" || l.Version == v) {
			ls = append(ls, l)
		}
	}
	return ls
}

func countStates(ls []*manifest.Link) (n collect.LinkCounts) {
	for _, l := range ls {
		switch l.State {
		case manifest.LinkPending, manifest.LinkConfirmed:
			n.Standing++
		case manifest.LinkReleased:
			n.Released++
		}
	}
	return n
}

func countPolicy(ls []*manifest.Link, policy manifest.OnDelete) (n int64) {
	for _, l := range ls {
		if l.State == manifest.LinkConfirmed && l.OnDelete == policy {
			n++
		}
	}
	return n
}

// recountLinks is PreviewLinks from nothing but all rows.
func (w *world) recountLinks(r *collect.Removal) (want collect.PreviewLinks) {
	w.t.Helper()
	told := make(map[string]bool)
	seen := make(map[manifest.FileID]bool)
	for row, err := range w.meta.AllRows(w.t.Context(), "") {
		must(w.t, err)
		f, m := row.File, row.Manifest
		in := r.Bucket == "" || f.Bucket == r.Bucket && strings.HasPrefix(f.Path(), r.Prefix)
		whole := slices.Contains(r.Files, f.ID) || r.Bucket != "" && in && r.Before.IsZero()
		old := in && !r.Before.IsZero() && m.ID != f.Current && m.CreatedAt.Before(r.Before)
		if !whole && !old && !slices.Contains(r.Versions, m.ID) || whole && seen[f.ID] {
			continue
		}
		if f.Bucket == bucket {
			want.Unreconciled = []string{"h0"}
		}
		seen[f.ID] = true
		version := m.ID
		if whole {
			version = ""
		}
		ls := w.linksTo(f.ID, version)
		n := countStates(ls)
		want.Standing, want.Released = want.Standing+n.Standing, want.Released+n.Released
		if countPolicy(ls, manifest.Restrict) > 0 {
			want.Refused++
			continue
		}
		for _, l := range ls {
			if l.State == manifest.LinkConfirmed && l.OnDelete == manifest.SetNull {
				told[l.Host] = true
			}
		}
	}
	want.Told = slices.Sorted(maps.Keys(told))
	return want
}

// What a preview says of links is what a recount finds, whatever is selected.
func TestPreviewLinks(t *testing.T) {
	race.LeaveOut(t)
	onDatabases(t, nil, func(t *testing.T, w *world) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		for i := range 30 {
			w.put(fmt.Sprintf("%d/f%d", i%3, i), random(uint64(i), 500))
		}
		for i := range 20 {
			w.addVersion(fmt.Sprintf("%d/f%d", i%4%3, []int{0, 1, 2, 3}[i%4]), random(uint64(100+i), 500))
		}
		w.putLinks(rnd, 90)
		refused, told := 0, 0
		for n := range 60 {
			_, _, r := w.chooseRemoval(rnd)
			switch n % 5 {
			case 0:
				r = &collect.Removal{Bucket: bucket, Prefix: fmt.Sprint(rnd.IntN(4), "/")}
			case 1:
				r = &collect.Removal{Before: time.Now().Add(time.Hour)}
			case 2:
				r.Bucket, r.Before = bucket, time.Now().Add(time.Hour)
			}
			got, want := w.preview(r).Links, w.recountLinks(r)
			named := got.Refusing
			got.Refusing = nil
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("case %d, %+v: %+v, want %+v", n, r, got, want)
			}
			if len(named) != int(min(want.Refused, 10)) {
				t.Errorf("case %d: %d refusals are named of %d", n, len(named), want.Refused)
			}
			for i := range named {
				w.checkLinked(&named[i], named[i].Version, func(l *manifest.Link) bool {
					return l.State == manifest.LinkConfirmed && l.OnDelete == manifest.Restrict
				}, 3)
			}
			refused, told = refused+int(want.Refused), told+len(want.Told)
		}
		if refused == 0 || told == 0 {
			t.Errorf("%d refusals, %d hosts told", refused, told)
		}
	})
}

// checkLinked compares what is said of a file's, or a version's, links with a recount.
// Those that are named are the first that may be, at most n.
func (w *world) checkLinked(got *collect.LinkedFile, v manifest.VersionID, named func(*manifest.Link) bool, n int) {
	w.t.Helper()
	ls := w.linksTo(got.File, v)
	if counts := countStates(ls); got.LinkCounts != counts {
		w.t.Errorf("links to %s %s: %+v, want %+v", got.File, v, got.LinkCounts, counts)
	}
	if got.Restrict != countPolicy(ls, manifest.Restrict) || got.SetNull != countPolicy(ls, manifest.SetNull) || got.Path == "" || got.Bucket != bucket {
		w.t.Errorf("links to %s %s: %+v", got.File, v, got)
	}
	want := slices.DeleteFunc(ls, func(l *manifest.Link) bool { return !l.State.Stands() || !named(l) })
	want = want[:min(len(want), n)]
	if !slices.EqualFunc(got.Links, want, func(a, b *manifest.Link) bool { return *a == *b }) {
		w.t.Errorf("named links to %s %s: %v, want %v", got.File, v, got.Links, want)
	}
}

// What is said of links to a file, to a version and to what needs a chunk is what a
// recount finds; the trash is kept by links to files, versions by links to them.
func TestExplainLinks(t *testing.T) {
	onDatabases(t, nil, func(t *testing.T, w *world) {
		ctx, rnd := t.Context(), rand.New(rand.NewPCG(7, 0))
		for i := range 6 {
			w.put(fmt.Sprint("f", i), random(uint64(i), 500))
			w.addVersion(fmt.Sprint("f", i), random(1, 700)) // the same in all
		}
		must(t, w.update(ctx, domain, func(tx manifest.Tx) error {
			f, err := tx.File(ctx, w.versions["f5"].File)
			if err != nil {
				return err
			}
			f.State, f.DeletedAt = manifest.Trashed, f.CreatedAt
			return tx.PutFile(ctx, f)
		}))
		if x := w.explainChunk(w.firstChunk("f0")); len(x.Linked) > 0 || slices.Contains(x.Because, collect.ForLinks) || len(x.Unreconciled) > 0 {
			t.Errorf("without links: %+v", x)
		}
		w.putLinks(rnd, 60)
		store := w.collectStore()
		store.IsOverdue = func(_ context.Context, row *manifest.Row) (file, version bool, err error) {
			return row.File.State == manifest.Trashed, row.Manifest.Version == 1, nil
		}
		held, free := 0, 0
		check := func(x *collect.Explanation, err error) {
			t.Helper()
			must(t, err)
			links := false
			for i := range x.Holders {
				h := &x.Holders[i]
				if want := countStates(w.linksTo(h.File, h.Version)); h.Pins != want {
					t.Errorf("%s of %s: %+v, want %+v", h.Version, h.File, h.Pins, want)
				}
				pinned := h.Pins != collect.LinkCounts{}
				if h.Overdue != (pinned && h.Number == 1) {
					t.Errorf("version %d is overdue: %t", h.Number, h.Overdue)
				}
				links = links || pinned || (x.Kind == "file" || h.State == manifest.Trashed) && countStates(w.linksTo(h.File, "")) != collect.LinkCounts{}
			}
			if slices.Contains(x.Because, collect.ForLinks) != links || !slices.Contains(x.Because, collect.ForHost) || !slices.Equal(x.Unreconciled, []string{"h0"}) {
				t.Errorf("%s because of %v, unreconciled %q; links hold it: %t", x.Kind, x.Because, x.Unreconciled, links)
			}
			if links {
				held++
			} else {
				free++
			}
			left := 10
			for i := range x.Linked {
				l := &x.Linked[i]
				w.checkLinked(l, "", func(link *manifest.Link) bool {
					return x.Kind == "file" || link.Version == "" || slices.ContainsFunc(x.Holders, func(h collect.Holder) bool { return h.Version == link.Version })
				}, left)
				if left -= len(l.Links); l.Overdue != (l.State == manifest.Trashed) {
					t.Errorf("%+v", l)
				}
			}
		}
		for row, err := range w.meta.AllRows(ctx, "") {
			must(t, err)
			check(collect.ExplainFile(ctx, store, row.File.ID, "", nil))
			check(collect.ExplainFile(ctx, store, "", row.Manifest.ID, nil))
			for _, r := range row.Manifest.Inline {
				check(collect.ExplainChunk(ctx, store, r.Digest))
			}
		}
		check(collect.ExplainPack(ctx, store, w.packsOf("f0")))
		if held == 0 || free == 0 {
			t.Errorf("links hold %d, and not %d", held, free)
		}
	})
}
