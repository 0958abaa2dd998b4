package links_test

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// seenRecords lets everybody read records whose IDs begin with open.
type seenRecords struct{}

func (seenRecords) Record(_ context.Context, _ *access.Principal, key manifest.RecordKey) (map[string]any, error) {
	if strings.HasPrefix(key.Record, "open") {
		return map[string]any{}, nil
	}
	return nil, fs.ErrPermission
}

// TestReferencesTellNoNumbers lists the references of a file as its owner, page by page.
// The pages are the same whether records hold it of which she may not know, or not.
func TestReferencesTellNoNumbers(t *testing.T) {
	for _, records := range []buckets.Records{nil, seenRecords{}} {
		f := newFixture(t)
		f.fail(f.store.Close())
		f.opts.Records = records
		f.openStore()
		f.openHost(nil)
		plain, held := f.put("plain"), f.put("held")
		f.set("open1", "f_keep", plain.ID)
		f.set("open2", "f_keep", plain.ID)
		f.set("open3", "f_keep", held.ID)
		for i := range 5 {
			f.set(fmt.Sprint("hidden", i), "f_keep", held.ID)
		}
		f.set("open4", "f_keep", held.ID)
		f.set("hidden9", "f_keep", held.ID)
		for _, limit := range []int{1, 2, 3, 1000} {
			walk := func(id string) (pages []int) {
				var after manifest.LinkID
				for more := true; more; more = after != "" {
					ls, next, err := f.b.As(who("ann")).References(t.Context(), id, after, limit)
					f.fail(err)
					if next != "" && (len(ls) == 0 || next != ls[len(ls)-1].ID) {
						t.Errorf("limit %d: goes on after a link that was not told", limit)
					}
					pages, after = append(pages, len(ls)), next
				}
				return pages
			}
			if a, b := fmt.Sprint(walk(plain.ID)), fmt.Sprint(walk(held.ID)); a != b {
				t.Errorf("limit %d: pages of %s, and of %s where others hold the file", limit, a, b)
			}
		}
	}
}

// TestRefusalDrivesNoTerminal names records in a refusal as files are named to people.
func TestRefusalDrivesNoTerminal(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	f.set("7\x1b[2J\n", "restrict", file.ID)
	_, err := f.b.Delete(t.Context(), file.ID, nil)
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || !strings.Contains(err.Error(), `posts/7\x1b[2J\n.restrict`) {
		t.Errorf("%q", err)
	}
}
