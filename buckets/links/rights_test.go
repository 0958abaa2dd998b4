package links_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/links"
)

// public stores a file of ann's that everybody may read.
func (f *fixture) public(name string) *buckets.File {
	f.Helper()
	file, err := f.b.As(who("ann")).Put(f.Context(), name, strings.NewReader(name), &buckets.PutOptions{Metadata: map[string]any{"public": true}})
	f.fail(err)
	return file
}

func (f *fixture) tryFor(p *access.Principal, record, field string, values ...string) (*links.Hold, error) {
	return f.host.Prepare(f.Context(), p, links.Change{Collection: "posts", Record: record, Fields: map[string][]string{field: values}})
}

// Who may read a file, and no more, cannot have it deleted, and cannot keep its owner from
// deleting it, by having it linked.
func TestLinkingTakesRights(t *testing.T) {
	f := newFixture(t)
	shown, hidden := f.public("shown").ID, f.put("hidden").ID
	for _, readers := range []bool{false, true} {
		if readers {
			f.fail(f.store.Close())
			p := f.opts.Buckets["docs"]
			p.Access.LinkByRead = true
			f.opts.Buckets["docs"] = p
			f.openStore()
			f.openHost(nil)
		}
		for _, c := range []struct {
			field      string
			takesRight bool
		}{{"keep", false}, {"f_keep", false}, {"set_null", false}, {"f_set_null", false}, {"restrict", true}, {"f_restrict", true}, {"cascade", true}, {"f_cascade", true}} {
			for name, may := range map[string]bool{"ann": true, "bob": readers || !c.takesRight, "": readers || !c.takesRight} {
				hold, err := f.tryFor(who(name), "1", c.field, shown)
				if may && err != nil || !may && !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s for %q, link_policy of readers %t: %v", c.field, name, readers, err)
				}
				if err == nil {
					f.fail(f.host.Cancel(t.Context(), hold.Token))
				}
			}
			// What bob may not read is to him what there is not, whatever the field.
			_, absent := f.tryFor(who("bob"), "1", c.field, "f_"+strings.Repeat("0", 36))
			_, unreadable := f.tryFor(who("bob"), "1", c.field, hidden)
			if !errors.Is(absent, buckets.ErrNoFile) || !errors.Is(unreadable, buckets.ErrNoFile) || errors.Is(unreadable, fs.ErrPermission) ||
				strings.ReplaceAll(unreadable.Error(), hidden, "f_"+strings.Repeat("0", 36)) != absent.Error() {
				t.Errorf("%s: absent %v\nunreadable %v", c.field, absent, unreadable)
			}
		}
	}
}

// A link that was not confirmed triggers nothing, for whomever it was made: it refuses no
// deletion, tells of none, and deletes nothing when it goes.
func TestPendingTriggersNothing(t *testing.T) {
	f := newFixture(t)
	for _, field := range []string{"restrict", "f_restrict", "cascade", "f_cascade", "set_null", "f_set_null"} {
		deleted, cancelled := f.put(field), f.put("c"+field)
		f.prepare("1", field, deleted.ID)
		hold := f.prepare("2", field, cancelled.ID)
		_, err := f.b.As(who("ann")).Delete(t.Context(), deleted.ID, nil)
		if err != nil {
			t.Errorf("%s: delete: %v", field, err)
		}
		f.fail(f.host.Cancel(t.Context(), hold.Token))
		if got := f.state(cancelled.ID); got != "active" {
			t.Errorf("%s: cancelled: %s", field, got)
		}
		f.checkEvents(0)
	}
}

// A link for somebody who may only read keeps no owner from removing a file, or a version,
// for good.
func TestReadersKeepNobodyFromPurging(t *testing.T) {
	f := newFixture(t)
	for _, field := range []string{"keep", "f_keep", "set_null", "f_set_null"} {
		file := f.public(field)
		hold, err := f.tryFor(who("bob"), "1", field, file.ID)
		f.fail(err)
		f.fail(f.host.Confirm(t.Context(), hold.Token))
		if err := f.b.As(who("ann")).Purge(t.Context(), file.ID, nil); err != nil {
			t.Errorf("%s: purge: %v", field, err)
		}
	}
}

// A value that a field has is taken again, whoever changes the record: but of this record,
// in this field, with this policy, and no other.
func TestKeptValuesGiveNoRights(t *testing.T) {
	f := newFixture(t)
	hidden := f.put("hidden").ID
	f.set("1", "f_keep", hidden)
	if _, err := f.tryFor(who("bob"), "1", "f_keep", hidden); err != nil {
		t.Errorf("the same again: %v", err)
	}
	for _, c := range [][2]string{{"2", "f_keep"}, {"1", "keep"}, {"1", "f_set_null"}, {"1", "f_restrict"}, {"1", "f_cascade"}, {"1", "many"}} {
		if _, err := f.tryFor(who("bob"), c[0], c[1], hidden); !errors.Is(err, buckets.ErrNoFile) {
			t.Errorf("record %s, %s: %v", c[0], c[1], err)
		}
	}
}

// A token, or the ID of a link, does nothing in the hands of another host.
func TestTokensAreOfTheirHost(t *testing.T) {
	f := newFixture(t)
	file := f.put("a").ID
	f.set("1", "f_cascade", file)
	hold := f.prepare("1", "f_cascade")
	other, err := links.Open(t.Context(), f.store, &memory{}, &links.Options{Name: "other", Fields: fields()})
	f.fail(err)
	if err := other.Confirm(t.Context(), hold.Token); !errors.Is(err, links.ErrToken) {
		t.Errorf("confirm: %v", err)
	}
	pending := f.prepare("2", "f_keep", file)
	for what, err := range map[string]error{"confirm": other.Confirm(t.Context(), pending.Token), "cancel": other.Cancel(t.Context(), pending.Token)} {
		if !errors.Is(err, links.ErrToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	n, err := links.CountLinks(t.Context(), f.store, "host")
	if err != nil || n != (links.Count{Pending: 1, Confirmed: 1}) || f.state(file) != "active" {
		t.Errorf("%+v, %s, %v", n, f.state(file), err)
	}
}
