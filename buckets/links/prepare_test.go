package links_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// putPublic stores a file of ann's that everybody may read.
func (f *fixture) putPublic(name string) *buckets.File {
	f.Helper()
	file, err := f.b.As(who("ann")).Put(f.Context(), name, strings.NewReader(name), &buckets.PutOptions{Metadata: map[string]any{"public": true}})
	f.fail(err)
	return file
}

func change(record, field string, values ...string) links.Change {
	return links.Change{Collection: "posts", Record: record, Fields: map[string][]string{field: values}}
}

// TestPrepareChecks gives fields what they do not take. Nothing is linked then, not even
// what stands beside it.
func TestPrepareChecks(t *testing.T) {
	f := newFixture(t)
	set := append(fields(), schema.Field{Collection: "posts", Name: "small", Bucket: "docs", MaxSize: 3},
		schema.Field{Collection: "posts", Name: "image", Bucket: "docs", Types: []string{"image/*"}})
	f.openHost(&links.Options{Fields: set})
	good, other, hidden, trashed := f.putPublic("good.txt"), f.putPublic("other.txt"), f.put("hidden"), f.putPublic("trashed")
	elsewhere, err := f.store.Bucket("other")
	f.fail(err)
	far, err := elsewhere.Put(t.Context(), "far.txt", strings.NewReader("far"), nil)
	f.fail(err)
	_, err = f.b.Delete(t.Context(), trashed.ID, nil)
	f.fail(err)
	many := make([]links.Change, 101)
	for i := range many {
		many[i] = change(fmt.Sprint(i), "keep", good.ID)
	}
	for _, c := range []struct {
		name    string
		changes []links.Change
		want    error
		says    string
	}{
		{"no file of that ID", []links.Change{change("1", "keep", string(manifest.NewFileID()))}, buckets.ErrNoFile, ""},
		{"no ID at all", []links.Change{change("1", "keep", "good.txt")}, buckets.ErrNoFile, ""},
		{"unreadable", []links.Change{change("1", "keep", hidden.ID)}, buckets.ErrNoFile, ""},
		{"in the trash", []links.Change{change("1", "keep", trashed.ID)}, buckets.ErrNoFile, ""},
		{"of another bucket", []links.Change{change("1", "keep", far.ID)}, links.ErrValue, `lies in bucket "other", want one of bucket "docs"`},
		{"too large", []links.Change{change("1", "small", good.ID)}, links.ErrValue, "has 8 bytes, at most 3 are taken"},
		{"of another type", []links.Change{change("1", "image", good.ID)}, links.ErrValue, "want one of"},
		{"too many in a field", []links.Change{change("1", "many", good.ID, other.ID, "x", "y")}, links.ErrValue, "has 4 files, at most 3"},
		{"several in a field for one", []links.Change{change("1", "keep", good.ID, other.ID)}, links.ErrValue, "at most 1"},
		{"twice in a field", []links.Change{change("1", "many", good.ID, good.ID)}, links.ErrValue, "twice"},
		{"twice, by a version", []links.Change{change("1", "many", good.ID, good.ManifestID)}, links.ErrValue, "twice"},
		{"no such field", []links.Change{change("1", "nonesuch", good.ID)}, links.ErrField, ""},
		{"no such collection", []links.Change{{Collection: "none", Record: "1", Fields: map[string][]string{"keep": nil}}}, fs.ErrNotExist, ""},
		{"a record without a name", []links.Change{change("", "keep", good.ID)}, links.ErrValue, ""},
		{"a long name", []links.Change{change(strings.Repeat("x", 256), "keep", good.ID)}, links.ErrValue, ""},
		{"a record twice", []links.Change{change("1", "keep", good.ID), change("1", "many")}, links.ErrValue, "twice"},
		{"deleted, with values", []links.Change{{Collection: "posts", Record: "1", Deleted: true, Fields: map[string][]string{"keep": nil}}}, links.ErrValue, ""},
		{"too many records", many, links.ErrValue, "101 records"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changes := append([]links.Change{change("beside", "keep", good.ID)}, c.changes...)
			if len(changes) > 100 {
				changes = c.changes
			}
			_, err := f.host.Prepare(t.Context(), who("bob"), changes...)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v, %q", err, c.want, c.says)
			}
			if n := f.standing(good.ID); n > 0 {
				t.Errorf("%d links stand", n)
			}
		})
	}
}

// TestUnreadableIsAbsent compares what is said of a file that somebody may not read with
// what is said of none: byte for byte the same, whatever the field.
func TestUnreadableIsAbsent(t *testing.T) {
	f := newFixture(t)
	set := append(fields(), schema.Field{Collection: "posts", Name: "small", Bucket: "other", MaxSize: 1, Types: []string{"image/png"}})
	f.openHost(&links.Options{Fields: set})
	hidden := f.put("hidden")
	for _, field := range set {
		for _, id := range []string{hidden.ID, hidden.ManifestID} {
			absent := string(manifest.NewFileID())
			if id == hidden.ManifestID {
				absent = string(manifest.NewVersionID())
			}
			var texts []string
			for _, value := range []string{id, absent} {
				_, err := f.host.Prepare(t.Context(), who("bob"), change("1", field.Name, value))
				if !errors.Is(err, buckets.ErrNoFile) {
					t.Fatalf("%s: %v", field.Name, err)
				}
				texts = append(texts, strings.ReplaceAll(err.Error(), value, "ID"))
			}
			if texts[0] != texts[1] {
				t.Errorf("unreadable %q, absent %q", texts[0], texts[1])
			}
		}
	}
	out, err := f.host.Resolve(t.Context(), who("bob"), []links.Item{{ID: hidden.ID}, {ID: string(manifest.NewFileID())}})
	f.fail(err)
	if out[0].Status != out[1].Status || out[0].File != nil {
		t.Errorf("resolved as %+v and %+v", out[0], out[1])
	}
}

// TestEscalations has readers link what they may not delete: with cascade they could
// bring it into the trash, with restrict keep its owner from it.
func TestEscalations(t *testing.T) {
	for _, byRead := range []bool{false, true} {
		f := newFixture(t)
		policy := f.opts.Buckets["docs"]
		policy.Access.LinkByRead = byRead
		f.opts.Buckets["docs"] = policy
		f.fail(f.store.Close())
		f.openStore()
		f.openHost(nil)
		public := f.putPublic("public")
		for _, field := range fields() {
			if field.Name == "many" {
				continue
			}
			hold, err := f.host.Prepare(t.Context(), who("bob"), change(field.Name, field.Name, public.ID))
			strict := field.OnDelete == schema.OnDeleteCascade || field.OnDelete == schema.OnDeleteRestrict
			if refused := errors.Is(err, fs.ErrPermission); refused != (strict && !byRead) || err != nil && !refused {
				t.Errorf("link_policy read %t: bob links by %s: %v", byRead, field.Name, err)
			}
			if err == nil {
				f.fail(f.host.Cancel(t.Context(), hold.Token))
			}
			hold, err = f.host.Prepare(t.Context(), who("ann"), change(field.Name, field.Name, public.ID))
			if err != nil {
				t.Errorf("the owner links by %s: %v", field.Name, err)
				continue
			}
			f.fail(f.host.Cancel(t.Context(), hold.Token))
		}
		// What a reader has prepared keeps the owner from nothing, confirmed or not.
		hold, err := f.host.Prepare(t.Context(), who("bob"), change("of bob", "keep", public.ID))
		f.fail(err)
		f.fail(f.host.Confirm(t.Context(), hold.Token))
		_, err = f.b.As(who("ann")).Delete(t.Context(), public.ID, nil)
		f.fail(err)
		f.fail(f.b.As(who("ann")).Purge(t.Context(), public.ID, nil))
	}
}

// TestKeptValueIsOfItsPolicy changes a field whose links had another policy: what the
// record has already is checked as if it were new.
func TestKeptValueIsOfItsPolicy(t *testing.T) {
	f := newFixture(t)
	public := f.putPublic("public")
	f.set("1", "f_keep", public.ID)
	set := fields()
	for i := range set {
		if set[i].Name == "f_keep" {
			set[i].OnDelete = schema.OnDeleteCascade
		}
	}
	f.openHost(&links.Options{Fields: set, Plans: map[string]schema.Plan{"posts.f_keep": schema.PlanKeep}})
	if _, err := f.host.Prepare(t.Context(), who("bob"), change("1", "f_keep", public.ID)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("bob makes a link that cascades: %v", err)
	}
}

// TestPendingLinksAreCapped prepares more links for somebody than may be pending.
func TestPendingLinksAreCapped(t *testing.T) {
	race.LeaveOut(t)
	f := newFixture(t)
	public := f.putPublic("public")
	prepare := func(id string, n int) (*links.Hold, error) {
		var changes []links.Change
		for i := range n {
			changes = append(changes, change(fmt.Sprint(i), "keep", public.ID))
		}
		return f.host.Prepare(t.Context(), who(id), changes...)
	}
	var last *links.Hold
	for range 10 {
		var err error
		last, err = prepare("bob", 100)
		f.fail(err)
	}
	_, err := prepare("bob", 1)
	if !errors.Is(err, links.ErrTooManyPending) {
		t.Errorf("1,001: %v", err)
	}
	_, err = prepare("eve", 1)
	f.fail(err)
	if n := f.countStanding(public.ID); n != 1001 {
		t.Errorf("%d links stand, want 1,001", n)
	}
	f.fail(f.host.Confirm(t.Context(), last.Token))
	_, err = prepare("bob", 100)
	f.fail(err)
}

func (f *fixture) countStanding(id string) (n int) {
	f.Helper()
	var after manifest.LinkID
	for {
		ls, next, err := f.b.References(f.Context(), id, after, 500)
		f.fail(err)
		if n, after = n+len(ls), next; next == "" {
			return n
		}
	}
}

// known are records that somebody may know of.
type known map[string]string

func (k known) Record(_ context.Context, who *access.Principal, key manifest.RecordKey) (map[string]any, error) {
	if who == nil || k[key.Record] != who.ID {
		return nil, fs.ErrPermission
	}
	return map[string]any{}, nil
}

// TestRefusalNamesRecords asks who is told which records do not let a file be deleted:
// operators, and those who may know of the record.
func TestRefusalNamesRecords(t *testing.T) {
	f := newFixture(t)
	f.opts.Records = known{"2": "ann", "3": "bob"}
	f.fail(f.store.Close())
	f.openStore()
	f.openHost(nil)
	file := f.put("a")
	for _, record := range []string{"1", "2", "3"} {
		f.set(record, "restrict", file.ID)
	}
	for _, c := range []struct {
		who  *access.Principal
		want []string
	}{
		{nil, []string{"1", "2", "3"}},
		{&access.Principal{ID: "op", Operator: true}, []string{"1", "2", "3"}},
		{who("ann"), []string{"2"}},
	} {
		b := f.b // a trusted caller's
		if c.who != nil {
			b = b.As(c.who)
		}
		_, err := b.Delete(t.Context(), file.ID, nil)
		var e *buckets.ReferencedError
		if !errors.As(err, &e) || e.Count != 3 {
			t.Fatalf("delete: %v", err)
		}
		var names []string
		for _, l := range e.Links {
			names = append(names, l.Record)
		}
		slices.Sort(names)
		if !slices.Equal(names, c.want) {
			t.Errorf("%+v is told of %v, want %v", c.who, names, c.want)
		}
		for _, hidden := range []string{"posts/1", "posts/2", "posts/3"} {
			if told := slices.Contains(c.want, hidden[len(hidden)-1:]); strings.Contains(err.Error(), hidden) != told {
				t.Errorf("the text for %+v: %v", c.who, err)
			}
		}
	}
	var e *buckets.ReferencedError
	if _, err := f.b.As(who("bob")).Delete(t.Context(), file.ID, nil); err == nil || errors.As(err, &e) {
		t.Errorf("somebody who may not read the file: %v", err)
	}
}

// putLinks writes n confirmed links of the host to the bucket docs, as set makes them.
func (f *fixture) putLinks(n int, set func(i int, l *manifest.Link)) {
	f.Helper()
	k := f.store.Linker(internal.Pass{})
	f.fail(k.Update(f.Context(), "docs", func(tx manifest.Tx) error {
		for i := range n {
			l := &manifest.Link{ID: manifest.NewLinkID(), Host: "host", Session: 1, Bucket: "docs", Collection: "posts", State: manifest.LinkConfirmed, At: k.Now()}
			set(i, l)
			if err := tx.PutLink(f.Context(), l); err != nil {
				return err
			}
		}
		return nil
	}))
}

// TestManyReleases deletes records with so many files that the token would not fit into a
// request of a host: that is refused before the host has deleted them.
func TestManyReleases(t *testing.T) {
	race.LeaveOut(t)
	const most = 10_000
	f := newFixture(t)
	file := f.put("a")
	f.putLinks(most+1, func(i int, l *manifest.Link) {
		l.File, l.Record, l.Field = manifest.FileID(file.ID), fmt.Sprint(i/(most/2)), fmt.Sprint("f", i)
	})
	deletion := func(records ...string) (changes []links.Change) {
		for _, r := range records {
			changes = append(changes, links.Change{Collection: "posts", Record: r, Deleted: true})
		}
		return changes
	}
	if _, err := f.host.Prepare(t.Context(), nil, deletion("0", "1", "2")...); !errors.Is(err, links.ErrValue) || !strings.Contains(err.Error(), "fewer records") {
		t.Errorf("%d links: %v", most+1, err)
	}
	hold, err := f.host.Prepare(t.Context(), nil, deletion("0", "1")...)
	f.fail(err)
	if n := len(hold.Token); n > 1<<20*9/10 { // beside what replaces them
		t.Errorf("the token of %d links has %d bytes", most, n)
	}
	f.fail(f.host.Confirm(t.Context(), hold.Token))
	if got := f.standing(file.ID); got != 1 {
		t.Errorf("%d links stand", got)
	}
}
