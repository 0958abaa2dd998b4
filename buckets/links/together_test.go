package links_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
)

// TestTogether lets records change side by side that hold the same files, while others
// delete and purge those and sweep: a file that a record holds by restrict is never
// deleted, one that records hold in another way is never swept, and at the end each
// file is what its links make it.
func TestTogether(t *testing.T) {
	for name, open := range stores() {
		t.Run(name, func(t *testing.T) { testTogether(t, open) })
	}
}

func testTogether(t *testing.T, open func(f *fixture) (*buckets.Store, error)) {
	const workers, rounds, files = 4, 40, 6
	f := newFixtureIn(t, open)
	policies := []string{"f_keep", "f_restrict", "f_cascade", "f_set_null"}
	var ids []string
	for n := range files {
		ids = append(ids, f.put(fmt.Sprint(n)).ID)
	}
	var mu sync.Mutex // guards purged
	purged := make(map[string]bool)
	type value struct{ field, id string }
	records := make([]value, workers)
	var g errgroup.Group
	for w := range workers {
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for range rounds {
				next := value{policies[rng.IntN(len(policies))], ids[rng.IntN(len(ids))]}
				if rng.IntN(4) == 0 {
					next = value{}
				}
				change := links.Change{Collection: "posts", Record: fmt.Sprint(w), Fields: map[string][]string{}}
				if old := records[w].field; old != "" {
					change.Fields[old] = nil
				}
				if next.field != "" {
					change.Fields[next.field] = []string{next.id}
				}
				hold, err := f.host.Prepare(t.Context(), nil, change)
				if errors.Is(err, buckets.ErrNoFile) {
					continue
				}
				if err != nil {
					return err
				}
				if rng.IntN(5) == 0 {
					if err := f.host.Cancel(t.Context(), hold.Token); err != nil {
						return err
					}
					continue
				}
				records[w] = next
				if err := f.host.Confirm(t.Context(), hold.Token); err != nil && !errors.Is(err, links.ErrLinkLost) {
					return err
				}
				if next.field == "f_restrict" {
					mu.Lock()
					gone := purged[next.id]
					mu.Unlock()
					if _, err := f.b.Delete(t.Context(), next.id, nil); !gone && !errors.Is(err, buckets.ErrReferenced) && !errors.Is(err, fs.ErrNotExist) {
						return fmt.Errorf("%s was deleted in spite of a link: %v", next.id, err)
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		rng := rand.New(rand.NewPCG(7, 100))
		for range rounds {
			id := ids[rng.IntN(len(ids))]
			var err error
			switch rng.IntN(8) {
			case 0:
				mu.Lock()
				purged[id] = true
				mu.Unlock()
				err = f.b.Purge(t.Context(), id, nil)
			case 1, 2, 3:
				_, err = f.b.Delete(t.Context(), id, nil)
			case 4, 5:
				_, err = f.b.Undelete(t.Context(), id)
			default:
				_, err = f.store.Sweep(t.Context())
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, buckets.ErrReferenced) && !errors.Is(err, buckets.ErrNotTrashed) {
				return err
			}
		}
		return nil
	})
	f.fail(g.Wait())
	f.month()
	f.month()
	for w, v := range records {
		if v.id != "" && f.state(v.id) == "gone" && !purged[v.id] {
			t.Errorf("%s of record %d, by %s, is gone", v.id, w, v.field)
		}
	}
	for _, id := range ids {
		if f.state(id) == "gone" {
			continue
		}
		refs, _, err := f.b.References(t.Context(), id, "", 100)
		f.fail(err)
		want := 0
		for _, v := range records {
			if v.id == id {
				want++
			}
		}
		if len(refs) != want {
			t.Errorf("%s has %d links, want %d: %+v", id, len(refs), want, refs)
		}
		if f.state(id) == "trashed" && want == 0 {
			t.Errorf("%s is in the trash still, and nothing holds it", id)
		}
	}
}
