package buckets_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/upload"
)

const fileUUID = "0b54a4a4-9e0c-4a3e-8a3c-0d6f2f1f5a10"

var (
	created = time.Date(2024, 3, 1, 10, 20, 30, 0, time.UTC)
	updated = created.Add(48 * time.Hour)
)

// A file that comes from another system keeps its ID, owner and times, also in a
// database that is made anew from the packs.
func TestPutOfOrigin(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, twoBuckets())
	must(t, err)
	opts := &buckets.PutOptions{ID: fileUUID, Owner: "ann", CreatedAt: created, UpdatedAt: updated.Add(123456 * time.Nanosecond),
		Metadata: map[string]any{"k": "v"}}
	a := bucket(t, s, "a")
	f := put(t, a, "f", "one", opts)
	check := func(what string, f *buckets.File) {
		t.Helper()
		if f.ID != fileUUID || f.Owner != "ann" || !f.CreatedAt.Equal(created) || !f.UpdatedAt.Equal(updated) || !f.VersionCreatedAt.Equal(updated) ||
			!f.ModifiedAt.Equal(updated) || f.Version != 1 || f.Metadata["k"] != "v" {
			t.Errorf("%s: %+v", what, f)
		}
	}
	check("answer", f)
	check("stat", stat(t, a, fileUUID, nil))
	for v, err := range a.Versions(t.Context(), fileUUID) {
		must(t, err)
		check("version", v)
	}
	if u, err := a.As(&access.Principal{ID: "ann", Operator: true}).Usage(t.Context()); err != nil || u.Files != 1 {
		t.Errorf("usage %+v, %v", u, err)
	}
	other := put(t, a, "g", "two", &buckets.PutOptions{UpdatedAt: updated})
	if !other.CreatedAt.Equal(updated) || other.Owner != "" {
		t.Errorf("of a time alone: %+v", other)
	}
	must(t, s.Close())
	rebuild(t, dir)
	s = openDir(t, dir, twoBuckets())
	a = bucket(t, s, "a")
	check("rebuilt", stat(t, a, fileUUID, nil))
	// What comes later has the store's own times.
	next := put(t, a, "f", "three", nil)
	if next.ID != fileUUID || !next.CreatedAt.Equal(created) || !next.UpdatedAt.After(updated) || !next.ModifiedAt.After(updated) {
		t.Errorf("next version: %+v", next)
	}
}

// Every way in which an ID, an owner or a time is refused, and what is left then.
func TestOriginIsRefused(t *testing.T) {
	s := open(t, twoBuckets())
	a, b := bucket(t, s, "a"), bucket(t, s, "b")
	there := put(t, a, "there", "x", &buckets.PutOptions{ID: fileUUID})
	trashed := put(t, a, "trashed", "x", nil)
	_, err := a.Delete(t.Context(), trashed.ID, nil)
	must(t, err)
	const goneUUID = "11111111-2222-4333-8444-555555555555"
	gone := put(t, b, "gone", "x", &buckets.PutOptions{ID: goneUUID})
	must(t, b.Purge(t.Context(), gone.ID, nil))
	ann := a.As(&access.Principal{ID: "ann", Operator: true})
	future := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		in   *buckets.Bucket
		name string
		opts buckets.PutOptions
		want error
	}{
		"ID of a principal":        {ann, "n", buckets.PutOptions{ID: "22222222-2222-4333-8444-555555555555"}, fs.ErrPermission},
		"owner of a principal":     {ann, "n", buckets.PutOptions{Owner: "bob"}, fs.ErrPermission},
		"time of a principal":      {ann, "n", buckets.PutOptions{CreatedAt: created}, fs.ErrPermission},
		"update of a principal":    {ann, "n", buckets.PutOptions{UpdatedAt: created}, fs.ErrPermission},
		"owner with a line break":  {a, "n", buckets.PutOptions{Owner: "a\nb"}, fs.ErrInvalid},
		"owner that is no UTF-8":   {a, "n", buckets.PutOptions{Owner: "a\xff"}, fs.ErrInvalid},
		"owner of any length":      {a, "n", buckets.PutOptions{Owner: strings.Repeat("x", 256)}, fs.ErrInvalid},
		"no key's owner":           {a, "n", buckets.PutOptions{Owner: "key:"}, fs.ErrInvalid},
		"no ID":                    {a, "n", buckets.PutOptions{ID: "photo-1"}, fs.ErrInvalid},
		"ID of a version":          {a, "n", buckets.PutOptions{ID: there.ManifestID}, fs.ErrInvalid},
		"UUID in upper case":       {a, "n", buckets.PutOptions{ID: strings.ToUpper(fileUUID)}, fs.ErrInvalid},
		"UUID in braces":           {a, "n", buckets.PutOptions{ID: "{" + fileUUID + "}"}, fs.ErrInvalid},
		"UUID without hyphens":     {a, "n", buckets.PutOptions{ID: strings.ReplaceAll(fileUUID, "-", "")}, fs.ErrInvalid},
		"UUID with a space":        {a, "n", buckets.PutOptions{ID: fileUUID + " "}, fs.ErrInvalid},
		"ID that is there":         {a, "n", buckets.PutOptions{ID: fileUUID}, fs.ErrExist},
		"ID of another bucket":     {b, "n", buckets.PutOptions{ID: fileUUID}, fs.ErrExist},
		"ID in the trash":          {a, "n", buckets.PutOptions{ID: trashed.ID}, fs.ErrExist},
		"ID that was purged":       {a, "n", buckets.PutOptions{ID: goneUUID}, buckets.ErrPurged},
		"same, under its name":     {b, "gone", buckets.PutOptions{ID: goneUUID}, buckets.ErrPurged},
		"name that is taken":       {a, "there", buckets.PutOptions{ID: "33333333-2222-4333-8444-555555555555"}, buckets.ErrExist},
		"a version":                {a, "there", buckets.PutOptions{CreatedAt: created, OnConflict: buckets.ConflictVersion}, fs.ErrInvalid},
		"updated before created":   {a, "n", buckets.PutOptions{CreatedAt: updated, UpdatedAt: created}, fs.ErrInvalid},
		"created in the future":    {a, "n", buckets.PutOptions{CreatedAt: future}, fs.ErrInvalid},
		"updated in the future":    {a, "n", buckets.PutOptions{CreatedAt: created, UpdatedAt: future}, fs.ErrInvalid},
		"created before all times": {a, "n", buckets.PutOptions{CreatedAt: time.Unix(0, 0)}, fs.ErrInvalid},
	} {
		if f, err := c.in.Put(t.Context(), c.name, strings.NewReader("y"), &c.opts); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		if err := c.in.CheckPut(t.Context(), c.name, &c.opts); !errors.Is(err, c.want) {
			t.Errorf("%s: CheckPut: %v", name, err)
		}
	}
	for name, try := range map[string]func(opts *buckets.PutOptions) error{
		"replace": func(o *buckets.PutOptions) error {
			_, err := a.Replace(t.Context(), there.ID, strings.NewReader("y"), o)
			return err
		},
		"edit": func(o *buckets.PutOptions) error { _, err := a.Truncate(t.Context(), there.ID, 0, o); return err },
		"in pieces": func(o *buckets.PutOptions) error {
			_, err := uploads(a).Begin(t.Context(), "n", &upload.Options{PutOptions: *o})
			return err
		},
		"a part": func(o *buckets.PutOptions) error {
			_, err := uploads(a).Begin(t.Context(), "", &upload.Options{PutOptions: *o, Partial: true})
			return err
		},
		"by list": func(o *buckets.PutOptions) error {
			_, err := uploads(a).Begin(t.Context(), "n", &upload.Options{PutOptions: *o, Listed: true})
			return err
		},
	} {
		for _, o := range []buckets.PutOptions{{ID: "44444444-2222-4333-8444-555555555555"}, {Owner: "bob"}, {UpdatedAt: created}} {
			wantErr(t, name, try(&o), fs.ErrInvalid)
		}
	}
	if got := paths(t, a, nil); len(got) != 1 {
		t.Errorf("files %v", got)
	}
	free := put(t, a, "there", "z", &buckets.PutOptions{ID: "33333333-2222-4333-8444-555555555555", OnConflict: buckets.ConflictNew})
	if free.Name != "there (2)" {
		t.Errorf("a free name: %q", free.Name)
	}
}

// Of two files that ask for one ID at once, one is made.
func TestOriginTogether(t *testing.T) {
	a := demo(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = a.Put(t.Context(), string(rune('a'+i)), strings.NewReader("x"), &buckets.PutOptions{ID: fileUUID})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else {
			wantErr(t, "the other", err, fs.ErrExist)
		}
	}
	if got := paths(t, a, nil); made != 1 || len(got) != 1 {
		t.Errorf("%d were made: %v", made, got)
	}
}

// rebuild removes the database of the store in dir, and has it made anew from the packs.
func rebuild(t *testing.T, dir string) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(dir, "meta")))
	r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *twoBuckets(), Repair: true})
	must(t, err)
	if len(r.Problems) > 1 { // that the database was missing
		t.Errorf("problems %+v", r.Problems)
	}
}
