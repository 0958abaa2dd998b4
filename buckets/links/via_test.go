package links_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
)

// TestVersionsViaARecord lists the versions of a file as somebody who may read it by a
// record alone: of a record that holds a version only that one is told.
func TestVersionsViaARecord(t *testing.T) {
	f := newFixture(t)
	ann := f.b.As(who("ann"))
	old := f.put("a")
	file, err := ann.Replace(t.Context(), old.ID, strings.NewReader("new"), nil)
	f.fail(err)
	f.set("1", "keep", file.ManifestID)
	f.set("2", "f_keep", file.ID)
	for record, want := range map[string][]uint64{"1": {2}, "2": {2, 1}} {
		field := map[string]string{"1": "keep", "2": "f_keep"}[record]
		bob := f.b.As(who("bob")).Via(&buckets.Via{Host: "host", Collection: "posts", Record: record, Field: field, Values: map[string]any{"open": true}})
		var got []uint64
		for v, err := range bob.Versions(t.Context(), file.ID) {
			f.fail(err)
			got = append(got, v.Version)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by record %s: versions %v, want %v", record, got, want)
		}
	}
}
