package buckets_test

import (
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets"
)

// Files whose names are just those that a search by doubling asks for do not
// keep it from its end, nor anybody from the store.
func TestFreeNameBesidePowersOfTwo(t *testing.T) {
	b := demo(t)
	put(t, b, "x", "1", nil)
	for k := 1; k < 63; k++ {
		put(t, b, fmt.Sprintf("x (%d)", 1<<k), "1", nil)
	}
	fresh := &buckets.PutOptions{OnConflict: buckets.ConflictNew}
	uploaded := put(t, b, "x", "new", fresh)
	if got := read(t, b, uploaded.ID, nil); got != "new" {
		t.Errorf("the upload holds %q", got)
	}
	copied, err := b.Copy(t.Context(), uploaded.ID, b, &buckets.CopyOptions{Name: "x"})
	must(t, err)
	_, err = b.Delete(t.Context(), copied.ID, nil)
	must(t, err)
	put(t, b, copied.Name, "in its place", nil)
	back, err := b.Undelete(t.Context(), copied.ID)
	must(t, err)
	names := map[string]bool{"x": true, uploaded.Name: true, copied.Name: true, back.Name: true}
	if len(names) != 4 {
		t.Errorf("names are not distinct: %q, %q, %q", uploaded.Name, copied.Name, back.Name)
	}
}
