package links_test

import (
	"errors"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
)

// TestEndedSessionPrepares tests that a session that has ended prepares nothing, not
// even a change that makes no links. What it has prepared before can be confirmed.
func TestEndedSessionPrepares(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	f.set("1", "keep", file.ID)
	zombie := f.host
	before := f.prepare("2", "keep", file.ID)
	f.openHost(nil)
	for _, c := range []links.Change{
		{Collection: "posts", Record: "1", Deleted: true},
		{Collection: "posts", Record: "1", Fields: map[string][]string{"keep": nil}},
		{Collection: "posts", Record: "1", Fields: map[string][]string{"keep": {file.ID}}},
	} {
		if _, err := zombie.Prepare(t.Context(), nil, c); !errors.Is(err, links.ErrSession) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	f.fail(zombie.Confirm(t.Context(), before.Token))
}
