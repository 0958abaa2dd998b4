package local_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
)

// On either database a purge gives back what the file alone held, the rest is read
// as before, and a rebuild from the packs that are left finds it.
func TestCollectOnBothDatabases(t *testing.T) {
	for name, opts := range map[string]func() *local.Options{"pebble": options, "postgres": nil} {
		t.Run(name, func(t *testing.T) {
			if opts == nil {
				opts = postgres(t)
			}
			dir := t.TempDir()
			o := opts()
			o.PackSize = 1 << 20
			s := openAt(t, dir, o)
			b := bucket(t, s, "a")
			bodies := make(map[string][]byte)
			for i := range 12 {
				p := noise(uint64(i), 600<<10)
				f, err := b.Put(t.Context(), fmt.Sprint(i), bytes.NewReader(p), nil)
				must(t, err)
				if bodies[f.ID] = p; i%3 > 0 {
					delete(bodies, f.ID)
					must(t, b.Purge(t.Context(), f.ID, nil))
				}
			}
			for i := range 3 {
				r, err := s.Collect(t.Context(), &collect.Options{Full: i == 2})
				must(t, err)
				d := &r.Domains[0]
				if i == 0 && (d.DroppedBytes < 8*500<<10 || d.FreedBytes < 8*500<<10) || len(d.Problems) > 0 || i == 2 && d.DeadBytes > 0 {
					t.Errorf("run %d: %+v", i, d)
				}
			}
			rows := dump(t, s)
			must(t, s.Close())
			r, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *o})
			must(t, err)
			if !r.OK {
				t.Errorf("check: %+v", r)
			}
			removeMeta(t, dir)
			if r, err = local.Check(t.Context(), dir, &local.CheckOptions{Options: *o, Repair: true}); err != nil || !r.OK {
				t.Fatalf("rebuild: %v, %+v", err, r)
			}
			s = openAt(t, dir, o)
			defer s.Close()
			sameRows(t, dump(t, s), rows)
			for id, p := range bodies {
				got, err := content(bucket(t, s, "a"), id)
				if err != nil || !bytes.Equal(got, p) {
					t.Fatalf("%s: %d bytes, %v", id, len(got), err)
				}
			}
		})
	}
}
