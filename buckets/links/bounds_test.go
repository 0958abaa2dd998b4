package links_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
)

// One Prepare takes 1,000 values of 100 records, with names of 255 bytes, and no more.
func TestPrepareIsBounded(t *testing.T) {
	f := newFixture(t)
	file := f.put("a").ID
	records := func(n int, field string, values ...string) (out []links.Change) {
		for i := range n {
			out = append(out, links.Change{Collection: "posts", Record: fmt.Sprint(i), Fields: map[string][]string{field: values}})
		}
		return out
	}
	name := func(n int) links.Change {
		return links.Change{Collection: "posts", Record: strings.Repeat("x", n), Fields: map[string][]string{"f_keep": {file}}}
	}
	for what, c := range map[string]struct {
		changes []links.Change
		want    error
	}{
		"100 records":          {records(100, "f_keep", file), nil},
		"101 records":          {records(101, "f_keep", file), links.ErrValue},
		"a name of 255 bytes":  {[]links.Change{name(255)}, nil},
		"a name of 256 bytes":  {[]links.Change{name(256)}, links.ErrValue},
		"a record twice":       {append(records(1, "f_keep", file), records(1, "f_keep")...), links.ErrValue},
		"values of a deletion": {[]links.Change{{Collection: "posts", Record: "1", Deleted: true, Fields: map[string][]string{"f_keep": {}}}}, links.ErrValue},
	} {
		hold, err := f.host.Prepare(t.Context(), nil, c.changes...)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if err == nil {
			f.fail(f.host.Cancel(t.Context(), hold.Token))
		}
	}
	wide := fields()
	wide[len(wide)-1].MaxCount = 0
	f.openHost(&links.Options{Fields: wide})
	values := make([]string, 1001)
	for i := range values {
		values[i] = fmt.Sprint("f_", i) // there are none: that is found out after they are counted
	}
	if _, err := f.host.Prepare(t.Context(), nil, records(1, "many", values...)...); !errors.Is(err, links.ErrValue) {
		t.Errorf("1,001 values: %v", err)
	}
	if _, err := f.host.Prepare(t.Context(), nil, records(1, "many", values[:1000]...)...); errors.Is(err, links.ErrValue) {
		t.Errorf("1,000 values: %v", err)
	}
}

// A principal has 1,000 pending links at most, and what ends makes room. The host itself
// has no bound.
func TestPendingIsBounded(t *testing.T) {
	f := newFixture(t)
	file := f.put("a").ID
	prepare := func(by string, from, n int) (*links.Hold, error) {
		t.Helper()
		var changes []links.Change
		for i := range n {
			changes = append(changes, links.Change{Collection: "posts", Record: fmt.Sprint(from + i), Fields: map[string][]string{"f_keep": {file}}})
		}
		if by == "" {
			return f.host.Prepare(t.Context(), nil, changes...)
		}
		return f.host.Prepare(t.Context(), who(by), changes...)
	}
	var holds []*links.Hold
	for i := range 10 {
		hold, err := prepare("ann", 100*i, 100)
		f.fail(err)
		holds = append(holds, hold)
	}
	if _, err := prepare("ann", 1000, 1); !errors.Is(err, links.ErrTooManyPending) {
		t.Errorf("1,001 for ann: %v", err)
	}
	_, err := prepare("", 2000, 100)
	f.fail(err)
	f.fail(f.host.Cancel(t.Context(), holds[0].Token))
	f.fail(f.host.Confirm(t.Context(), holds[1].Token))
	for i := range 2 {
		_, err := prepare("ann", 3000+100*i, 100)
		f.fail(err)
	}
	if _, err := prepare("ann", 4000, 1); !errors.Is(err, links.ErrTooManyPending) {
		t.Errorf("1,001 for ann again: %v", err)
	}
}

// One Resolve takes 10,000 values.
func TestResolveIsBounded(t *testing.T) {
	f := newFixture(t)
	items := make([]links.Item, 10001)
	if _, err := f.host.Resolve(t.Context(), nil, items); !errors.Is(err, links.ErrValue) {
		t.Errorf("10,001 values: %v", err)
	}
	if found, err := f.host.Resolve(t.Context(), nil, items[:10000]); err != nil || len(found) != 10000 {
		t.Errorf("10,000 values: %d, %v", len(found), err)
	}
}
